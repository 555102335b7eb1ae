package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/parley-tcp/parley/internal/cmdline"
	"github.com/parley-tcp/parley/internal/probe"
)

const (
	maxTargetsFile = 16 << 20 // bytes
	maxTargetName  = 128      // bytes: it is a label of every metric
)

// readTargets are the targets of a file of lines: a name, and what would be typed behind parley check. texts
// are what somebody must know of them. The error names the place in the file.
func readTargets(file string) (targets []*probe.Target, texts []string, err error) {
	defer func() {
		if err != nil {
			closeTargets(targets)
			targets, texts = nil, nil
		}
	}()
	text, err := readTargetsFile(file)
	if err != nil {
		return nil, nil, err
	}
	lines := map[string]int{} // by the names that stand in them
	number := 0
	for line := range strings.Lines(text) {
		number++
		l := targetLine{file: file, number: number}
		if l.words, err = cmdline.Split(line); err != nil {
			var wrong *cmdline.Error
			errors.As(err, &wrong)
			return targets, texts, l.wrong(wrong.Column, err)
		}
		if len(l.words) == 0 {
			continue
		}
		if err := l.checkName(lines); err != nil {
			return targets, texts, err
		}
		target, said, err := l.target()
		if err != nil {
			return targets, texts, err
		}
		targets, texts = append(targets, target), append(texts, said...)
	}
	if len(targets) == 0 {
		return nil, nil, usageError("--targets %s: there is no target in it; write a line such as: web web.internal:443 --tls", file)
	}
	return targets, texts, nil
}

func readTargetsFile(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", usageError("--targets %s: %w", file, inWords(err, aFileToRead))
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxTargetsFile+1))
	switch {
	case err != nil:
		return "", usageError("--targets %s: %w", file, inWords(err, aFileToRead))
	case len(text) > maxTargetsFile:
		return "", usageError("--targets %s: it has more than 16 MiB; is it a list of targets?", file)
	}
	return string(text), nil
}

func closeTargets(targets []*probe.Target) {
	for _, t := range targets {
		t.Close()
	}
}

// A targetLine is one of a file of targets.
type targetLine struct {
	file   string
	number int
	words  []cmdline.Word // the name, and behind it what goes to a check
}

// wrong is an error that names its place.
func (l *targetLine) wrong(column int, err error) error {
	return usageError("%s:%d:%d: %w", l.file, l.number, column, err)
}

// checkName says what is wrong with the name, and notes where it stands.
func (l *targetLine) checkName(lines map[string]int) error {
	name := l.words[0]
	isUnprintable := func(r rune) bool { return !unicode.IsPrint(r) }
	var err error
	switch {
	case name.Text == "":
		err = errors.New("the name is empty")
	case strings.HasPrefix(name.Text, "-"):
		err = errors.New("the name is missing; write NAME ADDRESS, and options behind them")
	case len(name.Text) > maxTargetName:
		err = errors.New("the name is too long: " + strconv.Itoa(maxTargetName) + " bytes are the most")
	case !utf8.ValidString(name.Text) || strings.ContainsFunc(name.Text, isUnprintable):
		err = errors.New("the name has characters that cannot be printed")
	case lines[name.Text] > 0:
		err = errors.New("line " + strconv.Itoa(lines[name.Text]) + " has the name " + name.Text + " already; each target needs its own")
	case len(l.words) == 1:
		err = errors.New("the address is missing; write NAME ADDRESS, such as: web web.internal:443")
	}
	if err != nil {
		return l.wrong(name.Column, err)
	}
	lines[name.Text] = l.number
	return nil
}

// isOfTheProber says whether a flag is for a prober as a whole, and not for each of its targets.
func isOfTheProber(f *pflag.Flag) bool {
	return slices.Contains(f.Annotations[underHeading], ofOperators) || slices.Contains([]string{"every", "targets", "verbose", "json", "quiet", "color", "node"}, f.Name)
}

// ofChecksAlone are the flags of a check that is done at some time.
var ofChecksAlone = []string{"count", "interval", "wait", "all", "junit", "print"}

// refuseOfTargets says which flag that was given is none of a target.
func refuseOfTargets(flags *pflag.FlagSet) (err error) {
	flags.Visit(func(f *pflag.Flag) {
		switch {
		case err != nil:
		case isOfTheProber(f):
			err = usageError("--%s is for all targets: give it to parley check itself", f.Name)
		case slices.Contains(ofChecksAlone, f.Name):
			err = usageError("--%s is for a check by hand; a target is probed once an interval", f.Name)
		}
	})
	return err
}

// target is what the line asks for; texts are what somebody must know of it.
func (l *targetLine) target() (target *probe.Target, texts []string, err error) {
	opt, cmd := newCheck()
	root := &cobra.Command{Use: "parley"} // by which errors name it
	addColor(root)
	root.AddCommand(cmd)
	said := new(bytes.Buffer)
	cmd.SetErr(said)
	cmd.SetOut(io.Discard)
	check, err := l.check(opt, cmd)
	if err != nil {
		return nil, nil, l.wrong(l.columnOf(cmd.Flags(), err), err)
	}
	name := l.words[0].Text
	for text := range strings.Lines(said.String()) {
		texts = append(texts, name+": "+strings.TrimPrefix(strings.TrimSuffix(text, "\n"), "parley: "))
	}
	opt.out.cmd, opt.script.cmd = nil, nil // the check holds on to its options, which need not keep all the flags
	return &probe.Target{Name: name, Check: *check, Close: opt.out.close}, texts, nil
}

func (l *targetLine) check(opt *checkOptions, cmd *cobra.Command) (*probe.Check, error) {
	var words []string
	for _, w := range l.words[1:] {
		words = append(words, w.Text)
	}
	if err := cmd.ParseFlags(words); err != nil {
		return nil, explainFlag(cmd, err)
	}
	flags := cmd.Flags()
	if err := refuseOfTargets(flags); err != nil {
		return nil, err
	}
	if err := completeGiven(cmd); err != nil {
		return nil, err
	}
	switch {
	case flags.NArg() == 0:
		return nil, usageError("the address is missing; write NAME ADDRESS, and options behind them")
	case slices.Contains(opt.script.files, "-"):
		return nil, usageError("--script -: standard input cannot be read again, as the file of targets is; name a file")
	}
	return opt.oneCheck(cmd, flags.Args())
}

// oneCheck is what the flags ask for, with one verdict a run.
func (opt *checkOptions) oneCheck(cmd *cobra.Command, args []string) (*probe.Check, error) {
	opt.all = false // of a variable
	if !opt.script.given() {
		return opt.check(cmd, args)
	}
	if len(opt.script.files) > 1 {
		return nil, usageError("--script %s: a target plays one dialogue, and has %s already; make it a target of its own", opt.script.files[1], opt.script.files[0])
	}
	checks, err := opt.scriptChecks(cmd, args)
	if err != nil {
		return nil, err
	}
	return checks[0], nil
}

// named is what an error names of the words of a line: a flag, or something in quotes.
var named = regexp.MustCompile(`--?[A-Za-z0-9][A-Za-z0-9-]*|"(?:[^"\\]|\\.)*"`)

// columnOf is that of the word that an error names, or else of the first behind the name.
func (l *targetLine) columnOf(flags *pflag.FlagSet, err error) int {
	for _, name := range named.FindAllString(err.Error(), -1) {
		if text, wrong := strconv.Unquote(name); wrong == nil {
			name = text
		}
		for _, w := range l.words[1:] {
			if name == w.Text || name == longOf(flags, w.Text) {
				return w.Column
			}
		}
	}
	for _, w := range l.words[2:] {
		if len(w.Text) > 1 && strings.Contains(err.Error(), w.Text) { // such as the name of a file
			return w.Column
		}
	}
	return l.words[1].Column
}

// longOf is the long form of the flag that a word is, or begins with.
func longOf(flags *pflag.FlagSet, word string) string {
	name, _, _ := strings.Cut(word, "=")
	if len(name) > 1 && name[0] == '-' && name[1] != '-' {
		if f := flags.ShorthandLookup(name[1:2]); f != nil {
			return "--" + f.Name
		}
	}
	return name
}
