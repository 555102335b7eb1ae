package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// These are set by the build: see the Makefile.
var (
	version = "" // such as v1.2.3, or v1.2.3-4-gc19fe18 four commits later
	commit  = "" // in hex
	date    = "" // of the commit, such as 2026-11-26
)

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "version",
		Short:             "Print the version",
		Example:           "  parley version",
		ValidArgsFunction: inPlaces(anyWord),
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

// shortVersion is such as v1.2.3: what the build was stamped with, or what go install knows.
func shortVersion() string {
	info, known := debug.ReadBuildInfo()
	if version == "" && known {
		return cmp.Or(info.Main.Version, "(devel)")
	}
	return cmp.Or(version, "(devel)")
}

// versionText is such as "parley v1.2.3 (commit c19fe18ab34d of 2026-11-26, go1.26.8, linux/amd64)": what
// the build was stamped with, or what go install and go build know.
func versionText() string {
	of, on := commit, date
	if info, known := debug.ReadBuildInfo(); known {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				of = cmp.Or(of, s.Value)
			case "vcs.time":
				day, _, _ := strings.Cut(s.Value, "T")
				on = cmp.Or(on, day)
			}
		}
	}
	details := []string{runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
	if of != "" {
		text := "commit " + of[:min(12, len(of))]
		if on != "" {
			text += " of " + on
		}
		details = append([]string{text}, details...)
	}
	return fmt.Sprintf("parley %s (%s)", shortVersion(), strings.Join(details, ", "))
}
