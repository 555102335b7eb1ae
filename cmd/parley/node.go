package main

import (
	"errors"
	"os"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// A nodeFlag is --node: what the machine is called among others.
type nodeFlag struct{ name string }

// longestNode is how long a node's name may be, in bytes: so long are the names of hosts.
const longestNode = 255

func (f *nodeFlag) String() string { return f.name }
func (f *nodeFlag) Type() string   { return "NAME" }

func (f *nodeFlag) Set(s string) error {
	if err := checkNode(s); err != nil {
		return err
	}
	f.name = s
	return nil
}

// add adds the flag; where says what has the name.
func (f *nodeFlag) add(cmd *cobra.Command, where string) {
	cmd.Flags().Var(f, "node", "what this machine is called in "+where+" (default the host's name)")
}

// orHost is the name, the host's if none was given.
func (f *nodeFlag) orHost() string {
	if f.name == "" {
		return hostName()
	}
	return f.name
}

// ownNode is what this machine is called where --node is about what was recorded.
func ownNode() string {
	if name := os.Getenv("PARLEY_NODE"); checkNode(name) == nil {
		return name
	}
	return hostName()
}

// hostName is the host's name, localhost if it has none that a node may have.
var hostName = sync.OnceValue(func() string {
	name, err := os.Hostname()
	if err != nil || checkNode(name) != nil {
		return "localhost"
	}
	return name
})

// checkNode says what is wrong with a node's name. A slash would part it from a session's number,
// as in web-2/17, and a space from what stands beside it in a line.
func checkNode(name string) error {
	unprintable := func(r rune) bool { return r == utf8.RuneError || r == '/' || unicode.IsSpace(r) || !unicode.IsPrint(r) }
	switch {
	case name == "":
		return errors.New("its value is empty; leave it out for the host's name")
	case len(name) > longestNode:
		return errors.New("the name is too long; 255 bytes are the most")
	case strings.ContainsFunc(name, unprintable):
		return errors.New("use a name without spaces, slashes and control characters, such as web-2")
	}
	return nil
}
