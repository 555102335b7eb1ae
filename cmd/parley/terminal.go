package main

import (
	"os"
	"strconv"

	"golang.org/x/term"
)

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// widthOf asks how wide the terminal is that a stream goes to, each time anew; it is nil if it goes to none.
func widthOf(out any) func() int {
	if !isTerminal(out) {
		return nil
	}
	return func() int { return columnsOf(out) }
}

// columnsOf is how wide what goes to a stream may be: what the terminal has; 0, without a bound,
// where the stream is none.
func columnsOf(out any) int {
	if !isTerminal(out) {
		return 0
	}
	if width, _, err := term.GetSize(int(out.(*os.File).Fd())); err == nil && width > 0 {
		return width
	}
	if width, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && width > 0 {
		return width
	}
	const asEver = 80
	return asEver
}
