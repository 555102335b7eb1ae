// Where the keyboard is: nothing that is shown anew or goes away takes it along.

const reachable = 'a[href], button, input, select, summary, [tabindex="0"]'

// keepFocus changes a list of rows and has the focus stay where it was in it: on what it was on, or, if that is
// gone, on what is in its place now, or else on the section that the list is in.
export function keepFocus(list, change) {
  const focused = list.contains(document.activeElement) && list !== document.activeElement ? document.activeElement : null
  const row = focused && [...list.children].find(li => li.contains(focused))
  const place = [...list.children].indexOf(row)
  const control = row ? [...row.querySelectorAll(reachable)].indexOf(focused) : -1
  change()
  if (!focused || document.activeElement === focused) return
  const now = list.children[Math.min(place, list.children.length - 1)]
  const next = focused.isConnected ? focused : now?.querySelectorAll(reachable)[control] ?? list.closest('section')
  next.focus({ preventScroll: true })
}

// replaceRows has a list show rows, without touching those that are there already.
export function replaceRows(list, rows) {
  keepFocus(list, () => {
    const keep = new Set(rows)
    for (const row of [...list.children]) if (!keep.has(row)) row.remove()
    let at = list.firstChild
    for (const row of rows) {
      if (row === at) at = at.nextSibling
      else list.insertBefore(row, at)
    }
  })
}

let opener = null // what opened the view that is shown now

// enter has the focus go to a view that was opened, and remembers from where.
export function enter(section) {
  if (!section.contains(document.activeElement)) opener = document.activeElement
  section.focus({ preventScroll: true })
  section.scrollIntoView({ block: 'nearest' })
}

// leave has the focus go back to what opened the view; to a section if that is not there any more.
export function leave(section) {
  const to = opener?.isConnected && opener !== document.body && opener.checkVisibility() ? opener : section
  opener = null
  to.focus({ preventScroll: to === section })
}
