package secure

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-tcp/parley/internal/tlsconn"
)

// A noted connection is written down as text2pcap reads it.
type noted struct {
	net.Conn
	mu   sync.Mutex
	text bytes.Buffer
}

func (c *noted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.note('I', p[:n])
	return n, err
}

func (c *noted) Write(p []byte) (int, error) {
	c.note('O', p)
	return c.Conn.Write(p)
}

func (c *noted) note(direction byte, p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := 0; i < len(p); i += 1000 { // a packet holds no more
		fmt.Fprintf(&c.text, "%c\n000000 % x\n\n", direction, p[i:min(len(p), i+1000)])
	}
}

// With the keys that a server has logged Wireshark reads what was said. Those of a client are
// the same.
func TestWiresharkReadsWithTheKeyLog(t *testing.T) {
	ca := newSigner(t, "our CA")
	cert, key := ca.pair(t)
	dir := t.TempDir()
	keys, capture := filepath.Join(dir, "keys"), filepath.Join(dir, "capture.pcap")
	s := serve(t, open(t, ServerOptions{Cert: cert, Key: key, KeyLog: keys}).Config())
	raw, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(patience))
	wire := &noted{Conn: raw}
	conn := tlsconn.Client(wire, openClient(t, ClientOptions{CA: ca.file}))
	if err := conn.HandshakeContext(context.Background()); err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, "a secret\n\n")
	if reply, err := io.ReadAll(conn); err != nil || string(reply) != "A SECRET\n" {
		t.Fatalf("the reply is %q, %v", reply, err)
	}
	convert := program(t, "text2pcap", "-q", "-D", "-T", "7443,40000", "-", capture)
	convert.Stdin = &wire.text
	if out, err := convert.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", convert, err, out)
	}
	shark := program(t, "tshark", "-r", capture, "-o", "tls.keylog_file:"+keys, "-d", "tcp.port==7443,tls", "-q", "-z", "follow,tls,raw,0")
	shark.Env = append(os.Environ(), "HOME="+dir)
	out, err := shark.Output()
	for _, said := range []string{"a secret\n\n", "A SECRET\n"} {
		if err != nil || !strings.Contains(string(out), hex.EncodeToString([]byte(said))+"\n") {
			t.Errorf("%s: %v\nit has not read %q:\n%s", shark, err, said, out)
		}
	}
}
