// One session as a sequence diagram, and as a table.

import { $, make, draw, count, withUnit, duration, clock, day, printableString, cut, payload, sizeOf, unbroken } from './common.js'
import { endings } from './endings.js'
import { link, focusOn } from './exchange.js'
import { enter } from './focus.js'

export const drawnExchanges = 100

const closedByClient = ['eof', 'blank', 'no_request', 'truncated']
const cutShort = ['reset', 'fault', 'drain_cut', 'closed', 'io_error', 'write_timeout', 'memory']

// showSession shows a session with its exchanges, those last recorded of them. open is what to say
// of one without an end; of is which journal it is in, if it is; node is where it was recorded, if others were too.
export function showSession(session, exchanges, { open, of = '', node = '', ends = null }) {
  const view = $('session-payload').value
  const steps = ends ? stepsOfEnds(ends) : stepsOf(session, exchanges.slice(-drawnExchanges))
  const name = (node ? printableString(node) + '/' : '') + (session.number || '?')
  if (of) $('session-title').textContent = `Session ${name} in ${of}`
  $('session-state').textContent = session.closed ? `closed (${session.reason}): ${endingOf(session)}` : open
  const facts = [
    ['Client', printableString(session.remote)], [session.upstream ? 'Tap' : 'Server', printableString(session.local)],
    ...(session.upstream ? [['Upstream', printableString(session.upstream) + (session.upstream_tls ? ' (TLS)' : '')]] : []), ['Opened', (of ? day(session.opened) + ' ' : '') + clock(session.opened)],
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
  showEnds(ends)
  drawDiagram(session, name, steps, view, of ? open : 'still open', ends)
  renderSteps(session, steps, view, ends)
}

// clearSession makes room for a session that is looked up.
export function clearSession(title) {
  $('session-title').textContent = title
  $('session-state').textContent = 'Looking it up…'
  $('session-facts').replaceChildren()
  showEnds(null)
  $('diagram').replaceChildren()
  $('steps-rows').replaceChildren()
  enter($('session'))
}

// The lifelines: a client and a server; with a tap between them, the client, the tap and what is behind it.
const actorsOf = session => session.upstream
  ? [['Client', session.remote], ['Tap', session.local], ['Upstream', session.upstream]]
  : [['Client', session.remote], ['Server', session.local]]

// ---- a connection that several have recorded: a lifeline for each

// showEnds says who has recorded the connection, and how far their clocks are apart.
function showEnds(ends) {
  const list = $('session-ends')
  if (!list) return // the live page knows its own end alone
  list.hidden = !ends
  list.replaceChildren(...(ends?.ends ?? []).map(end => make('li', {}, [end.who, end.clock].filter(Boolean).join(': '))))
}

const actorsOfEnds = ends => ends.ends.map(end => {
  const [role, ...name] = end.who.split(' ')
  return [role[0].toUpperCase() + role.slice(1), name.join(' ')]
})

// byClock is a time in µs as a lifeline has it.
const byClock = us => clock(us) + String(Math.floor(us) % 1000).padStart(3, '0')

// stepsOfEnds is what happened, each message with the times by the clocks of those who have it. What one of them
// has no record of goes no further than the lifeline before.
function stepsOfEnds({ ends, messages }) {
  const last = ends.length - 1
  const across = (toServer, reached) => {
    const hops = []
    for (let i = 0; i < last; i++) {
      const [from, to] = toServer ? [i, i + 1] : [last - i, last - i - 1]
      if (reached(from) || reached(to)) hops.push(hop(from, to, !reached(to)))
    }
    return hops
  }
  const times = at => at.map(us => us ? byClock(us) : '')
  const steps = [{ at: ends[0].opened, times: times(ends.map(end => end.opened)), toServer: true, hops: across(true, () => true), from: 'connect', to: 'accept', note: 'connection' }]
  for (const m of messages) {
    const end = m.to_server ? 0 : last
    steps.push({
      at: m.at[0] || m.at[end] || m.at.find(Boolean), times: times(m.at), missing: m.missing, toServer: m.to_server, hops: across(m.to_server, i => m.at[i]), body: m.message,
      from: 'write', to: m.at[m.to_server ? last : 0] ? 'read' : '', of: { id: m.exchange, seq: m.seq, session: m.seq && ends[0].number }, onWay: m.on_way,
    })
  }
  const closed = ends.filter(end => end.closed)
  if (closed.length) {
    const how = ends.map(end => end.closed ? end.reason : 'no end recorded')
    steps.push({ at: ends[0].closed || closed[0].closed, times: times(ends.map(end => end.closed)), toServer: true, hops: across(true, () => true), from: 'end', to: 'end', note: new Set(how).size === 1 ? how[0] : how.join(' / ') })
  }
  return steps
}

// A hop is an arrow from one lifeline to the next; one that is broken does not get there.
const hop = (from, to, broken = false) => ({ from, to, broken })

// stepsOf is what happened, in the order of the server's times: where requests were sent
// ahead, they come before the replies they did not wait for. It looks at whole µs, as most
// times are told: or a reply comes after what was written together with it. A tap's are the times when it
// has read something, which it passes on at once, unless a fault says otherwise.
function stepsOf(session, exchanges) {
  const tap = Boolean(session.upstream)
  const steps = []
  for (const x of exchanges) {
    const faults = faultsOf(x)
    if (x.request) steps.push({ at: x.at, ...passage(tap, true, faults.request), body: x.request, seq: x.seq, of: x, fault: faults.request.join(', ') })
    if (x.reply) steps.push({ at: x.at + x.took / 1e3, ...passage(tap, false, faults.reply), body: x.reply, of: x, took: x.took, fault: faults.reply.join(', ') })
  }
  steps.sort((a, b) => Math.floor(a.at) - Math.floor(b.at))
  const all = beginOf(session)
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
    if (!step.at) continue
    step.since = step.at - previous
    previous = step.at
  }
  return all
}

// faultsOf is what befell the two messages of an exchange on purpose. What does not say of which it is, is of
// the last one there is.
function faultsOf(x) {
  const all = x.fault ? x.fault.split(', ') : []
  const ofRequest = all.filter(fault => fault.startsWith('request.') || !x.reply)
  return { request: ofRequest, reply: all.filter(fault => !ofRequest.includes(fault)) }
}

// passage is how a message goes from one end to the other. One that is dropped or cut does not get there;
// on its way to a server, and from one, that befalls it behind the tap.
function passage(tap, toServer, faults) {
  const broken = faults.some(fault => /^(request|reply)\.(drop|cut)\b/.test(fault))
  const hops = !tap ? [toServer ? hop(0, 1, broken) : hop(1, 0, broken)]
    : toServer ? [hop(0, 1), hop(1, 2, broken)] : [hop(2, 1), hop(1, 0, broken)]
  return { toServer, hops, from: 'write', to: broken ? '' : tap ? 'pass on' : 'read' }
}

// beginOf is how the session came to be, with what is spoken on its connections.
function beginOf(session) {
  const over = ['connection', session.tls_version && 'over ' + session.tls_version, session.tls_name && 'as ' + session.tls_name].filter(Boolean).join(' ')
  const begin = [{ at: session.opened, toServer: true, hops: [hop(0, 1)], from: 'connect', to: 'accept', note: printableString(over) }]
  if (!session.upstream) return begin
  const unreachable = session.reason === 'unreachable'
  return [...begin, { toServer: true, byTap: true, hops: [hop(1, 2, unreachable)], from: 'connect', to: unreachable ? '' : 'accept', note: 'connection' + (session.upstream_tls ? ' over TLS' : '') }]
}

function endOf(session) {
  const { closed, reason } = session
  if (!closed) return []
  const note = endingOf(session)
  if (session.upstream) return [tapEnd(session, note)]
  if (cutShort.includes(reason)) {
    const toServer = reason === 'reset'
    return [{ at: closed, toServer, hops: [toServer ? hop(0, 1, true) : hop(1, 0, true)], from: toServer ? 'reset' : 'cut', to: '', note }]
  }
  const back = { at: closed, hops: [hop(1, 0)], from: 'close', to: 'end of file', note }
  if (!closedByClient.includes(reason)) return [back]
  return [{ at: closed, toServer: true, hops: [hop(0, 1)], from: 'close', to: 'end of file', note }, { ...back, note: '' }]
}

// tapEnd is how a tap's session ended: it passes ends on as they come, and breaks both connections where
// there is no orderly one.
function tapEnd({ closed: at, reason }, note) {
  switch (reason) {
    case 'eof':
    case 'no_request':
      return { at, toServer: true, hops: [hop(0, 1), hop(2, 1)], from: 'close', to: 'close', note }
    case 'truncated':
      return { at, toServer: true, hops: [hop(0, 1), hop(1, 2)], from: 'close', to: 'pass on', note }
    case 'reset':
      return { at, toServer: true, hops: [hop(0, 1, true)], from: 'reset', to: '', note }
    case 'upstream_reset':
      return { at, hops: [hop(2, 1, true)], from: 'reset', to: '', note }
  }
  return { at, toServer: true, byTap: true, hops: [hop(1, 0, true), hop(1, 2, true)], from: 'cut', to: '', note }
}

// endingOf is why a session ended, in words. Over TLS an end that was not announced is truncated too.
function endingOf({ reason, tls_version: tls, upstream }) {
  if (reason === 'eof' && upstream) return 'both sides closed'
  return (endings[reason] ?? reason) + (reason === 'truncated' && tls ? ', or without TLS’s close_notify' : '')
}

// since is how long after the step before, or when the first one was.
function since(step) {
  if (!step.at) return ''
  if (step.times) return step.onWay ? `≈ ${step.onWay} on the way` : step.missing?.find(Boolean) ?? ''
  if (step.from === 'connect') return clock(step.at)
  if (step.since < 1 && step.body) return step.toServer ? 'with the same read' : 'with the same write'
  return step.since < 1 ? '' : '+' + duration(step.since * 1e3)
}

function drawDiagram(session, name, steps, view, open, ends) {
  const svg = $('diagram')
  const w = svg.clientWidth
  if (!w) return
  const narrow = w < 560
  const actors = ends ? actorsOfEnds(ends) : actorsOf(session)
  const last = actors.length - 1
  const margin = narrow ? 68 : 120
  const at = actors.map((_, i) => margin + (w - 2 * margin) * i / last) // where the lifelines are
  const middle = w / 2
  const boxWidth = narrow ? Math.min(150, w / actors.length - 6) : Math.min(200, w / actors.length - 16)
  const perLine = Math.floor((w - 2 * margin - 24) / 7.4)
  const parts = [], lines = []
  const text = (x, y, anchor, className, value) => parts.push(draw('text', { x, y, 'text-anchor': anchor, class: className }, value))
  actors.forEach(([name, address], i) => {
    const x = Math.max(1, Math.min(at[i] - boxWidth / 2, w - boxWidth - 1))
    const left = narrow && i === 0 ? 1 : narrow && i === last ? w - boxWidth - 1 : x
    parts.push(draw('rect', { class: 'box', x: left, y: 1, width: boxWidth, height: 44, rx: 8 }))
    text(left + boxWidth / 2, 19, 'middle', 'actor', name)
    text(left + boxWidth / 2, 36, 'middle', 'quiet payload', cut([...printableString(address)], Math.floor(boxWidth / 6.7)))
  })
  let y = 62
  if (!ends) {
    text(at[0] - 8, y, 'end', 'step', 'socket')
    for (const step of ['socket', 'bind', 'listen']) {
      text(at[last] + 8, y, 'start', 'step', step)
      y += 14
    }
  }
  let asked = null // where the last request came in
  for (const step of steps) {
    if (step.gap) {
      y += 12
      parts.push(draw('line', { class: 'gap', x1: at[0] + 12, x2: at[last] - 12, y1: y, y2: y }))
      text(middle, y - 5, 'middle', 'quiet warn', step.gap)
      y += 12
      asked = null
      continue
    }
    const touched = step.hops.flatMap(({ from, to }) => [at[from], at[to]])
    const left = Math.min(...touched), right = Math.max(...touched), centre = (left + right) / 2
    const labels = step.body ? labelsOf(step.body, view, perLine) : [{ text: cut([...step.note], Math.floor((right - left - 8) / 6)) }]
    if (step.fault) labels.push({ text: cut([...printableString('fault ' + step.fault)], perLine), fault: true })
    for (const label of labels) {
      y += 15
      text(centre, y, 'middle', label.fault ? 'warn' : label.exact ? 'payload size' : step.body ? 'payload' : 'quiet', label.text)
    }
    y += 7
    const side = step.toServer ? '' : ' back'
    for (const { from, to, broken } of step.hops) {
      const tip = to > from ? -1 : 1
      const end = broken ? (at[from] + at[to]) / 2 : at[to] + 2 * tip
      parts.push(draw('path', { class: 'arrow' + (broken ? ' broken' : side), d: `M${at[from]},${y}H${end}` }))
      if (broken) text(end, y + 4, 'middle', 'warn', '✕')
      else parts.push(draw('path', { class: 'head' + side, d: `M${at[to] + tip},${y}l${8 * tip},-4v8z` }))
    }
    if (step.times) {
      const short = time => narrow ? time.slice(6) : time // of a telephone, seconds
      step.times.forEach((time, i) => {
        const outer = i === 0 ? [at[0] - 8, 'end'] : i === last ? [at[last] + 8, 'start'] : [at[i] + 5, 'start']
        text(outer[0], i > 0 && i < last ? y + 13 : y + 4, outer[1], time ? 'step' : 'warn', time ? short(time) : narrow ? '—' : step.missing?.[i] ?? '—')
      })
    } else {
      const words = step.toServer ? [step.from, step.to] : [step.to, step.from]
      text(left - 8, y + 4, 'end', 'step', step.byTap && step.hops.length > 1 ? '' : words[0])
      text(right + 8, y + 4, 'start', 'step', words[1])
    }
    text(centre, y + (step.times && actors.length > 2 ? 25 : 13), 'middle', 'quiet', since(step))
    if (step.times && actors.length > 2) y += 12
    if (step.toServer && step.body) asked = asked ?? y
    if (!step.toServer && step.body && asked !== null) {
      lines.push(draw('rect', { class: 'work', x: at[last] - 3, y: asked, width: 6, height: y - asked, rx: 2 }))
      asked = null
    }
    y += 18
  }
  y += 14
  text(middle, y, 'middle', 'quiet', session.closed ? 'closed: ' + session.reason : open)
  for (const x of at) lines.unshift(draw('line', { class: 'life', x1: x, x2: x, y1: 45, y2: y + 4 }))
  const height = y + 14
  svg.setAttribute('height', height)
  svg.setAttribute('viewBox', `0 0 ${w} ${height}`)
  const who = actors.map(([name, address]) => name.toLowerCase() + ' ' + address).join(', ').replace(/, ([^,]*)$/, ' and $1')
  svg.setAttribute('aria-label', `Sequence diagram of session ${name}: ${steps.filter(s => s.body).length} messages between ${who}. The table below tells the same.`)
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

// actorOf is whose step it is.
function actorOf(session, step) {
  if (step.byTap) return 'tap'
  return step.toServer ? 'client' : session.upstream ? 'upstream' : 'server'
}

function renderSteps(session, steps, view, ends) {
  const focused = document.activeElement?.dataset?.key
  $('steps-rows').replaceChildren(...steps.map(step => {
    if (step.gap) return make('tr', {}, make('td', { colSpan: 5 }, step.gap))
    const parts = step.body ? payload(step.body, view === 'text' ? 'beside' : view) : []
    const text = parts.flatMap(({ pieces, exact }, i) => [...(i ? ['\n'] : []), make('span', { className: exact ? 'exact' : '' }, ...unbroken(pieces))])
    const time = step.times?.[0] || (step.at ? clock(step.at) : '')
    const how = step.times ? step.times.map((at, i) => `${ends.ends[i].who}: ${at || step.missing?.[i] || 'not recorded'}`).join('; ') : step.from + (step.to ? ' → ' + step.to : '')
    const who = step.times ? ends.ends.at(step.toServer ? 0 : -1).who.split(' ')[0] : actorOf(session, step)
    return make('tr', {},
      make('td', {}, step.of ? link(step.of, time) : time), make('td', {}, since(step)), make('td', {}, who), make('td', {}, how),
      make('td', { className: 'mono' }, ...(step.body ? [sizeOf(step.body), ...text] : [step.note]), ...(step.fault ? [make('span', { className: 'fault' }, printableString(' fault ' + step.fault))] : [])))
  }))
  focusOn(focused)
}
