package journal

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parley-tcp/parley"
)

// tshark reads a capture and returns the fields of its packets, a line each. Every checksum
// is looked at.
func tshark(t *testing.T, capture []byte, args ...string) []string {
	t.Helper()
	path, err := exec.LookPath("tshark")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("tshark is not installed; scripts/install-test-tools installs it")
		}
		t.Skip("tshark is not installed; scripts/install-test-tools installs it")
	}
	file := filepath.Join(t.TempDir(), "pcap")
	if err := os.WriteFile(file, capture, 0o600); err != nil {
		t.Fatal(err)
	}
	args = append([]string{"-r", file, "-n", "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"}, args...)
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v\n%s", err, stderr.String())
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

func fields(names ...string) []string {
	args := []string{"-T", "fields", "-E", "separator=|"}
	for _, name := range names {
		args = append(args, "-e", name)
	}
	return args
}

func capture(t *testing.T, r *Reader, f Filter) []byte {
	t.Helper()
	return captureOf(t, f, r)
}

// captureOf has the sessions of several journals be one capture: tshark takes long to start.
func captureOf(t *testing.T, f Filter, readers ...*Reader) []byte {
	t.Helper()
	var out bytes.Buffer
	p, err := NewPcap(&out)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range readers {
		for _, e := range collect(t, r.Events(t.Context(), f)) {
			if err := p.Write(e); err != nil {
				t.Fatal(err)
			}
		}
	}
	return out.Bytes()
}

// tshark sees the streams, their bytes and their times, and nothing to complain about.
func TestTsharkReadsACapture(t *testing.T) {
	w := story(t)
	long := bytes.Repeat([]byte("0123456789"), 10000)
	w.session(Session{ID: 4, Number: 4, Remote: "127.0.0.1:49662", Local: "127.0.0.1:6969", Opened: at(200), Closed: at(400),
		Reason: "reset", Requests: 1, RepliedUpTo: 1}) // the ports of session 1 again
	w.exchange(said(5, 4, 1, at(300).Add(1), 2, long, long))
	w.session(Session{ID: 5, Number: 5, Remote: "[fe80::1%eth0]:1", Local: "[fe80::2]:2", Opened: at(500), Closed: at(502),
		Reason: "idle_timeout", Requests: 1, RepliedUpTo: 1})
	w.exchange(said(6, 5, 1, at(501), 0, long[:1440], []byte("x")))
	data := capture(t, w.open(), Filter{})

	// What each stream carried, both ways in their order.
	streams := make(map[string]string)
	for _, line := range tshark(t, data, append(fields("tcp.stream", "tcp.srcport", "tcp.payload"), "-Y", "tcp.len > 0")...) {
		part := strings.Split(line, "|")
		body, err := hex.DecodeString(part[2])
		if err != nil {
			t.Fatal(err)
		}
		streams[part[0]+" from "+part[1]] += string(body)
	}
	for stream, want := range map[string]string{
		"0 from 49662": "one\ntwo\nthree\n",
		"0 from 6969":  "Reply one\nReply two\n", // the third is known not to have got out
		"1 from 5000":  "\x00\xff\nbytes\n",
		"1 from 6969":  "\n",
		"3 from 49662": string(long) + "\n",
		"3 from 6969":  string(long) + "\n",
		"4 from 1":     string(long[:1440]) + "\n",
		"4 from 2":     "x\n",
	} {
		if got := streams[stream]; got != want {
			t.Errorf("stream %s: %d bytes %.40q, want %d %.40q", stream, len(got), got, len(want), want)
		}
		delete(streams, stream)
	}
	if len(streams) > 0 {
		t.Errorf("more than was said: %.80q", fmt.Sprint(streams))
	}

	// Nothing is retransmitted, lost, out of order or wrongly summed up.
	if bad := tshark(t, data, "-Y", "_ws.malformed || tcp.checksum.status != Good || ip.checksum.status == Bad || "+
		"(tcp.analysis.flags && !tcp.analysis.reused_ports)"); bad[0] != "" {
		t.Errorf("tshark complains of:\n%s", strings.Join(bad, "\n"))
	}

	got := tshark(t, data, append(fields("frame.time_epoch", "tcp.stream", "ip.src", "ipv6.src", "tcp.flags.str", "tcp.len"), "-Y",
		"tcp.stream != 3 || tcp.flags.syn == 1 || tcp.flags.push == 1 || tcp.flags.reset == 1")...)
	for i := range got { // the dots of the flags that are not set vary
		got[i] = strings.NewReplacer("·", "", "*", "").Replace(got[i])
	}
	second := fmt.Sprint(at(0).Unix())
	want := strings.Split(strings.TrimSpace(strings.ReplaceAll(`
S.000000000|0|127.0.0.1||S|0
S.000000000|0|127.0.0.1||AS|0
S.000000000|0|127.0.0.1||A|0
S.005000000|1||2001:db8::1|S|0
S.005000000|1||2001:db8::2|AS|0
S.005000000|1||2001:db8::1|A|0
S.010000000|0|127.0.0.1||AP|4
S.010000000|0|127.0.0.1||A|0
S.011000000|0|127.0.0.1||AP|10
S.011000000|0|127.0.0.1||A|0
S.020000000|0|127.0.0.1||AP|4
S.020000000|0|127.0.0.1||A|0
S.022000000|0|127.0.0.1||AP|10
S.022000000|0|127.0.0.1||A|0
S.030000000|1||2001:db8::1|AP|9
S.030000000|1||2001:db8::2|A|0
S.035000000|1||2001:db8::2|AP|1
S.035000000|1||2001:db8::1|A|0
S.040000000|0|127.0.0.1||AP|6
S.040000000|0|127.0.0.1||A|0
S.050000000|0|127.0.0.1||AF|0
S.050000000|0|127.0.0.1||AF|0
S.050000000|0|127.0.0.1||A|0
S.100000000|2|192.0.2.2||S|0
S.100000000|2|192.0.2.1||AS|0
S.100000000|2|192.0.2.2||A|0
S.101000000|2|192.0.2.2||AF|0
S.101000000|2|192.0.2.1||AF|0
S.101000000|2|192.0.2.2||A|0
S.200000000|3|127.0.0.1||S|0
S.200000000|3|127.0.0.1||AS|0
S.300000001|3|127.0.0.1||AP|721
S.300000003|3|127.0.0.1||AP|721
S.400000000|3|127.0.0.1||AR|0
S.500000000|4||fe80::1|S|0
S.500000000|4||fe80::2|AS|0
S.500000000|4||fe80::1|A|0
S.501000000|4||fe80::1|A|1440
S.501000000|4||fe80::1|AP|1
S.501000000|4||fe80::2|A|0
S.501000000|4||fe80::2|AP|2
S.501000000|4||fe80::1|A|0
S.502000000|4||fe80::2|AF|0
S.502000000|4||fe80::1|AF|0
S.502000000|4||fe80::2|A|0`, "S.", second+".")), "\n")
	if !slices.Equal(got, want) {
		t.Errorf("packets:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A selection that begins inside a session still is a stream.
func TestCaptureOfAPartIsAStream(t *testing.T) {
	data := capture(t, story(t).open(), Filter{Since: at(15), Until: at(25)})
	got := tshark(t, data, fields("tcp.flags.syn", "tcp.len", "tcp.seq")...)
	if want := []string{"1|0|0", "1|0|0", "0|0|1", "0|4|1", "0|0|1", "0|10|1", "0|0|5"}; !slices.Equal(got, want) {
		t.Errorf("SYN, length and number of the packets: %q, want %q", got, want)
	}
}

// The end of each reason: who sends what first.
func TestEndsInACapture(t *testing.T) {
	for reason := parley.EndOfFile; reason <= parley.IOError; reason++ {
		var out bytes.Buffer
		p, _ := NewPcap(&out)
		s := Session{ID: 1, Remote: "10.0.0.1:1", Local: "10.0.0.2:2", Opened: at(0), Closed: at(1), Reason: reason.String()}
		header := out.Len()
		p.Write(Event{Kind: parley.Opened, Time: at(0), Session: &s})
		opened := out.Len()
		p.Write(Event{Kind: parley.Closed, Time: at(1), Session: &s})
		first := out.Bytes()[opened+16:]
		got := fmt.Sprintf("%d.%d", first[15], first[20+13]) // the last byte of the source, the flags
		want := "2.17"                                       // the server's FIN
		switch reason {
		case parley.EndOfFile, parley.Blank, parley.NoRequest, parley.Truncated:
			want = "1.17"
		case parley.Reset:
			want = "1.20"
		case parley.WriteTimeout, parley.DrainCut, parley.ServerClosed, parley.IOError:
			want = "2.20"
		}
		if got != want || opened-header != 3*16+2*48+40 || len(p.streams) != 0 {
			t.Errorf("%v: the end begins with %s, want %s; %d bytes of handshake, %d streams left", reason, got, want, opened-header, len(p.streams))
		}
	}
}
