// What the live page and the page of a journal share. Whatever a peer sent becomes text in two
// places only, printable and toHex, and reaches a page through textContent only.

const shownBytes = 320 // of a message in a row, which has room for less
const shownHex = 128 // the same where it is shown in hex

export const $ = id => document.getElementById(id)

export function make(name, attributes = {}, ...children) {
  const e = document.createElement(name)
  for (const [key, value] of Object.entries(attributes)) {
    if (key in e) e[key] = value
    else e.setAttribute(key, value)
  }
  e.append(...children)
  return e
}

export function draw(name, attributes = {}, text) {
  const e = document.createElementNS('http://www.w3.org/2000/svg', name)
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value)
  if (text !== undefined) e.textContent = text
  return e
}

// ---- numbers, times and payloads as text

export const count = new Intl.NumberFormat('en').format

// withUnit keeps a number and its unit on one line.
export const withUnit = (number, unit) => number + '\u00a0' + unit

export function duration(ns) {
  for (const [unit, size] of [['s', 1e9], ['ms', 1e6], ['µs', 1e3]]) {
    if (ns >= 0.9995 * size) return withUnit(short(ns / size), unit)
  }
  return withUnit(Math.max(0, Math.round(ns)), 'ns')
}

// short has three digits or all before the point.
export function short(x) {
  return x >= 100 ? count(Math.round(x)) : x >= 10 ? x.toFixed(1) : x.toFixed(2)
}

export function decade(ns) {
  const [unit, size] = [['s', 1e9], ['ms', 1e6], ['µs', 1e3]].find(([, size]) => ns >= size) ?? ['ns', 1]
  return withUnit(ns / size, unit)
}

export function clock(us) {
  const t = new Date(us / 1000)
  const two = n => String(n).padStart(2, '0')
  return two(t.getHours()) + ':' + two(t.getMinutes()) + ':' + two(t.getSeconds()) + '.' + String(t.getMilliseconds()).padStart(3, '0')
}

export function day(us) {
  const t = new Date(us / 1000)
  return [t.getFullYear(), t.getMonth() + 1, t.getDate()].map(n => String(n).padStart(2, '0')).join('-')
}

// whoOf is who the client is, in a line: its address, TLS, the proxy before it, its name.
export function whoOf(s) {
  const most = 64 // pieces of each
  const more = [s.tls_version, s.proxy && 'by proxy ' + s.proxy, s.tls_name].filter(Boolean).map(text => cut(printable(new TextEncoder().encode(text)), most))
  return printableString(s.remote) + (more.length ? ` (${more.join(', ')})` : '')
}

export const cut = (chars, most) => chars.length > most ? chars.slice(0, most - 1).join('') + '…' : chars.join('')

export const requestCount = s => count(s.requests) + (s.requests === 1 ? ' request' : ' requests')

export function bytesOf(message) {
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

// breakable is a payload as text for a tooltip, which may break its lines beside a byte, and not in one.
const breakable = bytes => printable(bytes).map(piece => piece.length > 1 && piece.startsWith('\\') ? piece + '\u200b' : piece).join('')

export const printableText = bytes => printable(bytes).join('')
export const printableString = text => printableText(new TextEncoder().encode(text))

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
export function payload(message, view, most = Infinity) {
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
// in hex are, being parted by blanks, unless the last line ends in an ellipsis of the browser's.
export function unbroken(pieces, clamped = false) {
  const nodes = []
  let plain = ''
  for (let piece of pieces) {
    if (clamped && piece.length > 1 && piece.startsWith(' ')) {
      plain += ' '
      piece = piece.slice(1)
    }
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

// ---- what both pages have

// sizeOf is a message's length, and before parts of it were replaced to conceal them: [9, was 20].
export const sizeOf = message => `[${message.bytes}${message.whole ? ', was ' + message.whole : ''}] `

export function messageCell(message, className, view, none) {
  const cell = make('span', { className: view === 'both' ? className + ' full' : className })
  if (!message) {
    cell.append(make('span', { className: 'none' }, none))
    return cell
  }
  cell.append(make('span', { className: 'size' }, sizeOf(message)))
  for (const { pieces, exact } of payload(message, view, view === 'text' ? shownBytes : shownHex)) cell.append(make('span', { className: exact ? 'exact' : '' }, ...unbroken(pieces, true)))
  if (message.text && !message.secret && view === 'text') cell.title = breakable(bytesOf(message).subarray(0, shownBytes))
  return cell
}

// faultOf is what went wrong with an exchange on purpose, if anything did.
export const faultOf = x => x.fault ? [make('span', { className: 'fault' }, 'fault ' + printableString(x.fault))] : []

// sessionButton opens a session: of this run, unless an address says otherwise, or a function that makes one.
export function sessionButton(number, address = 'session/' + number, name = '#' + number) {
  const button = make('button', { type: 'button', className: 'open' }, name)
  button.setAttribute('aria-label', `Session ${name.startsWith('#') ? number : name}: open its diagram`)
  button.addEventListener('click', () => { location.hash = typeof address === 'function' ? address() : address })
  return button
}
