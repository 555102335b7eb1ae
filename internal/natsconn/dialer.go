package natsconn

import (
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// A dialer connects to servers. Until the first try to is over its context ends that, whatever it waits for:
// a name, a host that does not answer, or a server that says nothing.
type dialer struct {
	ctx context.Context

	mu    sync.Mutex
	later bool // the first try is over
	keep  []func() bool
}

// over is called when the first try is.
func (d *dialer) over() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.later = true
	for _, keep := range d.keep {
		keep()
	}
	d.keep = nil
}

// Dial connects to one of the addresses of a server, any of them: a name may stand for a whole cluster.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	d.mu.Lock()
	ctx := d.ctx
	if d.later {
		ctx = context.Background()
	}
	d.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	all, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return nil, err
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	each := net.Dialer{Timeout: connectWithin / time.Duration(len(all))}
	for _, one := range all {
		var conn net.Conn
		if conn, err = each.DialContext(ctx, network, net.JoinHostPort(one, port)); err == nil {
			d.watch(conn)
			return conn, nil
		}
	}
	return nil, err
}

// watch has the end of the context close a connection of the first try.
func (d *dialer) watch(conn net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.later {
		d.keep = append(d.keep, context.AfterFunc(d.ctx, func() { conn.Close() }))
	}
}
