package fleet

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-tcp/parley/internal/natsconn"
)

const (
	ackTimeout = 5 * time.Second // for the stream to say that it has a message
	apiTimeout = 5 * time.Second // for NATS, or a shipper, to answer any other question
)

// A link is a connection to NATS that comes back by itself.
type link struct {
	nc    *nats.Conn
	js    jetstream.JetStream
	named int              // servers that were named
	back  chan nats.Status // told when there is a connection (again)

	mu    sync.Mutex
	said  string // by NATS, of something that we may not do or that failed
	heard time.Time
}

// connect makes a link, which may have no connection yet. That may take as long as servers do not answer, unless ctx
// ends.
func connect(ctx context.Context, way natsconn.Options) (*link, error) {
	l := &link{named: 1 + strings.Count(way.URLs, ",")}
	way.Wait, way.Told = true, l.hear
	var err error
	if l.nc, err = way.Connect(ctx); err != nil {
		if ctx.Err() != nil {
			err = errAway
		}
		return nil, err
	}
	l.back = l.nc.StatusChanged(nats.CONNECTED)
	if l.js, err = jetstream.New(l.nc, jetstream.WithPublishAsyncTimeout(ackTimeout), jetstream.WithDefaultTimeout(apiTimeout)); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *link) close() {
	l.nc.RemoveStatusListener(l.back)
	l.nc.Close()
}

// hear notes what NATS says; that the connection is lost, or back, is known anyway.
func (l *link) hear(what string) {
	if what, ok := strings.CutPrefix(what, "NATS: "); ok {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.said, l.heard = what, time.Now()
	}
}

// reason is why something has failed, in words: that there is no connection, or what NATS has just said, is more
// than that no answer came.
func (l *link) reason(err error) error {
	if !l.nc.IsConnected() {
		if last := l.nc.LastError(); last != nil {
			return errors.New(natsconn.Reason(last))
		}
		return errAway
	}
	isTimeout := errors.Is(err, nats.ErrTimeout) || errors.Is(err, jetstream.ErrAsyncPublishTimeout) || errors.Is(err, context.DeadlineExceeded)
	var refused *jetstream.APIError
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case isTimeout && time.Since(l.heard) < 4*ackTimeout:
		return errors.New(l.said)
	case isTimeout:
		return errors.New("JetStream does not answer")
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse):
		return errors.New("there is no JetStream, or it has no leader yet")
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return errors.New("there is no stream " + streamName)
	case errors.As(err, &refused):
		return errors.New(refused.Description)
	}
	return errors.New(natsconn.Reason(err))
}
