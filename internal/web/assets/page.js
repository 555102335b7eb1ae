// The live page.

import { $, make, count, duration, clock, day, whoOf, requestCount, bytesOf, printableText, printableString, messageCell, faultOf, sessionButton } from './common.js'
import { showSession, clearSession } from './diagram.js'
import { isBad } from './endings.js'
import { setUp, link, show } from './exchange.js'
import { addExports } from './export.js'
import { showEnds } from './kept.js'
import * as timeline from './timeline.js'
import * as freshness from './freshness.js'
import { renderTurned } from './turned.js'
import { keepFocus, leave, replaceRows } from './focus.js'

const keptExchanges = 500 // behind the filters
const shownRows = 200
const askEvery = 250 // ms
const askAgain = 500 // ms after the server was not there
const lostAfter = 10000 // ms without an answer

// ---- what the server told

let exchanges = [] // the newest first; a gap is {gap: 'text'}
let sessions = []
let address = '' // of the server
let totals = null
let run = 0 // of the server: its start
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
    timeline.renderCharts()
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
  showLag(snapshot.lag)
  timeline.take(snapshot)
  if (snapshot.sessions) sessions = snapshot.sessions
  if (snapshot.sessions || snapshot.whole) showEnds(snapshot.ends ?? [])
  if (snapshot.whole || snapshot.turned) renderTurned(snapshot.turned ?? [])
  render()
  if (snapshot.whole || snapshot.points.length || added.some(x => x.session === viewed?.number)) refreshSession()
}

// startOver takes in a whole snapshot: the page was just opened, or the server just started.
function startOver(snapshot, added) {
  const restarted = totals !== null
  sessions = []
  sessionRows.clear()
  address = snapshot.server
  run = snapshot.run
  $('all-kept').hidden = !snapshot.journal
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
  if (skipped) rows.unshift({ gap: count(skipped) + (wasHidden ? ' skipped while this page was hidden' : ' skipped: this browser did not keep up') })
  wasHidden = false
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

// ---- figures

function renderNow() {
  if (!totals) return
  timeline.renderFigures()
  $('now-open').textContent = count(totals.open)
  $('now-requests').textContent = count(totals.requests)
  $('now-sessions').textContent = count(totals.sessions)
  $('now-refused').textContent = othersThanSessions()
  $('left-out').textContent = totals.left_out ? `${count(totals.left_out)} of ${count(totals.requests)} left out` : ''
}

// showLag says how far the journal is shipped, if it is.
function showLag(lag) {
  const line = $('now-lag')
  line.hidden = !lag
  if (!lag) return
  const records = lag.records === 1 ? '1 record is' : count(lag.records) + ' records are'
  const left = lag.records ? `${records} not shipped yet, the oldest for ${duration(lag.oldest_ns)}` : 'All records are shipped'
  line.textContent = lag.away ? left + '; NATS takes none at present' : left
  line.classList.toggle('away', lag.away)
}

// othersThanSessions counts connections that came to nothing, and faults on purpose.
function othersThanSessions() {
  const { refused, failed, probes, faults } = totals
  return [[refused, 'refused'], [failed, failed === 1 ? 'handshake failed' : 'handshakes failed'], [probes, probes === 1 ? 'probe' : 'probes'], [faults, faults === 1 ? 'fault' : 'faults']]
    .filter(([n]) => n).map(([n, what]) => count(n) + ' ' + what).join(', ')
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
  replaceRows($('rows'), wanted)
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
    make('time', {}, link(x, clock(x.at))),
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
    row.state.classList.toggle('bad', isBad(s.reason))
    return row.li
  })
  for (const number of [...sessionRows.keys()]) if (!keep.has(number)) sessionRows.delete(number)
  const list = $('sessions')
  if (rows.length !== list.children.length || rows.some((li, i) => li !== list.children[i])) {
    keepFocus(list, () => list.replaceChildren(...rows))
  }
}

// ---- one session as a sequence diagram

let behind = '' // what the address named before an exchange
let viewed = null // {number or id, of: which run, told, asking, again}: a session of this run, or one of the journal

// followAddress shows what the address bar names: a session or the overview.
function followAddress() {
  const [, key] = /^#exchange\/(.+)$/.exec(location.hash) ?? []
  show(key)
  if (key) return // over what is shown
  behind = location.hash
  const [, where, number, of] = /^#(session|journal)\/(\d{1,15})(?:@(\d{1,20}))?$/.exec(location.hash) ?? []
  const before = viewed
  if (where && before?.[where === 'journal' ? 'id' : 'number'] === Number(number) && before.of === of) return
  viewed = where ? { [where === 'journal' ? 'id' : 'number']: Number(number), of, told: null, asking: false, again: false } : null
  $('overview').hidden = Boolean(viewed)
  $('session').hidden = !viewed
  if (!viewed) {
    renderRows()
    renderSessions()
    if (before) leave($('exchanges'))
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
  let told = null
  try {
    const answer = await fetch('/session?' + (asked.id ? 'id=' + asked.id : 'number=' + asked.number + (asked.of ? '&run=' + asked.of : '')))
    if (viewed !== asked || asked.left) return
    if (answer.ok) told = await answer.json()
    else if (!asked.told) $('session-state').textContent = (await answer.text()).trim()
  } catch { /* the next snapshot asks again */
  } finally {
    asked.asking = false
  }
  if (told && viewed === asked && !asked.left) { // not inside try: what goes wrong in showing it is to be seen
    asked.told = told
    renderSession()
  }
  if (asked.again) {
    asked.again = false
    refreshSession()
  }
}

function renderSession() {
  if (viewed?.told) $('session-link').href = viewed.told.session.id ? '#journal/' + viewed.told.session.id : `#session/${viewed.number}@${run}`
  if (viewed?.told) showSession(viewed.told.session, viewed.told.exchanges ?? [], viewed.id ? { open: 'nobody saw its end', of: 'the journal' } : { open: 'open' })
}

// ---- asking the server

let cursor = '' // what is known already
let asking = false
let next = 0 // the timer of the next question
let wasHidden = false // until the next answer

// ask asks what is new, again and again while somebody can see it.
async function ask() {
  clearTimeout(next)
  if (asking || document.hidden) return
  asking = true
  const snapshot = await fetchSnapshot()
  asking = false
  next = setTimeout(ask, snapshot ? askEvery : askAgain)
  if (!snapshot) return
  cursor = snapshot.cursor
  freshness.answered()
  update(snapshot)
}

// fetchSnapshot is what the server answers; nothing if there is no answer in time, or another
// one, which it shows. A server that stands still and goes on answers what it was asked before.
async function fetchSnapshot() {
  try {
    const answer = await fetch(`/state?after=${cursor}&span=${timeline.span()}`, { signal: AbortSignal.timeout(lostAfter) })
    if (answer.ok) return await answer.json()
    freshness.refused(answer.status === 401 ? 'A token is needed: reload the page' : `The server answers ${answer.status}`)
  } catch {
    freshness.failed()
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
addEventListener('visibilitychange', () => {
  wasHidden = true
  ask()
})
freshness.watch(renderNow)
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

setUp({
  key: x => x.id ? 'row.' + x.id : x.seq ? `${x.session}.${x.seq}@${x.run ?? run}` : `kept.${x.kept}@${x.run ?? run}`,
  address: key => 'exchange/' + key,
  query(key) {
    const [, what, number, of] = /^(\w+)\.(\d+)(?:@(\d+))?$/.exec(key) ?? []
    const row = /^s(\d+)$/.exec(what ?? '')?.[1] // a session's in the journal
    return new URLSearchParams(what === 'row' ? { id: number } : row ? { row, seq: number } : { ...(what === 'kept' ? { kept: number } : what === undefined ? {} : { session: what, seq: number }), ...(of && { run: of }) })
  },
  next(key, told, by) {
    const named = /^(s?\d+)\.(\d+)(@\d+)?$/.exec(key)
    const [, session, seq, of] = named ?? (!told?.seq ? [] : told.run ? [key, told.session, told.seq, '@' + told.run] : [key, 's' + told.of.id, told.seq])
    return Number(seq) + by > 0 ? `${session}.${Number(seq) + by}${of ?? ''}` : ''
  },
  ended() { location.hash = behind },
  openSession: x => x.run || !x.of.id ? 'session/' + x.session : 'journal/' + x.of.id,
})
addExports($('session-exports'), () => viewed.id ? { id: viewed.id } : { number: viewed.number }, true)
addExports($('exports'), () => ({ text: $('filter-text').value, session: $('filter-session').value.trim(), slower: $('filter-slower').value.trim().replace(',', '.') }))

// The token has earned its cookie: it need not stay in the address bar and the history.
if (location.search) history.replaceState(null, '', location.pathname + location.hash)

ask()
followAddress()
