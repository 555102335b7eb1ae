package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley/internal/console"
)

// A colorFlag is --color, of every command: auto, always or never.
type colorFlag string

const (
	colorAuto   colorFlag = "auto"
	colorAlways colorFlag = "always"
	colorNever  colorFlag = "never"
)

func (f *colorFlag) String() string { return string(*f) }
func (f *colorFlag) Type() string   { return "WHEN" }

func (f *colorFlag) Set(s string) error {
	switch when := colorFlag(s); when {
	case colorAuto, colorAlways, colorNever:
		*f = when
		return nil
	}
	return errors.New("use auto, always or never")
}

// addColor adds the flag to all commands.
func addColor(root *cobra.Command) {
	when := colorAuto
	root.PersistentFlags().Var(&when, "color", "use colours: auto (on a terminal), always or never; NO_COLOR and TERM=dumb are never, unless always is given here")
}

// styleOf is how a command shows things on a stream.
func styleOf(cmd *cobra.Command, out any) console.Style {
	flag := cmd.Flag("color")
	switch when := colorFlag(flag.Value.String()); {
	case when == colorAlways && isGiven(flag):
	case when == colorNever, os.Getenv("NO_COLOR") != "":
		return console.Style{}
	case when == colorAlways: // by its variable
	case !isTerminal(out), os.Getenv("TERM") == "", os.Getenv("TERM") == "dumb":
		return console.Style{}
	}
	return console.Coloured()
}
