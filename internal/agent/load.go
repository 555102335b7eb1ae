package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"time"

	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/dialogue"
	"github.com/parley-tcp/parley/internal/expect"
	"github.com/parley-tcp/parley/internal/load"
	"github.com/parley-tcp/parley/internal/secure"
)

// A Load is a plan as it travels: what was asked for, and what the files say that were named. There is
// no path in it, and nothing is read on the agent's machine to carry it out.
type Load struct {
	// Where to.
	Host   string // a name or an IP address
	Port   string // a number
	Family string // as of a dial.Dialer

	// What comes before the conversation.
	SendProxy int
	StartTLS  string
	TLS       *TLS // nil for plain
	TLSInside bool // it begins in the dialogue, not with the connection

	// The conversation.
	Framing     string // by its name
	Greeted     bool   // the greeting of a protocol has been heard before, behind STARTTLS
	Banner      bool   // a greeting is awaited that the framing does not have by itself
	BannerUntil string // a regular expression of its last line
	Messages    *load.Messages
	Expect      string  // as expect.Parse takes it
	Script      *Script // in place of messages; nil if there is none

	// How much of it.
	Connections int
	InFlight    int
	Rate        float64 // of all parts
	ConnectEach bool
	Warmup      time.Duration
	Duration    time.Duration
	Requests    uint64
	MaxReply    int
	Timeout     time.Duration
	Part        load.Part
}

// TLS is what is asked of a server and shown of ourselves, as a secure.ClientOptions has it, with what
// is in its files.
type TLS struct {
	CA, Cert, Key []byte // PEM
	ServerName    string
	Insecure      bool
	ALPN          []string
	Resume        bool
}

// A Script is a dialogue as its file has it.
type Script struct {
	File string // as errors name it
	Text []byte
}

// What a load may be at most, as bench takes it.
const (
	maxTogether = 1 << 22 // requests in flight on all connections
	maxReply    = 16 << 20
	maxRate     = 1e9 // one a nanosecond
)

// plan is the load, of which every connection goes where it is allowed. Its error says in words why there is
// none.
func (l *Load) plan(allowed Allowed) (*load.Plan, error) {
	switch {
	case l.Connections < 1 || l.InFlight < 1 || l.Connections > maxTogether/l.InFlight, !(l.Rate >= 0 && l.Rate <= maxRate), l.MaxReply < 0 || l.MaxReply > maxReply,
		l.Warmup < 0 || l.Duration < 0 || l.Timeout <= 0, l.Part.Index < 0 || l.Part.Index >= l.Part.Of || l.Part.Connections < 0,
		l.Script == nil && l.Messages == nil:
		return nil, errors.New("such a load is none that a bench asks for")
	}
	framing, err := dialect.Parse(l.Framing)
	if err != nil {
		return nil, err
	}
	if l.Greeted {
		framing = framing.BehindGreeting()
	}
	if framing.For != nil {
		framing = framing.For(framing, net.JoinHostPort(l.Host, l.Port))
	}
	judge, err := expect.Parse(l.Expect)
	if err != nil {
		return nil, err
	}
	greeted, err := l.greeted(framing)
	if err != nil {
		return nil, err
	}
	dialer := dial.Dialer{Network: "tcp", Host: l.Host, Port: l.Port, Family: l.Family, Timeout: l.Timeout, SendProxy: l.SendProxy, StartTLS: l.StartTLS, Connect: allowed.connects(l.Host)}
	config, err := l.TLS.config()
	if err != nil {
		return nil, err
	}
	if !l.TLSInside {
		dialer.TLS = config
	}
	p := &load.Plan{
		Dial: dialer.Dial, Framing: greeted.Requests, Replies: greeted.Replies, Banner: l.Script == nil && (l.Banner || framing.SpeaksFirst),
		Messages: l.Messages, Expect: judge,
		Connections: l.Connections, InFlight: l.InFlight, Rate: l.Rate, ConnectEach: l.ConnectEach,
		Warmup: l.Warmup, Duration: l.Duration, Requests: l.Requests, MaxReply: l.MaxReply, Timeout: l.Timeout, Part: l.Part,
		Lacks: framing.Lacks, Conceal: framing.Conceal,
	}
	if l.Script == nil {
		return p, l.Messages.Fit(framing.Requests)
	}
	p.Messages = nil
	p.Script, err = l.Script.script(framing, dialer, config)
	return p, err
}

// greeted is the framing with a greeting before the replies, if one is awaited that it does not have by
// itself.
func (l *Load) greeted(f dialect.Framing) (dialect.Framing, error) {
	if !l.Banner || f.IsProtocol() {
		return f, nil
	}
	greeting := f.OfGreeting().Requests
	if l.BannerUntil != "" {
		last, err := expect.Regexp(l.BannerUntil)
		if err != nil {
			return f, err
		}
		greeting = dialect.Until(greeting, func(line []byte) bool { return last.Holds(nil, line) })
	}
	f.Requests, f.Replies = dialect.Greeted(f.Requests, f.Replies, greeting), nil
	return f, nil
}

// config is what TLS is spoken with; nil for plain.
func (t *TLS) config() (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	files := map[string][]byte{"of the load": t.CA, "for the load": t.Cert, "to it": t.Key}
	name := func(file string) string {
		if len(files[file]) == 0 {
			return ""
		}
		return file
	}
	client, err := secure.ClientOptions{
		CA: name("of the load"), Cert: name("for the load"), Key: name("to it"),
		ServerName: t.ServerName, Insecure: t.Insecure, ALPN: t.ALPN, Resume: t.Resume,
		Read: func(file string) ([]byte, error) {
			if text, there := files[file]; there {
				return text, nil
			}
			return nil, fs.ErrNotExist // a load names no file of this machine
		},
	}.Open()
	if err != nil {
		return nil, err
	}
	return client.Config, nil
}

func (s *Script) script(framing dialect.Framing, dialer dial.Dialer, config *tls.Config) (*load.Script, error) {
	d, err := dialogue.Parse(s.File, s.Text)
	if err != nil {
		return nil, err
	}
	script := &load.Script{Dialogue: d, Framing: framing}
	if dialer.TLS == nil && config != nil {
		within := dialer
		within.TLS = config
		script.StartTLS = func(ctx context.Context, conn net.Conn) (net.Conn, error) { return within.Handshake(ctx, conn) }
	}
	return script, nil
}

// share makes the parts of the load, one for each of so many agents. Connections differ by one at most, as
// do requests; together they are those of the load.
func (l *Load) share(agents int) ([]*Load, error) {
	switch {
	case l.Connections < agents:
		return nil, fmt.Errorf("%d connections are too few for %d agents: one would have none", l.Connections, agents)
	case l.Requests > 0 && l.Requests < uint64(agents):
		return nil, fmt.Errorf("%d requests are too few for %d agents: one would have none", l.Requests, agents)
	}
	parts := make([]*Load, agents)
	before := 0
	for i := range parts {
		part := *l
		part.Part = load.Part{Index: i, Of: agents, Connections: before}
		part.Connections = l.Connections / agents
		if i < l.Connections%agents {
			part.Connections++
		}
		part.Requests = l.Requests / uint64(agents)
		if uint64(i) < l.Requests%uint64(agents) {
			part.Requests++
		}
		before += part.Connections
		parts[i] = &part
	}
	return parts, nil
}
