//go:build !(linux || darwin || dragonfly || freebsd || netbsd || openbsd)

// Package lineedit has a person edit the lines typed at a terminal. Here there is no editor.
package lineedit

import (
	"errors"
	"os"

	"github.com/parley-tcp/parley/internal/talk"
)

// Options say how an Editor edits.
type Options struct {
	In, Out   *os.File
	Show      func(dst, p []byte) []byte
	Complete  func(line string) []string
	History   string
	KeepBlank bool
}

// An Editor is never made here.
type Editor struct{ *talk.Terminal }

// Open fails.
func Open(Options) (*Editor, error) { return nil, errors.ErrUnsupported }

func (e *Editor) Restore()                    {}
func (e *Editor) Guard()                      {}
func (e *Editor) Hide(bool)                   {}
func (e *Editor) Prompt(string)               {}
func (e *Editor) Write(p []byte) (int, error) { return len(p), nil }
func (e *Editor) Beside(string, string)       {}
func (e *Editor) Columns() int                { return 0 }
