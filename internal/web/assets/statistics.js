// What a journal's page counts. The server counts a part at a time; the parts are added up here.

import { $, make, count, withUnit, duration, short, clock, day, printableText } from './common.js'
import { Charts, mostInWords, rowInWords } from './charts.js'
import { rowOf, timeMark, upper } from './series.js'

export const mostMoments = 240 // in a chart; it begins with half of them
const shownGroups = 200
const keptGroups = 20000 // the rest are counted together

// Tally is what the server's tally is, as it grows.
class Tally {
  constructor() {
    Object.assign(this, { count: 0, errors: 0, in: 0, out: 0, max: 0, times: new Map() }) // bucket of a histogram -> how many
  }

  add(t) {
    this.count += t.count
    this.errors += t.errors
    this.in += t.in
    this.out += t.out
    this.max = Math.max(this.max, t.max)
    for (const [bucket, n] of t.times) this.times.set(bucket, (this.times.get(bucket) ?? 0) + n)
  }

  // quantiles are the longest times of the shortest shares, as the server's histogram has them.
  quantiles(...shares) {
    const buckets = [...this.times].sort((a, b) => a[0] - b[0])
    const all = buckets.reduce((sum, [, n]) => sum + n, 0)
    return shares.map(share => {
      let seen = 0
      for (const [bucket, n] of buckets) if ((seen += n) >= all * share) return Math.min(upper(bucket), this.max)
      return null
    })
  }
}

// Statistics are those of one question.
export class Statistics {
  sum = new Tally()
  groups = new Map()
  moments = new Map() // µs -> Tally
  rest = new Tally()

  constructor(by, from, to) {
    this.by = by
    this.from = from
    this.to = to
    this.every = niceEvery((to - from) / 1000 / (mostMoments / 2))
  }

  add(answer) {
    for (const g of answer.groups) {
      this.sum.add(g.unasked ? { ...g, count: 0, errors: 0 } : g)
      const key = g.session ? g.session.file + '.' + g.session.id : g.name + (g.unasked ? ' unasked' : '')
      let group = this.groups.get(key)
      if (!group && this.groups.size < keptGroups) this.groups.set(key, group = Object.assign(new Tally(), { name: g.name, session: g.session, unasked: g.unasked }))
      ;(group ?? this.rest).add(g)
      if (g.session && group) group.session = g.session
    }
    for (const m of answer.moments) {
      if (!this.moments.has(m.at)) this.moments.set(m.at, new Tally())
      this.moments.get(m.at).add(m)
    }
  }
}

// niceEvery is a width in ms for the moments of a chart, not below one.
function niceEvery(ms) {
  const nice = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 3e4, 6e4, 3e5, 6e5, 1.8e6, 3.6e6, 1.08e7, 2.16e7, 4.32e7, 8.64e7, 6.048e8]
  return nice.find(n => n >= ms) ?? nice.at(-1)
}

// bytes is a number of bytes in short.
export function bytes(n) {
  for (const [unit, size] of [['GB', 1e9], ['MB', 1e6], ['kB', 1e3]]) if (n >= size) return withUnit(short(n / size), unit)
  return withUnit(count(n), 'B')
}

// ---- figures and charts

const percent = (part, of) => part ? withUnit((100 * part / of).toFixed(part / of < 0.01 ? 2 : 1), '%') : ''

export function showFigures(stats, progress) {
  const { sum } = stats
  const [p50, p99] = sum.quantiles(0.5, 0.99)
  const ends = stats.by === 'end'
  $('sum-what').textContent = $('count-caption').textContent = ends ? 'Sessions' : 'Exchanges'
  $('sum-count').textContent = count(sum.count)
  $('sum-progress').textContent = progress
  $('sum-errors').textContent = ends ? '–' : count(sum.errors)
  $('sum-share').textContent = percent(sum.errors, sum.count)
  $('sum-p50').textContent = p50 === null || ends ? '–' : duration(p50)
  $('sum-p99').textContent = p99 === null || ends ? '–' : duration(p99)
  $('sum-in').textContent = bytes(sum.in)
  $('sum-out').textContent = bytes(sum.out)
}

let zoom = () => {} // told a time that is chosen in a chart

// chooseTime has chosen told of a time that is chosen in the charts, in µs; of none to go back.
export function chooseTime(chosen) { zoom = view => view ? chosen(view.from * 1e6, view.to * 1e6) : chosen() }

let charts = null
let ofSessions = false

// showCharts draws what was counted over time. narrowed says that a time was chosen.
export function showCharts(stats, narrowed) {
  charts ??= new Charts($('plots'), [[$('count-chart'), 'bars'], [$('time-chart'), 'times'], [$('heat-chart'), 'heat']], { steps: true, read, zoom: view => zoom(view) })
  ofSessions = stats.by === 'end'
  const points = [...stats.moments].sort((a, b) => a[0] - b[0]).map(pointOf)
  const every = stats.every / 1e3
  const view = { from: Math.min(stats.from / 1e6, points[0]?.at ?? Infinity), to: Math.max(stats.to / 1e6, (points.at(-1)?.at ?? 0) + every) }
  const over = `from ${day(stats.from)} ${clock(stats.from)} to ${day(stats.to)} ${clock(stats.to)}`
  const [p50, p99] = stats.sum.quantiles(0.5, 0.99)
  const empty = p50 === null ? 'nothing was answered' : ''
  const times = empty || `half within ${duration(p50)}, 99\u00a0% within ${duration(p99)}`
  charts.show({
    points, every, view, all: view, zoomed: narrowed, empty,
    labels: [`${ofSessions ? 'Sessions opened' : 'Exchanges'} in each ${duration(stats.every * 1e6)}, ${over}: at most ${count(Math.max(0, ...points.map(p => p.count)))}`,
      `${ofSessions ? 'How long sessions lasted' : 'Time to answer'} ${over}: ${times}`, `How many took how long ${over}: ${times}`],
  })
}

// pointOf is a moment as the charts have it.
function pointOf([at, tally]) {
  const rows = new Map()
  for (const [bucket, n] of [...tally.times].sort((a, b) => a[0] - b[0])) rows.set(rowOf(bucket), (rows.get(rowOf(bucket)) ?? 0) + n)
  const [p50, p99] = tally.quantiles(0.5, 0.99)
  return { at: at / 1e6, count: tally.count, errors: tally.errors, replies: [...rows.values()].reduce((sum, n) => sum + n, 0), p50, p99, max: tally.max, times: [...rows].flat() }
}

// read shows what a moment says.
function read(p, ns, every) {
  const one = ofSessions ? 'session' : 'exchange'
  $('reading').replaceChildren(...p ? [
    `${day(p.at * 1e6)} ${timeMark(p.at, Math.min(every, 59))} to ${timeMark(p.at + every, Math.min(every, 59))}`,
    `${count(p.count)} ${one}${p.count === 1 ? '' : 's'}`,
    ...p.errors ? [`${count(p.errors)} ${p.errors === 1 ? 'error' : 'errors'}`] : [],
    ...p.replies ? [`half ${duration(p.p50)}`, `99\u00a0% ${duration(p.p99)}`, `longest ${duration(p.max)}`, ns ? rowInWords(p, ns) : mostInWords(p)] : ofSessions ? [] : ['no reply'],
  ].map(text => make('span', {}, text)) : [make('span', { className: 'hint' }, 'Point at a chart or use the arrow keys to read it; drag, + or − to choose a time.')])
}

// ---- the table

const columns = {
  exchanges: ['Exchanges', 'Errors', 'Bytes of requests', 'Bytes of replies', '50 %', '90 %', '99 %', 'Longest'],
  end: ['Sessions', 'Bytes in', 'Bytes out', 'Half lasted', '90 %', '99 %', 'Longest'],
}
const firsts = { shape: 'Request', session: 'Session', peer: 'Peer', node: 'Node', end: 'Ended by' }

// showTable shows the largest groups. nameOf makes what stands before a group's figures.
export function showTable(stats, progress, nameOf) {
  const ends = stats.by === 'end'
  $('statistics-head').replaceChildren(...[firsts[stats.by], ...(ends ? columns.end : columns.exchanges)].map((text, i) => make('th', { scope: 'col', className: i ? 'figure' : '' }, text)))
  const groups = [...stats.groups.values()].sort((a, b) => b.count - a.count)
  const shown = groups.slice(0, shownGroups)
  const rest = Object.assign(new Tally(), { name: null, others: groups.length - shown.length })
  for (const g of groups.slice(shownGroups)) rest.add({ ...g, times: [...g.times] })
  rest.add({ ...stats.rest, times: [...stats.rest.times] })
  if (rest.count) shown.push(rest)
  $('statistics-rows').replaceChildren(...shown.map(g => {
    const times = g.quantiles(0.5, 0.9, 0.99)
    const figures = [count(g.count), ...(ends ? [] : [count(g.errors)]), bytes(g.in), bytes(g.out), ...times.map(t => t === null ? '' : duration(t)), times[0] === null ? '' : duration(g.max)]
    const name = g.others !== undefined ? [`${count(g.others)} others`] : nameOf(g)
    return make('tr', {}, make('th', { scope: 'row', className: 'mono' }, ...name), ...figures.map(text => make('td', { className: 'figure' }, text)))
  }))
  $('statistics-note').textContent = [`${count(groups.length)} ${groups.length === 1 ? 'row' : 'rows'}`, progress].filter(Boolean).join(', ')
}

// nameText is a group's name as text.
export const nameText = g => printableText(Uint8Array.from(atob(g.name ?? ''), c => c.charCodeAt(0)))
