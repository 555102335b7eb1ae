// Who was turned away: connections that became no session, with their reason and time.

import { $, make, clock, printableString } from './common.js'

const reasons = {
  full: 'as many sessions as there may be',
  per_ip: 'as many sessions of its address as there may be',
  denied: 'its address may not connect',
  fault: 'on purpose, by a fault',
  handshake: 'the handshake failed',
  handshake_timeout: 'the handshake took too long',
}

// renderTurned lists them, the newest first.
export function renderTurned(turned) {
  $('turned-part').hidden = !turned.length
  $('turned').replaceChildren(...turned.map(t => make('li', {},
    make('time', {}, clock(t.at).slice(0, 8)),
    make('span', { className: 'mono' }, printableString(t.remote)),
    make('span', { className: 'state' }, `${t.reason}: ${printableString(t.why ?? '') || reasons[t.reason] || 'refused'}`))))
}
