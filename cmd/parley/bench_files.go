package main

import (
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley/internal/load"
	"github.com/parley-tcp/parley/internal/report"
)

// benchFiles are those that a run leaves behind. They are made before it begins: that
// they cannot be is not to be learnt after an hour.
type benchFiles struct {
	hdr, csv, plot, html benchFile

	log     *report.HDRLog     // nil if not asked for
	seconds *report.SecondsCSV // the same
}

// A benchFile is a flag's.
type benchFile struct {
	flag, name string
	*os.File   // nil if not asked for
}

func (f *benchFiles) all() []*benchFile { return []*benchFile{&f.hdr, &f.csv, &f.plot, &f.html} }

func (f *benchFiles) add(cmd *cobra.Command) {
	defer heading(cmd.Flags(), ofFiles)()
	about := func(file *benchFile, flag, usage string) {
		file.flag = flag
		cmd.Flags().StringVar(&file.name, flag, "", usage)
		cmd.MarkFlagsMutuallyExclusive("slo", "compare", flag)
	}
	about(&f.hdr, "hdr", "write the times of each second to `FILE`, as an HdrHistogram log")
	about(&f.csv, "csv", "write a row for each second to `FILE`: rate, errors, p50, p95, p99, in flight")
	about(&f.plot, "plot", "draw percentiles, rate and p99 over time into `FILE.svg`")
	about(&f.html, "html", "write all of it to `FILE` as one HTML page")
}

// check says which name cannot be one of a file's.
func (f *benchFiles) check() error {
	if !slices.Contains([]string{"", ".svg"}, filepath.Ext(f.plot.name)) {
		return usageError("--plot %s: the plot is an SVG; name a FILE.svg", f.plot.name)
	}
	return nil
}

// open makes the files. Close is for the end.
func (f *benchFiles) open() error {
	for _, file := range f.all() {
		if file.name == "" {
			continue
		}
		var err error
		if file.File, err = os.Create(file.name); err != nil {
			f.close()
			return file.cannotWrite(err)
		}
	}
	if f.hdr.File != nil {
		f.log = report.NewHDRLog(f.hdr)
	}
	if f.csv.File != nil {
		f.seconds = report.NewSecondsCSV(f.csv)
	}
	return nil
}

func (f *benchFile) cannotWrite(err error) error {
	return usageError("--%s %s: %w", f.flag, f.name, inWords(err, aFileToWrite))
}

func (f *benchFiles) close() {
	for _, file := range f.all() {
		if file.File != nil {
			file.Close()
		}
	}
}

// watch has the files of seconds told of each too.
func (f *benchFiles) watch(show func(load.Second)) func(load.Second) {
	return func(s load.Second) {
		if f.log != nil {
			f.log.Add(s)
		}
		if f.seconds != nil {
			f.seconds.Add(s)
		}
		show(s)
	}
}

// write writes the rest, and says of the files of seconds what went wrong with them.
func (f *benchFiles) write(measured *report.Report) error {
	if f.log != nil && f.log.Err() != nil {
		return f.hdr.cannotWrite(f.log.Err())
	}
	if f.seconds != nil && f.seconds.Err() != nil {
		return f.csv.cannotWrite(f.seconds.Err())
	}
	about := measured.About(append([]string{"parley"}, concealProxy(os.Args[1:])...))
	if f.plot.File != nil {
		if err := report.WritePlot(f.plot, about, measured.Result); err != nil {
			return f.plot.cannotWrite(err)
		}
	}
	if f.html.File != nil {
		if err := report.WritePage(f.html, about, measured.Result); err != nil {
			return f.html.cannotWrite(err)
		}
	}
	return nil
}
