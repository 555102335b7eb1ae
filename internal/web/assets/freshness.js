// How fresh a page is: it says Live only while the server answers.

import { $, count, withUnit } from './common.js'

export const staleAfter = 3000 // ms without an answer
const lookEvery = 250 // ms

// wordsFor is what a page says after so many ms without an answer.
export function wordsFor(state, silence) {
  if (state !== 'live' || silence <= staleAfter) return { state, text: { live: 'Live', connecting: 'Connecting', lost: 'Connection lost; trying again' }[state] }
  return { state: 'stale', text: `stale for ${withUnit(count(Math.floor(silence / 1000)), 's')}` }
}

let state = 'connecting'
let refusal = ''
let last = 0 // when there was an answer
let shown = performance.now() // since when the page is looked at

// silence is how long there was no answer, in ms; none that came while nobody looked was asked for.
export const silence = () => last ? performance.now() - last : 0

export function answered() {
  last = performance.now()
  state = 'live'
  show()
}

// failed notes that the server cannot be reached.
export function failed() {
  state = 'lost'
  show()
}

// refused notes that the server answers something else, in words.
export function refused(words) {
  state = 'refused'
  refusal = words
  show()
}

// watch keeps what is said up to date, and calls changed again and again while the page is not live, and when it is again.
export function watch(changed = () => {}) {
  let was = ''
  setInterval(() => {
    show()
    const is = document.body.dataset.connection
    if (is !== 'live' || was !== is) changed()
    was = is
  }, lookEvery)
  addEventListener('visibilitychange', () => {
    if (document.hidden) return
    shown = performance.now()
    show()
  })
}

function show() {
  let { state: is, text } = state === 'refused' ? { state, text: refusal } : wordsFor(state, performance.now() - Math.max(last, shown))
  if (is === 'live' && silence() > staleAfter) [is, text] = ['connecting', 'Catching up'] // it was hidden
  const e = $('connection')
  if (e.textContent === text && e.dataset.state === is) return
  e.ariaLive = e.dataset.state === is ? 'off' : 'polite' // seconds that pass are not read out
  e.dataset.state = document.body.dataset.connection = is
  e.textContent = text
}
