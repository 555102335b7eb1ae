package main

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley/internal/load"
	"github.com/parley-tcp/parley/internal/report"
)

// baselineFlags keep a run for later ones, and judge it against an earlier one.
type baselineFlags struct {
	save, against string
	anyway        bool
}

// baselineRatio is what --max-ratio is for --against if it is left out.
const baselineRatio = 1.1

func (f *baselineFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.save, "save", "", "keep the run in `FILE`, for --against")
	flags.StringVar(&f.against, "against", "", "judge the run against that of `FILE`, which --save has kept: exit with 3 if it is worse by more than --max-ratio (default 1.1) and not by chance")
	flags.BoolVar(&f.anyway, "anyway", false, "with --against: also if the two runs are of another plan or machine")
	flags.SetAnnotation("anyway", goesWith, []string{"against"})
	for _, file := range []string{"save", "against"} {
		cmd.MarkFlagsMutuallyExclusive("slo", "compare", file)
	}
}

// ratio is --max-ratio, as --against takes it.
func (f *baselineFlags) ratio(cmd *cobra.Command, maxRatio float64) (float64, error) {
	switch {
	case f.against == "":
		return maxRatio, nil
	case !cmd.Flags().Changed("max-ratio"):
		return baselineRatio, nil
	case maxRatio == 0 || maxRatio > maxRate:
		return 0, usageError("--max-ratio %v: with --against it must be more than 0, and 1e+09 at most", maxRatio)
	}
	return maxRatio, nil
}

// A baseline is what --save and --against name, while a run goes on.
type baseline struct {
	flags    *baselineFlags
	maxRatio float64
	setup    report.Setup
	then     *report.Baseline // nil without --against
	file     *wholeFile       // nil without --save
	note     func(format string, args ...any)
	notKept  bool
}

// openBaseline reads the file of the earlier run, and makes the one of this: that they cannot be
// is not to be learnt after an hour.
func (b *bench) openBaseline(plan *load.Plan) (*baseline, error) {
	opt := b.opt
	keeps := &baseline{flags: &opt.baseline, maxRatio: opt.maxRatio, note: b.note, setup: report.NewSetup(opt.facts(b.targets[0]), plan, strings.TrimPrefix(versionText(), "parley "))}
	if name := opt.baseline.against; name != "" {
		f, err := os.Open(name)
		if err == nil {
			defer f.Close()
			keeps.then, err = report.ReadBaseline(f)
		}
		if err != nil {
			return nil, usageError("--against %s: %w", name, inWords(err, aFileToRead))
		}
		if differs := keeps.then.Differences(keeps.setup); len(differs) > 0 && !opt.baseline.anyway {
			return nil, usageError("--against %s: that run says nothing of this one: %s; --anyway judges all the same", name, strings.Join(differs, "; "))
		}
	}
	if opt.baseline.save != "" {
		var err error
		if keeps.file, err = createWhole(opt.baseline.save); err != nil {
			return nil, usageError("--save %s: %w", opt.baseline.save, inWords(err, aFileToWrite))
		}
	}
	return keeps, nil
}

// facts are what the plan does not say of itself.
func (opt *benchOptions) facts(at address) report.PlanFacts {
	facts := report.PlanFacts{Target: kindOf(at), Framing: opt.framing.Name, Agents: opt.agents.number}
	switch {
	case opt.greeting.until != "":
		facts.Greeting = "until " + opt.greeting.until
	case opt.greeting.awaited(opt.framing) && opt.script.dialogue == nil:
		facts.Greeting = "yes"
	}
	if opt.out.secure != nil {
		facts.TLS = strings.TrimSpace("tls " + string(opt.out.startTLS))
		if opt.tlsResume {
			facts.TLS += ", resumed"
		}
	}
	var ways []string
	if proxy, _ := opt.out.proxyTo(at); proxy != nil {
		ways = append(ways, proxy.Scheme+" proxy")
	}
	if opt.out.sendProxy != 0 {
		ways = append(ways, "PROXY protocol "+opt.out.sendProxy.String())
	}
	facts.Way = strings.Join(ways, ", ")
	return facts
}

// kindOf is where an address is, whatever its port or path: loopback, unix, or the host.
func kindOf(at address) string {
	ip, err := netip.ParseAddr(bare(at.host))
	switch {
	case at.network == "unix":
		return "unix"
	case at.dialled() == "localhost", err == nil && ip.Unmap().IsLoopback():
		return "loopback"
	}
	return strings.ToLower(at.dialled())
}

// done judges the run and keeps it, unless that would put less than a run into the place of one.
func (k *baseline) done(measured *report.Report) error {
	why := ""
	switch {
	case measured.Replies+measured.Taken == 0:
		why = "nothing was counted"
	case len(measured.Lost()) > 0:
		why = "an agent was lost"
	case measured.Interrupted:
		why = "the run was interrupted"
	case measured.GaveUp:
		why = "the service went away"
	}
	if measured.Replies+measured.Taken > 0 && (k.then != nil || k.file != nil) {
		now := report.NewBaseline(k.setup, measured)
		if k.then != nil && len(measured.Lost()) == 0 {
			measured.Against = report.Judge(k.then, now, k.flags.against, k.maxRatio)
		}
		if k.file != nil && why == "" {
			if err := errors.Join(now.Write(k.file), k.file.keep()); err != nil {
				return usageError("--save %s: %w", k.flags.save, inWords(err, aFileToWrite))
			}
		}
	}
	if k.notKept = k.file != nil && why != ""; k.notKept {
		k.note("--save %s: not kept, since %s", k.flags.save, why)
	}
	return nil
}

// verdict is the exit code of a run that was judged.
func (k *baseline) verdict(measured *report.Report) error {
	switch judged := measured.Against; {
	case judged != nil && judged.Verdict == report.Worse:
		return &exitError{code: exitMismatch}
	case judged != nil && judged.Verdict == report.TooShort, k.notKept:
		return &exitError{code: exitNetwork} // nothing was judged, or kept
	}
	return nil
}

func (k *baseline) close() {
	if k.file != nil {
		k.file.discard()
	}
}

// A wholeFile is being written beside the one whose place it takes, whole or not at all.
type wholeFile struct {
	*os.File
	place string
}

// createWhole begins a file. What is there of its name may be a file, or a link to one.
func createWhole(name string) (*wholeFile, error) {
	place, err := filepath.EvalSymlinks(name)
	if errors.Is(err, fs.ErrNotExist) {
		place = name
	} else if err != nil {
		return nil, err
	}
	if info, err := os.Stat(place); err == nil && !info.Mode().IsRegular() {
		return nil, errors.New("something that is no file is there")
	}
	f, err := os.CreateTemp(filepath.Dir(place), filepath.Base(place)+".*")
	if err != nil {
		return nil, err
	}
	return &wholeFile{f, place}, nil
}

// keep puts the file into its place. Discard then does nothing more.
func (f *wholeFile) keep() error {
	err := errors.Join(f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), f.place)
	}
	if err == nil {
		f.place = ""
	}
	return err
}

// discard drops a file that was not kept.
func (f *wholeFile) discard() {
	if f.place != "" {
		f.Close()
		os.Remove(f.Name())
	}
}
