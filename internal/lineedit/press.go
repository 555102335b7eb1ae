//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package lineedit

import (
	"bytes"
	"fmt"
	"io"
	"slices"

	"github.com/clipperhouse/displaywidth"
	"golang.org/x/sys/unix"
)

// press does what a key says.
func (e *Editor) press(k key, text byte) {
	if e.search != nil && e.pressInSearch(k, text) {
		return
	}
	l := &e.line
	switch k {
	case keyText:
		l.insert(text)
	case keyEnter:
		e.enter()
	case keyLeft:
		l.cursor = l.before()
	case keyRight:
		l.cursor = l.after()
	case keyWordLeft:
		l.cursor = l.wordBefore(isWord)
	case keyWordRight:
		l.cursor = l.wordAfter()
	case keyHome:
		l.cursor = 0
	case keyEnd:
		l.cursor = len(l.text)
	case keyBackspace:
		l.remove(l.before(), l.cursor)
	case keyDelete:
		l.remove(l.cursor, l.after())
	case keyKillEnd:
		l.kill(l.cursor, len(l.text))
	case keyKillStart:
		l.kill(0, l.cursor)
	case keyKillWord:
		l.kill(l.wordBefore(isNoBlank), l.cursor)
	case keyKillWordLeft:
		l.kill(l.wordBefore(isWord), l.cursor)
	case keyKillWordRight:
		l.kill(l.cursor, l.wordAfter())
	case keyYank:
		l.insert(l.killed...)
	case keyTranspose:
		l.transpose()
	case keyClear:
		e.opt.Out.WriteString("\x1b[H\x1b[2J")
		e.paint()
	case keyUp:
		e.recall(e.at - 1)
	case keyDown:
		e.recall(e.at + 1)
	case keySearch:
		e.beginSearch()
	case keyComplete:
		e.complete()
	case keyEndOfInput:
		if len(l.text) > 0 {
			l.remove(l.cursor, l.after())
			return
		}
		e.over = true
		e.submit(typed{err: io.EOF})
	case keyInterrupt:
		unix.Kill(0, unix.SIGINT)
	case keyQuit:
		e.leave()
		unix.Kill(0, unix.SIGQUIT)
	case keySuspend:
		e.paint()
		e.suspend()
	}
}

// enter hands the line over.
func (e *Editor) enter() {
	if len(e.line.text) == 0 && !e.opt.KeepBlank {
		e.over = true
	}
	e.submit(typed{text: e.line.text})
	e.line.text, e.line.cursor = nil, 0
	e.at, e.draft = len(e.history.lines), nil
}

// recall brings a line of the history back, or behind its end the one that was typed.
func (e *Editor) recall(at int) {
	if e.hide || at < 0 || at > len(e.history.lines) {
		return
	}
	if e.at >= len(e.history.lines) {
		e.draft = slices.Clone(e.line.text)
	}
	e.at = at
	if at == len(e.history.lines) {
		e.line.set(e.draft)
	} else {
		e.line.set(e.history.lines[at])
	}
}

// mostShown is how many lines are shown that a line may become.
const mostShown = 12

// complete has the line go on as far as all lines agree that begin with what stands before the cursor, or
// shows them.
func (e *Editor) complete() {
	begin := e.line.text[:e.line.cursor]
	if e.hide || len(begin) == 0 {
		return
	}
	var lines [][]byte
	add := func(line []byte) {
		if bytes.HasPrefix(line, begin) && !slices.ContainsFunc(lines, func(l []byte) bool { return bytes.Equal(l, line) }) {
			lines = append(lines, line)
		}
	}
	if e.opt.Complete != nil {
		for _, line := range e.opt.Complete(string(begin)) {
			add([]byte(line))
		}
	}
	for _, line := range slices.Backward(e.history.lines) {
		add(line)
	}
	if len(lines) == 0 {
		return
	}
	switch all := common(lines); {
	case len(all) > len(begin):
		e.line.insert(all[len(begin):]...)
	case len(lines) > 1:
		e.show(lines)
	}
}

// show shows lines above the one that is typed.
func (e *Editor) show(lines [][]byte) {
	var out []byte
	for _, line := range lines[:min(len(lines), mostShown)] {
		out = append(out, displaywidth.TruncateBytes(e.opt.Show(nil, line), e.tty.columns(), []byte("…"))...)
		out = append(out, '\n')
	}
	if more := len(lines) - mostShown; more > 0 {
		out = fmt.Appendf(out, "… %d more\n", more)
	}
	e.above(out, nil)
}

// common is what all lines begin with: whole characters.
func common(lines [][]byte) []byte {
	n := len(lines[0])
	for _, line := range lines[1:] {
		n = min(n, len(line))
		for i := range n {
			if line[i] != lines[0][i] {
				n = i
				break
			}
		}
	}
	if n == len(lines[0]) {
		return lines[0]
	}
	whole := 0
	for characters := displaywidth.BytesGraphemes(lines[0]); characters.Next(); {
		if whole+len(characters.Value()) > n {
			break
		}
		whole += len(characters.Value())
	}
	return lines[0][:whole]
}
