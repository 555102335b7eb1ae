// The page of journals. What is chosen stands in the address behind #, so that it can be sent to
// somebody else; what is new is asked for again and again.

import { $, make, count, duration, clock, day, whoOf, requestCount, printableString, messageCell, faultOf, sessionButton } from './common.js'
import { showSession, clearSession } from './diagram.js'
import { endings, isBad } from './endings.js'
import { setUp, link, show as showWhole } from './exchange.js'
import { addExports } from './export.js'
import { keepFocus, leave, replaceRows } from './focus.js'
import * as freshness from './freshness.js'
import { Statistics, mostMoments, showFigures, showCharts, showTable, chooseTime, nameText } from './statistics.js'

const askEvery = 1000 // ms
const lostAfter = 12000 // ms without an answer
const atOnce = 100 // exchanges that are added to the list
const mostRows = 1000 // of a list that grows by itself; it begins anew then
const nodeColours = 8 // that page.css has
const typingEnds = 350 // ms after the last key

let nodes = [] // of all files, sorted
let files = [] // as the server told them last; the lists and the statistics are of what these have
let chosen = {} // what is asked for: text, regexp, session, address, slower, reason, file, since, until
let view = { stats: false, by: 'shape' }
let round = 0 // of questions: an answer to one before is void

// ---- asking

class Refused extends Error {}

// ask asks the server. The error is Refused if it answers with one.
async function ask(path, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== '' && value !== undefined))
  const answer = await fetch(path + '?' + query, { signal: AbortSignal.timeout(lostAfter) })
  if (answer.ok) {
    freshness.answered()
    return answer.json()
  }
  throw Object.assign(new Refused((await answer.text()).trim()), { status: answer.status })
}

// failed says why something was not answered.
function failed(error) {
  if (!(error instanceof Refused)) return freshness.failed()
  if (error.status === 401) return freshness.refused('A token is needed: reload the page')
  $('wrong').textContent = error.message
  $('wrong').hidden = false
}

// parameters are those of the question that is chosen.
function parameters() {
  const { text, regexp, ...others } = chosen
  return { ...others, ...(text && { [regexp ? 'regexp' : 'text']: text }) }
}

// upTo is the cursor of all that the files have now; behind of what comes behind it.
const upTo = id => files.map(f => f.why ? '-' : `${f.times}.${f[id] + 1}`).join()
const behind = (all, id) => all.map(f => f.why ? '0.0' : `${f.times}.${f[id]}`).join()

let asking = false
let timer = 0
let missed = false // something that was new did not get here

// look asks what is new, again and again while somebody can see it.
async function look() {
  if (asking || document.hidden) return
  asking = true
  clearTimeout(timer)
  try {
    const now = await ask('state')
    const before = files
    files = now
    showFiles()
    if (missed || before.length !== now.length || now.some((f, i) => f.times !== before[i].times || Boolean(f.why) !== Boolean(before[i].why) || f.exchange < before[i].exchange)) startOver()
    else if (now.some((f, i) => f.exchange !== before[i].exchange || f.session !== before[i].session || f.ended !== before[i].ended)) await grow(before)
  } catch (error) {
    missed = files.length > 0 && !(error instanceof Refused)
    failed(error)
  }
  asking = false
  timer = setTimeout(look, askEvery)
}

// startOver asks for what is chosen.
function startOver() {
  round++
  missed = false
  $('wrong').hidden = true
  exchanges.reset()
  sessions.reset()
  exchanges.more()
  sessions.more()
  startCounting()
  renderSession() // which may have been there before its file's name
  refreshSession()
}

// grow adds what was recorded behind what the files had before.
async function grow(before) {
  const mine = round
  await Promise.all([exchanges.grow(before), sessions.grow(before), growStatistics(before)])
  if (mine === round) refreshSession()
}

// ---- the files

const nameOf = i => {
  const base = name => name.replace(/.*[\\/]/, '')
  const alike = files.filter(f => base(f.name) === base(files[i].name)).length > 1
  return printableString(alike ? files[i].name : base(files[i].name))
}

function showFiles() {
  const many = files.length > 1
  $('files-kind').textContent = many ? 'journals' : 'journal'
  $('files').textContent = files.map((_, i) => nameOf(i)).join(', ')
  document.title = 'Parley ' + $('files').textContent
  const [from, to] = extent()
  $('files-span').textContent = from ? `${day(from)} ${clock(from).slice(0, 8)} to ${day(to) === day(from) ? '' : day(to) + ' '}${clock(to).slice(0, 8)}` : 'nothing is recorded'
  $('file-part').hidden = !many
  const before = nodes.join()
  nodes = [...new Set(files.flatMap(f => f.nodes ?? []))].sort()
  $('node-part').hidden = nodes.length < 2
  const nodeSelect = $('node')
  if (nodeSelect.options.length !== nodes.length + 1) {
    nodeSelect.replaceChildren(make('option', { value: '' }, 'all'), ...nodes.map(name => make('option', { value: name }, printableString(name))))
    nodeSelect.value = chosen.node ?? ''
  }
  document.body.classList.toggle('many', many)
  document.body.classList.toggle('nodes', nodes.length > 1)
  if (nodes.join() !== before) { // what is listed already gets the column
    renderExchanges(exchanges)
    renderSessions(sessions)
  }
  const select = $('file')
  if (select.options.length !== files.length + 1) {
    select.replaceChildren(make('option', { value: '' }, 'all'), ...files.map((_, i) => make('option', { value: String(i) }, nameOf(i))))
    select.value = chosen.file ?? ''
  }
  const notes = files.flatMap((f, i) => [
    f.why && `${f.why}; what it had is not shown`,
    f.notice,
    f.missing && `${count(f.missing)} exchanges are missing: they could not be written when they came`,
    ...(f.damages ?? []).map(text => `damaged: ${text}; what is there is left out`),
    f.more && `damaged in ${count(f.more)} places more`,
    f.unindexed ? 'searched without an index, which takes longer: ' + f.index : f.index && `the text index is made: ${f.index}; until then all is looked through`,
  ].filter(Boolean).map(text => nameOf(i) + ': ' + printableString(text)))
  const list = $('notes')
  if (notes.join('\n') !== [...list.children].map(li => li.textContent).join('\n')) list.replaceChildren(...notes.map(text => make('li', {}, text)))
}

// extent is the time from the first to the last that the chosen files have, µs; 0 if they have nothing.
function extent() {
  const there = files.filter((f, i) => f.first && (!chosen.file || String(i) === chosen.file))
  return there.length ? [Math.min(...there.map(f => f.first)), Math.max(...there.map(f => f.last))] : [0, 0]
}

// ---- the lists

// A List is what is shown of all that a question selects, the newest first: a page, and more on demand.
class List {
  shown = [] // {key, one}
  next = '' // cursor of what comes before; null if there is no more
  busy = false
  wanted = atOnce

  constructor(path, id, take, render) {
    Object.assign(this, { path, id, take, render })
  }

  reset() {
    this.shown = []
    this.next = ''
    this.busy = false
    this.wanted = atOnce
    this.render(this)
  }

  // more adds until there are as many as wanted, in several questions if a search takes long.
  async more() {
    if (this.busy || this.next === null) return
    const mine = round
    this.busy = true
    if (!this.next) this.next = upTo(this.id)
    try {
      while (mine === round && this.next !== null && this.shown.length < this.wanted) {
        this.render(this)
        const answer = await ask(this.path, { ...parameters(), before: this.next })
        if (mine !== round) return
        this.shown.push(...this.take(answer))
        this.next = answer.next || null
      }
    } catch (error) {
      if (mine === round) failed(error)
    }
    if (mine !== round) return
    this.busy = false
    this.render(this)
  }

  // grow puts before the list what the files have got since.
  async grow(before) {
    const mine = round
    const added = []
    let next = upTo(this.id)
    while (next) {
      const answer = await ask(this.path, { ...parameters(), before: next, after: behind(before, this.id) })
      if (mine !== round) return
      added.push(...this.take(answer))
      next = answer.next
      if (added.length + this.shown.length > mostRows) {
        this.reset()
        return this.more()
      }
    }
    if (!added.length) return
    this.shown.unshift(...added)
    this.wanted += added.length
    this.render(this)
  }

  // progress is how much is still to be looked through.
  progress() {
    if (!this.busy || !this.next) return ''
    const parts = this.next.split(',')
    const all = files.reduce((sum, f) => sum + f[this.id], 0)
    const left = parts.reduce((sum, part) => sum + (part === '-' ? 0 : Number(part.split('.')[1])), 0)
    return `looking… ${Math.floor(100 * Math.max(0, 1 - left / Math.max(1, all)))}\u00a0%`
  }
}

const sessionsOf = new Map() // by file and id, those that exchanges are of

const exchanges = new List('exchanges', 'exchange', answer => {
  for (const [key, s] of Object.entries(answer.sessions)) sessionsOf.set(key, s)
  return answer.exchanges
}, renderExchanges)

const sessions = new List('sessions', 'session', answer => answer.sessions, renderSessions)
sessions.growBy = sessions.grow
sessions.grow = async before => {
  await sessions.growBy(before)
  const mine = round
  const open = sessions.shown.filter(s => !s.closed).slice(0, 200)
  if (!open.length || files.every((f, i) => f.ended === before[i].ended)) return
  const { sessions: now } = await ask('sessions', { ids: open.map(s => keyOf(s)).join() })
  if (mine !== round) return
  const byKey = new Map(now.map(s => [keyOf(s), s]))
  sessions.shown = sessions.shown.map(s => byKey.get(keyOf(s)) ?? s)
  renderSessions(sessions)
}

const keyOf = s => s.file + '.' + s.id
const many = () => files.length > 1

function renderExchanges(list) {
  const payload = $('payload').value
  const view = [payload, ...nodes].join()
  let last = ''
  const rows = []
  for (const x of list.shown) {
    const date = day(x.at)
    if (date !== last) rows.push(make('li', { className: 'gap day' }, date))
    last = date
    if (!x.row || x.view !== view) {
      x.row = rowOf(x, payload)
      x.view = view
    }
    rows.push(x.row)
  }
  replaceRows($('rows'), rows)
  $('rows-heads').hidden = nodes.length < 2 || !list.shown.length
  $('rows-empty').hidden = list.shown.length > 0 || list.busy
  $('rows-empty').textContent = isChosen() ? 'Nothing in the journal is what was chosen.' : 'Nothing is recorded yet.'
  $('exchanges-note').textContent = list.progress() || (list.shown.length ? `the newest ${count(list.shown.length)}${list.next === null ? ', which are all' : ''}` : '')
  $('rows-more').hidden = list.busy || list.next === null || !list.shown.length
}

function rowOf(x, payload) {
  const s = sessionsOf.get(x.of)
  const button = opening(s, x.of, true)
  button.title = s.lost ? 'its own record is missing' : whoOf(s)
  return make('li', {},
    make('time', {}, link(x, clock(x.at))),
    ...nodeOf(s),
    many() ? make('span', {}, button, make('span', { className: 'aside file' }, nameOf(x.file))) : button,
    messageCell(x.request, 'message', payload, x.seq ? 'asked before' : 'not asked for'),
    messageCell(x.reply, 'message reply', payload, 'no reply'),
    make('span', { className: 'took' }, x.reply && x.seq ? duration(x.took) : ''),
    ...faultOf(x))
}

const stripe = node => 'node node-' + nodes.indexOf(node) % nodeColours

// nodeOf is the column of nodes, if there are several.
function nodeOf(s) {
  const name = printableString(s.node ?? '')
  return nodes.length < 2 ? [] : [make('span', { className: 'where ' + (s.node ? stripe(s.node) : ''), title: name }, name)]
}

// opening is the button that opens a session. Beside the column of nodes it shows the number alone.
function opening(s, key, beside = false) {
  const number = s.lost ? '?' : s.number
  const named = nodes.length > 1 && s.node
  const button = sessionButton(number, () => address({ open: key }), named ? printableString(s.node) + '/' + number : undefined)
  if (named && beside) button.textContent = '#' + number
  else if (named) button.className += ' ' + stripe(s.node)
  return button
}

function renderSessions(list) {
  const rows = list.shown.map(s => make('li', {},
    ...nodeOf(s), opening(s, keyOf(s), true), make('span', { className: 'mono' }, whoOf(s)),
    make('span', { className: 'state' + (s.closed ? isBad(s.reason) ? ' bad' : '' : ' is-open') },
      `${day(s.opened)} ${clock(s.opened).slice(0, 8)}, ${s.closed ? `${requestCount(s)}, ${s.reason} after ${duration((s.closed - s.opened) * 1e3)}` : 'no end is recorded'}`),
    ...(many() ? [make('span', { className: 'state file' }, nameOf(s.file))] : [])))
  keepFocus($('sessions'), () => $('sessions').replaceChildren(...rows))
  $('sessions-heads').hidden = nodes.length < 2 || !list.shown.length
  $('sessions-empty').hidden = list.shown.length > 0 || list.busy
  $('sessions-empty').textContent = isChosen() ? 'No session is what was chosen.' : 'Nobody has come yet.'
  const whatever = chosen.text || chosen.slower || chosen.shape ? 'whatever was said in them' : ''
  $('sessions-note').textContent = [list.progress() || (list.shown.length ? `the newest ${count(list.shown.length)}` : ''), whatever].filter(Boolean).join(', ')
  $('sessions-more').hidden = list.busy || list.next === null || !list.shown.length
}

for (const [id, list] of [['rows-more', exchanges], ['sessions-more', sessions]]) {
  $(id).addEventListener('click', () => {
    list.wanted = list.shown.length + atOnce
    list.more()
  })
}

// ---- statistics

let stats = null
let counting = false

// countedBy is what the groups go by. Beside the list of exchanges the figures are theirs.
const countedBy = () => view.stats || view.by !== 'end' ? view.by : 'shape'

// startCounting counts all that is chosen, in as many questions as that takes.
async function startCounting() {
  const mine = round
  const [first, last] = extent()
  const from = chosen.since ? Date.parse(chosen.since) * 1e3 : first
  const to = Math.max(from + 1000, chosen.until ? Date.parse(chosen.until) * 1e3 : last)
  const before = stats
  const fresh = stats = new Statistics(countedBy(), from, to)
  const id = fresh.by === 'end' ? 'session' : 'exchange'
  counting = true
  if (before?.by !== fresh.by) renderStatistics('0\u00a0% counted')
  try {
    await countOn(fresh, { before: upTo(id) }, () => mine === round && fresh === stats)
  } catch (error) {
    if (mine === round && fresh === stats) failed(error)
  }
  if (fresh !== stats) return
  counting = false
  renderStatistics('')
}

// countOn adds the parts of an answer.
async function countOn(to, cursors, still) {
  const id = to.by === 'end' ? 'session' : 'exchange'
  const all = Math.max(1, files.reduce((sum, f) => sum + f[id], 0))
  for (;;) {
    const answer = await ask('stats', { ...parameters(), by: to.by, every: to.every, ...cursors })
    if (!still()) return
    to.add(answer)
    if (!answer.next) return
    cursors.before = answer.next
    const left = answer.next.split(',').reduce((sum, part) => sum + (part === '-' ? 0 : Number(part.split('.')[1])), 0)
    if (!cursors.after) renderStatistics(`${Math.floor(100 * Math.max(0, 1 - left / all))}\u00a0% counted`)
  }
}

// growStatistics counts what was recorded since. Ends are counted anew: a session that was open has
// one now.
async function growStatistics(before) {
  if (!stats || counting) return counting && stats ? void (stale = true) : undefined
  const last = chosen.until ? stats.to : Math.max(stats.to, extent()[1])
  if (stats.by === 'end' || (last - stats.from) / 1000 / stats.every > mostMoments || !stats.sum.count) return startCounting()
  const mine = round, grown = stats
  stats.to = last
  await countOn(grown, { before: upTo('exchange'), after: behind(before, 'exchange') }, () => mine === round && grown === stats)
  if (mine === round && grown === stats) renderStatistics('')
}

let stale = false // something was recorded while all was counted

function renderStatistics(progress) {
  if (!stats || $('overview').hidden) return
  if (!progress && stale) {
    stale = false
    return void startCounting()
  }
  showFigures(stats, progress)
  showCharts(stats, Boolean(chosen.since || chosen.until))
  if (!view.stats) return
  showTable(stats, progress, g => {
    if (g.session) return [opening(g.session, keyOf(g.session)), ' ', whoOf(g.session), ...(many() ? [' ' + nameOf(g.session.file)] : [])]
    const name = nameText(g)
    const choosing = (change, className = '') => {
      const button = make('button', { type: 'button', className: 'choose ' + className, title: 'Show only these' }, name)
      button.addEventListener('click', () => { location.hash = address({ ...change, view: '' }) })
      return button
    }
    if (stats.by === 'shape' && name) return [choosing({ shape: name }), ...(g.unasked ? [make('span', { className: 'aside' }, ' not asked for')] : [])]
    if (stats.by === 'node' && name) return [choosing({ node: name }, stripe(name))]
    if (stats.by === 'peer' && name) return [choosing({ address: name })]
    if (stats.by === 'end') return [choosing({ reason: name }, isBad(name) ? 'bad' : ''), make('span', { className: 'aside' }, ' ' + (endings[nameText(g)] ?? (nameText(g) === 'open' ? 'no end is recorded' : '')))]
    return [name]
  })
}

chooseTime((from, to) => {
  choose(from === undefined ? { since: '', until: '' } : { since: iso(Math.floor(from / 1000) * 1000), until: iso(Math.floor(to / 1000 + 1) * 1000) }) // the last one is within
  fillForm()
})

// ---- one session

let viewed = null // {key, before, told}

function openSession(key) {
  if (viewed?.key === key) return
  viewed = { key, before: '', told: null }
  clearSession('Session')
  refreshSession()
}

// refreshSession asks for the viewed session; one that is over does not change.
async function refreshSession() {
  const asked = viewed
  if (!asked || asked.told && (asked.before || asked.told.session.closed)) return
  const [file, id] = asked.key.split('.')
  try {
    const told = await ask('session', { file, id, before: asked.before })
    if (viewed !== asked) return
    asked.told = told
    renderSession()
  } catch (error) {
    if (viewed !== asked || asked.told) return
    $('session-state').textContent = error instanceof Refused ? error.message : 'The server does not answer.'
  }
}

function renderSession() {
  if (!viewed?.told || !files.length) return
  const { session, exchanges, file, lost, next, ends } = viewed.told
  showSession(session, exchanges ?? [], { open: lost ? 'its own record is missing' : 'no end is recorded', of: nameOf(file), node: nodes.length > 1 ? session.node : '', ends })
  $('session-earlier').hidden = !next
  $('session-latest').hidden = !viewed.before
}

$('session-earlier').addEventListener('click', () => {
  viewed = { key: viewed.key, before: viewed.told.next, told: null }
  refreshSession()
})
$('session-latest').addEventListener('click', () => {
  viewed = { key: viewed.key, before: '', told: null }
  refreshSession()
})

// ---- what is chosen, in the form and in the address

const names = ['text', 'shape', 'session', 'node', 'address', 'slower', 'reason', 'file', 'since', 'until']
const field = name => $(name === 'session' ? 'number' : name)
const iso = us => new Date(Math.round(us / 1000)).toISOString()
const isChosen = () => names.some(name => chosen[name])

// local is a time as the form has it, in the time zone of the browser.
function local(text) {
  const t = new Date(text)
  return isNaN(t) ? '' : new Date(t - t.getTimezoneOffset() * 60000).toISOString().slice(0, -1)
}

// address is what names all that is chosen, and what is changed in it.
function address(change = {}) {
  const all = { ...chosen, ...(view.stats && { view: 'stats' }), ...(view.by !== 'shape' && { by: view.by }), open: viewed?.key ?? '', exchange: whole, ...change }
  return new URLSearchParams(Object.entries(all).filter(([, value]) => value)).toString()
}

// choose changes what is chosen.
function choose(change) {
  Object.assign(chosen, change)
  history.replaceState(null, '', '#' + address())
  startOver()
}

function fillForm() {
  for (const name of names) {
    const e = field(name), value = chosen[name] ?? ''
    e.value = e.type === 'datetime-local' ? value && local(value) : value
  }
  $('regexp').checked = Boolean(chosen.regexp)
}

// readForm takes over what the form says.
function readForm() {
  const change = { regexp: $('regexp').checked ? '1' : '' }
  for (const name of names) {
    const e = field(name)
    change[name] = e.type !== 'datetime-local' ? e.value.trim() : e.value && e.value !== local(chosen[name]) ? new Date(e.value).toISOString() : e.value && chosen[name]
  }
  change.text = $('text').value
  change.shape = $('shape').value
  change.slower = change.slower.replace(',', '.')
  if (Object.keys(change).some(name => (chosen[name] ?? '') !== change[name])) choose(change)
}

let whole = '' // the exchange that is open over what is shown

// followAddress shows what the address bar names.
function followAddress() {
  const told = new URLSearchParams(location.hash.slice(1))
  whole = /^\d{1,2}\.(s\d{1,18}\.)?\d{1,18}$/.test(told.get('exchange') ?? '') ? told.get('exchange') : ''
  showWhole(whole)
  const now = Object.fromEntries([...names, 'regexp'].map(name => [name, told.get(name) ?? '']).filter(([, value]) => value))
  const changed = [...names, 'regexp'].some(name => (now[name] ?? '') !== (chosen[name] ?? ''))
  const by = ['shape', 'session', 'peer', 'node', 'end'].includes(told.get('by')) ? told.get('by') : 'shape'
  view = { stats: told.get('view') === 'stats', by }
  chosen = now
  fillForm()
  const open = /^\d{1,2}\.\d{1,18}$/.test(told.get('open') ?? '') ? told.get('open') : ''
  const before = viewed
  if (!open) viewed = null
  $('overview').hidden = Boolean(open)
  $('session').hidden = !open
  $('list').hidden = view.stats
  $('statistics').hidden = !view.stats
  $('view-list').setAttribute('aria-pressed', String(!view.stats))
  $('view-stats').setAttribute('aria-pressed', String(view.stats))
  $('by').value = view.by
  if (open) openSession(open)
  else if (before && !whole) leave($(view.stats ? 'statistics' : 'exchanges'))
  if (files.length && changed) startOver()
  else if (files.length && stats?.by !== countedBy()) startCounting()
  else renderStatistics(counting ? 'counting' : '')
}

const show = change => { location.hash = address(change) }

let typing = 0
$('question').addEventListener('submit', e => e.preventDefault())
$('question').addEventListener('input', () => {
  clearTimeout(typing)
  typing = setTimeout(readForm, typingEnds)
})
$('question').addEventListener('reset', e => {
  e.preventDefault()
  choose(Object.fromEntries([...names, 'regexp'].map(name => [name, ''])))
  fillForm()
})
$('view-list').addEventListener('click', () => show({ view: '' }))
$('view-stats').addEventListener('click', () => show({ view: 'stats' }))
$('by').addEventListener('change', () => show({ by: $('by').value === 'shape' ? '' : $('by').value }))
for (const [id, other] of [['payload', 'session-payload'], ['session-payload', 'payload']]) {
  $(id).addEventListener('change', () => {
    $(other).value = $(id).value
    renderExchanges(exchanges)
    renderSession()
  })
}
$('back').addEventListener('click', e => {
  e.preventDefault()
  show({ open: '' })
})
addEventListener('hashchange', followAddress)
addEventListener('visibilitychange', look)
freshness.watch()
addEventListener('keydown', e => {
  if (e.ctrlKey || e.metaKey || e.altKey) return
  const typing = e.target.matches('input, select, textarea')
  if (e.key === 'Escape' && typing) {
    e.target.blur()
  } else if (e.key === 'Escape' && viewed) {
    show({ open: '' })
  } else if (!typing && e.key === '/' && !viewed) {
    e.preventDefault()
    $('text').focus()
  } else if (!typing && e.key === 's' && !viewed) {
    show({ view: view.stats ? '' : 'stats' })
  } else if (!typing && e.key === 'v') {
    const select = $('payload')
    select.selectedIndex = (select.selectedIndex + 1) % select.options.length
    select.dispatchEvent(new Event('change'))
  }
})
new ResizeObserver(() => {
  renderStatistics(counting ? 'counting' : '')
  renderSession()
}).observe(document.querySelector('main'))

$('reason').append(make('option', { value: 'open' }, 'open'), ...Object.keys(endings).map(reason => make('option', { value: reason }, reason)))

setUp({
  key: x => (x.file ?? viewed?.key.split('.')[0] ?? 0) + '.' + x.id,
  address: key => address({ exchange: key }),
  query(key) {
    const [, file, session, number] = /^(\d+)\.(?:s(\d+)\.)?(\d+)$/.exec(key) ?? []
    return new URLSearchParams(session ? { file, session, seq: number } : { file, id: number })
  },
  next(key, told, by) {
    const [, file, session, seq] = /^(\d+)\.s(\d+)\.(\d+)$/.exec(key) ?? (told?.seq && told.of.id ? [key, told.file, told.of.id, told.seq] : [])
    return Number(seq) + by > 0 ? `${file}.s${session}.${Number(seq) + by}` : ''
  },
  ended() { location.hash = address({ exchange: '' }) },
  openSession: x => x.of.id ? address({ open: keyOf(x.of), exchange: '' }) : '',
})
addExports($('session-exports'), () => ({ file: viewed.key.split('.')[0], id: viewed.key.split('.')[1] }), true)
addExports($('exports'), parameters)

// What a live page shows is one of its own pages.
$('live').hidden = location.pathname === '/'

// goTo opens the session of a number; of several starts there may be several, which are listed.
$('goto').addEventListener('submit', async e => {
  e.preventDefault()
  const name = /^(?:#|[^\s/]{1,255}\/)?[1-9]\d{0,14}$/.exec($('goto-number').value.trim())?.[0].replace('#', '')
  $('goto-wrong').textContent = name ? '' : 'Sessions count from 1.'
  if (!name) return
  try {
    const { sessions: found } = await ask('sessions', { session: name })
    $('goto-wrong').textContent = found.length ? '' : `There is no session ${name}.`
    if (found.length === 1) show({ open: keyOf(found[0]) })
    else if (found.length) show({ session: name })
  } catch (error) {
    failed(error)
  }
})

// The token has earned its cookie: it need not stay in the address bar and the history.
if (location.search) history.replaceState(null, '', location.pathname + location.hash)

followAddress()
look()
