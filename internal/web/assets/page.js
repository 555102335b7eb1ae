// The live page. Whatever a peer sent becomes text in two places only, spell and toHex, and
// reaches the page through textContent only.

const keptExchanges = 500 // behind the filters
const shownRows = 200
const chartSeconds = 300
const drawnExchanges = 100 // in a diagram

const $ = id => document.getElementById(id)

function make(name, attributes = {}, ...children) {
  const e = document.createElement(name)
  for (const [key, value] of Object.entries(attributes)) {
    if (key in e) e[key] = value
    else e.setAttribute(key, value)
  }
  e.append(...children)
  return e
}

function draw(name, attributes = {}, text) {
  const e = document.createElementNS('http://www.w3.org/2000/svg', name)
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value)
  if (text !== undefined) e.textContent = text
  return e
}

// ---- numbers, times and payloads as text

const count = new Intl.NumberFormat('en').format

function duration(ns) {
  for (const [unit, size] of [['s', 1e9], ['ms', 1e6], ['µs', 1e3]]) {
    if (ns >= 0.9995 * size) return short(ns / size) + ' ' + unit
  }
  return Math.max(0, Math.round(ns)) + ' ns'
}

// short has three digits or all before the point.
function short(x) {
  return x >= 100 ? count(Math.round(x)) : x >= 10 ? x.toFixed(1) : x.toFixed(2)
}

function clock(us) {
  const t = new Date(us / 1000)
  const two = n => String(n).padStart(2, '0')
  return two(t.getHours()) + ':' + two(t.getMinutes()) + ':' + two(t.getSeconds()) + '.' + String(t.getMilliseconds()).padStart(3, '0')
}

function bytesOf(body) {
  return Uint8Array.from(atob(body.start ?? ''), c => c.charCodeAt(0))
}

const exact = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const notPrintable = /[\p{C}\p{Zl}\p{Zp}]/u

const escapeByte = b => '\\x' + b.toString(16).padStart(2, '0')

// spell is a payload as text: printable UTF-8 as it is, all else as \xNN, as the narrative
// has it.
function spell(bytes) {
  let text = ''
  for (let i = 0; i < bytes.length;) {
    const first = bytes[i]
    const size = first < 0x80 ? 1 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2
    const piece = bytes.subarray(i, i + size)
    let char = ''
    try { char = exact.decode(piece) } catch { /* not UTF-8 */ }
    const named = { '\t': '\\t', '\r': '\\r', '\n': '\\n' }[char]
    if (named) text += named
    else if (char && !notPrintable.test(char)) text += char
    else {
      const n = char ? size : 1
      text += [...bytes.subarray(i, i + n)].map(escapeByte).join('')
      i += n
      continue
    }
    i += size
  }
  return text
}

const toHex = bytes => Array.from(bytes, b => b.toString(16).padStart(2, '0')).join(' ')

// payload is what is shown of a message: lines of text, hex, or both.
function payload(body, view) {
  const bytes = bytesOf(body)
  const more = bytes.length < body.bytes ? `…(${count(body.bytes)} bytes)` : ''
  const lines = []
  if (view !== 'hex') lines.push({ text: spell(bytes) + more })
  if (view !== 'text') lines.push({ text: toHex(bytes) + more, hex: true })
  return lines
}

// ---- what the server told

let exchanges = [] // the newest first; a gap is {gap: 'text'}
let points = []
let sessions = []
let totals = null
let started = 0
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

function greet(hello) {
  const restarted = started && hello.started !== started
  started = hello.started
  totals = hello.totals
  points = hello.points
  sessions = hello.sessions
  $('server').textContent = hello.server || '…'
  document.title = 'Parley ' + hello.server
  const told = hello.exchanges.reverse()
  if (!paused) exchanges = told
  else if (restarted) hold([...told, { gap: 'the server was started anew' }])
  setConnection('live', 'Live')
  render()
  refreshStory()
}

function hear(news) {
  totals = news.totals
  if (news.point) {
    points.push(news.point)
    points.splice(0, points.length - chartSeconds)
  }
  if (news.sessions) sessions = news.sessions
  const told = (news.exchanges ?? []).reverse()
  if (news.left_out) told.unshift({ gap: count(news.left_out) + ' left out' })
  if (paused) hold(told)
  else exchanges = told.concat(exchanges).slice(0, keptExchanges)
  render()
  if (story && (told.some(x => x.session === story.number) || news.point)) refreshStory()
}

// hold keeps what came for when it goes on.
function hold(told) {
  waiting = told.concat(waiting).slice(0, keptExchanges)
}

// ---- figures and charts

function renderNow() {
  if (!totals) return
  const last = points.at(-1)
  const answered = points.slice(-chartSeconds).findLast(p => p.max > 0)
  $('now-open').textContent = count(totals.open)
  $('now-rate').textContent = last ? count(last.requests) : '–'
  $('now-p50').textContent = answered ? duration(answered.p50) : '–'
  $('now-p99').textContent = answered ? duration(answered.p99) : '–'
  $('now-requests').textContent = count(totals.requests)
  $('now-sessions').textContent = count(totals.sessions)
  $('now-refused').hidden = !totals.refused
  $('now-refused').textContent = count(totals.refused) + ' refused'
  $('left-out').textContent = totals.left_out ? `${count(totals.left_out)} of ${count(totals.requests)} left out` : ''
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

  const answered = points.filter(p => p.max > 0)
  const times = key => points.map(p => ({ at: p.at, value: p.max > 0 ? p[key] : null }))
  const low = Math.floor(Math.log10(Math.min(1e5, ...answered.map(p => Math.max(1, p.p50)))))
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(1e5, ...answered.map(p => p.p99)))))
  const marks = []
  for (let e = low; e <= high; e++) if (high - low < 4 || (e - low) % 2 === 0) marks.push(10 ** e)
  const last = answered.at(-1)
  chart($('latency-chart'), now, [{ className: 'most', points: times('p99') }, { className: 'half', points: times('p50') }], {
    marks: answered.length ? marks : [], mark: decade, height: value => (Math.log10(Math.max(1, value)) - low) / (high - low),
    label: last ? `Time to answer over five minutes: lately half within ${duration(last.p50)}, 99 % within ${duration(last.p99)}` : 'Time to answer: nothing was answered yet',
  })
}

function decade(ns) {
  return ns >= 1e9 ? ns / 1e9 + ' s' : ns >= 1e6 ? ns / 1e6 + ' ms' : ns >= 1e3 ? ns / 1e3 + ' µs' : ns + ' ns'
}

function niceAbove(x) {
  const size = 10 ** Math.floor(Math.log10(x))
  return [2, 4, 10].map(n => n * size).find(n => n >= x)
}

// chart draws lines over the last five minutes. A value of null is a gap.
function chart(svg, now, lines, { marks, mark, height, label }) {
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
  parts.push(draw('text', { x: left, y: h - 3 }, '5 minutes ago'), draw('text', { x: w - right, y: h - 3, 'text-anchor': 'end' }, 'now'))
  if (!marks.length) parts.push(draw('text', { x: w / 2, y: h / 2, 'text-anchor': 'middle' }, 'nothing was answered yet'))
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
  x.text ??= [x.request, x.reply].map(body => body ? spell(bytesOf(body)) : '').join('\n').toLowerCase()
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
  const server = $('server').textContent
  empty.replaceChildren('Nothing was said yet. Say something: ', make('code', {}, 'parley client ' + server))
}

function rowOf(x, view) {
  if (x.gap) return make('li', { className: 'gap' }, x.gap)
  return make('li', {},
    make('time', {}, clock(x.at)),
    sessionButton(x.session),
    message(x.request, 'message', view, 'not asked for'),
    message(x.reply, 'message reply', view, 'no reply'),
    make('span', { className: 'took' }, x.reply ? duration(x.took) : ''))
}

function message(body, className, view, none) {
  const e = make('span', { className: view === 'both' ? className + ' full' : className })
  if (!body) {
    e.append(make('span', { className: 'none' }, none))
    return e
  }
  e.append(make('span', { className: 'size' }, `[${body.bytes}] `))
  for (const line of payload(body, view)) e.append(make('span', { className: line.hex ? 'hex' : '' }, line.text))
  return e
}

function sessionButton(number) {
  const button = make('button', { type: 'button', className: 'open' }, '#' + number)
  button.setAttribute('aria-label', 'Session ' + number + ': open its diagram')
  button.addEventListener('click', () => { location.hash = 'session/' + number })
  return button
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
      row = { li: make('li', {}, sessionButton(s.number), make('span', { className: 'mono' }, spellString(s.remote)), state, requests), state, requests }
      sessionRows.set(s.number, row)
    }
    row.requests.textContent = count(s.requests) + (s.requests === 1 ? ' request' : ' requests')
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

const spellString = text => spell(new TextEncoder().encode(text))

// ---- one session as a sequence diagram

let story = null // {number, told, asking, again}

const endings = {
  eof: 'the client closed',
  blank: 'the client sent an empty request',
  no_request: 'the client closed and had sent nothing',
  truncated: 'the client closed inside a request',
  reset: 'the connection was reset',
  idle_timeout: 'nothing came for too long',
  first_byte_timeout: 'nothing ever came',
  request_timeout: 'a request came in too slowly',
  write_timeout: 'the client does not read its replies',
  too_long: 'a request was too long',
  memory: 'all held too much, and it most',
  handler_error: 'the handler failed',
  hang_up: 'the handler hung up',
  shutdown: 'the server is shutting down',
  drain_cut: 'cut by the shutdown',
  closed: 'the server stopped',
  io_error: 'the connection failed',
}
const closedByClient = ['eof', 'blank', 'no_request', 'truncated']
const cutShort = ['reset', 'drain_cut', 'closed', 'io_error', 'write_timeout']

function follow() {
  const wanted = /^#session\/(\d+)$/.exec(location.hash)
  const was = story?.number
  story = wanted ? { number: Number(wanted[1]), told: null, asking: false, again: false } : null
  $('overview').hidden = Boolean(story)
  $('session').hidden = !story
  if (!story) {
    renderRows()
    renderSessions()
    if (was !== undefined) $('exchanges').focus({ preventScroll: true })
    return
  }
  $('session-title').textContent = 'Session ' + story.number
  $('session-state').textContent = 'Looking it up…'
  $('session-facts').replaceChildren()
  $('diagram').replaceChildren()
  $('steps-rows').replaceChildren()
  $('session').focus({ preventScroll: true })
  $('session').scrollIntoView({ block: 'nearest' })
  refreshStory()
}

// refreshStory asks for the open session, once at a time; one that is over does not change.
async function refreshStory() {
  const asked = story
  if (!asked || asked.told?.session.closed) return
  if (asked.asking) {
    asked.again = true
    return
  }
  asked.asking = true
  try {
    const answer = await fetch('/session?number=' + asked.number)
    if (story !== asked) return
    if (answer.ok) {
      asked.told = await answer.json()
      renderStory()
    } else if (!asked.told) {
      $('session-state').textContent = (await answer.text()).trim()
    }
  } catch { /* the next hello asks again */
  } finally {
    asked.asking = false
    if (asked.again) {
      asked.again = false
      refreshStory()
    }
  }
}

function renderStory() {
  if (!story?.told) return
  const { session, exchanges } = story.told
  const drawn = (exchanges ?? []).slice(-drawnExchanges)
  const steps = stepsOf(session, drawn)
  $('session-state').textContent = session.closed ? `closed (${session.reason}): ${endings[session.reason] ?? session.reason}` : 'open'
  const facts = [
    ['Client', spellString(session.remote)], ['Server', spellString(session.local)], ['Opened', clock(session.opened)],
    ['Requests', count(session.requests)], ['Bytes in', count(session.in)], ['Bytes out', count(session.out)],
  ]
  if (session.closed) facts.push(['Lasted', duration((session.closed - session.opened) * 1e3)])
  $('session-facts').replaceChildren(...facts.map(([name, value]) => make('div', {}, make('dt', {}, name), make('dd', { className: 'mono' }, value))))
  drawDiagram(session, steps, $('session-payload').value)
  renderSteps(steps, $('session-payload').value)
}

// stepsOf is what happened, in the order of the server's times: where requests were sent
// ahead, they come before the replies they did not wait for.
function stepsOf(session, exchanges) {
  const steps = []
  for (const x of exchanges) {
    if (x.request) steps.push({ at: x.at, toServer: true, from: 'write', to: 'read', body: x.request, seq: x.seq })
    if (x.reply) steps.push({ at: x.at + x.took / 1e3, from: 'write', to: 'read', body: x.reply, took: x.took })
  }
  steps.sort((a, b) => a.at - b.at)
  const all = [{ at: session.opened, toServer: true, from: 'connect', to: 'accept', note: 'connection' }]
  let expected = 1
  const gap = n => { if (n > 0) all.push({ gap: count(n) + (n === 1 ? ' exchange' : ' exchanges') + ' not shown' }) }
  for (const step of steps) {
    if (step.seq) {
      gap(step.seq - expected)
      expected = step.seq + 1
    }
    all.push(step)
  }
  gap(session.requests - expected + 1)
  all.push(...endOf(session))
  let previous = session.opened
  for (const step of all) {
    if (step.gap) continue
    step.since = step.at - previous
    previous = step.at
  }
  return all
}

function endOf({ closed, reason }) {
  if (!closed) return []
  if (cutShort.includes(reason)) return [{ at: closed, toServer: reason === 'reset', from: reason === 'reset' ? 'reset' : 'cut', to: '', broken: true, note: endings[reason] }]
  const back = { at: closed, from: 'close', to: 'end of file', note: endings[reason] ?? reason }
  if (!closedByClient.includes(reason)) return [back]
  return [{ at: closed, toServer: true, from: 'close', to: 'end of file', note: endings[reason] }, { ...back, note: '' }]
}

// since is how long after the step before, or when the first one was.
function since(step) {
  if (step.from === 'connect') return clock(step.at)
  if (step.since < 1 && step.body) return step.toServer ? 'with the same read' : 'with the same write'
  return step.since < 1 ? '' : '+' + duration(step.since * 1e3)
}

function drawDiagram(session, steps, view) {
  const svg = $('diagram')
  const w = svg.clientWidth
  if (!w) return
  const narrow = w < 560
  const client = narrow ? 68 : 120, server = w - client
  const boxWidth = narrow ? Math.min(150, w / 2 - 8) : 200
  const perLine = Math.floor((server - client - 24) / 7.4)
  const parts = [], lines = []
  const text = (x, y, anchor, className, value) => parts.push(draw('text', { x, y, 'text-anchor': anchor, class: className }, value))
  const boxes = [['Client', session.remote, narrow ? 0 : client - boxWidth / 2], ['Server', session.local, narrow ? w - boxWidth : server - boxWidth / 2]]
  for (const [name, address, x] of boxes) {
    parts.push(draw('rect', { class: 'box', x: Math.max(1, Math.min(x, w - boxWidth - 1)), y: 1, width: boxWidth, height: 44, rx: 8 }))
    const middle = Math.max(1, Math.min(x, w - boxWidth - 1)) + boxWidth / 2
    text(middle, 19, 'middle', 'actor', name)
    text(middle, 36, 'middle', 'quiet payload', cut([...spellString(address)], Math.floor(boxWidth / 7)))
  }
  let y = 62
  text(client - 8, y, 'end', 'step', 'socket')
  for (const step of ['socket', 'bind', 'listen']) {
    text(server + 8, y, 'start', 'step', step)
    y += 14
  }
  let asked = null // where the last request came in
  for (const step of steps) {
    if (step.gap) {
      y += 12
      parts.push(draw('line', { class: 'gap', x1: client + 12, x2: server - 12, y1: y, y2: y }))
      text((client + server) / 2, y - 5, 'middle', 'quiet warn', step.gap)
      y += 12
      asked = null
      continue
    }
    const labels = step.body ? labelsOf(step.body, view, perLine) : [{ text: step.note }]
    for (const label of labels) {
      y += 15
      text((client + server) / 2, y, 'middle', label.hex ? 'payload size' : step.body ? 'payload' : 'quiet', label.text)
    }
    y += 7
    const [from, to] = step.toServer ? [client, server] : [server, client]
    const side = step.toServer ? '' : ' back'
    const tip = step.toServer ? -1 : 1
    const end = step.broken ? (from + to) / 2 : to + 2 * tip
    parts.push(draw('path', { class: 'arrow' + (step.broken ? ' broken' : side), d: `M${from},${y}H${end}` }))
    if (step.broken) text(end, y + 4, 'middle', 'warn', '✕')
    else parts.push(draw('path', { class: 'head' + side, d: `M${to + tip},${y}l${8 * tip},-4v8z` }))
    const [left, right] = step.toServer ? [step.from, step.to] : [step.to, step.from]
    text(client - 8, y + 4, 'end', 'step', left)
    text(server + 8, y + 4, 'start', 'step', right)
    text((client + server) / 2, y + 13, 'middle', 'quiet', since(step))
    if (step.toServer && step.body) asked = asked ?? y
    if (!step.toServer && step.body && asked !== null) {
      lines.push(draw('rect', { class: 'work', x: server - 3, y: asked, width: 6, height: y - asked, rx: 2 }))
      asked = null
    }
    y += 18
  }
  y += 14
  text((client + server) / 2, y, 'middle', 'quiet', session.closed ? 'closed: ' + session.reason : 'still open')
  for (const x of [client, server]) lines.unshift(draw('line', { class: 'life', x1: x, x2: x, y1: 45, y2: y + 4 }))
  const height = y + 14
  svg.setAttribute('height', height)
  svg.setAttribute('viewBox', `0 0 ${w} ${height}`)
  svg.setAttribute('aria-label', `Sequence diagram of session ${session.number}: ${steps.filter(s => s.body).length} messages between client ${session.remote} and server ${session.local}. The table below tells the same.`)
  svg.replaceChildren(...lines, ...parts)
}

const cut = (chars, most) => chars.length > most ? chars.slice(0, most - 1).join('') + '…' : chars.join('')

// labelsOf is a message over its arrow: [15] session 1 msg 1, in three lines at most.
function labelsOf(body, view, perLine) {
  const labels = []
  for (const line of payload(body, view)) {
    let rest = [...(labels.length ? '' : `[${body.bytes}] `) + line.text]
    for (let n = 1; rest.length && n <= 3; n++) {
      labels.push({ text: n < 3 ? rest.slice(0, perLine).join('') : cut(rest, perLine), hex: line.hex })
      rest = rest.slice(perLine)
    }
  }
  return labels
}

function renderSteps(steps, view) {
  $('steps-rows').replaceChildren(...steps.map(step => {
    if (step.gap) return make('tr', {}, make('td', { colSpan: 5 }, step.gap))
    const text = step.body ? payload(step.body, view).map(line => line.text).join('\n') : ''
    return make('tr', {},
      make('td', {}, clock(step.at)), make('td', {}, since(step)), make('td', {}, step.toServer ? 'client' : 'server'),
      make('td', {}, step.from + (step.to ? ' → ' + step.to : '')),
      make('td', { className: 'mono' }, step.body ? `[${step.body.bytes}] ${text}` : step.note))
  }))
}

// ---- the connection to the server

function setConnection(state, text) {
  const e = $('connection')
  if (e.dataset.state === state && e.textContent === text) return
  e.dataset.state = state
  e.textContent = text
}

function connect() {
  const source = new EventSource('/events')
  source.addEventListener('hello', e => greet(JSON.parse(e.data)))
  source.addEventListener('news', e => hear(JSON.parse(e.data)))
  source.addEventListener('skipped', e => {
    const gap = [{ gap: count(Number(e.data)) + ' skipped: this browser did not keep up' }]
    if (paused) hold(gap)
    else exchanges = gap.concat(exchanges)
  })
  source.addEventListener('error', async () => {
    setConnection('reconnecting', 'Reconnecting')
    if (source.readyState !== EventSource.CLOSED) return // it tries again by itself
    source.close()
    try {
      const answer = await fetch('/events', { method: 'HEAD' })
      if (answer.status === 401) setConnection('refused', 'A token is needed: open /?token=…')
      if (answer.status === 503) setConnection('refused', 'Too many browsers are watching')
    } catch { /* nobody is there */ }
    setTimeout(connect, 1000)
  })
}

// ---- hands on

$('pause').addEventListener('click', () => pause(!paused))
$('filter').addEventListener('submit', e => e.preventDefault())
$('filter').addEventListener('input', render)
for (const [id, other] of [['payload', 'session-payload'], ['session-payload', 'payload']]) {
  $(id).addEventListener('change', () => {
    $(other).value = $(id).value
    render()
    renderStory()
  })
}
$('back').addEventListener('click', e => {
  e.preventDefault()
  location.hash = ''
})
addEventListener('hashchange', follow)
addEventListener('keydown', e => {
  if (e.ctrlKey || e.metaKey || e.altKey) return
  const typing = e.target.matches('input, select, textarea')
  if (e.key === 'Escape' && typing) {
    e.target.blur()
  } else if (e.key === 'Escape') {
    location.hash = ''
  } else if (!typing && e.key === 'p') {
    pause(!paused)
  } else if (!typing && e.key === '/' && !story) {
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
  renderStory()
}).observe(document.querySelector('main'))

// The token has earned its cookie: it need not stay in the address bar and the history.
if (location.search) history.replaceState(null, '', location.pathname + location.hash)

connect()
follow()
