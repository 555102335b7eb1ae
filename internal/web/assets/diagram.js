// One session as a sequence diagram, and as a table.

import { $, make, draw, count, withUnit, duration, clock, day, printableString, cut, payload, sizeOf, unbroken } from './common.js'

export const drawnExchanges = 100

export const endings = {
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
  mismatch: 'the client said something else than was expected',
  fault: 'ended on purpose, by a fault',
  shutdown: 'the server is shutting down',
  drain_cut: 'cut by the shutdown',
  closed: 'the server stopped',
  io_error: 'the connection failed',
  memory: 'it held too much memory',
  unreachable: 'the server behind the tap could not be reached',
  upstream_reset: 'the server behind the tap reset the connection',
}
const closedByClient = ['eof', 'blank', 'no_request', 'truncated']
const cutShort = ['reset', 'fault', 'drain_cut', 'closed', 'io_error', 'write_timeout', 'memory']

// showSession shows a session with its exchanges, those last recorded of them. open is what to say
// of one without an end; of is which journal it is in, if it is.
export function showSession(session, exchanges, { open, of = '' }) {
  const view = $('session-payload').value
  const steps = stepsOf(session, exchanges.slice(-drawnExchanges))
  if (of) $('session-title').textContent = `Session ${session.number || '?'} in ${of}`
  $('session-state').textContent = session.closed ? `closed (${session.reason}): ${endingOf(session)}` : open
  const facts = [
    ['Client', printableString(session.remote)], ['Server', printableString(session.local)], ['Opened', (of ? day(session.opened) + ' ' : '') + clock(session.opened)],
    ['Requests', count(session.requests)],
  ]
  if (session.closed || !of) facts.push(['Bytes in', count(session.in)], ['Bytes out', count(session.out)])
  if (session.tls_version) facts.push(['TLS', printableString(session.tls_version)])
  if (session.tls_name) facts.push(['Client’s name', printableString(session.tls_name)])
  if (session.proxy) facts.push(['By proxy', printableString(session.proxy)])
  if (session.framing) facts.push(['Framing', printableString(session.framing)])
  if (session.stray) facts.push(['Outside of messages', withUnit(count(session.stray), session.stray === 1 ? 'byte' : 'bytes')])
  if (session.closed) facts.push(['Lasted', duration((session.closed - session.opened) * 1e3)])
  $('session-facts').replaceChildren(...facts.map(([name, value]) => make('div', {}, make('dt', {}, name), make('dd', { className: 'mono' }, value))))
  drawDiagram(session, steps, view, of ? open : 'still open')
  renderSteps(steps, view)
}

// clearSession makes room for a session that is looked up.
export function clearSession(title) {
  $('session-title').textContent = title
  $('session-state').textContent = 'Looking it up…'
  $('session-facts').replaceChildren()
  $('diagram').replaceChildren()
  $('steps-rows').replaceChildren()
  $('session').focus({ preventScroll: true })
  $('session').scrollIntoView({ block: 'nearest' })
}

// stepsOf is what happened, in the order of the server's times: where requests were sent
// ahead, they come before the replies they did not wait for. It looks at whole µs, as most
// times are told: or a reply comes after what was written together with it.
function stepsOf(session, exchanges) {
  const steps = []
  for (const x of exchanges) {
    if (x.request) steps.push({ at: x.at, toServer: true, from: 'write', to: 'read', body: x.request, seq: x.seq, fault: x.reply ? '' : x.fault })
    if (x.reply) steps.push({ at: x.at + x.took / 1e3, from: 'write', to: 'read', body: x.reply, took: x.took, fault: x.fault })
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

function drawDiagram(session, steps, view, open) {
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
    if (step.fault) labels.push({ text: cut([...printableString('fault ' + step.fault)], perLine), fault: true })
    for (const label of labels) {
      y += 15
      text((client + server) / 2, y, 'middle', label.fault ? 'warn' : label.exact ? 'payload size' : step.body ? 'payload' : 'quiet', label.text)
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
  text((client + server) / 2, y, 'middle', 'quiet', session.closed ? 'closed: ' + session.reason : open)
  for (const x of [client, server]) lines.unshift(draw('line', { class: 'life', x1: x, x2: x, y1: 45, y2: y + 4 }))
  const height = y + 14
  svg.setAttribute('height', height)
  svg.setAttribute('viewBox', `0 0 ${w} ${height}`)
  svg.setAttribute('aria-label', `Sequence diagram of session ${session.number}: ${steps.filter(s => s.body).length} messages between client ${session.remote} and server ${session.local}. The table below tells the same.`)
  svg.replaceChildren(...lines, ...parts)
}

// labelsOf is a message over its arrow: [15] session 1 msg 1, in three lines at most, which
// are broken between pieces.
function labelsOf(message, view, perLine) {
  const labels = []
  for (const { pieces, exact } of payload(message, view)) {
    let rest = labels.length ? pieces : [sizeOf(message), ...pieces]
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
      make('td', { className: 'mono' }, ...(step.body ? [sizeOf(step.body), ...text] : [step.note]), ...(step.fault ? [make('span', { className: 'fault' }, printableString(' fault ' + step.fault))] : [])))
  }))
}
