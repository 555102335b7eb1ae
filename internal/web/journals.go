package web

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/guard"
	"github.com/parley-tcp/parley/internal/journal"
)

// MaxJournals is how many files a page shows together: their descriptors, and those of
// browsers, must be within what a process may open.
const MaxJournals = 16

// JournalsOptions are what a page of journals goes by. Files is required.
type JournalsOptions struct {
	Files     []string               // MaxJournals at most
	Hosts     []string               // names by which the page may be asked for, beside localhost and IP addresses
	Certified func(name string) bool // whether the page's certificate is for a name, which it may be asked for by then; nil without TLS
	Framing   dialect.Framing        // of sessions that an older parley recorded, which do not say
	Secrets   bool                   // credentials are shown too
	Token     string                 // what a browser has to know; nothing if empty
	Warn      func(line string)      // told what net/http has to say, at most once a second; must not block; may be nil
}

// Journals is the page of finished or growing journals, as an http.Handler. Serve answers
// browsers with it. Every answer is of a bounded size and takes a bounded time; a browser that
// wants more asks again from where the last answer ended.
type Journals struct {
	door
	opt    JournalsOptions
	files  []*journalFile
	within time.Duration // pageWithin; tests have less patience

	exporting  chan struct{}   // has a place for each export that is written
	indexing   context.Context // ends with the page
	stop       context.CancelFunc
	background sync.WaitGroup
}

// NewJournals opens a page of journals. A file that cannot be read now is shown as such, and read as soon
// as it can be. Close it in the end.
func NewJournals(opt JournalsOptions) *Journals {
	p := &Journals{door: door{guard.Guard{Hosts: opt.Hosts, Certified: opt.Certified, Token: opt.Token}}, opt: opt, within: pageWithin, exporting: make(chan struct{}, maxExporting)}
	p.indexing, p.stop = context.WithCancel(context.Background())
	for _, name := range opt.Files {
		p.files = append(p.files, &journalFile{name: name})
	}
	return p
}

// ServeHTTP answers a browser.
func (p *Journals) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.serve(w, r, p.route) }

// Serve answers browsers on l, which it closes, until ctx ends. No browser keeps it from
// returning. The error is the listener's; nil if it was ctx.
func (p *Journals) Serve(ctx context.Context, l net.Listener) error {
	return guard.Serve(ctx, l, p, maxConnections, p.opt.Warn)
}

// Close closes the files, once no browser is answered any more.
func (p *Journals) Close() error {
	p.stop()
	p.background.Wait()
	var errs []error
	for _, f := range p.files {
		errs = append(errs, f.close())
	}
	return errors.Join(errs...)
}

const namedDamages = 10 // of a file; the others are counted

// A journalFile is a journal as it lies at a path now: it may vanish, and another one come in
// its place.
type journalFile struct {
	name string

	mu     sync.RWMutex // held for reading while the reader is in use
	reader *journal.Reader
	info   fs.FileInfo // of what reader reads
	times  int64       // how many files were found there
	why    error       // why there is no reader
	closed bool

	inPlace context.Context // ends when another file is found there than reader reads, or none
	retire  context.CancelFunc

	index indexing

	damage  sync.Mutex
	damages []string // the first ones
	more    int      // that are not among them
}

// indexing is how far the text index of a file is.
type indexing struct {
	mu        sync.Mutex
	running   bool
	stop      context.CancelFunc // ends the one that is running
	done, all int64
	failed    string
}

// use has the reader of the file asked. times is which file it is of those found there; the
// error is why there is none.
func (f *journalFile) use(ask func(r *journal.Reader, times int64) error) error {
	f.look()
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.reader == nil {
		return f.why
	}
	return ask(f.reader, f.times)
}

// look opens what lies at the path if it is not what was opened.
func (f *journalFile) look() {
	info, err := os.Stat(f.name)
	f.mu.RLock()
	same, retire := f.reader != nil && err == nil && os.SameFile(info, f.info), f.retire
	f.mu.RUnlock()
	if same {
		return
	}
	f.index.end() // which uses the reader, as exports do
	if retire != nil {
		retire()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err = os.Stat(f.name)
	if f.closed || f.reader != nil && err == nil && os.SameFile(info, f.info) {
		return // somebody else was faster
	}
	if f.reader != nil {
		f.reader.Close()
		f.reader = nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		f.why = errors.New("the file is not there any more")
		if f.times == 0 {
			f.why = errors.New("there is no such file")
		}
		return
	}
	reader, err := journal.Open(f.name)
	if err != nil {
		f.why = fmt.Errorf("it cannot be read: %w", err)
		return
	}
	reader.Damaged = f.noteDamage
	f.reader, f.info, f.times, f.why = reader, info, f.times+1, nil
	f.inPlace, f.retire = context.WithCancel(context.Background())
	f.damage.Lock()
	f.damages, f.more = nil, 0
	f.damage.Unlock()
}

func (f *journalFile) noteDamage(d journal.Damage) {
	f.damage.Lock()
	defer f.damage.Unlock()
	if len(f.damages) < namedDamages {
		f.damages = append(f.damages, d.String())
	} else {
		f.more++
	}
}

func (f *journalFile) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed, f.why = true, errors.New("the page is closed")
	if f.reader == nil {
		return nil
	}
	r := f.reader
	f.reader = nil
	return r.Close()
}

// bringIndexUpToDate does so in the background, so that nobody waits for it; a search goes through
// all exchanges until it is done.
func (p *Journals) bringIndexUpToDate(f *journalFile) {
	f.index.mu.Lock()
	defer f.index.mu.Unlock()
	if f.index.running || p.indexing.Err() != nil {
		return
	}
	f.index.running, f.index.done, f.index.all = true, 0, 0
	ctx, stop := context.WithCancel(p.indexing)
	f.index.stop = stop
	p.background.Go(func() {
		defer stop()
		err := f.use(func(r *journal.Reader, _ int64) error {
			return r.Index(ctx, func(done, all int64) {
				f.index.mu.Lock()
				defer f.index.mu.Unlock()
				f.index.done, f.index.all = done, all
			})
		})
		f.index.mu.Lock()
		defer f.index.mu.Unlock()
		f.index.running, f.index.failed = false, ""
		if err != nil && ctx.Err() == nil {
			f.index.failed = err.Error()
		}
	})
}

// end ends what is running.
func (i *indexing) end() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.running {
		i.stop()
	}
}

// A fileState is what is known of a file without reading it.
type fileState struct {
	Name      string   `json:"name"`
	Times     int64    `json:"times"`               // which file it is of those that were found there; what was told of another is void
	Why       string   `json:"why,omitempty"`       // it cannot be read
	Notice    string   `json:"notice,omitempty"`    // what is known to be missing of the whole
	Damages   []string `json:"damages,omitempty"`   // that were come across; what is there is left out
	More      int      `json:"more,omitempty"`      // damages that are not named
	Missing   int64    `json:"missing,omitempty"`   // exchanges that could not be recorded
	Exchange  int64    `json:"exchange"`            // the highest IDs, or counts, of each: what is new shows in them
	Session   int64    `json:"session"`             //
	Ended     int64    `json:"ended"`               //
	First     int64    `json:"first"`               // µs since 1970; 0 if there is nothing
	Last      int64    `json:"last"`                //
	Index     string   `json:"index,omitempty"`     // how far the text index is, while it is made, or why there is none
	Unindexed bool     `json:"unindexed,omitempty"` // Index says why
	Nodes     []string `json:"nodes,omitempty"`     // on which it was recorded
}

func (p *Journals) state(ctx context.Context) []fileState {
	all := make([]fileState, len(p.files))
	for i, f := range p.files {
		all[i] = f.state(ctx)
	}
	return all
}

func (f *journalFile) state(ctx context.Context) fileState {
	s := fileState{Name: f.name}
	err := f.use(func(r *journal.Reader, times int64) error {
		s.Times, s.Notice = times, r.Notice
		e, err := r.Extent(ctx)
		s.Exchange, s.Session, s.Ended, s.Missing = e.Exchange, e.Session, e.Ended, e.Missing
		if err == nil {
			s.Nodes, err = r.Nodes(ctx)
		}
		if !e.First.IsZero() {
			s.First, s.Last = e.First.UnixMicro(), e.Last.UnixMicro()
		}
		return err
	})
	if err != nil {
		s.Why = err.Error()
	}
	f.damage.Lock()
	s.Damages, s.More = append([]string(nil), f.damages...), f.more
	f.damage.Unlock()
	f.index.mu.Lock()
	defer f.index.mu.Unlock()
	switch {
	case f.index.failed != "":
		s.Index, s.Unindexed = f.index.failed, true
	case f.index.running && f.index.done > 0:
		s.Index = fmt.Sprintf("%d of %d", f.index.done, f.index.all)
	}
	return s
}
