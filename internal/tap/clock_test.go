package tap

import (
	"io"
	"math"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/parleytest"
)

// inMemory is for inboxes in a bubble.
var inMemory = &stage{inMemory: true, rest: synctest.Wait}

func connPair() (a, b *parleytest.Conn) { return parleytest.ConnPair() }

// late is by how much a timeout may be late.
func late(timeout time.Duration) time.Duration {
	return min(max(timeout/8, 10*time.Millisecond), 2*time.Second)
}

func TestTimeouts(t *testing.T) {
	const timeout = time.Minute
	for _, c := range []struct {
		name   string
		tap    *Tap
		before func(client, server *parleytest.Conn)
		reason parley.CloseReason
		why    string
	}{
		{"nobody says anything", &Tap{IdleTimeout: timeout}, func(_, _ *parleytest.Conn) {}, parley.IdleTimeout, "nothing was said for 1m0s"},
		{"nobody says anything more", &Tap{IdleTimeout: timeout}, func(client, server *parleytest.Conn) {
			io.WriteString(client, "a\n")
			time.Sleep(timeout - 1)
			io.WriteString(server, "A\n")
			time.Sleep(timeout - 1)
			io.WriteString(client, "b\n")
		}, parley.IdleTimeout, "nothing was said for 1m0s"},
		{"the server says nothing behind the client's end", &Tap{HalfCloseTimeout: timeout}, func(client, server *parleytest.Conn) {
			time.Sleep(time.Hour)
			client.CloseWrite()
			time.Sleep(timeout - 1)
			io.WriteString(server, "A\n")
		}, parley.IdleTimeout, "the client had ended and the server said nothing for 1m0s"},
		{"the client says nothing behind the server's end", &Tap{HalfCloseTimeout: timeout}, func(client, server *parleytest.Conn) {
			server.CloseWrite()
			time.Sleep(timeout - 1)
			io.WriteString(client, "a\n")
		}, parley.IdleTimeout, "the server had ended and the client said nothing for 1m0s"},
		{"the server takes nothing", &Tap{WriteTimeout: timeout, IdleTimeout: time.Second}, func(client, _ *parleytest.Conn) {
			go client.Write(make([]byte, 200<<10))
		}, parley.WriteTimeout, "the server took nothing for 1m0s"},
		{"the client takes nothing", &Tap{WriteTimeout: timeout}, func(_, server *parleytest.Conn) {
			go server.Write(make([]byte, 200<<10))
		}, parley.WriteTimeout, "the client took nothing for 1m0s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				observer, closed := closings()
				c.tap.Observer = observer
				client, server := startInMemory(t, c.tap)
				c.before(client, server)
				synctest.Wait()
				time.Sleep(timeout - 1)
				synctest.Wait()
				if len(closed) > 0 {
					t.Fatalf("ended too early: %v", (<-closed).Err)
				}
				time.Sleep(late(timeout) + 1)
				if c.reason == parley.WriteTimeout {
					time.Sleep(restTime) // for what the peer itself may have to say
				}
				synctest.Wait()
				if len(closed) == 0 {
					t.Fatalf("still there %v late", late(timeout))
				}
				if end := <-closed; end.Reason != c.reason || end.Err == nil || end.Err.Error() != c.why {
					t.Errorf("ended for %v, %v, want %v, %s", end.Reason, end.Err, c.reason, c.why)
				}
				client.Close()
				server.Close()
			})
		})
	}
}

// What is off, or never, is: nothing overflows.
func TestTimeoutsThatNeverCome(t *testing.T) {
	largest := &Tap{IdleTimeout: math.MaxInt64, WriteTimeout: math.MaxInt64, HalfCloseTimeout: math.MaxInt64,
		MaxMessage: math.MaxInt, MaxSessions: math.MaxInt}
	off := &Tap{IdleTimeout: -1, WriteTimeout: -1, HalfCloseTimeout: -1}
	for name, set := range map[string]*Tap{"largest": largest, "off": off} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				told := newRecord()
				tap := &Tap{IdleTimeout: set.IdleTimeout, WriteTimeout: set.WriteTimeout, HalfCloseTimeout: set.HalfCloseTimeout,
					MaxMessage: set.MaxMessage, MaxSessions: set.MaxSessions, Observer: told}
				client, server := startInMemory(t, tap)
				atServer := inMemory.inboxOf(server)
				time.Sleep(3 * time.Hour)
				io.WriteString(client, "a\n")
				time.Sleep(3 * time.Hour)
				go server.Write(append(make([]byte, 200<<10), '\n'))
				time.Sleep(3 * time.Hour)
				client.CloseWrite()
				time.Sleep(3 * time.Hour)
				atServer.check(t, "a\n(EOF)")
				if strings.Contains(told.String(), "closed") {
					t.Errorf("told %.300s", told)
				}
				go io.Copy(io.Discard, client)
				synctest.Wait()
				server.CloseWrite()
				synctest.Wait()
				if got := told.String(); !strings.HasSuffix(got, "1 closed 1 eof") {
					t.Errorf("told %.300s", got)
				}
			})
		})
	}
}

func TestDefaultsOfTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		observer, closed := closings()
		client, server := startInMemory(t, &Tap{Observer: observer})
		defer server.Close()
		time.Sleep(100 * time.Hour) // of silence, which a tap does not mind
		go client.Write(make([]byte, 200<<10))
		time.Sleep(DefaultWriteTimeout + 2*maxTick + restTime)
		synctest.Wait()
		if len(closed) == 0 || (<-closed).Reason != parley.WriteTimeout {
			t.Errorf("a server that takes nothing is not noticed within %v", DefaultWriteTimeout)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		observer, closed := closings()
		client, server := startInMemory(t, &Tap{Observer: observer})
		defer server.Close()
		client.Close()
		time.Sleep(DefaultHalfCloseTimeout + 2*maxTick)
		synctest.Wait()
		if len(closed) == 0 || (<-closed).Reason != parley.IdleTimeout {
			t.Errorf("a server that says nothing behind the client's end is not noticed within %v", DefaultHalfCloseTimeout)
		}
	})
}

// The clocks stand still while the gate holds the session.
func TestTimeoutsWaitForTheGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := &porter{holds: true}
		observer, closed := closings()
		client, server := startInMemory(t, &Tap{Observer: observer, Gate: gate, IdleTimeout: time.Second, WriteTimeout: time.Second, HalfCloseTimeout: time.Second})
		atClient := inMemory.inboxOf(client)
		io.WriteString(client, "a\n")
		io.WriteString(server, "A\n")
		time.Sleep(time.Hour)
		atClient.check(t, "")
		gate.release(false)
		atClient.check(t, "A\n")
		if len(closed) > 0 {
			t.Errorf("ended: %v", (<-closed).Err)
		}
		client.Close()
		server.Close()
	})
}

// Time in which the process did not run counts for nobody: what has arrived meanwhile is
// looked at first, and a timeout begins where it was.
func TestAPauseCountsForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const idle = 16 * time.Second
		observer, closed := closings()
		tap := &Tap{Observer: observer, IdleTimeout: idle}
		client, server := startInMemory(t, tap)
		synctest.Wait()
		time.Sleep(idle / 2)
		for range 5 {
			tap.mu.Lock()
			tap.ticked = tap.ticked.Add(-time.Hour) // the next tick is that late
			tap.mu.Unlock()
			time.Sleep(time.Second)
			synctest.Wait()
		}
		time.Sleep(idle/2 - 1)
		synctest.Wait()
		if len(closed) > 0 {
			t.Fatalf("ended: %v", (<-closed).Err)
		}
		time.Sleep(late(idle) + 1)
		synctest.Wait()
		if len(closed) == 0 {
			t.Error("never ended: the time in which the process did run does not count either")
		}
		client.Close()
		server.Close()
	})
}

// The memory that connecting many took is given back once, when no more of them come.
func TestMemoryIsGivenBackOnceNoMoreCome(t *testing.T) {
	collections := func() uint32 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.NumForcedGC
	}
	before := collections()
	tap := new(Tap)
	for _, come := range []uint64{manySessions - 1, 1} { // a tick each
		tap.numbered += come
		tap.giveBack()
	}
	if n := collections() - before; n != 0 {
		t.Errorf("collected %d times while they come", n)
	}
	tap.giveBack()
	for deadline := time.Now().Add(patience); collections() == before && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
	}
	tap.giveBack()
	tap.numbered++
	tap.giveBack()
	tap.giveBack()
	if n := collections() - before; n != 1 {
		t.Errorf("collected %d times, want once", n)
	}
}

// A reply that did not get out whole is not counted as one that did.
func TestHalfAReplyIsNotPassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		observer, closed := closings()
		client, server := startInMemory(t, &Tap{Observer: observer, WriteTimeout: time.Minute})
		io.WriteString(client, "a\nb\nc\n")
		synctest.Wait()
		say(server, client, "A\n")
		go func() {
			io.WriteString(server, strings.Repeat("B", 100<<10)+"\nC\n") // the client's buffer holds less
			server.CloseWrite()
		}()
		time.Sleep(time.Minute + late(time.Minute) + restTime)
		synctest.Wait()
		if end := <-closed; end.Replied != 1 || end.Seq != 3 || end.Out != uint64(len("A\n")+100<<10+len("\nC\n")) {
			t.Errorf("%d of %d requests answered, %d bytes of the server; want 1 of 3, and all of them", end.Replied, end.Seq, end.Out)
		}
		client.Close()
		server.Close()
	})
}

// Bytes that come slowly, or one at a time, are the same bytes, and nobody is cut for them.
func TestSlowBytesAreTheSameBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := newRecord()
		client, server := startInMemory(t, &Tap{Observer: told})
		atClient, atServer := inMemory.inboxOf(client), inMemory.inboxOf(server)
		request, reply := strings.Repeat("a", 3000)+"\n", strings.Repeat("A", 3000)+"\n"
		for i := range request {
			client.Write([]byte{request[i]})
			time.Sleep(time.Duration(100+i%200) * time.Millisecond)
			server.Write([]byte{reply[i]})
		}
		client.CloseWrite()
		synctest.Wait()
		server.CloseWrite()
		atServer.check(t, request+"(EOF)")
		atClient.check(t, reply+"(EOF)")
		if got := told.String(); !strings.HasSuffix(got, "1 closed 1 eof") {
			t.Errorf("told %.300s", got)
		}
	})
}
