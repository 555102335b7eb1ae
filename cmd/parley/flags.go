package main

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/suggest"
)

// givenFlags are those of the command line.
func givenFlags(flags *pflag.FlagSet) map[string]bool {
	given := map[string]bool{}
	flags.Visit(func(f *pflag.Flag) { given[f.Name] = true })
	return given
}

// completeGiven adds to the flags that were given those of the environment, and says what is wrong with
// them all.
func completeGiven(cmd *cobra.Command) error {
	flags := cmd.Flags()
	given := givenFlags(flags)
	if err := flagsFromEnvironment(flags, given); err != nil {
		return err
	}
	return cmp.Or(refuseEmpty(flags, given), refuseNegative(flags), refuseRivals(flags), refuseLonely(flags, given), refuseNumbers(cmd, given))
}

// flagsFromEnvironment sets each flag that was not given from its variable:
// --idle-timeout from PARLEY_IDLE_TIMEOUT. A variable gives way to a flag that excludes
// its own; an empty one is as none.
func flagsFromEnvironment(flags *pflag.FlagSet, given map[string]bool) error {
	isGiven := func(name string) bool { return given[name] }
	var err error
	flags.VisitAll(func(f *pflag.Flag) {
		name := variableOf(f)
		value := os.Getenv(name)
		if _, not := f.Annotations[notOfEnvironment]; not || value == "" || f.Changed || f.Name == "help" || f.Name == "version" || slices.ContainsFunc(rivals(f), isGiven) || err != nil {
			return
		}
		if e := flags.Set(f.Name, value); e != nil {
			err = usageError("environment variable %s=%q: %w", name, value, whyInvalid(e))
			return
		}
		flags.SetAnnotation(f.Name, fromEnvironment, nil)
	})
	return err
}

// notOfEnvironment is the annotation of a flag that no variable sets: that of its name says something else.
const notOfEnvironment = "not_of_environment"

func variableOf(f *pflag.Flag) string {
	return "PARLEY_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
}

// fromEnvironment is the annotation of a flag that its variable has set.
const fromEnvironment = "from_environment"

// isGiven says whether a flag was given, and not only its variable.
func isGiven(f *pflag.Flag) bool {
	_, isVariable := f.Annotations[fromEnvironment]
	return f.Changed && !isVariable
}

// refuseRivals says which flags that were given exclude each other.
func refuseRivals(flags *pflag.FlagSet) error {
	var err error
	flags.Visit(func(f *pflag.Flag) {
		for _, name := range rivals(f) {
			if name != f.Name && flags.Changed(name) && err == nil {
				err = usageError("--%s and --%s exclude each other; use one of them", f.Name, name)
			}
		}
	})
	return err
}

// goesWith is the annotation of a flag that says nothing without another, or one of several.
const goesWith = "goes_with"

// refuseLonely says which flag was given without the one that it goes with. A variable may
// be there for other runs.
func refuseLonely(flags *pflag.FlagSet, given map[string]bool) error {
	var err error
	flags.Visit(func(f *pflag.Flag) {
		others := f.Annotations[goesWith]
		if len(others) > 0 && given[f.Name] && !slices.ContainsFunc(others, flags.Changed) {
			err = usageError("--%s goes with --%s", f.Name, strings.Join(others, " or --"))
		}
	})
	return err
}

// mayBeEmpty are the flags whose text may be empty: a reply, a request.
var mayBeEmpty = map[string]bool{"reply": true, "expect-text": true, "message": true}

// refuseEmpty says which text was given and is empty, as that of a variable that is not set:
// nothing is to be switched off by it without a word.
func refuseEmpty(flags *pflag.FlagSet, given map[string]bool) error {
	var err error
	flags.Visit(func(f *pflag.Flag) {
		if given[f.Name] && f.Value.Type() == "string" && f.Value.String() == "" && !mayBeEmpty[f.Name] {
			err = usageError("--%s: its value is empty; leave the flag out if you do not want it", f.Name)
		}
	})
	return err
}

// refuseNegative says which time is negative, as none may be.
func refuseNegative(flags *pflag.FlagSet) error {
	var err error
	flags.Visit(func(f *pflag.Flag) {
		if f.Value.Type() == "duration" && strings.HasPrefix(f.Value.String(), "-") {
			err = usageError("--%s %s: a time cannot be negative", f.Name, f.Value)
		}
	})
	return err
}

// rivals are the flags of which f must be the only one: cobra notes them there, and its
// own error speaks of groups.
func rivals(f *pflag.Flag) []string {
	return strings.Fields(strings.Join(f.Annotations["cobra_annotation_mutually_exclusive"], " "))
}

// explainFlag says in words what is wrong with a flag of the command.
func explainFlag(cmd *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		return usageError("--%s %q: %w", invalid.GetFlag().Name, invalid.GetValue(), whyInvalid(err))
	}
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "" {
		name := unknown.GetSpecifiedName()
		if meant := suggest.DidYouMean(name, "--", flagNames(cmd)); meant != "" {
			return usageError("unknown flag --%s%s", name, meant)
		}
		err = fmt.Errorf("unknown flag --%s", name)
	}
	if len(cmd.Flags().Args()) > 0 && cmd.Annotations[takesWords] != "" {
		return usageError("%w; put -- before words of the message that look like flags; '%s --help' lists the flags", err, cmd.CommandPath())
	}
	return usageError("%w; '%s --help' lists the flags", err, cmd.CommandPath())
}

func flagNames(cmd *cobra.Command) (names []string) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}

// takesWords is the annotation of a command that sends the words behind its address.
const takesWords = "takes_words"

// A familyFlag is --ipv4 or --ipv6.
type familyFlag struct {
	on        *bool
	flags     *pflag.FlagSet
	amongText bool // it stood behind a word of the message
}

func (f *familyFlag) String() string   { return strconv.FormatBool(f.on != nil && *f.on) }
func (f *familyFlag) Type() string     { return "bool" }
func (f *familyFlag) IsBoolFlag() bool { return true }

func (f *familyFlag) Set(s string) (err error) {
	f.amongText = f.flags.NArg() > 1
	*f.on, err = strconv.ParseBool(s)
	return err
}

// addFamily adds --ipv4 and --ipv6.
func addFamily(cmd *cobra.Command, only4, only6 *bool) {
	flags := cmd.Flags()
	defer heading(flags, ofWayOut)()
	flags.VarPF(&familyFlag{on: only4, flags: flags}, "ipv4", "4", "use IPv4 only").NoOptDefVal = "true"
	flags.VarPF(&familyFlag{on: only6, flags: flags}, "ipv6", "6", "use IPv6 only").NoOptDefVal = "true"
	cmd.MarkFlagsMutuallyExclusive("ipv4", "ipv6")
}

// refuseNumbers says which of -4 and -6 stands among the words of a message: there it is rather
// a number, as in LRANGE key 0 -4, and would be missing from what is sent without a word.
func refuseNumbers(cmd *cobra.Command, given map[string]bool) error {
	if cmd.Annotations[takesWords] == "" {
		return nil
	}
	for _, name := range []string{"ipv4", "ipv6"} {
		if f := cmd.Flags().Lookup(name); given[name] && f.Value.(*familyFlag).amongText {
			return usageError("-%s among the words of the message: put -- before the words if it is one of them, or --%s before the address", f.Shorthand, name)
		}
	}
	return nil
}

// whyInvalid says what a flag's value should be. The flags of our own know it themselves.
func whyInvalid(err error) error {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return err
	}
	if errors.Is(err, strconv.ErrRange) {
		return errors.New("the number is too large")
	}
	switch invalid.GetFlag().Value.Type() {
	case "duration":
		return errors.New("use a time with its unit, such as 500ms, 10s or 5m; 2562047h is the most")
	case "int":
		return errors.New("use a whole number")
	case "uint64":
		return errors.New("use a whole number that is not negative")
	case "float64":
		return errors.New("use a number")
	case "bool":
		return errors.New("use true or false")
	}
	return invalid.Unwrap()
}

// A framingFlag is --framing, with a name of internal/dialect.
type framingFlag struct{ dialect.Framing }

func newFramingFlag() framingFlag {
	line, _ := dialect.Parse("line")
	return framingFlag{line}
}

func (f *framingFlag) String() string { return f.Name }
func (f *framingFlag) Type() string   { return "FRAMING" }

func (f *framingFlag) Set(s string) (err error) {
	f.Framing, err = dialect.Parse(s)
	return err
}

func (f *framingFlag) add(cmd *cobra.Command, about string) { f.addWith(cmd, "f", about) }

func (f *framingFlag) addWith(cmd *cobra.Command, shorthand, about string) {
	cmd.Flags().VarP(f, "framing", shorthand, framingUsage+about)
}

// withCRLF has messages end with CRLF, which only lines can.
func (f *framingFlag) withCRLF() error {
	request, reply, two := strings.Cut(f.Name, "/")
	switch {
	case request != "line":
		return usageError("--crlf goes with --framing line, not with %s", f.Name)
	case two:
		return f.Set("crlf/" + reply)
	}
	return f.Set("crlf")
}

// framingUsage names them all; what each is for is in docs/protocol.md.
var framingUsage = func() string {
	var names []string
	for _, n := range dialect.Completions("") {
		names = append(names, n.Name)
	}
	return "where a message ends: " + strings.Join(names, " ") + "; two as REQUEST/REPLY, such as line/close or line/none"
}()

// An engineFlag is --engine: auto, loops or goroutines.
type engineFlag struct {
	name   string
	engine parley.Engine
}

var engineNames = []string{"auto", "loops", "goroutines"}

// newEngineFlag: the replies of a pattern never block, so loops are right for them.
func newEngineFlag() engineFlag { return engineFlag{"auto", parley.LoopsIfPossible} }

func (f *engineFlag) String() string { return f.name }
func (f *engineFlag) Type() string   { return "ENGINE" }

func (f *engineFlag) Set(s string) error {
	engine, known := map[string]parley.Engine{
		"auto": parley.LoopsIfPossible, "loops": parley.Loops, "goroutines": parley.Goroutines,
	}[s]
	if !known {
		return errors.New("use auto, loops or goroutines" + suggest.DidYouMean(s, "", engineNames))
	}
	f.name, f.engine = s, engine
	return nil
}

// addHex adds --hex, which goes with what a person reads.
func addHex(cmd *cobra.Command, hex *bool, where string) {
	cmd.Flags().BoolVar(hex, "hex", false, "dump each message "+where+": offset, bytes and ASCII, behind > from the client and < to it")
	for _, other := range []string{"quiet", "json", "csv", "export", "sessions"} {
		if cmd.Flags().Lookup(other) != nil {
			cmd.MarkFlagsMutuallyExclusive("hex", other)
		}
	}
}

// checkMaxSessions is for servers and taps alike.
func checkMaxSessions(n int) error {
	if n < 1 {
		return usageError("--max-sessions %d: it must be at least 1; leave the flag out for as many as the open files allow", n)
	}
	return nil
}

// A sizeFlag is a number of bytes: 65536, 64KiB, 64k, 1MiB.
type sizeFlag int

// String is the number in the largest unit of which it is a whole number.
func (f *sizeFlag) String() string {
	n := int(*f)
	for _, unit := range []struct {
		shift int
		name  string
	}{{30, "GiB"}, {20, "MiB"}, {10, "KiB"}} {
		if n > 0 && n%(1<<unit.shift) == 0 {
			return strconv.Itoa(n>>unit.shift) + unit.name
		}
	}
	return strconv.Itoa(n)
}

func (f *sizeFlag) Type() string { return "BYTES" }

func (f *sizeFlag) Set(s string) error {
	number := strings.TrimRight(s, "kKmMgGiB")
	n, err := strconv.Atoi(number)
	shift, known := map[string]int{"": 0, "B": 0, "k": 10, "K": 10, "KiB": 10, "m": 20, "M": 20, "MiB": 20, "G": 30, "GiB": 30}[s[len(number):]]
	switch {
	case errors.Is(err, strconv.ErrRange), err == nil && known && n > math.MaxInt>>shift:
		return errors.New("the number is too large")
	case err != nil || !known:
		return errors.New("use a number of bytes, such as 65536, 64KiB or 1MiB")
	case n < 1:
		return errors.New("it must be at least 1 byte; leave the flag out for the default")
	}
	*f = sizeFlag(min(n<<shift, math.MaxInt/2)) // nobody has that much, and sums with it do not wrap
	return nil
}

// A daysFlag is a time of days, such as 14d, or as of a duration.
type daysFlag struct {
	text string
	time.Duration
}

func (f *daysFlag) String() string { return f.text }
func (f *daysFlag) Type() string   { return "DAYS" }

func (f *daysFlag) Set(s string) error {
	d, ok := parseDays(s)
	if !ok {
		return errors.New("use days such as 14d, or a time such as 336h")
	}
	f.text, f.Duration = s, d
	return nil
}

// parseDays reads 14d or 336h; ok is false for any other text, and for nothing or less.
func parseDays(s string) (d time.Duration, ok bool) {
	d, err := time.ParseDuration(s)
	if days, is := strings.CutSuffix(s, "d"); is {
		var n int
		n, err = strconv.Atoi(days)
		const day = 24 * time.Hour
		d = time.Duration(min(n, int(math.MaxInt64/day))) * day // 292 years, from which on it would wrap
	}
	return d, err == nil && d > 0
}
