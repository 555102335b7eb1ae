package journal_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/journal"
)

// many has so many lines answered, all of them in flight.
func many(t *testing.T, k *kept, n int, line string) {
	t.Helper()
	c := k.dial(t)
	go func() {
		io.WriteString(c, strings.Repeat(line+"\n", n))
		c.CloseWrite()
	}()
	if got, err := io.Copy(io.Discard, c); got != int64(n*(len(line)+1)) || err != nil {
		t.Fatalf("%d bytes came back, %v; want %d", got, err, n*(len(line)+1))
	}
	c.Close()
}

// filesOf is how much the files of a journal take up together, and the -wal file of it.
func filesOf(file string) (all, wal int64) {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if info, err := os.Stat(file + suffix); err == nil {
			all += info.Size()
			if suffix == "-wal" {
				wal = info.Size()
			}
		}
	}
	return all, wal
}

// Whatever happens to the -wal file while the journal is written, it is noticed before the
// next record, said, and mended: what was copied into the journal before is there, what is
// recorded afterwards too, and what is lost is counted.
func TestDamagedWALIsMended(t *testing.T) {
	for name, harm := range map[string]func(wal string, size int64) error{
		"emptied": func(wal string, _ int64) error { return os.Truncate(wal, 0) },
		"halved":  func(wal string, size int64) error { return os.Truncate(wal, size/2) },
		"emptied, and written behind": func(wal string, size int64) error {
			os.Truncate(wal, 0)
			return os.Truncate(wal, size+4096)
		},
		"halved, and written behind": func(wal string, size int64) error {
			os.Truncate(wal, size/2/4096*4096)
			return os.Truncate(wal, size+4096)
		},
		"removed":  func(wal string, _ int64) error { return os.Remove(wal) },
		"replaced": func(wal string, _ int64) error { os.Remove(wal); return os.WriteFile(wal, nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := keep(t, filepath.Join(t.TempDir(), "j"), journal.Options{}, new(parley.Server))
			const each = 300
			many(t, k, each, "before the checkpoint")
			k.awaitRecorded(t, each)
			db := read(t, k.file)
			eventually(t, "all of the -wal file is copied", func() bool {
				busy, rest, _ := strings.Cut(strings.TrimSpace(text(t, db, "PRAGMA wal_checkpoint(PASSIVE)")), "|")
				length, copied, _ := strings.Cut(rest, "|")
				return busy == "0" && length == copied
			})
			many(t, k, each, "behind the checkpoint")
			k.awaitRecorded(t, 2*each)
			_, size := filesOf(k.file)
			if err := harm(k.file+"-wal", size); err != nil {
				t.Fatal(err)
			}
			many(t, k, each, "behind the damage")
			k.awaitWarning(t, "its -wal file was")
			k.awaitWarning(t, "can be written again")
			many(t, k, each, "behind the mend")
			db.Close()
			db = k.end(t)
			if got := text(t, db, "PRAGMA integrity_check"); got != "ok\n" {
				t.Errorf("integrity_check: %s", got)
			}
			count := func(line string) int64 {
				return number(t, db, "SELECT count(*) FROM messages WHERE request = CAST(? AS BLOB)", line)
			}
			for _, line := range []string{"before the checkpoint", "behind the damage", "behind the mend"} {
				if n := count(line); n != each {
					t.Errorf("%d of %d exchanges %s are there", n, each, line)
				}
			}
			missing := number(t, db, "SELECT coalesce(sum(exchanges), 0) FROM gaps") // there is no gap if the batch at hand was there whole
			if n := count("behind the checkpoint"); n+missing != each {
				t.Errorf("%d exchanges behind the checkpoint are there, %d are told missing; want %d together", n, missing, each)
			}
			if double := text(t, db, "SELECT session, seq, count(*) FROM messages GROUP BY 1, 2 HAVING count(*) > 1"); double != "" {
				t.Errorf("twice there: %s", double)
			}
			checkWhole(t, k.file)
		})
	}
}

// checkWhole verifies a journal.
func checkWhole(t *testing.T, file string) {
	t.Helper()
	r, err := journal.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.Damaged = func(d journal.Damage) { t.Errorf("damaged: %v", d) }
	if _, err := r.Verify(t.Context()); err != nil {
		t.Errorf("Verify = %v", err)
	}
}

// All files of a bounded journal together stay within the bound, whether it is exchanges or
// sessions that come, on a volume that has little more than that, and nobody waits.
func TestKeepBoundsAllFiles(t *testing.T) {
	for name, c := range map[string]struct {
		line        string
		each, times int
	}{
		"small exchanges": {"x", 5000, 8},
		"large exchanges": {strings.Repeat("x", 20<<10), 50, 8},
		"sessions":        {"x", 1, 5000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			mount(t, dir, "size=1280k")
			k := keep(t, filepath.Join(dir, "j"), journal.Options{Keep: journal.Keep{Bytes: journal.MinKeep}}, &parley.Server{Engine: parley.LoopsIfPossible})
			for range c.times {
				many(t, k, c.each, c.line)
				if all, wal := filesOf(k.file); all > journal.MinKeep {
					t.Fatalf("the files take up %d bytes, %d of them the -wal file; want %d at most", all, wal, journal.MinKeep)
				}
			}
			db := k.end(t)
			if last := number(t, db, "SELECT max(id) FROM exchanges"); last != int64(c.each*c.times) {
				t.Errorf("the last exchange is %d, want %d", last, c.each*c.times)
			}
			for _, text := range k.warned {
				t.Errorf("warned: %s", text)
			}
		})
	}
}

const readerFile = "PARLEY_TEST_READER"

// TestReaderProcess is another program that reads a journal in a transaction, until its input
// ends.
func TestReaderProcess(t *testing.T) {
	file := os.Getenv(readerFile)
	if file == "" {
		return
	}
	db := read(t, file)
	db.SetMaxOpenConns(1)
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if err := tx.QueryRow("SELECT count(*) FROM exchanges").Scan(&n); err != nil {
		t.Fatal(err)
	}
	fmt.Println("reading")
	io.Copy(io.Discard, os.Stdin)
	tx.Rollback()
}

// startReader starts another program that holds the -wal file, and returns its process and
// what ends it.
func startReader(t *testing.T, file string) (pid int, end func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestReaderProcess$")
	cmd.Env = append(os.Environ(), readerFile+"="+file)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	end = func() {
		if !ended {
			ended = true
			in.Close()
			io.Copy(io.Discard, out)
			cmd.Wait()
		}
	}
	t.Cleanup(end)
	if _, err := io.ReadFull(out, make([]byte, len("reading\n"))); err != nil {
		t.Fatalf("the reader does not read: %v", err)
	}
	return cmd.Process.Pid, end
}

// A reader that stays in its transaction keeps the -wal file growing: it is named, once, and
// the room is given back when it has ended.
func TestReaderThatHoldsTheWALIsNamed(t *testing.T) {
	for name, c := range map[string]struct {
		keep     journal.Keep
		requests int
		bytes    int // of each
		within   int64
	}{
		"without a bound": {journal.Keep{}, 800, 50 << 10, 16 << 20},
		"with a bound":    {journal.Keep{Bytes: journal.MinKeep}, 2000, 1000, 128 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			k := keep(t, filepath.Join(t.TempDir(), "j"), journal.Options{Keep: c.keep}, &parley.Server{Engine: parley.LoopsIfPossible})
			many(t, k, 10, "x")
			k.awaitRecorded(t, 10)
			pid, end := startReader(t, k.file)
			many(t, k, c.requests, strings.Repeat("x", c.bytes))
			who := "a reader"
			if exists("/proc/locks") {
				who = fmt.Sprintf("process %d (", pid)
			}
			k.awaitWarning(t, "that grows until "+who)
			end()
			k.awaitWarning(t, "can be checkpointed again")
			eventually(t, "the room is given back", func() bool {
				all, wal := filesOf(k.file)
				return wal <= c.within && (c.keep.Bytes == 0 || all <= c.keep.Bytes)
			})
			k.mu.Lock()
			defer k.mu.Unlock()
			if len(k.warned) != 2 {
				t.Errorf("warned:\n%s\nwant two lines", strings.Join(k.warned, "\n"))
			}
		})
	}
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// A volume that a held -wal file has filled needs no restart, and no more room, once the
// reader has gone: what the journal needs to take it in was reserved.
func TestFullDiskMendsWhenTheReaderEnds(t *testing.T) {
	dir := t.TempDir()
	mount(t, dir, "size=3m")
	k := keep(t, filepath.Join(dir, "j"), journal.Options{Keep: journal.Keep{Bytes: journal.MinKeep}}, &parley.Server{Engine: parley.LoopsIfPossible})
	many(t, k, 10, "x")
	k.awaitRecorded(t, 10)
	_, end := startReader(t, k.file)
	done := make(chan struct{})
	go func() {
		defer close(done)
		many(t, k, 6000, strings.Repeat("x", 1000))
	}()
	k.awaitWarning(t, "full")
	end()
	<-done
	k.awaitWarning(t, "can be written again (exchanges not recorded: 0)")
	db := k.end(t)
	if last := number(t, db, "SELECT max(id) FROM exchanges"); last != 6010 {
		t.Errorf("the last exchange is %d, want 6010", last)
	}
	checkWhole(t, k.file)
}

// The end of the context ends Close, whatever the disk does, and says how much may be missing.
func TestCloseIsCut(t *testing.T) {
	k := keep(t, filepath.Join(t.TempDir(), "j"), journal.Options{}, new(parley.Server))
	c := k.dial(t)
	exchange(t, c, "before")
	k.awaitRecorded(t, 1)
	other, err := read(t, k.file).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		exchange(t, c, fmt.Sprint(i))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := k.journal.Close(ctx); err == nil || err.Error() != "exchanges not recorded: up to 3 (context canceled)" {
		t.Errorf("Close = %v", err)
	}
	// What was cut goes on for as long as the process does, and lets go of the file at its end.
	if _, err := other.ExecContext(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the file is free", func() bool {
		w, err := journal.Create(k.file, journal.Options{})
		if err == nil {
			err = w.Close(t.Context())
		}
		return err == nil
	})
}
