//go:build unix

package listen

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func unixWay(path string) Way { return Way{Network: "unix", Path: path} }

// leaveBehind leaves a socket as a server does that is killed.
func leaveBehind(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
}

// answers says whether somebody listens at a path.
func answers(path string) bool {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

func TestTheSocketOfADeadServerIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	leaveBehind(t, path)
	l := openOne(t, unixWay(path), Options{})
	if !answers(path) {
		t.Error("nobody answers")
	}
	if _, exact := l.Net.(*net.UnixListener); !exact {
		t.Errorf("the listener is a %T, which loops do not serve", l.Net)
	}
	if got := names(t, filepath.Dir(path)); got != "s" {
		t.Errorf("there are %q beside it while it listens", got)
	}
	l.Net.Close()
	if got := names(t, filepath.Dir(path)); got != "s" {
		t.Errorf("before its end there is %q", got)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if got := names(t, filepath.Dir(path)); got != "" {
		t.Errorf("it has left %q behind", got)
	}
	if err := l.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
}

func TestALivingServerKeepsItsSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for _, w := range []Way{unixWay(path), unixWay("@" + path)} {
		openOne(t, w, Options{})
		_, err := Open(t.Context(), []Way{w}, Options{})
		if !errors.Is(err, ErrAlive) || err.Error() != "cannot listen on "+w.String()+": a server is listening there already" {
			t.Errorf("%v: %v", w, err)
		}
		if !answers(w.Path) {
			t.Errorf("%v: nobody answers any more", w)
		}
	}
}

// A server with so many waiting that the system refuses more is alive.
func TestABusyServerKeepsItsSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	for {
		conn, err := net.DialTimeout("unix", path, time.Second)
		if err != nil {
			break
		}
		defer conn.Close()
	}
	if _, err := Open(t.Context(), []Way{unixWay(path)}, Options{}); !errors.Is(err, ErrAlive) {
		t.Errorf("Open = %v, want ErrAlive", err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
}

func TestWhatIsNoSocketStays(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	os.WriteFile(at("file"), []byte("dear"), 0o600)
	os.WriteFile(at("empty"), nil, 0o600)
	os.Mkdir(at("dir"), 0o700)
	os.Symlink(at("file"), at("link"))
	os.Symlink(at("nothing"), at("dangling"))
	leaveBehind(t, at("dead"))
	os.Symlink(at("dead"), at("link-to-a-socket"))
	if err := syscall.Mkfifo(at("fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := names(t, dir)
	for _, name := range []string{"file", "empty", "dir", "link", "dangling", "link-to-a-socket", "fifo"} {
		_, err := Open(t.Context(), []Way{unixWay(at(name))}, Options{})
		if !errors.Is(err, ErrForeign) || strings.Contains(err.Error(), "remove") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if after := names(t, dir); after != before {
		t.Errorf("there were %q, and are %q", before, after)
	}
	if text, _ := os.ReadFile(at("file")); string(text) != "dear" {
		t.Errorf("the file has %q", text)
	}
}

func TestASocketOfAnotherKindStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	conn, err := net.ListenPacket("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := Open(t.Context(), []Way{unixWay(path)}, Options{}); err == nil || !strings.HasSuffix(err.Error(), "a socket of another kind is there; choose another name") {
		t.Errorf("Open = %v", err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
}

// At its end a server removes its own socket only.
func TestTheSocketOfTheNextServerStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first := openOne(t, unixWay(path), Options{})
	first.Net.Close() // it drains
	openOne(t, unixWay(path), Options{})
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if !answers(path) {
		t.Error("the second server's socket is gone")
	}
}

// With a mode the socket has that, whatever the umask is, from the first moment on.
func TestASocketNeverIsMoreOpenThanItsMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	umask := syscall.Umask(0)
	defer syscall.Umask(umask)
	stop, seen := make(chan struct{}), make(chan fs.FileMode, 1)
	go func() {
		most := fs.FileMode(0)
		for {
			if info, err := os.Lstat(path); err == nil {
				most |= info.Mode().Perm()
			}
			select {
			case <-stop:
				seen <- most
				return
			default:
			}
		}
	}()
	for range 30 {
		open, err := Open(t.Context(), []Way{unixWay(path)}, Options{UnixMode: 0o620})
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != 0o620 {
			t.Fatalf("mode %v, %v; want 0620", info.Mode(), err)
		}
		open[0].Net.Close()
		open[0].Close()
	}
	close(stop)
	if most := <-seen; most&^0o620 != 0 {
		t.Errorf("it was seen with %v", most)
	}
	if now := syscall.Umask(0); now != 0 {
		t.Errorf("the umask is %#o, and was 0", now)
	}
	syscall.Umask(0o077)
	l := openOne(t, unixWay(path), Options{})
	if info, err := os.Lstat(l.Way.Path); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("without a mode: %v, %v; want as the umask has it", info.Mode(), err)
	}
}

// Somebody's own file of the lock's name is no lock to be removed, and a lock that another
// process keeps for long is said.
func TestLockFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	os.WriteFile(path+".lock", []byte("dear"), 0o600)
	openOne(t, unixWay(path), Options{}).Close()
	if text, err := os.ReadFile(path + ".lock"); string(text) != "dear" {
		t.Errorf("a file of that name has %q, %v", text, err)
	}
	os.WriteFile(path+"2.lock", nil, 0o600) // of one that was killed
	openOne(t, unixWay(path+"2"), Options{})
	if _, err := os.Lstat(path + "2.lock"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the lock of one that was killed: %v", err)
	}
	os.Symlink(path, path+"3.lock")
	if _, err := Open(t.Context(), []Way{unixWay(path + "3")}, Options{}); err == nil || !strings.Contains(err.Error(), "s3.lock") {
		t.Errorf("with a link of that name: %v", err)
	}
	unlock, err := lock(t.Context(), path+"4")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		if _, err := Open(t.Context(), []Way{unixWay(path + "4")}, Options{}); !errors.Is(err, ErrStarting) || time.Since(begin) < lockTimeout {
			t.Errorf("with a lock that another keeps: %v after %v", err, time.Since(begin))
		}
	})
}

// Of servers that start at once at one path, one wins, and the others say so.
func TestOneOfTenServersWins(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for round := range 10 {
		if round%2 == 1 {
			leaveBehind(t, path)
		}
		outcomes := race(t, path, 10)
		won := 0
		for _, o := range outcomes {
			switch o {
			case "listening":
				won++
			case "cannot listen on unix:" + path + ": a server is listening there already":
			default:
				t.Errorf("round %d: %q", round, o)
			}
		}
		if won != 1 {
			t.Errorf("round %d: %d won, want 1", round, won)
		}
		if got := names(t, filepath.Dir(path)); got != "" {
			t.Errorf("round %d: %q is left behind", round, got)
		}
	}
}

// race starts so many processes that open a path at once, and returns what each said of it. Those
// that listen do so until all have said.
func race(t *testing.T, path string, n int) (outcomes []string) {
	t.Helper()
	started, start, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer started.Close()
	defer start.Close()
	var said []*bufio.Reader
	var ends []io.Closer
	var all []*exec.Cmd
	for range n {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), contender+"="+path, "GORACE=atexit_sleep_ms=0")
		cmd.ExtraFiles = []*os.File{started}
		stdin, err1 := cmd.StdinPipe()
		stdout, err2 := cmd.StdoutPipe()
		if err := errors.Join(err1, err2, cmd.Start()); err != nil {
			t.Fatal(err)
		}
		stop := time.AfterFunc(patience, func() { cmd.Process.Kill() })
		defer stop.Stop()
		said, ends, all = append(said, bufio.NewReader(stdout)), append(ends, stdin), append(all, cmd)
	}
	for _, r := range said {
		if line, err := r.ReadString('\n'); line != "ready\n" {
			t.Errorf("%q, %v", line, err)
		}
	}
	start.Close()
	for _, r := range said {
		line, _ := r.ReadString('\n')
		outcomes = append(outcomes, strings.TrimSuffix(line, "\n"))
	}
	for i, cmd := range all {
		ends[i].Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	return outcomes
}
