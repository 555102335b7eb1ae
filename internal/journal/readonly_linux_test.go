package journal_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/journal"
)

// howRead says in a line what is read of a journal.
func howRead(t *testing.T, file string) string {
	r, err := journal.Open(file)
	if err != nil {
		return err.Error()
	}
	defer r.Close()
	n := 0
	for _, err := range r.Exchanges(t.Context(), journal.Filter{}) {
		if err != nil {
			return err.Error()
		}
		n++
	}
	text := fmt.Sprint(n)
	if r.Notice != "" {
		text += ": " + r.Notice
	}
	return text
}

// copyFile copies a file, for others to read.
func copyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, content, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// crashed copies a journal that is being written, as a crash would leave it: its main file as
// it was before the second exchange, and others as they are.
func crashed(t *testing.T, k *kept, to string, suffixes ...string) {
	t.Helper()
	copyFile(t, k.file+before, to)
	for _, suffix := range suffixes {
		copyFile(t, k.file+suffix, to+suffix)
	}
}

const before = ".before"

// beingWritten is a journal of two exchanges, and a copy of its main file with the first one.
func beingWritten(t *testing.T) *kept {
	t.Helper()
	k := keep(t, filepath.Join(t.TempDir(), "j"), journal.Options{}, new(parley.Server))
	c := k.dial(t)
	exchange(t, c, "first")
	k.awaitRecorded(t, 1)
	db := read(t, k.file)
	if got := text(t, db, "PRAGMA wal_checkpoint(PASSIVE)"); !strings.HasPrefix(got, "0|") {
		t.Fatalf("wal_checkpoint: %s", got)
	}
	db.Close()
	copyFile(t, k.file, k.file+before)
	exchange(t, c, "second")
	k.awaitRecorded(t, 2)
	return k
}

// On a file system that cannot be written a journal is read, whole, as it was left: in good
// order, or with what is newest in its -wal file. Nothing is left beside it.
func TestJournalOnAReadOnlyFileSystem(t *testing.T) {
	k := beingWritten(t)
	for name, suffixes := range map[string][]string{"after a crash": {"-wal"}, "with its -shm file": {"-wal", "-shm"}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			mount(t, dir, "size=1m")
			crashed(t, k, filepath.Join(dir, "j"), suffixes...)
			mount(t, dir, "remount,ro")
			if got := howRead(t, filepath.Join(dir, "j")); got != "2" {
				t.Errorf("of two exchanges are read: %s", got)
			}
		})
	}
	k.end(t).Close()
	dir := t.TempDir()
	mount(t, dir, "size=1m")
	copyFile(t, k.file, filepath.Join(dir, "j"))
	mount(t, dir, "remount,ro")
	if got := howRead(t, filepath.Join(dir, "j")); got != "2" {
		t.Errorf("of a journal that was closed are read: %s", got)
	}
}

const otherUsersFile = "PARLEY_TEST_OTHER_USERS_FILE"

// TestOtherUserReads is another user who reads a journal.
func TestOtherUserReads(t *testing.T) {
	if file := os.Getenv(otherUsersFile); file != "" {
		fmt.Printf("read: %s\n", howRead(t, file))
	}
}

// Who may only read a journal reads it: of a server that writes, of one that was killed, and
// of one that has ended. What cannot be read of it is said.
func TestJournalOfAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("only root can be another user")
		}
		t.Skip("only root can be another user")
	}
	k := beingWritten(t)
	dir := filepath.Dir(k.file)
	binary := filepath.Join(dir, "test")
	program, err := os.ReadFile(os.Args[0])
	if err == nil {
		err = os.WriteFile(binary, program, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	asNobody := func(file string) string {
		t.Helper()
		cmd := exec.Command(binary, "-test.run=^TestOtherUserReads$")
		cmd.Env = append(os.Environ(), otherUsersFile+"="+file)
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said, _ := io.ReadAll(out)
		cmd.Wait()
		_, got, _ := strings.Cut(string(said), "read: ")
		got, _, _ = strings.Cut(got, "\n")
		return got
	}
	if got := asNobody(k.file); got != "permission denied" {
		t.Errorf("who may not read it reads: %s", got)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Chmod(k.file+suffix, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := asNobody(k.file); got != "2" {
		t.Errorf("while it is written are read: %s", got)
	}
	if err := os.Chmod(k.file+"-shm", 0o600); err != nil {
		t.Fatal(err)
	}
	if got := asNobody(k.file); !strings.Contains(got, "while a server writes it, it can be read only by who may write beside it") {
		t.Errorf("while it is written, without its -shm file: %s", got)
	}
	killed := filepath.Join(dir, "killed")
	crashed(t, k, killed, "-wal")
	if got := asNobody(killed); got != "2" {
		t.Errorf("after a crash are read: %s", got)
	}
	if err := os.Chmod(killed+"-wal", 0o600); err != nil {
		t.Fatal(err)
	}
	if got := asNobody(killed); got != "1: the newest records are missing: its -wal file cannot be read (permission denied)" {
		t.Errorf("without its -wal file are read: %s", got)
	}
	k.end(t).Close()
	if got := asNobody(k.file); got != "2" {
		t.Errorf("when the server has ended are read: %s", got)
	}
}
