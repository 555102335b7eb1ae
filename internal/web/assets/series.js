// Points over time and what is read from them: how they are put together, which part of them is
// looked at, and the histogram of each. Nothing here knows a page, and no uPlot.

export const ranges = [[60, '1 min'], [300, '5 min'], [3600, '60 min'], [0, 'all']] // seconds, 0 is all
const leastSpan = 10 // seconds that a chart is wide at least
const mostPoints = 720

// joined puts points behind those that are there. One of the same time takes the place of the one
// that is there: it has grown.
export function joined(points, added) {
  const all = points.filter(p => !added.length || p.at < added[0].at)
  return all.concat(added).slice(-mostPoints)
}

// viewOf is what is looked at: what was zoomed to, or the last seconds, and no more than there are.
export function viewOf(points, every, seconds, zoom) {
  if (zoom) return zoom
  const to = points.length ? points.at(-1).at + every : leastSpan
  const first = points.length ? points[0].at : 0
  return { from: Math.min(to - leastSpan, seconds ? Math.max(first, to - seconds) : first), to }
}

// spanOf is how many seconds the points have to reach back for that; 0 is all of them.
export function spanOf(seconds, zoom, now) {
  return zoom ? Math.max(1, Math.ceil(now - zoom.from)) : seconds
}

// scaled is a view of part of the width, about a time, within all there is; null once it is as wide.
export function scaled(view, about, factor, all, least) {
  const width = Math.max(least, (view.to - view.from) * factor)
  if (width >= all.to - all.from) return null
  const part = (about - view.from) / (view.to - view.from)
  const from = Math.min(all.to - width, Math.max(all.from, about - part * width))
  return { from, to: from + width }
}

// indexAt is which point a time is in: the last that begins before it. -1 if there is none.
export function indexAt(points, time) {
  let low = 0, high = points.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (points[middle].at <= time) low = middle + 1
    else high = middle
  }
  return low - 1
}

// columnsOf are points as lists of values, of which null is a gap: one is behind every point that
// has no other right behind it.
export function columnsOf(points, every, values) {
  const at = [], columns = values.map(() => [])
  for (const [i, p] of points.entries()) {
    at.push(p.at)
    for (const [c, value] of values.entries()) columns[c].push(value(p))
    const next = points[i + 1]
    if (next && next.at < p.at + 1.5 * every) continue
    at.push(p.at + every)
    for (const column of columns) column.push(null)
  }
  return [at, ...columns]
}

// alone are the values between two gaps, which a line does not show.
export function alone(column) {
  return [...column.keys()].filter(i => column[i] != null && column[i - 1] == null && column[i + 1] == null)
}

// ---- histograms: the server's has 16 buckets for each doubling of a time in ns, a row is eight of them

export const rowOf = bucket => bucket >> 3

// upper is the longest time of a bucket, in ns.
export function upper(bucket) {
  const shift = Math.max(0, (bucket >> 4) - 1)
  return (bucket - shift * 16 + 1) * 2 ** shift - 1
}

// bounds are the shortest time of a row and the shortest that is too long for it, in ns.
export const bounds = row => [row ? upper(8 * row - 1) + 1 : 0, upper(8 * row + 7) + 1]

// rowAt is the row of a time in ns.
export function rowAt(ns) {
  let row = 0
  while (bounds(row)[1] <= ns) row++
  return row
}

// cellsOf are the rows of a point: [row, how many] again and again.
export function cellsOf(times = []) {
  const cells = []
  for (let i = 0; i < times.length; i += 2) cells.push([times[i], times[i + 1]])
  return cells
}

// fullest is the row that has the most.
export const fullest = cells => cells.reduce((most, cell) => cell[1] > most[1] ? cell : most, [0, 0])[0]

// shade is how dense a cell is drawn: one in a million can be seen, and half is not all.
export const shade = (n, most) => 0.22 + 0.78 * Math.log1p(n) / Math.log1p(Math.max(1, most))

// ---- scales

// niceAbove is the end of a scale that begins at 0.
export function niceAbove(x) {
  const size = 10 ** Math.floor(Math.log10(x))
  return [2, 4, 10].map(n => n * size).find(n => n >= x)
}

// decades are those that times in ns are in, and which of them are marked.
export function decades(shortest, longest) {
  const low = Math.floor(Math.log10(Math.max(1, Math.min(1e5, shortest))))
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(1e5, longest))))
  const marks = []
  for (let e = low; e <= high; e++) if (high - low < 4 || (e - low) % 2 === 0) marks.push(10 ** e)
  return { low: 10 ** low, high: 10 ** high, marks }
}

// timeMark is a time on the axis, which has marks every so many seconds.
export function timeMark(seconds, every) {
  const t = new Date(seconds * 1000)
  const two = n => String(n).padStart(2, '0')
  const [h, m, s] = [t.getHours(), t.getMinutes(), t.getSeconds()].map(two)
  if (every >= 86400 || every >= 60 && h + m === '0000') return two(t.getMonth() + 1) + '-' + two(t.getDate())
  if (every >= 60) return h + ':' + m
  return every >= 1 ? `${h}:${m}:${s}` : `${h}:${m}:${s}.${String(t.getMilliseconds()).padStart(3, '0')}`
}
