package replay

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/parleytest"
)

// With a rate requests are due one after the other, in the order of the recording and whatever
// sessions they are of.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tg := echoing()
		sum, differences := playAll(t, &Replay{Rate: 2}, tg,
			Session{Number: 1, Opened: at(0), Closed: at(100), Exchanges: []Exchange{exchange(1, 1, "a", "a"), exchange(2, 60, "d", "d")}},
			Session{Number: 2, Opened: at(10), Closed: at(50), Exchanges: []Exchange{exchange(1, 20, "b", "b"), exchange(2, 40, "c", "c")}},
			Session{Number: 3, Opened: at(99), Closed: at(100)},
			Session{Number: 4, Opened: at(200), Closed: at(201), Exchanges: []Exchange{exchange(1, 200, "e", "e")}})
		checkSame(t, differences)
		checkSame(t, tg.arrived, "0s a", "500ms b", "1s c", "1.5s d", "2s e")
		if p := sum.Paced; sum.Sessions != 4 || p.Unsent != 0 || p.Response.Count() != 5 || p.Response.Max() > time.Millisecond || p.Took != 2*time.Second {
			t.Errorf("%+v, %+v", sum, p)
		}
		if rate := sum.PerSecond(); rate != 2 {
			t.Errorf("%v requests a second", rate)
		}
	})
}

// What a stalled server keeps from being sent is counted from when it was due, and another session
// goes on meanwhile.
func TestRateHidesNoStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tg := echoing()
		tg.serve = func(conn *parleytest.Conn) {
			srv := &parley.Server{Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
				if string(req.Body) == "a" {
					time.Sleep(3 * time.Second)
				}
				return append(dst, req.Body...), nil
			})}
			srv.ServeConn(conn)
		}
		sum, differences := playAll(t, &Replay{Rate: 1}, tg,
			Session{Number: 1, Opened: at(0), Exchanges: []Exchange{exchange(1, 0, "a", "a"), exchange(2, 1, "b", "b"), exchange(3, 2, "c", "c")}},
			Session{Number: 2, Opened: at(3), Exchanges: []Exchange{exchange(1, 3, "x", "x")}})
		checkSame(t, differences)
		about := func(got, want time.Duration) bool { return got > want*99/100-1 && got < want*101/100+time.Millisecond }
		p := sum.Paced
		for _, c := range []struct{ got, want time.Duration }{
			{p.Response.Max(), 3 * time.Second}, {p.Response.Quantile(75), 2 * time.Second}, {p.Response.Quantile(50), time.Second}, {p.Response.Min(), 0},
			{p.Service.Max(), 3 * time.Second}, {p.Service.Quantile(75), 0},
		} {
			if !about(c.got, c.want) {
				t.Errorf("%v, want %v", c.got, c.want)
			}
		}
	})
}

// Requests of a session that ended early are counted.
func TestRateUnsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tg := echoing()
		tg.serve = func(conn *parleytest.Conn) { conn.Read(make([]byte, 100)) }
		sum, differences := playAll(t, &Replay{Rate: 1}, tg,
			Session{Number: 1, Opened: at(0), Exchanges: []Exchange{exchange(1, 0, "a", "a"), exchange(2, 1, "b", "b"), exchange(3, 2, "c", "c")}})
		checkSame(t, differences, `1.1 want "a" got "": closed by the server`)
		if p := sum.Paced; p.Unsent != 2 || p.Response.Count() != 0 || sum.PerSecond() != 0 {
			t.Errorf("%+v", p)
		}
	})
}

// By shape numbers, ids and times may differ, and nothing else.
func TestShape(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, differences := playAll(t, &Replay{Shape: true}, echoing(), Session{Number: 1, Opened: at(0), Exchanges: []Exchange{
			exchange(1, 0, "order 17 at 08:15:00", "order 3 at 10:00:59"), exchange(2, 1, "order 17", "orders 17"),
			exchange(3, 2, "id 0123456789abcdef", "id fedcba9876543210"),
		}})
		checkSame(t, differences, `1.2 want "orders 17" got "order 17"`)
	})
}
