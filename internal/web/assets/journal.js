// The page of journals. What is chosen stands in the address behind #, so that it can be sent to
// somebody else; what is new is asked for again and again.

import { $, make, count, duration, clock, day, whoOf, requestCount, printableString, messageCell, faultOf, sessionButton } from './common.js'
import { showSession, clearSession, endings } from './diagram.js'
import { Statistics, mostMoments, showFigures, showCharts, showTable, chooseTime, nameText } from './statistics.js'

const askEvery = 1000 // ms
const lostAfter = 12000 // ms without an answer
const atOnce = 100 // exchanges that are added to the list
const mostRows = 1000 // of a list that grows by itself; it begins anew then
const typingEnds = 350 // ms after the last key

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
  if (answer.ok) return answer.json()
  throw Object.assign(new Refused((await answer.text()).trim()), { status: answer.status })
}

function setConnection(state, text) {
  const e = $('connection')
  if (e.dataset.state === state && e.textContent === text) return
  e.dataset.state = document.body.dataset.connection = state
  e.textContent = text
}

// failed says why something was not answered.
function failed(error) {
  if (!(error instanceof Refused)) return setConnection('lost', 'Connection lost; trying again')
  if (error.status === 401) return setConnection('refused', 'A token is needed: open /?token=…')
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

// look asks what is new, again and again.
async function look() {
  if (asking) return
  asking = true
  clearTimeout(timer)
  try {
    const now = await ask('/state')
    setConnection('live', 'Live')
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
  document.body.classList.toggle('many', many)
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

const exchanges = new List('/exchanges', 'exchange', answer => {
  for (const [key, s] of Object.entries(answer.sessions)) sessionsOf.set(key, s)
  return answer.exchanges
}, renderExchanges)

const sessions = new List('/sessions', 'session', answer => answer.sessions, renderSessions)
sessions.growBy = sessions.grow
sessions.grow = async before => {
  await sessions.growBy(before)
  const mine = round
  const open = sessions.shown.filter(s => !s.closed).slice(0, 200)
  if (!open.length || files.every((f, i) => f.ended === before[i].ended)) return
  const { sessions: now } = await ask('/sessions', { ids: open.map(s => keyOf(s)).join() })
  if (mine !== round) return
  const byKey = new Map(now.map(s => [keyOf(s), s]))
  sessions.shown = sessions.shown.map(s => byKey.get(keyOf(s)) ?? s)
  renderSessions(sessions)
}

const keyOf = s => s.file + '.' + s.id
const many = () => files.length > 1

function renderExchanges(list) {
  const payload = $('payload').value
  let last = ''
  const rows = []
  for (const x of list.shown) {
    const date = day(x.at)
    if (date !== last) rows.push(make('li', { className: 'gap day' }, date))
    last = date
    if (!x.row || x.view !== payload) {
      x.row = rowOf(x, payload)
      x.view = payload
    }
    rows.push(x.row)
  }
  replace($('rows'), rows)
  $('rows-empty').hidden = list.shown.length > 0 || list.busy
  $('rows-empty').textContent = isChosen() ? 'Nothing in the journal is what was chosen.' : 'Nothing is recorded yet.'
  $('exchanges-note').textContent = list.progress() || (list.shown.length ? `the newest ${count(list.shown.length)}${list.next === null ? ', which are all' : ''}` : '')
  $('rows-more').hidden = list.busy || list.next === null || !list.shown.length
}

// replace shows rows, without touching those that are there already.
function replace(list, rows) {
  const keep = new Set(rows)
  for (const row of [...list.children]) if (!keep.has(row)) row.remove()
  let at = list.firstChild
  for (const row of rows) {
    if (row === at) at = at.nextSibling
    else list.insertBefore(row, at)
  }
}

function rowOf(x, payload) {
  const s = sessionsOf.get(x.of)
  const button = opening(s, x.of)
  button.title = s.lost ? 'its own record is missing' : whoOf(s)
  return make('li', {},
    make('time', {}, clock(x.at)),
    many() ? make('span', {}, button, make('span', { className: 'aside file' }, nameOf(x.file))) : button,
    messageCell(x.request, 'message', payload, x.seq ? 'asked before' : 'not asked for'),
    messageCell(x.reply, 'message reply', payload, 'no reply'),
    make('span', { className: 'took' }, x.reply && x.seq ? duration(x.took) : ''),
    ...faultOf(x))
}

// opening is the button that opens a session.
const opening = (s, key) => sessionButton(s.lost ? '?' : s.number, () => address({ open: key }))

function renderSessions(list) {
  const rows = list.shown.map(s => make('li', {},
    opening(s, keyOf(s)), make('span', { className: 'mono' }, whoOf(s)),
    make('span', { className: 'state' + (s.closed ? '' : ' is-open') },
      `${day(s.opened)} ${clock(s.opened).slice(0, 8)}, ${s.closed ? `${requestCount(s)}, ${s.reason} after ${duration((s.closed - s.opened) * 1e3)}` : 'no end is recorded'}`),
    ...(many() ? [make('span', { className: 'state file' }, nameOf(s.file))] : [])))
  const focused = [...$('sessions').children].findIndex(li => li.contains(document.activeElement))
  $('sessions').replaceChildren(...rows)
  if (focused >= 0) $('sessions').children[focused]?.querySelector('button').focus()
  $('sessions-empty').hidden = list.shown.length > 0 || list.busy
  $('sessions-empty').textContent = isChosen() ? 'No session is what was chosen.' : 'Nobody has come yet.'
  const whatever = chosen.text || chosen.slower ? 'whatever was said in them' : ''
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
    const answer = await ask('/stats', { ...parameters(), by: to.by, every: to.every, ...cursors })
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
  showCharts(stats)
  if (!view.stats) return
  showTable(stats, progress, g => {
    if (g.session) return [opening(g.session, keyOf(g.session)), ' ', whoOf(g.session), ...(many() ? [' ' + nameOf(g.session.file)] : [])]
    if (stats.by === 'end') return [nameText(g), make('span', { className: 'aside' }, ' ' + (endings[nameText(g)] ?? (nameText(g) === 'open' ? 'no end is recorded' : '')))]
    if (g.unasked) return [nameText(g), make('span', { className: 'aside' }, ' not asked for')]
    return [nameText(g)]
  })
}

for (const id of ['count-chart', 'time-chart']) {
  chooseTime($(id), (from, to) => {
    choose({ since: iso(Math.floor(from / 1000) * 1000), until: iso(Math.floor(to / 1000 + 1) * 1000) }) // the last one is within
    fillForm()
  })
}

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
    const told = await ask('/session', { file, id, before: asked.before })
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
  const { session, exchanges, file, lost, next } = viewed.told
  showSession(session, exchanges ?? [], { open: lost ? 'its own record is missing' : 'no end is recorded', of: nameOf(file) })
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

const names = ['text', 'session', 'address', 'slower', 'reason', 'file', 'since', 'until']
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
  const all = { ...chosen, ...(view.stats && { view: 'stats' }), ...(view.by !== 'shape' && { by: view.by }), open: viewed?.key ?? '', ...change }
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
  change.slower = change.slower.replace(',', '.')
  if (Object.keys(change).some(name => (chosen[name] ?? '') !== change[name])) choose(change)
}

// followAddress shows what the address bar names.
function followAddress() {
  const told = new URLSearchParams(location.hash.slice(1))
  const now = Object.fromEntries([...names, 'regexp'].map(name => [name, told.get(name) ?? '']).filter(([, value]) => value))
  const changed = [...names, 'regexp'].some(name => (now[name] ?? '') !== (chosen[name] ?? ''))
  const by = ['shape', 'session', 'peer', 'end'].includes(told.get('by')) ? told.get('by') : 'shape'
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
  else if (before) $(view.stats ? 'statistics' : 'exchanges').focus({ preventScroll: true })
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
addEventListener('visibilitychange', () => { if (!document.hidden) look() })
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

// The token has earned its cookie: it need not stay in the address bar and the history.
if (location.search) history.replaceState(null, '', location.pathname + location.hash)

followAddress()
look()
