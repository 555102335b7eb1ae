// Parley serves, calls and shows request/reply conversations over TCP.
//
// Data goes to standard output, everything else to standard error, each problem in
// one line. The exit code is 0 when done, 1 when the network said no, 2 for wrong
// usage or a local error, 3 when the reply was not the expected one, 129, 130 or 143
// when a signal cut a client short.
package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley/internal/console"
)

// version is set by the build: see the Makefile.
var version = ""

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
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			given := givenFlags(cmd.Flags())
			if err := flagsFromEnvironment(cmd.Flags(), given); err != nil {
				return err
			}
			return cmp.Or(refuseEmpty(cmd.Flags(), given), refuseNegative(cmd.Flags()), refuseRivals(cmd.Flags()), refuseLonely(cmd.Flags(), given), refuseNumbers(cmd, given))
		},
	}
	root.Flags().BoolVarP(&printVersion, "version", "v", false, "print the version")
	root.SetHelpTemplate(helpTemplate)
	root.SetUsageTemplate(fmt.Sprintf(usageTemplate, 0))
	root.SetFlagErrorFunc(explainFlag)
	root.AddCommand(serverCommand(), clientCommand(), checkCommand(), benchCommand(), tapCommand(), replayCommand(), logCommand(), demoCommand(), versionCommand())
	writeHelp := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		// cobra writes the help as it makes it, and does not look whether that went well.
		stdout, text := cmd.OutOrStdout(), new(bytes.Buffer)
		cmd.SetUsageTemplate(fmt.Sprintf(usageTemplate, columnsOf(stdout)))
		cmd.SetOut(text)
		writeHelp(cmd, args)
		cmd.SetOut(stdout)
		if _, err := stdout.Write(text.Bytes()); err != nil {
			exit(err)
		}
	})
	// cobra's own commands take a word that they do not know for none.
	root.InitDefaultHelpCmd()
	help, _, _ := root.Find([]string{"help"})
	help.RunE = helpAbout
	root.InitDefaultCompletionCmd()
	completion, _, _ := root.Find([]string{"completion"})
	completion.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
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
	return usageError("unknown command %q; 'parley --help' lists the commands", word)
}

// The help shows what a command is for and its examples first, and on a terminal no flag in lines longer than
// it is wide.
const (
	helpTemplate = `{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}

{{end}}{{.UsageString}}`

	usageTemplate = `{{if .HasExample}}Examples:
{{.Example}}

{{end}}Usage:{{if .Runnable}}
  {{.UseLine}}{{end}}{{if .HasAvailableSubCommands}}
  {{.CommandPath}} COMMAND{{end}}{{if .HasAvailableSubCommands}}

Commands:{{range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsagesWrapped %d | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableSubCommands}}

'{{.CommandPath}} COMMAND --help' tells more about a command.{{end}}
`
)

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  parley version",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("version stands alone; %q is too much", args[0])
			}
			return writeVersion(cmd)
		},
	}
}

func writeVersion(cmd *cobra.Command) error {
	_, err := fmt.Fprintln(cmd.OutOrStdout(), versionText())
	return err
}

// versionText is what the build was stamped with, or what go install knows.
func versionText() string {
	v, goVersion := version, "unknown Go"
	if info, ok := debug.ReadBuildInfo(); ok {
		goVersion = info.GoVersion
		if v == "" {
			v = info.Main.Version
		}
	}
	if v == "" {
		v = "(devel)"
	}
	return fmt.Sprintf("parley %s (%s)", v, goVersion)
}
