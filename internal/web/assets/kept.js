// What the live page has of sessions that are over: how many ended for which reason, those that ended so, and the
// way to all that a journal keeps.

import { $, make, count, duration, clock, day, whoOf, requestCount, sessionButton } from './common.js'
import { endings, isBad } from './endings.js'

let chosen = '' // the reason of which sessions are shown
let ends = []

// showEnds shows the counts, which the server tells with the sessions.
export function showEnds(now) {
  ends = now
  render()
  if (chosen) askForEnded()
}

function render() {
  const focused = document.activeElement?.dataset?.end
  const rows = [...ends].sort((a, b) => Number(b.bad ?? false) - Number(a.bad ?? false) || b.count - a.count).map(e => {
    const what = make('span', { className: 'count' }, count(e.count)), why = make('span', { className: e.bad ? 'bad' : '' }, (e.refused ? 'refused, ' : '') + e.reason)
    const said = e.refused ? '' : endings[e.reason] ?? ''
    if (e.refused) return make('li', {}, make('span', { className: 'end' }, what, ' ', why))
    const button = make('button', { type: 'button', className: 'end', title: said }, what, ' ', why)
    button.dataset.end = e.reason
    button.setAttribute('aria-pressed', String(chosen === e.reason))
    button.setAttribute('aria-label', `${count(e.count)} ${e.reason}${said ? ', ' + said : ''}: show them`)
    button.addEventListener('click', () => {
      chosen = chosen === e.reason ? '' : e.reason
      render()
      askForEnded()
    })
    return make('li', {}, button)
  })
  $('ends').replaceChildren(...rows)
  $('ends-part').hidden = !rows.length
  if (focused) document.querySelector(`[data-end="${CSS.escape(focused)}"]`)?.focus()
}

// askForEnded lists the last sessions that ended for the chosen reason.
async function askForEnded() {
  const reason = chosen
  $('ended-part').hidden = !reason
  if (!reason) return
  $('ended-title').textContent = 'Ended by ' + reason
  try {
    const answer = await fetch('/ended?' + new URLSearchParams({ reason }))
    if (!answer.ok) throw new Error((await answer.text()).trim())
    const list = await answer.json()
    if (reason !== chosen) return
    const all = ends.find(e => e.reason === reason && !e.refused)?.count ?? list.length
    $('ended-note').textContent = list.length < all ? `the last ${count(list.length)} of ${count(all)}` : ''
    const rows = list.map(s => make('li', {},
      sessionButton(s.number), make('span', { className: 'mono' }, whoOf(s)),
      make('span', { className: 'state' + (isBad(s.reason) ? ' bad' : '') }, `${day(s.closed)} ${clock(s.closed).slice(0, 8)}, after ${duration((s.closed - s.opened) * 1e3)}`),
      make('span', { className: 'count' }, requestCount(s))))
    const focused = [...$('ended').children].findIndex(li => li.contains(document.activeElement))
    $('ended').replaceChildren(...rows)
    if (focused >= 0) $('ended').children[focused]?.querySelector('button').focus()
  } catch (error) {
    $('ended-note').textContent = error.message
  }
}

$('goto').addEventListener('submit', e => {
  e.preventDefault()
  const number = /^#?(\d{1,15})$/.exec($('goto-number').value.trim())?.[1]
  $('goto-wrong').textContent = Number(number) ? '' : 'Sessions count from 1.'
  if (Number(number)) location.hash = 'session/' + Number(number)
})

// The filter above the stream goes with who looks through everything.
$('all-kept').addEventListener('click', e => {
  const query = new URLSearchParams(Object.entries({ text: $('filter-text').value, session: $('filter-session').value.trim().replace(/^#/, ''), slower: $('filter-slower').value.trim().replace(',', '.') }).filter(([, value]) => value))
  e.currentTarget.href = '/journal/' + (query.size ? '#' + query : '')
})
