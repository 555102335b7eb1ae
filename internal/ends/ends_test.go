package ends

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley/internal/journal"
)

var began = time.Date(2026, 11, 26, 8, 0, 0, 0, time.UTC)

const ms = time.Millisecond

// recorded is what an end has of exchanges: when the request and the reply were there, in ms; a negative
// one was not.
func recorded(role string, times ...[2]int) End {
	e := End{Session: journal.Session{About: journal.About{Role: role, Node: role}}}
	for i, t := range times {
		x := journal.Exchange{Seq: uint64(i + 1), Received: began.Add(time.Duration(t[0]) * ms), Request: []byte("q")}
		if t[0] < 0 {
			continue
		}
		if t[1] >= 0 {
			x.Reply, x.Took = []byte("a"), time.Duration(t[1]-t[0])*ms
		}
		e.Exchanges = append(e.Exchanges, x)
	}
	return e
}

func told(c *Connection) string {
	var lines []string
	for i := range c.Messages {
		m := &c.Messages[i]
		line := map[bool]string{true: ">", false: "<"}[m.ToServer] + fmt.Sprint(m.Seq)
		for _, at := range m.At {
			if at.IsZero() {
				line += " -"
			} else {
				line += fmt.Sprint(" ", at.Sub(began).Milliseconds())
			}
		}
		if took, known := c.OnTheWay(m); known {
			line += " " + took.String()
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, ", ")
}

// A server whose clock is an hour and 7 ms ahead is found to be so by the exchange that was least on the
// way, whatever others say, and messages are in the order in which they were sent.
func TestClocksAreCompared(t *testing.T) {
	hour := int(time.Hour / ms)
	// On the way there and back: 10 and 2 ms, 1 and 1 ms, 3 and 9 ms.
	server := recorded("server", [2]int{hour + 7 + 10, hour + 7 + 11}, [2]int{hour + 7 + 101, hour + 7 + 150}, [2]int{hour + 7 + 203, hour + 7 + 204})
	client := recorded("client", [2]int{0, 13}, [2]int{100, 151}, [2]int{200, 213})
	c := Join([]End{server, client})
	if c.Ends[0].Session.Role != "client" {
		t.Error("the client does not come first")
	}
	if got, want := fmt.Sprint(c.Clocks[1]), "{1h0m0.007s 1ms 2 3}"; got != want {
		t.Errorf("the server's clock is %s, want %s", got, want)
	}
	h := fmt.Sprint
	want := ">1 0 " + h(hour+17) + " 10ms, <1 13 " + h(hour+18) + " 2ms, >2 100 " + h(hour+108) + " 1ms, <2 151 " + h(hour+157) + " 1ms, >3 200 " + h(hour+210) + " 3ms, <3 213 " + h(hour+211) + " 9ms"
	if got := told(c); got != want {
		t.Errorf("messages are\n%s, want\n%s", got, want)
	}
}

// What one end has alone is there, without the other's time; and nothing is estimated of no whole exchange.
func TestWhatOneEndHasAlone(t *testing.T) {
	c := Join([]End{recorded("client", [2]int{0, -1}, [2]int{5, -1}), recorded("server", [2]int{1, 2})})
	if got, want := told(c), ">1 0 1, <1 - 2, >2 5 -"; got != want {
		t.Errorf("messages are %s, want %s", got, want)
	}
	if c.Clocks[1].Of != 0 {
		t.Errorf("a clock is estimated of nothing: %v", c.Clocks[1])
	}
}

// A tap stands in the middle, and what came unasked is found in its order.
func TestATapStandsBetween(t *testing.T) {
	tap, server, client := recorded("tap", [2]int{12, 15}), recorded("server", [2]int{3, 4}), recorded("client", [2]int{1, 6})
	for i, e := range []*End{&tap, &server, &client} {
		at := began.Add(time.Duration([]int{9, 0, -2}[i]) * ms)
		e.Exchanges = append([]journal.Exchange{{Received: at, Reply: []byte("hello")}}, e.Exchanges...)
	}
	c := Join([]End{tap, server, client})
	if got, want := told(c), "<0 -2 9 0 -2ms, >1 1 12 3 2ms, <1 6 15 4 2ms"; got != want {
		t.Errorf("messages are %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(c.Clocks[1:]), "[{10ms 1ms 1 1} {0s 2ms 1 1}]"; got != want {
		t.Errorf("clocks are %s, want %s", got, want)
	}
}
