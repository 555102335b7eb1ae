// Charts over time, several of the same time: one pointer reads all of them, and a part of them can
// be looked at closer. uPlot draws them; it knows no fingers and no keys, so these are ours.

import { count, decade, duration } from './common.js'
import { alone, bounds, cellsOf, columnsOf, decades, fullest, indexAt, niceAbove, rowAt, scaled, shade, timeMark } from './series.js'

const left = 52, right = 8, top = 8, bottom = 22 // px around what is drawn
const dragged = 4 // px that a drag has at least
const cutOff = 20 // px from the right edge, where a time would be cut off
const font = '11px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif'

const color = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim()
const half = { stroke: () => color('--accent'), width: 1.6 }
const most = { stroke: () => color('--warn'), width: 1.6 }

// What there is to draw. Each has its values of a point, how they are drawn, and its scale.
const kinds = {
  rate: {
    values: [p => p.requests / p.seconds],
    lines: () => [{ ...half, fill: () => color('--accent-soft') }],
    scale: points => countScale(points.map(p => p.requests / p.seconds)),
  },
  bars: {
    values: [p => p.count, p => p.errors ? p.count : null],
    lines: () => ['--accent', '--warn'].map(name => ({ stroke: () => color(name), fill: () => color(name), width: 0, paths: uPlot.paths.bars({ size: [1, Infinity, 1.5], align: 1 }) })),
    scale: points => countScale(points.map(p => p.count), true),
  },
  times: {
    values: [p => p.replies ? p.p99 : null, p => p.replies ? p.p50 : null],
    lines: steps => [most, half].map(line => steps ? { ...line, paths: uPlot.paths.stepped({ align: 1 }) } : line),
    scale: timeScale,
  },
  heat: {
    values: [() => null],
    lines: () => [{ paths: () => null }],
    scale: timeScale,
    draw: drawHeat,
  },
}

function countScale(values, whole) {
  const end = niceAbove(Math.max(1, ...values))
  return { low: 0, high: end, marks: [0, end / 2, end].filter(mark => !whole || Number.isInteger(mark)), text: count }
}

function timeScale(points) {
  const answered = points.filter(p => p.replies)
  const shortest = Math.min(...answered.map(p => Math.max(1, bounds(p.times[0])[0])))
  return { ...decades(shortest, Math.max(...answered.map(p => p.max))), log: true, text: decade }
}

// drawHeat draws how many replies took how long: the more, the denser.
function drawHeat(u, { points, every, view }) {
  const { left, top, width, height } = u.bbox
  const seen = points.filter(p => p.at + every > view.from && p.at < view.to)
  const fullest = seen.reduce((most, p) => Math.max(most, ...cellsOf(p.times).map(([, n]) => n)), 0)
  u.ctx.save()
  u.ctx.beginPath()
  u.ctx.rect(left, top, width, height)
  u.ctx.clip()
  u.ctx.fillStyle = color('--heat')
  for (const p of seen) {
    const x = Math.round(u.valToPos(p.at, 'x', true)), end = Math.round(u.valToPos(p.at + every, 'x', true))
    for (const [row, n] of cellsOf(p.times)) {
      const [low, high] = bounds(row).map(ns => Math.round(u.valToPos(Math.max(1, ns), 'y', true)))
      u.ctx.globalAlpha = shade(n, fullest)
      u.ctx.fillRect(x, high, Math.max(1, end - x), Math.max(1, low - high))
    }
  }
  u.ctx.restore()
}

// Charts are several plots of the same points. A place is where they are all in; it takes the keys.
export class Charts {
  // plots are [element, kind] each; steps draws lines from the beginning of a point to its end. read is told
  // the point and the time in ns that are pointed at, or nothing; zoom the view that is asked for, null for all.
  constructor(place, plots, { steps, read, zoom }) {
    Object.assign(this, { place, steps, read, points: [], every: 1, view: { from: 0, to: 1 }, cursor: null })
    this.plots = plots.map(([element, kind]) => ({ element, kind: kinds[kind], scale: null, u: null }))
    this.zoom = view => {
      this.zoomed = Boolean(view) // what is zoomed to may take a while, and the way back is not to wait for it
      zoom(view)
    }
    for (const plot of this.plots) this.listen(plot)
    place.addEventListener('keydown', e => this.press(e))
    place.addEventListener('blur', () => this.point(null))
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { for (const { u } of this.plots) u?.redraw() })
  }

  // show draws points, each for so many seconds, as far as they are in view. all is what can be looked at,
  // labels say of each plot what is in it.
  show({ points, every, view, all, zoomed, labels, empty }) {
    Object.assign(this, { points, every, view, all, zoomed })
    for (const [i, plot] of this.plots.entries()) {
      const width = plot.element.clientWidth, height = plot.element.clientHeight
      if (!width) continue
      const seen = points.filter(p => p.at + every > view.from && p.at < view.to)
      plot.scale = plot.kind.scale(seen)
      const data = points.length ? columnsOf(points, every, plot.kind.values) : [[view.from, view.to], ...plot.kind.values.map(() => [null, null])]
      if (!plot.u) plot.u = this.build(plot, data, width, height)
      else {
        if (plot.u.width !== width || plot.u.height !== height) plot.u.setSize({ width, height })
        plot.u.setData(data)
      }
      plot.element.setAttribute('aria-label', labels[i])
      plot.element.dataset.empty = plot.scale.log ? empty : ''
    }
    this.follow()
  }

  build(plot, data, width, height) {
    const axis = { stroke: () => color('--quiet'), font, ticks: { show: false }, grid: { stroke: () => color('--line'), width: 1 } }
    return new uPlot({
      width, height, padding: [top, right, 0, 0], legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false, setScale: false }, points: { size: 6 }, bind: Object.fromEntries(['mousedown', 'mouseup', 'click', 'dblclick', 'mousemove', 'mouseleave', 'mouseenter'].map(name => [name, () => null])) },
      scales: { x: { time: true, range: () => [this.view.from, this.view.to] }, y: { distr: plot.scale.log ? 3 : 1, range: () => [plot.scale.low, plot.scale.high] } },
      axes: [
        { ...axis, size: bottom, gap: 4, space: 64, grid: { show: false }, values: (u, marks, i, space, every) => marks.map(t => u.valToPos(t, 'x') > u.width - left - right - cutOff ? null : timeMark(t, every)) },
        { ...axis, size: left, gap: 8, splits: () => plot.scale.marks, filter: (u, marks) => marks, values: (u, marks) => marks.map(plot.scale.text) },
      ],
      series: [{}, ...plot.kind.lines(this.steps).map(line => ({ ...line, points: { show: !line.paths, size: 4, width: 0, fill: line.stroke, filter: (u, i) => alone(u.data[i]) } }))],
      hooks: { draw: plot.kind.draw ? [u => plot.kind.draw(u, this)] : [] },
    }, data, plot.element)
  }

  // ---- the cursor: {time, ns} or {px, plot} while the pointer is there, which stays where it is

  // point reads at a cursor, in all plots.
  point(cursor) {
    this.cursor = cursor
    this.follow()
  }

  follow() {
    const { cursor } = this
    const time = cursor && (cursor.plot ? cursor.plot.u.posToVal(cursor.px, 'x') : cursor.time)
    const ns = cursor && (cursor.plot ? cursor.plot.scale.log ? cursor.plot.u.posToVal(cursor.py, 'y') : null : cursor.ns)
    const i = cursor ? indexAt(this.points, Math.min(time, this.view.to)) : -1
    for (const { u } of this.plots) u?.setCursor(i < 0 ? { left: -10, top: -10 } : { left: u.valToPos(this.points[i].at, 'x'), top: 0 }, false, false)
    this.read(i < 0 ? null : this.points[i], ns ?? null, this.every)
    return i
  }

  // ---- fingers and mice

  listen(plot) {
    const { element } = plot
    let start = null // of a drag
    const place = e => {
      const box = plot.u.over.getBoundingClientRect()
      return { plot, px: Math.min(box.width, Math.max(0, e.clientX - box.left)), py: e.clientY - box.top }
    }
    const select = (from, to) => plot.u.setSelect({ left: Math.min(from, to), width: Math.abs(to - from), top: 0, height: plot.u.over.clientHeight }, false)
    element.addEventListener('pointerdown', e => {
      if (!plot.u || e.button) return
      this.place.focus({ preventScroll: true })
      start = place(e).px
      element.setPointerCapture(e.pointerId)
      this.point(place(e))
    })
    element.addEventListener('pointermove', e => {
      if (!plot.u) return
      const at = place(e)
      this.point(at)
      if (start !== null) select(start, at.px)
    })
    element.addEventListener('pointerup', e => {
      if (start === null) return
      const [from, to] = [start, place(e).px].sort((a, b) => a - b)
      start = null
      select(0, 0)
      if (to - from >= dragged) this.zoom({ from: plot.u.posToVal(from, 'x'), to: plot.u.posToVal(to, 'x') })
    })
    element.addEventListener('pointercancel', () => {
      start = null
      if (plot.u) select(0, 0)
    })
    element.addEventListener('pointerleave', e => { if (e.pointerType === 'mouse' && start === null) this.point(null) })
    element.addEventListener('dblclick', () => this.zoom(null))
  }

  // ---- keys

  press(e) {
    if (e.ctrlKey || e.metaKey || e.altKey || !this.points.length && e.key !== 'Escape') return
    const keys = {
      ArrowLeft: () => this.step(-1), ArrowRight: () => this.step(1), ArrowUp: () => this.climb(1), ArrowDown: () => this.climb(-1),
      Home: () => this.stand(this.first()), End: () => this.stand(this.last()),
      '+': () => this.closer(1 / 2), '=': () => this.closer(1 / 2), '-': () => this.closer(2),
      Escape: this.zoomed ? () => this.zoom(null) : this.cursor && (() => this.point(null)),
    }
    if (!keys[e.key]) return
    e.preventDefault()
    e.stopPropagation()
    keys[e.key](e)
  }

  first = () => Math.max(0, indexAt(this.points, this.view.from))
  last = () => Math.max(0, indexAt(this.points, this.view.to - this.every / 2))

  // here is the point that is read, or the last one.
  here() {
    const i = this.cursor ? this.follow() : -1
    return i < 0 ? null : Math.min(this.last(), Math.max(this.first(), i))
  }

  stand(i, ns = this.cursor?.ns) { this.point({ time: this.points[i].at, ns }) }

  step(by) {
    const i = this.here()
    this.stand(i === null ? this.last() : Math.min(this.last(), Math.max(this.first(), i + by)))
  }

  // climb goes to the next row of the heat map.
  climb(by) {
    const i = this.here() ?? this.last()
    const rows = cellsOf(this.points[i].times).map(([row]) => row)
    if (!rows.length) return
    const now = this.cursor?.ns ? rowAt(this.cursor.ns) : by > 0 ? -1 : Infinity
    const row = by > 0 ? rows.find(row => row > now) ?? rows.at(-1) : rows.findLast(row => row < now) ?? rows[0]
    this.stand(i, bounds(row)[0] || 1)
  }

  // closer looks at a part about what is read.
  closer(factor) {
    const i = this.here()
    const about = i === null ? this.view.to : this.points[i].at
    const view = scaled(this.view, about, factor, this.all, 5 * this.every)
    if (this.cursor) this.stand(this.here() ?? this.last())
    if (view || this.zoomed) this.zoom(view)
  }
}

// mostInWords says how long most of a point's replies took.
export function mostInWords(p) {
  const [low, high] = bounds(fullest(cellsOf(p.times)))
  return `most took ${duration(low)} to ${duration(high)}`
}

// rowInWords says how many of a point's replies took as long as one.
export function rowInWords(p, ns) {
  const row = rowAt(ns)
  const cells = cellsOf(p.times)
  const n = cells.find(([of]) => of === row)?.[1] ?? 0
  const [low, high] = bounds(row)
  return `${count(n)} of ${count(cells.reduce((sum, [, n]) => sum + n, 0))} took ${duration(low)} to ${duration(high)}`
}
