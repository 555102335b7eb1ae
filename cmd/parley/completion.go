package main

import (
	"bytes"
	"cmp"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/recent"
	"github.com/parley-tcp/parley/internal/suggest"
)

// shells are those that words are completed in, each with what writes its script.
var shells = []struct {
	name  string
	write func(root *cobra.Command, w io.Writer, describe bool) error
}{
	{"bash", writeBash},
	{"zsh", func(root *cobra.Command, w io.Writer, describe bool) error {
		if describe {
			return root.GenZshCompletion(w)
		}
		return root.GenZshCompletionNoDesc(w)
	}},
	{"fish", (*cobra.Command).GenFishCompletion},
	{"powershell", func(root *cobra.Command, w io.Writer, describe bool) error {
		if describe {
			return root.GenPowerShellCompletionWithDesc(w)
		}
		return root.GenPowerShellCompletion(w)
	}},
}

func shellNames() (names []string) {
	for _, s := range shells {
		names = append(names, s.name)
	}
	return names
}

func completionCommand() *cobra.Command {
	bare := false
	cmd := &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print what has a shell complete commands, flags, values and addresses",
		Long: `SHELL is bash, zsh, fish or powershell. Addresses are those that parley client was talking to from
a terminal before, journals and dialogues the files that are there.`,
		Example: `  source <(parley completion bash)    for this shell
  parley completion bash >~/.local/share/bash-completion/completions/parley    for all to come, with bash-completion
  parley completion zsh >~/.zsh/completions/_parley    a directory of fpath
  parley completion fish >~/.config/fish/completions/parley.fish
  parley completion powershell | Out-String | Invoke-Expression`,
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return shellNames(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError("completion needs a shell: %s", strings.Join(shellNames(), ", "))
			}
			if len(args) > 1 {
				return usageError("one shell is enough; %q is too much", args[1])
			}
			for _, s := range shells {
				if s.name == args[0] {
					return writeScript(cmd, func(w io.Writer) error { return s.write(cmd.Root(), w, !bare) })
				}
			}
			return usageError("no completion for %q: use %s%s", args[0], strings.Join(shellNames(), ", "), suggest.DidYouMean(args[0], "", shellNames()))
		},
	}
	cmd.Flags().BoolVar(&bare, "no-descriptions", false, "complete without a word on what things are for")
	return cmd
}

// writeScript writes a script in one piece, and says so if it cannot.
func writeScript(cmd *cobra.Command, write func(io.Writer) error) error {
	var script bytes.Buffer
	if err := write(&script); err != nil {
		return err
	}
	if _, err := cmd.OutOrStdout().Write(script.Bytes()); err != nil {
		return cannotWrite(err)
	}
	return nil
}

// cobra's script for bash finds its words by a function of the package bash-completion, which is not
// everywhere. Where it is missing ours does: bash breaks words also at : and =, as in an address.
const (
	bashNeeds = "    _get_comp_words_by_ref \"$@\" cur prev words cword\n"
	bashHas   = `    if declare -F _get_comp_words_by_ref >/dev/null 2>&1; then
        _get_comp_words_by_ref "$@" cur prev words cword
        return
    fi
    local i blanks line=$COMP_LINE
    words=()
    for ((i = 0; i < ${#COMP_WORDS[@]}; i++)); do
        blanks=${line%%[![:space:]]*}
        line=${line#"$blanks"}
        line=${line#"${COMP_WORDS[i]}"}
        if [[ $i -gt 0 && -z $blanks ]]; then
            words[${#words[@]}-1]+=${COMP_WORDS[i]}
        else
            words+=("${COMP_WORDS[i]}")
        fi
        [[ $i -eq $COMP_CWORD ]] && cword=$((${#words[@]} - 1))
    done
    cur=${words[cword]}
    prev=${words[cword-1]}
`
)

func writeBash(root *cobra.Command, w io.Writer, describe bool) error {
	var script bytes.Buffer
	if err := root.GenBashCompletionV2(&script, describe); err != nil {
		return err
	}
	_, err := w.Write(bytes.Replace(script.Bytes(), []byte(bashNeeds), []byte(bashHas), 1))
	return err
}

// A completer says what a word may become.
type completer = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective)

// inPlaces completes each word of a command by the completer of its place, and those behind by none.
func inPlaces(places ...completer) completer {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) < len(places) {
			return places[len(args)](cmd, args, typed)
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

// anAddress completes addresses that were talked to before.
func anAddress(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var addresses []string
	if file, err := recent.File(); err == nil {
		addresses = recent.Read(file)
	}
	return addresses, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// anyWord completes nothing.
func anyWord(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// aFile completes files that are of a kind, and the directories on the way to one.
func aFile(isOne func(name string) bool) completer {
	return func(_ *cobra.Command, _ []string, typed string) (names []string, _ cobra.ShellCompDirective) {
		dir, begun := filepath.Split(typed)
		entries, err := os.ReadDir(cmp.Or(dir, "."))
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		directive := cobra.ShellCompDirectiveNoFileComp
		for _, e := range entries {
			name := dir + e.Name()
			switch {
			case !strings.HasPrefix(e.Name(), begun) || strings.HasPrefix(e.Name(), ".") && begun == "":
			case e.IsDir():
				names = append(names, name+"/")
				directive |= cobra.ShellCompDirectiveNoSpace // something follows
			case isOne(name):
				names = append(names, name)
			}
		}
		return names, directive
	}
}

var (
	aJournal  = aFile(isJournal)
	aDialogue = aFile(func(name string) bool { return strings.HasSuffix(name, ".talk") })
)

// isJournal says whether a file is called so, or is of SQLite.
func isJournal(name string) bool {
	info, err := os.Stat(name)
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	if strings.HasSuffix(name, ".journal") {
		return true
	}
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	const magic = "SQLite format 3\x00"
	head := make([]byte, len(magic))
	_, err = io.ReadFull(f, head)
	return err == nil && string(head) == magic && !strings.HasSuffix(name, ".index") // which is beside a journal
}

func aFraming(_ *cobra.Command, _ []string, typed string) (names []string, _ cobra.ShellCompDirective) {
	for _, n := range dialect.Completions(typed) {
		names = append(names, n.Name+"\t"+n.What)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// A completedFlag is what a flag's value may become.
var completedFlags = map[string]completer{
	"answers":          aJournal,
	"journal":          aJournal,
	"script":           aDialogue,
	"engine":           cobra.FixedCompletions(engineNames, cobra.ShellCompDirectiveNoFileComp),
	"export":           cobra.FixedCompletions(exportFormats, cobra.ShellCompDirectiveNoFileComp),
	"by":               cobra.FixedCompletions(groupings, cobra.ShellCompDirectiveNoFileComp),
	"reason":           cobra.FixedCompletions(reasonNames(), cobra.ShellCompDirectiveNoFileComp),
	"journal-on-error": cobra.FixedCompletions([]string{"stop", "serve"}, cobra.ShellCompDirectiveNoFileComp),
	"speed":            cobra.FixedCompletions([]string{"1x", "10x", "max"}, cobra.ShellCompDirectiveNoFileComp),
	"match":            cobra.FixedCompletions([]string{"shape"}, cobra.ShellCompDirectiveNoFileComp),
	"color":            cobra.FixedCompletions([]string{"auto", "always", "never"}, cobra.ShellCompDirectiveNoFileComp),
	"framing":          aFraming,
	"starttls":         cobra.FixedCompletions(dial.StartTLSProtocols(), cobra.ShellCompDirectiveNoFileComp),
	"send-proxy":       cobra.FixedCompletions([]string{"v1", "v2"}, cobra.ShellCompDirectiveNoFileComp),
}

// completeFlags has the values of all flags completed: those that name a file by files, those that say
// nothing of themselves by nothing.
func completeFlags(root *cobra.Command) {
	for _, cmd := range slices.Concat([]*cobra.Command{root}, root.Commands()) {
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			value, _ := pflag.UnquoteUsage(f)
			complete := completedFlags[f.Name]
			if _, has := cmd.GetFlagCompletionFunc(f.Name); has || value == "" {
				return
			}
			switch {
			case complete != nil:
			case strings.HasPrefix(value, "FILE") || value == "CIDRS": // these take @FILE
				return
			default:
				complete = anyWord
			}
			cmd.RegisterFlagCompletionFunc(f.Name, complete)
		})
	}
}

// keepAddress has an address completed from now on. It is of no importance to the conversation if it
// cannot be kept.
func keepAddress(target string) {
	if file, err := recent.File(); err == nil {
		recent.Add(file, target)
	}
}
