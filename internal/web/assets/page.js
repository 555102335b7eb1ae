// The live page.

import { $, make, draw, count, withUnit, duration, clock, day, whoOf, requestCount, bytesOf, printableText, printableString, messageCell, faultOf, sessionButton, decade, niceAbove } from './common.js'
import { showSession, clearSession } from './diagram.js'

const keptExchanges = 500 // behind the filters
const shownRows = 200
const chartSeconds = 300
const askEvery = 250 // ms
const askAgain = 1000 // ms after the server was not there
const lostAfter = 2500 // ms without an answer

// ---- what the server told

let exchanges = [] // the newest first; a gap is {gap: 'text'}
let points = []
let sessions = []
let address = '' // of the server
let totals = null
let unplotted = 0 // replies that are in no point yet
let paused = false
let waiting = [] // came while paused, the newest first
let due = false

// render brings the page up to date before it is next painted. A page that nobody sees is
// not painted, and costs nothing.
function render() {
  if (due) return
  due = true
  requestAnimationFrame(() => {
    due = false
    renderNow()
    renderCharts()
    renderRows()
    renderSessions()
  })
}

// update takes in what the server answered.
function update(snapshot) {
  const added = snapshot.exchanges.reverse()
  if (snapshot.whole) startOver(snapshot, added)
  else addExchanges(added, snapshot.skipped, snapshot.totals.left_out - totals.left_out)
  totals = snapshot.totals
  unplotted = snapshot.unplotted
  points.push(...snapshot.points)
  points.splice(0, points.length - chartSeconds)
  if (snapshot.sessions) sessions = snapshot.sessions
  render()
  if (snapshot.whole || snapshot.points.length || added.some(x => x.session === viewed?.number)) refreshSession()
}

// startOver takes in a whole snapshot: the page was just opened, or the server just started.
function startOver(snapshot, added) {
  const restarted = totals !== null
  points = []
  sessions = []
  sessionRows.clear()
  address = snapshot.server
  $('server-kind').classList.toggle('tap', Boolean(snapshot.upstream))
  $('server-kind').textContent = snapshot.upstream ? 'tap' : 'server at'
  $('server').textContent = snapshot.upstream ? `${address} → ${snapshot.upstream}` : address
  document.title = `Parley ${$('server').textContent}`
  if (!paused) exchanges = added
  else if (restarted) holdBack([...added, { gap: 'the server was started anew' }])
  if (restarted) leaveRun()
  $('earlier-part').hidden = !snapshot.history
  if (snapshot.history) askForEarlier()
}

function addExchanges(added, skipped, leftOut) {
  const rows = [...added]
  if (skipped) rows.push({ gap: count(skipped) + ' skipped: this browser did not keep up' })
  if (leftOut) rows.unshift({ gap: count(leftOut) + ' left out' })
  if (paused) holdBack(rows)
  else exchanges = rows.concat(exchanges).slice(0, keptExchanges)
}

// holdBack keeps what came while the page is paused.
function holdBack(rows) {
  waiting = rows.concat(waiting).slice(0, keptExchanges)
}

// askForEarlier lists the last sessions of earlier runs, which change no more.
async function askForEarlier() {
  try {
    const answer = await fetch('/earlier')
    if (!answer.ok) throw new Error((await answer.text()).trim())
    const earlier = await answer.json()
    $('earlier-note').textContent = earlier.length ? 'in the journal, by their numbers then' : 'The journal has none.'
    $('earlier').replaceChildren(...earlier.map(s => make('li', {},
      sessionButton(s.number, 'journal/' + s.id), make('span', { className: 'mono' }, whoOf(s)),
      make('span', { className: 'count' }, requestCount(s)),
      make('span', { className: 'state' }, `${day(s.opened)} ${clock(s.opened).slice(0, 8)}, ${s.reason || 'nobody saw its end'}`))))
  } catch (error) {
    $('earlier-note').textContent = error.message
  }
}

// ---- figures and charts

function renderNow() {
  if (!totals) return
  const last = points.at(-1)
  const answered = points.findLast(p => p.replies > 0)
  const age = answered ? last.at - answered.at : 0
  $('now-open').textContent = count(totals.open)
  $('now-rate').textContent = last ? count(last.requests) : '–'
  for (const key of ['p50', 'p99']) {
    $('now-' + key).textContent = answered ? duration(answered[key]) : '–'
    $('now-' + key).classList.toggle('past', age > 0)
    $('now-' + key + '-age').textContent = age > 0 ? withUnit(count(age), 's') + ' ago' : ''
  }
  $('now-requests').textContent = count(totals.requests)
  $('now-sessions').textContent = count(totals.sessions)
  $('now-refused').textContent = othersThanSessions()
  $('left-out').textContent = totals.left_out ? `${count(totals.left_out)} of ${count(totals.requests)} left out` : ''
}

// othersThanSessions counts connections that came to nothing, and faults on purpose.
function othersThanSessions() {
  const { refused, failed, probes, faults } = totals
  return [[refused, 'refused'], [failed, failed === 1 ? 'handshake failed' : 'handshakes failed'], [probes, probes === 1 ? 'probe' : 'probes'], [faults, faults === 1 ? 'fault' : 'faults']]
    .filter(([n]) => n).map(([n, what]) => count(n) + ' ' + what).join(', ')
}

// noAnswers is what the chart of times says when there is nothing to draw.
function noAnswers() {
  if (unplotted) return 'answered just now'
  return totals?.replies ? 'nothing was answered in these five minutes' : 'nothing was answered yet'
}

function renderCharts() {
  const now = points.at(-1)?.at ?? Math.floor(Date.now() / 1000)
  const rates = points.map(p => ({ at: p.at, value: p.requests }))
  const most = Math.max(1, ...rates.map(p => p.value))
  const top = niceAbove(most)
  chart($('rate-chart'), now, [{ className: 'half', points: rates, filled: true }], {
    marks: [0, top / 2, top], mark: count, height: value => value / top,
    label: `Requests a second over five minutes: now ${count(rates.at(-1)?.value ?? 0)}, at most ${count(most)}`,
  })

  const answered = points.filter(p => p.replies > 0)
  const times = key => points.map(p => ({ at: p.at, value: p.replies > 0 ? p[key] : null }))
  const low = Math.floor(Math.log10(Math.min(1e5, ...answered.map(p => Math.max(1, p.p50)))))
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(1e5, ...answered.map(p => p.p99)))))
  const marks = []
  for (let e = low; e <= high; e++) if (high - low < 4 || (e - low) % 2 === 0) marks.push(10 ** e)
  const last = answered.at(-1)
  const empty = answered.length ? '' : noAnswers()
  chart($('latency-chart'), now, [{ className: 'most', points: times('p99') }, { className: 'half', points: times('p50') }], {
    marks: empty ? [] : marks, mark: decade, height: value => (Math.log10(Math.max(1, value)) - low) / (high - low), empty,
    label: last ? `Time to answer over five minutes: last, at ${clock(last.at * 1e6).slice(0, 8)}, half within ${duration(last.p50)}, 99\u00a0% within ${duration(last.p99)}` : 'Time to answer: ' + empty,
  })
}

// chart draws lines over the last five minutes. A value of null is a gap.
function chart(svg, now, lines, { marks, mark, height, label, empty }) {
  const w = svg.clientWidth, h = svg.clientHeight
  if (!w) return
  const left = 52, right = 8, top = 8, bottom = 18
  const x = at => left + (w - left - right) * (1 - (now - at) / (chartSeconds - 1))
  const y = value => top + (h - top - bottom) * (1 - height(value))
  const parts = []
  for (const value of marks) {
    parts.push(draw('line', { class: 'grid', x1: left, x2: w - right, y1: y(value), y2: y(value) }))
    parts.push(draw('text', { x: left - 8, y: y(value) + 4, 'text-anchor': 'end' }, mark(value)))
  }
  parts.push(draw('text', { x: left, y: h - 3 }, withUnit(5, 'minutes ago')), draw('text', { x: w - right, y: h - 3, 'text-anchor': 'end' }, 'now'))
  if (empty) parts.push(draw('text', { x: w / 2, y: h / 2, 'text-anchor': 'middle' }, empty))
  for (const line of lines) {
    let path = ''
    const shown = line.points.filter(p => now - p.at < chartSeconds)
    for (const [i, p] of shown.entries()) {
      if (p.value === null) continue
      const before = shown[i - 1]?.value ?? null, after = shown[i + 1]?.value ?? null
      path += `${before === null ? 'M' : 'L'}${x(p.at).toFixed(1)},${y(p.value).toFixed(1)}`
      if (before === null && after === null) parts.push(draw('circle', { class: 'dot ' + line.className, cx: x(p.at), cy: y(p.value), r: 1.8 }))
    }
    if (line.filled && shown.length > 1) {
      const floor = y(0).toFixed(1)
      const edge = shown.map(p => `L${x(p.at).toFixed(1)},${y(p.value).toFixed(1)}`).join('')
      parts.push(draw('path', { class: 'area', d: `M${x(shown[0].at).toFixed(1)},${floor}${edge}L${x(shown.at(-1).at).toFixed(1)},${floor}Z` }))
    }
    parts.push(draw('path', { class: 'line ' + line.className, d: path }))
  }
  svg.setAttribute('aria-label', label)
  svg.replaceChildren(...parts)
}

// ---- the stream of exchanges

function filters() {
  return {
    text: $('filter-text').value.toLowerCase(),
    session: $('filter-session').value.trim().replace(/^#/, ''),
    slower: parseFloat($('filter-slower').value.replace(',', '.')) * 1e6,
    view: $('payload').value,
  }
}

function passes(x, f) {
  if (x.gap) return !f.text && !f.session && !(f.slower > 0)
  if (f.session && String(x.session) !== f.session) return false
  if (f.slower > 0 && !(x.took > f.slower)) return false
  return !f.text || textOf(x).includes(f.text)
}

// textOf is what a filter looks through, made once.
function textOf(x) {
  x.text ??= [x.request, x.reply].map(message => message ? (message.text ?? '') + '\n' + printableText(bytesOf(message)) : '').join('\n').toLowerCase()
  return x.text
}

// renderRows keeps the rows that are there already: only what is new is built.
function renderRows() {
  if ($('overview').hidden) return
  const f = filters()
  const wanted = []
  for (const x of exchanges) {
    if (wanted.length === shownRows) break
    if (!passes(x, f)) continue
    if (!x.row || x.view !== f.view) {
      x.row = rowOf(x, f.view)
      x.view = f.view
    }
    wanted.push(x.row)
  }
  const rows = $('rows')
  const keep = new Set(wanted)
  for (const row of [...rows.children]) if (!keep.has(row)) row.remove()
  let at = rows.firstChild
  for (const row of wanted) {
    if (row === at) at = at.nextSibling
    else rows.insertBefore(row, at)
  }
  renderEmpty(wanted.length, f)
  const missed = waiting.filter(x => !x.gap).length
  $('pause').textContent = !paused ? 'Pause' : missed ? `Resume (${count(missed)} new)` : 'Resume'
}

function renderEmpty(shown, f) {
  const empty = $('rows-empty')
  empty.hidden = shown > 0
  if (shown) return
  if (f.text || f.session || f.slower > 0) {
    empty.textContent = 'Nothing here passes the filter.'
    return
  }
  empty.replaceChildren('Nothing was said yet. Say something: ', make('code', {}, 'parley client ' + address))
}

function rowOf(x, view) {
  if (x.gap) return make('li', { className: 'gap' }, x.gap)
  const request = x.refused
    ? make('span', { className: 'message' }, make('span', { className: 'none' }, `refused (${x.refused.reason})`), ' ' + printableString(x.refused.remote))
    : messageCell(x.request, 'message', view, 'not asked for')
  return make('li', {},
    make('time', {}, clock(x.at)),
    x.refused ? make('span', {}, '–') : sessionButton(x.session),
    request,
    messageCell(x.reply, 'message reply', view, 'no reply'),
    make('span', { className: 'took' }, x.reply && x.request ? duration(x.took) : ''),
    ...faultOf(x))
}

function pause(on) {
  if (paused && !on) {
    exchanges = waiting.concat(exchanges).slice(0, keptExchanges)
    waiting = []
  }
  paused = on
  $('pause').setAttribute('aria-pressed', String(on))
  render()
}

// ---- who is connected

const sessionRows = new Map()

function renderSessions() {
  if ($('overview').hidden || !totals) return
  const open = sessions.filter(s => !s.closed).length
  $('sessions-empty').hidden = sessions.length > 0
  $('sessions-note').textContent = totals.open > open ? `${count(totals.open)} open, the newest ${open} shown` : `${count(totals.open)} open`
  const keep = new Set()
  const rows = sessions.map(s => {
    keep.add(s.number)
    let row = sessionRows.get(s.number)
    if (!row) {
      const state = make('span', { className: 'state' }), requests = make('span', { className: 'count' })
      row = { li: make('li', {}, sessionButton(s.number), make('span', { className: 'mono' }, whoOf(s)), state, requests), state, requests }
      sessionRows.set(s.number, row)
    }
    row.requests.textContent = requestCount(s)
    row.state.textContent = s.closed ? `${s.reason}, after ${duration((s.closed - s.opened) * 1e3)}` : `since ${clock(s.opened).slice(0, 8)}`
    row.state.classList.toggle('is-open', !s.closed)
    return row.li
  })
  for (const number of [...sessionRows.keys()]) if (!keep.has(number)) sessionRows.delete(number)
  const list = $('sessions')
  if (rows.length !== list.children.length || rows.some((li, i) => li !== list.children[i])) {
    const focused = document.activeElement
    list.replaceChildren(...rows)
    if (list.contains(focused)) focused.focus()
  }
}

// ---- one session as a sequence diagram

let viewed = null // {number or id, told, asking, again}: a session of this run, or one of the journal

// followAddress shows what the address bar names: a session or the overview.
function followAddress() {
  const [, where, number] = /^#(session|journal)\/(\d{1,15})$/.exec(location.hash) ?? []
  const before = viewed
  viewed = where ? { [where === 'journal' ? 'id' : 'number']: Number(number), told: null, asking: false, again: false } : null
  $('overview').hidden = Boolean(viewed)
  $('session').hidden = !viewed
  if (!viewed) {
    renderRows()
    renderSessions()
    if (before) $('exchanges').focus({ preventScroll: true })
    return
  }
  clearSession(viewed.id ? 'Session' : 'Session ' + number)
  refreshSession()
}

// leaveRun goes on with the viewed session in the journal, if it is there, once the server
// was started anew: the number is another session's now.
function leaveRun() {
  if (!viewed?.told || viewed.id) return
  const id = viewed.told.session.id
  if (id) location.replace('#journal/' + id)
  else viewed.left = true
  $('session-state').textContent = 'before the server was started anew'
}

// refreshSession asks for the viewed session, once at a time; one that is over does not change.
async function refreshSession() {
  const asked = viewed
  if (!asked || asked.left || asked.told && (asked.id || asked.told.session.closed)) return
  if (asked.asking) {
    asked.again = true
    return
  }
  asked.asking = true
  try {
    const answer = await fetch('/session?' + (asked.id ? 'id=' + asked.id : 'number=' + asked.number))
    if (viewed !== asked || asked.left) return
    if (answer.ok) {
      asked.told = await answer.json()
      renderSession()
    } else if (!asked.told) {
      $('session-state').textContent = (await answer.text()).trim()
    }
  } catch { /* the next snapshot asks again */
  } finally {
    asked.asking = false
    if (asked.again) {
      asked.again = false
      refreshSession()
    }
  }
}

function renderSession() {
  if (viewed?.told) showSession(viewed.told.session, viewed.told.exchanges ?? [], viewed.id ? { open: 'nobody saw its end', of: 'the journal' } : { open: 'open' })
}

// ---- asking the server

function setConnection(state, text) {
  const e = $('connection')
  if (e.dataset.state === state && e.textContent === text) return
  e.dataset.state = document.body.dataset.connection = state
  e.textContent = text
}

let cursor = '' // what is known already
let asking = false
let next = 0 // the timer of the next question

// ask asks what is new, again and again.
async function ask() {
  if (asking) return
  asking = true
  clearTimeout(next)
  const snapshot = await fetchSnapshot()
  asking = false
  next = setTimeout(ask, snapshot ? askEvery : askAgain)
  if (!snapshot) return
  cursor = snapshot.cursor
  setConnection('live', 'Live')
  update(snapshot)
}

// fetchSnapshot is what the server answers; nothing if there is no answer in time, or another
// one, which it shows.
async function fetchSnapshot() {
  try {
    const answer = await fetch('/state?after=' + cursor, { signal: AbortSignal.timeout(lostAfter) })
    if (answer.ok) return await answer.json()
    setConnection('refused', answer.status === 401 ? 'A token is needed: open /?token=…' : `The server answers ${answer.status}`)
  } catch {
    setConnection('lost', 'Connection lost; trying again')
  }
}

// ---- keys and buttons

$('pause').addEventListener('click', () => pause(!paused))
$('filter').addEventListener('submit', e => e.preventDefault())
$('filter').addEventListener('input', render)
for (const [id, other] of [['payload', 'session-payload'], ['session-payload', 'payload']]) {
  $(id).addEventListener('change', () => {
    $(other).value = $(id).value
    render()
    renderSession()
  })
}
$('back').addEventListener('click', e => {
  e.preventDefault()
  location.hash = ''
})
addEventListener('hashchange', followAddress)
addEventListener('visibilitychange', () => { if (!document.hidden) ask() }) // timers of hidden pages are slow
addEventListener('keydown', e => {
  if (e.ctrlKey || e.metaKey || e.altKey) return
  const typing = e.target.matches('input, select, textarea')
  if (e.key === 'Escape' && typing) {
    e.target.blur()
  } else if (e.key === 'Escape') {
    location.hash = ''
  } else if (!typing && e.key === 'p') {
    pause(!paused)
  } else if (!typing && e.key === '/' && !viewed) {
    e.preventDefault()
    $('filter-text').focus()
  } else if (!typing && e.key === 'v') {
    const select = $('payload')
    select.selectedIndex = (select.selectedIndex + 1) % select.options.length
    select.dispatchEvent(new Event('change'))
  }
})
new ResizeObserver(() => {
  render()
  renderSession()
}).observe(document.querySelector('main'))

// The token has earned its cookie: it need not stay in the address bar and the history.
if (location.search) history.replaceState(null, '', location.pathname + location.hash)

ask()
followAddress()
