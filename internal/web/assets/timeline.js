// What the live page shows over time: the figures of the last seconds and the charts.

import { $, make, count, withUnit, duration } from './common.js'
import { Charts, mostInWords, rowInWords } from './charts.js'
import { joined, ranges, spanOf, timeMark, viewOf } from './series.js'
import { silence, staleAfter } from './freshness.js'

const tooOld = 60 // s after which times are not told any more

let points = []
let every = 1 // s that a point is for
let recent = null // as the server told it
let totals = null
let unplotted = 0 // replies that are in no point yet
let range = 300 // s; 0 is all
let zoom = null // {from, to} if that is looked at

// span is how many seconds the charts are to reach back, for the server.
export const span = () => spanOf(range, zoom, (recent?.at ?? 0) + 1)

// take takes in what the server told.
export function take(snapshot) {
  if (snapshot.whole) zoom = null
  points = snapshot.replot ? snapshot.points : joined(points, snapshot.points)
  ;({ every, recent, totals, unplotted } = snapshot)
}

// ---- figures

// renderFigures shows those of the last seconds, and how old they are where they are not of now.
export function renderFigures() {
  if (!recent) return
  const quiet = silence() > staleAfter ? Math.floor(silence() / 1000) : 0 // s that the server said nothing
  const since = recent.answered ? recent.at - recent.answered : 0 // s that nothing was answered
  $('now-window').textContent = withUnit(count(recent.seconds || 10), 's')
  figure('rate', recent.seconds ? rate(recent.requests / recent.seconds) : '–', quiet)
  const age = since >= 10 ? since + quiet : quiet
  for (const key of ['p50', 'p99']) figure(key, recent.answered && age < tooOld ? duration(recent[key]) : '–', age)
}

function figure(name, text, age) {
  $('now-' + name).textContent = text
  $('now-' + name).classList.toggle('past', age > 0)
  $('now-' + name + '-age').textContent = age > 0 ? ago(age) : ''
}

const ago = s => (s < 120 ? withUnit(count(s), 's') : s < 7200 ? withUnit(count(Math.floor(s / 60)), 'min') : withUnit(count(Math.floor(s / 3600)), 'h')) + ' ago'

// rate is a number a second: below ten, and not whole, with one digit more.
const rate = x => count(x >= 10 || Number.isInteger(x) ? Math.round(x) : x >= 0.1 ? Math.round(10 * x) / 10 : Math.round(100 * x) / 100)

// ---- charts

const charts = new Charts($('plots'), [[$('rate-chart'), 'rate'], [$('latency-chart'), 'times'], [$('heat-chart'), 'heat']], { read, zoom: zoomTo })

let drawn = '' // what of

// renderCharts draws them anew if they have changed.
export function renderCharts() {
  const now = [points.length, points.at(-1)?.at, points.at(-1)?.seconds, every, range, zoom?.from, zoom?.to, $('plots').clientWidth, Boolean(unplotted), Boolean(totals?.replies)].join()
  if (now === drawn) return
  drawn = now
  const all = viewOf(points, every, 0, null)
  const view = viewOf(points, every, range, zoom)
  const answered = points.findLast(p => p.replies && p.at < view.to && p.at + every > view.from)
  const over = `from ${timeMark(view.from, 1)} to ${timeMark(view.to, 1)}`
  const empty = answered ? '' : unplotted ? 'answered just now' : totals?.replies ? 'nothing was answered in this time' : 'nothing was answered yet'
  const times = answered ? `last, at ${timeMark(answered.at, 1)}, half within ${duration(answered.p50)}, 99\u00a0% within ${duration(answered.p99)}` : empty
  charts.show({
    points, every, view, all, zoomed: Boolean(zoom), empty,
    labels: [`Requests a second ${over}: the last ${count(Math.round(points.at(-1)?.requests / points.at(-1)?.seconds || 0))}`,
      `Time to answer ${over}: ${times}`, `How many took how long ${over}: ${answered ? mostInWords(answered) : empty}`],
  })
  for (const button of $('ranges').children) button.setAttribute('aria-pressed', String(!zoom && Number(button.value) === range))
  $('unzoom').hidden = !zoom
  $('charts-span').textContent = points.length ? `${over}${every > 1 ? `, by ${withUnit(count(every), 's')}` : ''}` : ''
}

// read shows what a point says.
function read(p, ns, every) {
  $('reading').replaceChildren(...p ? [
    every > 1 ? `${timeMark(p.at, 1)} to ${timeMark(p.at + every, 1)}` : timeMark(p.at, 1),
    `${rate(p.requests / p.seconds)} requests/s`,
    `${count(p.open)} open ${p.open === 1 ? 'session' : 'sessions'}`,
    ...p.replies ? [`half ${duration(p.p50)}`, `99\u00a0% ${duration(p.p99)}`, `longest ${duration(p.max)}`, ns ? rowInWords(p, ns) : mostInWords(p)] : ['no reply'],
  ].map(text => make('span', {}, text)) : [make('span', { className: 'hint' }, 'Point at a chart or use the arrow keys to read it; drag, + or − to look closer.')])
}

function zoomTo(view) {
  zoom = view
  renderCharts()
}

for (const [seconds, name] of ranges) {
  const button = make('button', { type: 'button', value: String(seconds) }, name)
  button.addEventListener('click', () => {
    range = seconds
    zoomTo(null)
  })
  $('ranges').append(button)
}
$('unzoom').addEventListener('click', () => {
  zoomTo(null)
  $('plots').focus({ preventScroll: true })
})
