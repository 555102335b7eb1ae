// One exchange whole, in a dialog over either page: its words, its text, its bytes, all that is known of it.

import { make, count, withUnit, duration, day, clock, bytesOf, whoOf, printableString, printableText, unbroken, sessionButton } from './common.js'
import { endings, isBad } from './endings.js'

const step = 65536 // bytes of a message that are shown at once, and with each press of More
const mostCopied = 1 << 20 // bytes; a larger message is saved instead
const lateAgain = 500 // ms until the journal is asked again for what it is to have soon
const lateTimes = 20

// What the page tells of itself: key names an exchange in its addresses, query is how the server is asked for
// that, address is what stands behind # for it, next is the key of the one that comes steps later, ended has the address
// name none, and openSession is the address of an exchange's session.
let page = null
let shown = null // {key, from: the key in the list, told, bodies, late}: what the dialog shows

export function setUp(hooks) {
  page = hooks
  for (const id of ['rows', 'steps-rows']) {
    document.getElementById(id).addEventListener('click', e => {
      if (e.target.closest('a, button') || !getSelection().isCollapsed) return
      const a = e.target.closest('li, tr')?.querySelector('a.whole')
      a?.focus({ preventScroll: true })
      a?.click()
    })
  }
}

// link is what opens an exchange: its time, in a list.
export function link(x, text) {
  const key = page.key(x)
  const a = make('a', { className: 'whole', href: '#' + page.address(key) }, text)
  a.dataset.key = key
  a.setAttribute('aria-label', `${text}: open the exchange${x.session ? ` ${x.seq || ''} of session ${x.session}` : ''} whole`)
  a.addEventListener('click', e => {
    if (e.ctrlKey || e.metaKey || e.shiftKey) return
    e.preventDefault()
    location.hash = page.address(key)
  })
  return a
}

// focusOn brings the focus to an exchange in the list, if it is there and the focus is nowhere else.
export function focusOn(key) {
  if (!key || document.activeElement !== document.body) return false
  const a = [...document.querySelectorAll('a.whole')].find(a => a.dataset.key === key && a.offsetParent)
  a?.focus({ preventScroll: true })
  return Boolean(a)
}

// show shows what the address names: an exchange, or none.
export function show(key) {
  if (!key) {
    shown = null
    if (dialog.open) dialog.close()
    return
  }
  if (shown?.key === key) return
  shown = { key, from: key, told: null, bodies: [null, null], late: 0 }
  $title.textContent = 'Exchange'
  say('Looking it up…')
  fill([], [])
  if (!dialog.open) {
    document.body.append(dialog)
    dialog.showModal()
    dialog.focus()
  }
  ask(shown)
}

// ---- the dialog

const $title = make('h2', { id: 'whole-title' }, 'Exchange')
const $state = make('p', { className: 'aside', role: 'status' })
const $facts = make('dl', { className: 'facts' })
const $messages = make('div')
const $copied = make('p', { className: 'aside', role: 'status' })
const button = (text, press) => {
  const b = make('button', { type: 'button' }, text)
  b.addEventListener('click', press)
  return b
}
const dialog = make('dialog', { id: 'whole', className: 'whole-dialog', tabIndex: -1 },
  make('div', { className: 'head' }, $title, $state,
    Object.assign(button('← Before', () => turn(-1)), { id: 'whole-before' }),
    Object.assign(button('Next →', () => turn(1)), { id: 'whole-next' }),
    Object.assign(button('Close', () => dialog.close()), { id: 'whole-close' })),
  $facts, $messages, $copied)
dialog.setAttribute('aria-labelledby', 'whole-title')
dialog.setAttribute('aria-keyshortcuts', 'j k ArrowRight ArrowLeft Escape')
dialog.addEventListener('close', () => {
  dialog.remove()
  if (!shown) return
  const { key, from } = shown
  shown = null
  page.ended()
  focusOn(from) || focusOn(key)
})
// A press beside it closes it; one that only ends there, as where text is selected, does not.
let pressed = false
const isBeside = e => {
  const box = dialog.getBoundingClientRect()
  return e.clientX < box.left || e.clientX >= box.right || e.clientY < box.top || e.clientY >= box.bottom
}
dialog.addEventListener('pointerdown', e => { pressed = isBeside(e) })
dialog.addEventListener('click', e => { if (pressed && e.target === dialog && isBeside(e)) dialog.close() })
dialog.addEventListener('keydown', e => {
  e.stopPropagation() // the page below has keys of its own
  if (e.ctrlKey || e.metaKey || e.altKey) return
  const by = { j: 1, ArrowRight: 1, k: -1, ArrowLeft: -1 }[e.key]
  if (e.key === 'Escape') {
    e.preventDefault()
    dialog.close()
  } else if (by && !e.target.closest('pre')) {
    e.preventDefault()
    turn(by)
  }
})

const say = text => { $state.textContent = text }

// turn goes to the exchange that came so many later, in the list behind or else in its session.
function turn(by) {
  const lists = ['steps-rows', 'rows'].map(id => document.getElementById(id)).filter(list => list.offsetParent)
  const keys = [...new Set([...(lists[0]?.querySelectorAll('a.whole') ?? [])].map(a => a.dataset.key))]
  if (lists[0]?.id === 'rows') keys.reverse() // the newest is on top
  const at = keys.findIndex(key => key === shown.key || key === shown.from)
  const key = at >= 0 ? keys[at + by] : page.next(shown.key, shown.told, by)
  if (key) location.replace('#' + page.address(key))
  else say(by > 0 ? 'This is the last one.' : 'This is the first one.')
}

async function ask(asked) {
  try {
    const answer = await fetch('exchange?' + page.query(asked.key))
    if (shown !== asked) return
    if (!answer.ok) {
      if (!asked.told) say((await answer.text()).trim())
      return
    }
    asked.told = await answer.json()
    asked.bodies = [asked.told.request, asked.told.reply].map(m => m && bytesOf(m))
    const key = page.key(asked.told)
    if (key !== asked.key) {
      asked.key = key
      history.replaceState(null, '', '#' + page.address(key))
    }
    render()
    if (asked.told.late && asked.late++ < lateTimes) setTimeout(() => { if (shown === asked) ask(asked) }, lateAgain)
  } catch {
    if (shown === asked && !asked.told) say('The server does not answer.')
  }
}

const fill = (facts, messages) => {
  $facts.replaceChildren(...facts.map(([name, ...value]) => make('div', {}, make('dt', {}, name), make('dd', { className: 'mono' }, ...value))))
  $messages.replaceChildren(...messages)
  $copied.textContent = ''
}

// exactly is a time with all that is known of it, in µs.
const exactly = us => `${day(us)} ${clock(us)}${String(Math.floor(us) % 1000).padStart(3, '0')}`

function render() {
  const { told, key } = shown
  const of = told.of
  const session = told.refused ? null : page.openSession(told)
  $title.textContent = told.refused ? 'A connection that was refused' : `${told.seq ? `Exchange ${told.seq}` : 'Not asked for'} ${told.session ? `in session ${told.session}` : ''}`
  say('')
  const facts = []
  if (told.request) facts.push(['Received', exactly(told.at)])
  if (told.reply) facts.push([told.request ? 'Replied' : 'Said', exactly(told.at + told.took / 1e3)])
  if (told.request && told.reply) facts.push(['Took', duration(told.took)])
  if (session) facts.push(['Session', sessionButton(of.lost ? '?' : told.session, () => session)])
  const peer = told.refused ? printableString(told.refused.remote) : of.remote ? whoOf(of) : ''
  if (peer) facts.push(['Peer', peer])
  if (of.local) facts.push(['Server', printableString(of.local)])
  if (of.framing) facts.push(['Framing', printableString(of.framing)])
  if (told.reply && told.request && told.replied !== 'yes') facts.push(['Reply', make('span', { className: 'bad' }, told.replied === 'no' ? 'did not get out' : 'nobody knows whether it got out')])
  if (!told.reply && told.request) facts.push(['Reply', make('span', { className: 'bad' }, of.closed ? 'none' : 'none so far')])
  if (told.fault) facts.push(['Fault', make('span', { className: 'fault' }, printableString(told.fault))])
  if (told.refused) facts.push(['Refused', make('span', { className: 'bad' }, printableString(told.refused.reason))])
  if (of.closed) facts.push(['Session ended', make('span', { className: isBad(of.reason) ? 'bad' : '' }, `${printableString(of.reason)}: ${endings[of.reason] ?? ''}`)])
  const address = location.pathname + '#' + page.address(key)
  facts.push(['Link', make('a', { href: address }, address), ' ', button('Copy link', () => copy(new URL(address, location.href).href, 'the link'))])
  fill(facts, ['Request', 'Reply'].map((name, side) => messageOf(name, side)).filter(Boolean))
}

// messageOf is a request or a reply with all that is here of it.
function messageOf(name, side) {
  const { told, bodies, key } = shown
  const m = side ? told.reply : told.request
  if (!m) return null
  const bytes = bodies[side]
  const kept = m.kept ?? 0
  const section = make('section', { className: 'whole-message' })
  section.setAttribute('aria-label', name)
  section.append(make('h3', {}, name, ', ', make('span', { className: 'size' }, withUnit(count(m.bytes), m.bytes === 1 ? 'byte' : 'bytes') + (m.whole ? `, was ${count(m.whole)} before parts were concealed` : ''))))
  if (m.text) section.append(part(name, m.secret ? 'Words' : 'In the words of its protocol', make('span', {}, ...unbroken([...printableString(m.text)]))))
  if (m.secret) {
    section.append(make('p', { className: 'aside' }, 'There are credentials in it, which are not shown.'))
    return section
  }
  if (kept < m.bytes) {
    const first = `the first ${count(kept)} of ${withUnit(count(m.bytes), 'bytes')} are kept`
    section.append(make('p', { className: 'note' }, told.source === 'journal' ? first : told.late ? first + ' here; the journal is about to have all' : first + '; a journal keeps all'))
  }
  section.append(part(name, 'Text', make('span', {}, printableText(bytes))), part(name, 'Hex', dump(bytes)))
  const left = kept - bytes.length
  const tools = make('p', { className: 'tools' })
  if (left > 0) {
    tools.append(button(`More: ${withUnit(count(Math.min(step, left)), 'bytes')} of the ${count(left)} left`, async e => {
      e.target.disabled = true
      const of = shown
      const more = await fetched(side, bytes.length)
      if (shown !== of || !more) return
      const all = new Uint8Array(bytes.length + more.length)
      all.set(bytes)
      all.set(more, bytes.length)
      of.bodies[side] = all
      const now = messageOf(name, side)
      section.replaceWith(now)
      now.querySelector('button')?.focus()
    }))
  }
  const save = make('a', { className: 'button', href: `message?${page.query(key)}&side=${side ? 'reply' : 'request'}&save`, download: '' }, 'Save')
  save.setAttribute('aria-label', `Save the ${name.toLowerCase()}: exactly its bytes`)
  if (kept <= mostCopied) tools.append(...[['text', asText], ['hex', asHex]].map(([how, to]) => Object.assign(button('Copy ' + how, async () => {
    const all = bytes.length < kept ? await fetched(side, 0, true) : bytes
    const text = all && to(all)
    if (text !== null && text !== undefined) copy(text, `${withUnit(count(all.length), 'bytes')} as ${how}`)
    else $copied.textContent = 'It is no UTF-8 text: copy it as hex, or save it.'
  }), { ariaLabel: `Copy ${how} of the ${name.toLowerCase()}` })))
  tools.append(save)
  section.append(tools)
  return section
}

// part is a message in one of the ways to show it. It scrolls, and can be reached by keyboard.
function part(name, title, content) {
  const pre = make('pre', { className: 'mono', tabIndex: 0 }, content)
  pre.setAttribute('role', 'region')
  pre.setAttribute('aria-label', `${name}: ${title}`)
  return make('div', { className: 'whole-part' }, make('h4', {}, title), pre)
}

// dump is bytes in hex, in lines that fit, with the place of the first of each and what is printable.
function dump(bytes) {
  const width = innerWidth < 640 ? 8 : 16
  const lines = []
  for (let at = 0; at < bytes.length; at += width) {
    const line = bytes.subarray(at, at + width)
    const hex = Array.from(line, b => b.toString(16).padStart(2, '0')).join(' ').padEnd(3 * width)
    lines.push(`${at.toString(16).padStart(6, '0')}  ${hex} ${Array.from(line, b => b >= 0x20 && b < 0x7f ? String.fromCharCode(b) : '.').join('')}`)
  }
  return lines.join('\n')
}

async function fetched(side, from, all) {
  try {
    const answer = await fetch(`message?${page.query(shown.key)}&side=${side ? 'reply' : 'request'}&from=${from}${all ? '&save' : ''}`)
    if (answer.ok) return new Uint8Array(await answer.arrayBuffer())
    $copied.textContent = (await answer.text()).trim()
  } catch {
    $copied.textContent = 'The server does not answer.'
  }
}

function asText(bytes) {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return null
  }
}
const asHex = bytes => Array.from(bytes, b => b.toString(16).padStart(2, '0')).join(' ')

// copy puts a text into the clipboard, which only pages of this host and those over TLS may write by name.
async function copy(text, what) {
  try {
    if (!navigator.clipboard) throw new Error('none')
    await navigator.clipboard.writeText(text)
  } catch {
    const field = make('textarea', { value: text, readOnly: true })
    field.setAttribute('aria-label', 'What is copied')
    const before = document.activeElement
    dialog.append(field)
    field.select()
    const done = document.execCommand('copy')
    field.remove()
    before?.focus()
    if (!done) {
      $copied.textContent = 'This browser does not let a page copy.'
      return
    }
  }
  $copied.textContent = `Copied ${what}.`
}
