// The live page. Whatever a peer sent becomes text in two places only, printable and toHex,
// and reaches the page through textContent only.

const keptExchanges = 500 // behind the filters
const shownRows = 200
const chartSeconds = 300
const drawnExchanges = 100 // in a diagram
const shownBytes = 320 // of a message in a row, which has room for less
const askEvery = 250 // ms
const askAgain = 1000 // ms after the server was not there
const lostAfter = 2500 // ms without an answer

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

// withUnit keeps a number and its unit on one line.
const withUnit = (number, unit) => number + '\u00a0' + unit

function duration(ns) {
  for (const [unit, size] of [['s', 1e9], ['ms', 1e6], ['µs', 1e3]]) {
    if (ns >= 0.9995 * size) return withUnit(short(ns / size), unit)
  }
  return withUnit(Math.max(0, Math.round(ns)), 'ns')
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

function day(us) {
  const t = new Date(us / 1000)
  return [t.getFullYear(), t.getMonth() + 1, t.getDate()].map(n => String(n).padStart(2, '0')).join('-')
}

// whoOf is who the client is, in a line: its address, TLS, the proxy before it, its name.
function whoOf(s) {
  const most = 64 // pieces of each
  const more = [s.tls_version, s.proxy && 'by proxy ' + s.proxy, s.tls_name].filter(Boolean).map(text => cut(printable(new TextEncoder().encode(text)), most))
  return printableString(s.remote) + (more.length ? ` (${more.join(', ')})` : '')
}

const requestCount = s => count(s.requests) + (s.requests === 1 ? ' request' : ' requests')

function bytesOf(message) {
  return Uint8Array.from(atob(message.start ?? ''), c => c.charCodeAt(0))
}

const exact = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const notPrintable = /[\p{C}\p{Zl}\p{Zp}]/u

const escapeByte = b => '\\x' + b.toString(16).padStart(2, '0')

// printable is a payload as text, in pieces of which none may be broken over two lines:
// printable UTF-8 as it is, all else as \xNN, as the narrative has it.
function printable(bytes) {
  const pieces = []
  for (let i = 0; i < bytes.length;) {
    const first = bytes[i]
    const size = first < 0x80 ? 1 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2
    const sequence = bytes.subarray(i, i + size)
    let char = ''
    try { char = exact.decode(sequence) } catch { /* not UTF-8 */ }
    const named = { '\t': '\\t', '\r': '\\r', '\n': '\\n' }[char]
    if (named) pieces.push(named)
    else if (char && !notPrintable.test(char)) pieces.push(char)
    else {
      const n = char ? size : 1
      pieces.push(...Array.from(bytes.subarray(i, i + n), escapeByte))
      i += n
      continue
    }
    i += size
  }
  return pieces
}

const printableText = bytes => printable(bytes).join('')
const printableString = text => printableText(new TextEncoder().encode(text))

// toHex is a payload in hex, in such pieces.
const toHex = bytes => Array.from(bytes, (b, i) => (i ? ' ' : '') + b.toString(16).padStart(2, '0'))

// wholeCharacters leaves out a character at the end that a cut went through.
function wholeCharacters(bytes) {
  for (let n = 1; n <= Math.min(3, bytes.length); n++) {
    const b = bytes[bytes.length - n]
    if ((b & 0xc0) === 0x80) continue // not its first byte
    const size = b >= 0xf0 ? 4 : b >= 0xe0 ? 3 : b >= 0xc0 ? 2 : 1
    return size > n ? bytes.subarray(0, -n) : bytes
  }
  return bytes
}

// payload is what is shown of a message, in parts: its words, its bytes as text, in hex. A message
// that has words is shown in these, with its bytes beside them if that is asked for.
function payload(message, view, most = Infinity) {
  const words = message.text ? [{ pieces: piecesOf(message.text, most) }] : []
  if (message.secret) return words
  let bytes = bytesOf(message).subarray(0, most)
  const more = []
  if (bytes.length < message.bytes) {
    bytes = wholeCharacters(bytes)
    more.push(`…(${withUnit(count(message.bytes), 'bytes')})`)
  }
  const parts = view === 'hex' ? [] : [...words]
  if (view === 'text' && !words.length || view === 'both' || view === 'beside') parts.push({ pieces: [...printable(bytes), ...more], exact: words.length > 0 })
  if (view === 'hex' || view === 'both') parts.push({ pieces: [...toHex(bytes), ...more], exact: true })
  return parts
}

// piecesOf is the beginning of a text of the server's making.
function piecesOf(text, most) {
  const pieces = printable(new TextEncoder().encode(text))
  return pieces.length > most ? [...pieces.slice(0, most), '…'] : pieces
}

// unbroken makes the pieces' text, with those of several characters kept on one line. Bytes
// in hex are: they are parted by blanks.
function unbroken(pieces) {
  const nodes = []
  let plain = ''
  for (const piece of pieces) {
    if (piece.length === 1 || piece.startsWith(' ') || piece.codePointAt(0) > 0xffff) {
      plain += piece
      continue
    }
    if (plain) nodes.push(plain)
    plain = ''
    nodes.push(make('span', { className: 'piece' }, piece))
  }
  if (plain) nodes.push(plain)
  return nodes
}

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

// othersThanSessions counts connections that came to nothing.
function othersThanSessions() {
  const { refused, failed, probes } = totals
  return [[refused, 'refused'], [failed, failed === 1 ? 'handshake failed' : 'handshakes failed'], [probes, probes === 1 ? 'probe' : 'probes']]
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

function decade(ns) {
  const [unit, size] = [['s', 1e9], ['ms', 1e6], ['µs', 1e3]].find(([, size]) => ns >= size) ?? ['ns', 1]
  return withUnit(ns / size, unit)
}

function niceAbove(x) {
  const size = 10 ** Math.floor(Math.log10(x))
  return [2, 4, 10].map(n => n * size).find(n => n >= x)
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
    make('span', { className: 'took' }, x.reply && x.request ? duration(x.took) : ''))
}

function messageCell(message, className, view, none) {
  const cell = make('span', { className: view === 'both' ? className + ' full' : className })
  if (!message) {
    cell.append(make('span', { className: 'none' }, none))
    return cell
  }
  cell.append(make('span', { className: 'size' }, `[${message.bytes}] `))
  for (const { pieces, exact } of payload(message, view, shownBytes)) cell.append(make('span', { className: exact ? 'exact' : '' }, ...unbroken(pieces)))
  if (message.text && !message.secret && view === 'text') cell.title = printableText(bytesOf(message).subarray(0, shownBytes))
  return cell
}

// sessionButton opens a session: of this run, unless an address says otherwise.
function sessionButton(number, address = 'session/' + number) {
  const button = make('button', { type: 'button', className: 'open' }, '#' + number)
  button.setAttribute('aria-label', `Session ${number}: open its diagram`)
  button.addEventListener('click', () => { location.hash = address })
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
  malformed: 'what came can be no request',
  memory: 'all held too much, and it most',
  handler_error: 'the handler failed',
  hang_up: 'the handler hung up',
  shutdown: 'the server is shutting down',
  drain_cut: 'cut by the shutdown',
  closed: 'the server stopped',
  io_error: 'the connection failed',
  memory: 'it held too much memory',
  unreachable: 'the server behind the tap could not be reached',
  upstream_reset: 'the server behind the tap reset the connection',
}
const closedByClient = ['eof', 'blank', 'no_request', 'truncated']
const cutShort = ['reset', 'drain_cut', 'closed', 'io_error', 'write_timeout', 'memory']

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
  $('session-title').textContent = viewed.id ? 'Session' : 'Session ' + number
  $('session-state').textContent = 'Looking it up…'
  $('session-facts').replaceChildren()
  $('diagram').replaceChildren()
  $('steps-rows').replaceChildren()
  $('session').focus({ preventScroll: true })
  $('session').scrollIntoView({ block: 'nearest' })
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
  if (!viewed?.told) return
  const { session, exchanges } = viewed.told
  const drawn = (exchanges ?? []).slice(-drawnExchanges)
  const steps = stepsOf(session, drawn)
  if (viewed.id) $('session-title').textContent = `Session ${session.number} in the journal`
  const unseen = viewed.id ? 'nobody saw its end' : 'open'
  $('session-state').textContent = session.closed ? `closed (${session.reason}): ${endingOf(session)}` : unseen
  const facts = [
    ['Client', printableString(session.remote)], ['Server', printableString(session.local)], ['Opened', (viewed.id ? day(session.opened) + ' ' : '') + clock(session.opened)],
    ['Requests', count(session.requests)], ['Bytes in', count(session.in)], ['Bytes out', count(session.out)],
  ]
  if (session.tls_version) facts.push(['TLS', printableString(session.tls_version)])
  if (session.tls_name) facts.push(['Client’s name', printableString(session.tls_name)])
  if (session.proxy) facts.push(['By proxy', printableString(session.proxy)])
  if (session.framing) facts.push(['Framing', printableString(session.framing)])
  if (session.stray) facts.push(['Outside of messages', withUnit(count(session.stray), session.stray === 1 ? 'byte' : 'bytes')])
  if (session.closed) facts.push(['Lasted', duration((session.closed - session.opened) * 1e3)])
  $('session-facts').replaceChildren(...facts.map(([name, value]) => make('div', {}, make('dt', {}, name), make('dd', { className: 'mono' }, value))))
  drawDiagram(session, steps, $('session-payload').value)
  renderSteps(steps, $('session-payload').value)
}

// stepsOf is what happened, in the order of the server's times: where requests were sent
// ahead, they come before the replies they did not wait for. It looks at whole µs, as most
// times are told: or a reply comes after what was written together with it.
function stepsOf(session, exchanges) {
  const steps = []
  for (const x of exchanges) {
    if (x.request) steps.push({ at: x.at, toServer: true, from: 'write', to: 'read', body: x.request, seq: x.seq })
    if (x.reply) steps.push({ at: x.at + x.took / 1e3, from: 'write', to: 'read', body: x.reply, took: x.took })
  }
  steps.sort((a, b) => Math.floor(a.at) - Math.floor(b.at))
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

function endOf(session) {
  const { closed, reason } = session
  if (!closed) return []
  if (cutShort.includes(reason)) return [{ at: closed, toServer: reason === 'reset', from: reason === 'reset' ? 'reset' : 'cut', to: '', broken: true, note: endingOf(session) }]
  const back = { at: closed, from: 'close', to: 'end of file', note: endingOf(session) }
  if (!closedByClient.includes(reason)) return [back]
  return [{ at: closed, toServer: true, from: 'close', to: 'end of file', note: endingOf(session) }, { ...back, note: '' }]
}

// endingOf is why a session ended, in words. Over TLS an end that was not announced is truncated too.
function endingOf({ reason, tls_version: tls }) {
  return (endings[reason] ?? reason) + (reason === 'truncated' && tls ? ', or without TLS’s close_notify' : '')
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
    text(middle, 36, 'middle', 'quiet payload', cut([...printableString(address)], Math.floor(boxWidth / 7)))
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
      text((client + server) / 2, y, 'middle', label.exact ? 'payload size' : step.body ? 'payload' : 'quiet', label.text)
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
  text((client + server) / 2, y, 'middle', 'quiet', session.closed ? 'closed: ' + session.reason : viewed.id ? 'nobody saw its end' : 'still open')
  for (const x of [client, server]) lines.unshift(draw('line', { class: 'life', x1: x, x2: x, y1: 45, y2: y + 4 }))
  const height = y + 14
  svg.setAttribute('height', height)
  svg.setAttribute('viewBox', `0 0 ${w} ${height}`)
  svg.setAttribute('aria-label', `Sequence diagram of session ${session.number}: ${steps.filter(s => s.body).length} messages between client ${session.remote} and server ${session.local}. The table below tells the same.`)
  svg.replaceChildren(...lines, ...parts)
}

const cut = (chars, most) => chars.length > most ? chars.slice(0, most - 1).join('') + '…' : chars.join('')

// labelsOf is a message over its arrow: [15] session 1 msg 1, in three lines at most, which
// are broken between pieces.
function labelsOf(message, view, perLine) {
  const labels = []
  for (const { pieces, exact } of payload(message, view)) {
    let rest = labels.length ? pieces : [`[${message.bytes}] `, ...pieces]
    for (let n = 1; rest.length && n <= 3; n++) {
      let fits = fitting(rest, perLine)
      const ellipsis = n === 3 && fits < rest.length
      if (ellipsis) fits = fitting(rest, perLine - 1)
      labels.push({ text: rest.slice(0, fits).join('').trimStart() + (ellipsis ? '…' : ''), exact })
      rest = rest.slice(fits)
    }
  }
  return labels
}

// fitting is how many of the pieces have room in a line: one at least.
function fitting(pieces, most) {
  let n = 0
  for (let length = 0; n < pieces.length; n++) {
    length += [...pieces[n]].length
    if (length > most) break
  }
  return Math.max(1, n)
}

function renderSteps(steps, view) {
  $('steps-rows').replaceChildren(...steps.map(step => {
    if (step.gap) return make('tr', {}, make('td', { colSpan: 5 }, step.gap))
    const parts = step.body ? payload(step.body, view === 'text' ? 'beside' : view) : []
    const text = parts.flatMap(({ pieces, exact }, i) => [...(i ? ['\n'] : []), make('span', { className: exact ? 'exact' : '' }, ...unbroken(pieces))])
    return make('tr', {},
      make('td', {}, clock(step.at)), make('td', {}, since(step)), make('td', {}, step.toServer ? 'client' : 'server'),
      make('td', {}, step.from + (step.to ? ' → ' + step.to : '')),
      make('td', { className: 'mono' }, ...(step.body ? [`[${step.body.bytes}] `, ...text] : [step.note])))
  }))
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
