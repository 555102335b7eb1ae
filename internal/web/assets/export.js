// What is shown, saved in the formats of parley log --export.

import { make } from './common.js'

const formats = [['dialogue', 'dialogue', 'for client, check and bench --script'], ['md', 'Markdown', 'the two terminals'], ['mermaid', 'Mermaid', 'a sequence diagram'],
  ['ndjson', 'NDJSON', 'an event a line'], ['pcap', 'pcap', 'for Wireshark']]

// addExports adds a button for each format. query is what the server is asked for, when one is pressed; a
// dialogue is of one session.
export function addExports(to, query, oneSession) {
  const state = make('span', { className: 'aside', role: 'status' })
  to.replaceChildren(make('span', { className: 'aside' }, 'Save as'), ...formats.filter(([format]) => oneSession || format !== 'dialogue').map(([format, name, what]) => {
    const button = make('button', { type: 'button', title: what }, name)
    button.addEventListener('click', () => save(`export?${new URLSearchParams({ format, ...query() })}`, state))
    return button
  }), state)
}

// save has the browser save an export, if there is one: or it would save nothing, and say no more than that.
async function save(url, state) {
  state.textContent = ''
  try {
    const head = await fetch(url, { method: 'HEAD' })
    if (!head.ok) {
      state.textContent = (await (await fetch(url)).text()).trim()
      return
    }
  } catch {
    state.textContent = 'The server does not answer.'
    return
  }
  const a = make('a', { href: url, download: '' })
  document.body.append(a)
  a.click()
  a.remove()
}
