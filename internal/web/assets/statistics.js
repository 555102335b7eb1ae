// What a journal's page counts. The server counts a part at a time; the parts are added up here.

import { $, make, draw, count, withUnit, duration, short, clock, day, printableText, decade, niceAbove } from './common.js'

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

// upper is the longest time of a bucket, in ns: there are 16 for each doubling.
function upper(bucket) {
  const shift = Math.max(0, (bucket >> 4) - 1)
  return (bucket - shift * 16 + 1) * 2 ** shift - 1
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

// moment is a time in as much as is needed where the chart is so wide.
function moment(us, span) {
  const time = clock(us)
  return span > 2 * 86400e6 ? day(us) + ' ' + time.slice(0, 5) : span > 60e6 ? time.slice(0, 8) : time
}

export function showCharts(stats) {
  const moments = [...stats.moments].sort((a, b) => a[0] - b[0])
  const most = Math.max(1, ...moments.map(([, t]) => t.count))
  const top = niceAbove(most)
  const what = stats.by === 'end' ? 'Sessions opened' : 'Exchanges'
  const width = duration(stats.every * 1e6)
  ranged($('count-chart'), stats, {
    marks: [0, top / 2, top].filter(Number.isInteger), mark: count, height: value => value / top,
    label: `${what} in each ${width}, from ${day(stats.from)} ${clock(stats.from)} to ${day(stats.to)} ${clock(stats.to)}: at most ${count(most)}`,
  }, (x, y, w) => moments.map(([at, t]) => draw('rect', { class: t.errors ? 'bar bad' : 'bar', x: x(at), y: y(t.count), width: w, height: y(0) - y(t.count) })))

  const answered = moments.map(([at, t]) => [at, ...t.quantiles(0.5, 0.99)]).filter(([, p50]) => p50 !== null)
  const low = Math.floor(Math.log10(Math.max(1, Math.min(1e5, ...answered.map(([, p50]) => p50 || 1)))))
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(1e5, ...answered.map(([, , p99]) => p99)))))
  const marks = []
  for (let e = low; e <= high; e++) if (high - low < 4 || (e - low) % 2 === 0) marks.push(10 ** e)
  const [p50, p99] = stats.sum.quantiles(0.5, 0.99)
  ranged($('time-chart'), stats, {
    marks, mark: decade, height: value => (Math.log10(Math.max(1, value)) - low) / (high - low),
    label: p50 === null ? 'Time to answer: nothing was answered' : `${stats.by === 'end' ? 'How long sessions lasted' : 'Time to answer'}: half within ${duration(p50)}, 99\u00a0% within ${duration(p99)}`,
  }, (x, y, w) => answered.flatMap(([at, half, most]) => [
    draw('path', { class: 'line most', d: `M${x(at)},${y(most)}h${w}` }), draw('path', { class: 'line half', d: `M${x(at)},${y(half)}h${w}` })]))
}

// ranged draws over the time that the statistics are of.
function ranged(svg, stats, { marks, mark, height, label }, lines) {
  const w = svg.clientWidth, h = svg.clientHeight
  if (!w) return
  const left = 52, right = 8, top = 8, bottom = 18
  const { from, to } = stats
  const x = at => left + (w - left - right) * Math.min(1, Math.max(0, (at - from) / (to - from)))
  const y = value => top + (h - top - bottom) * (1 - height(value))
  const parts = []
  for (const value of marks) {
    parts.push(draw('line', { class: 'grid', x1: left, x2: w - right, y1: y(value), y2: y(value) }))
    parts.push(draw('text', { x: left - 8, y: y(value) + 4, 'text-anchor': 'end' }, mark(value)))
  }
  parts.push(draw('text', { x: left, y: h - 3 }, moment(from, to - from)), draw('text', { x: w - right, y: h - 3, 'text-anchor': 'end' }, moment(to, to - from)))
  parts.push(...lines(x, y, Math.max(1.5, (w - left - right) * stats.every * 1e3 / (to - from) - 1)))
  svg.setAttribute('aria-label', label)
  svg.replaceChildren(...parts)
  svg.timeAt = px => from + (to - from) * Math.min(1, Math.max(0, (px - left) / (w - left - right)))
}

// chooseTime has a time range chosen in a chart with the pointer.
export function chooseTime(svg, chosen) {
  let start = null
  const at = e => e.clientX - svg.getBoundingClientRect().left
  const mark = draw('rect', { class: 'chosen', y: 0 })
  svg.addEventListener('pointerdown', e => {
    if (!svg.timeAt || e.button) return
    start = at(e)
    svg.setPointerCapture(e.pointerId)
  })
  svg.addEventListener('pointermove', e => {
    if (start === null) return
    for (const [key, value] of Object.entries({ x: Math.min(start, at(e)), width: Math.abs(at(e) - start), height: svg.clientHeight })) mark.setAttribute(key, value)
    svg.append(mark)
  })
  svg.addEventListener('pointerup', e => {
    const [from, to] = [start, at(e)].sort((a, b) => a - b)
    mark.remove()
    if (start !== null && to - from > 3) chosen(svg.timeAt(from), svg.timeAt(to))
    start = null
  })
  svg.addEventListener('pointercancel', () => {
    mark.remove()
    start = null
  })
}

// ---- the table

const columns = {
  exchanges: ['Exchanges', 'Errors', 'Bytes of requests', 'Bytes of replies', '50 %', '90 %', '99 %', 'Longest'],
  end: ['Sessions', 'Bytes in', 'Bytes out', 'Half lasted', '90 %', '99 %', 'Longest'],
}
const firsts = { shape: 'Request', session: 'Session', peer: 'Peer', end: 'Ended by' }

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
