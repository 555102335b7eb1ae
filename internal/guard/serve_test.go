package guard

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"testing"

	"github.com/parley-tcp/parley/internal/leaks"
)

// No test may leave a goroutine or a descriptor behind.
func TestMain(m *testing.M) { os.Exit(leaks.Run(m)) }

// Who is being answered keeps his connection, however many others come.
func TestWhoIsAnsweredStays(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	begun, proceed := make(chan struct{}), make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- Serve(ctx, l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			begun <- struct{}{}
			<-proceed
			io.WriteString(w, "done")
		}), 2, nil)
	}()
	ask := func() net.Conn {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
		return conn
	}
	answered := []net.Conn{ask(), ask()}
	<-begun
	<-begun
	if _, err := ask().Read(make([]byte, 1)); err == nil {
		t.Error("a third one is answered")
	}
	close(proceed)
	for i, conn := range answered {
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Errorf("connection %d: %v", i+1, err)
			continue
		}
		if body, err := io.ReadAll(answer.Body); err != nil || string(body) != "done" {
			t.Errorf("connection %d: %q, %v", i+1, body, err)
		}
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
