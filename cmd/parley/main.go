// Parley serves, calls and shows request/reply conversations over TCP.
//
// Data goes to standard output, everything else to standard error, each problem in
// one line. The exit code is 0 when done, 1 when the network said no, 2 for wrong
// usage or a local error, 3 when the reply was not the expected one, 129, 130 or 143
// when a signal cut a client short.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/suggest"
)

const (
	exitNetwork  = 1 // the network said no
	exitUsage    = 2 // wrong usage or a local error
	exitMismatch = 3 // the reply was not the expected one
)

// An exitError is an error with the exit code it asks for.
type exitError struct {
	code int
	err  error // nil if all has been said already
}

func (e *exitError) Error() string { return fmt.Sprint(e.err) }

func (e *exitError) Unwrap() error { return e.err }

func networkError(format string, args ...any) error {
	return &exitError{exitNetwork, fmt.Errorf(format, args...)}
}

func usageError(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

func init() {
	cobra.EnableCommandSorting = false // the help has them in the order of rootCommand
}

func main() {
	limitMemory()
	exit(rootCommand().Execute())
}

// exit says what err is, and ends the process with the code that it asks for.
func exit(err error) {
	if isOfOutput(err) {
		err = cannotWrite(err)
	}
	code := 0
	if err != nil {
		exit := &exitError{exitUsage, err} // cobra's own: an unknown flag, too many arguments
		errors.As(err, &exit)
		if exit.err != nil {
			// Errors name what was typed, and what peers and files are called.
			fmt.Fprintf(os.Stderr, "parley: %s\n", console.AppendEscaped(nil, []byte(exit.err.Error())))
		}
		code = exit.code
	}
	os.Exit(code)
}

func rootCommand() *cobra.Command {
	printVersion := false
	root := &cobra.Command{
		Use:   "parley",
		Short: "Request/reply over TCP: serve it, call it, see every exchange",
		Long: `Request/reply over TCP: serve it, call it, see every exchange.

An address is 6969, :6969, host:port, [v6]:port or unix:PATH. A flag that is not given
is taken from the environment: --idle-timeout from PARLEY_IDLE_TIMEOUT; an empty variable
is as none. The exit code is 0 when done, 1 when the network said no, 2 for wrong usage or a
local error, 3 when the reply was not the expected one, 129, 130 or 143 when a signal cut a
client short.`,
		Example: `  parley demo                          both ends of a conversation, side by side
  parley server                        answer everybody on port 6969
  parley client                        talk to localhost:6969
  parley client -q db.internal:7000 PING    one request, just its reply
  parley check db.internal:7000        is it there, and does it answer?`,
		SilenceUsage:  true,
		SilenceErrors: true,
		// No word at all gets the help.
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if printVersion {
				return writeVersion(cmd)
			}
			return cmd.Help()
		},
		SuggestionsMinimumDistance: 2,
		PersistentPreRunE:          func(cmd *cobra.Command, _ []string) error { return completeGiven(cmd) },
	}
	root.CompletionOptions.DisableDefaultCmd = true // ours is completionCommand
	root.Flags().BoolVarP(&printVersion, "version", "v", false, "print the version")
	addColor(root)
	root.SetFlagErrorFunc(explainFlag)
	root.AddCommand(serverCommand(), clientCommand(), checkCommand(), benchCommand(), agentCommand(), tapCommand(), replayCommand(), logCommand(), shipCommand(), collectCommand(), demoCommand(), versionCommand(), completionCommand(), manCommand())
	completeFlags(root)
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		// cobra does not look whether the help could be written.
		stdout := cmd.OutOrStdout()
		if _, err := io.WriteString(stdout, helpText(cmd, columnsOf(stdout))); err != nil {
			exit(err)
		}
	})
	// cobra's own command takes a word that it does not know for none.
	root.InitDefaultHelpCmd()
	help, _, _ := root.Find([]string{"help"})
	help.RunE = helpAbout
	return root
}

func helpAbout(cmd *cobra.Command, words []string) error {
	about, rest, err := cmd.Root().Find(words)
	switch {
	case err != nil:
		return err
	case len(rest) > 0:
		return unknownCommand(about, rest[0])
	}
	about.InitDefaultHelpFlag()
	return about.Help()
}

func unknownCommand(parent *cobra.Command, word string) error {
	// An empty word is the beginning of every command.
	if like := parent.SuggestionsFor(word); len(like) > 0 && word != "" {
		return usageError("unknown command %q; did you mean %s?", word, strings.Join(like, " or "))
	}
	if suggest.Nearest(word, []string{"help"}) != "" { // which is none of cobra's suggestions
		return usageError("unknown command %q; did you mean help?", word)
	}
	return usageError("unknown command %q; 'parley --help' lists the commands", word)
}
