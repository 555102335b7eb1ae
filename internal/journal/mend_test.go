package journal

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
)

// A -wal file that was not to be seen once, behind a transaction, may be there again when it is looked at next: what
// the transaction has written is there too, and is not to be written again.
func TestALogThatIsThereAgainIsMended(t *testing.T) {
	f, err := openFile(filepath.Join(t.TempDir(), "j"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	b := new(batch)
	r, request, reply := newRecord(1, &parley.Exchange{Seq: 1, Received: time.Now(), Request: []byte("a"), Reply: []byte("b")})
	b.exchanges, b.bytes = append(b.exchanges, r), append(append(b.bytes, request...), reply...)
	if err := f.write(b); err != nil {
		t.Fatal(err)
	}
	f.exchange = 0 // as write leaves it that does not see the file
	if lost, err := f.mend(errWALGone); lost >= 0 || err != nil {
		t.Errorf("mend = %d, %v; want that the batch is there", lost, err)
	}
}

// A codedError is an error as SQLite has them.
type codedError int

func (e codedError) Error() string { return "disk I/O error" }

func (e codedError) Code() int { return int(e) }

// Where there is no room for the -shm file SQLite speaks of input and output.
func TestNoRoomForTheShmFileIsAFullDisk(t *testing.T) {
	f := new(file)
	if err := f.judged(codedError(codeCannotGrow)); !isFull(err) || !strings.Contains(err.Error(), "the disk is full") {
		t.Errorf("it is told as %v", err)
	}
	const write = 10 | 3<<8 // SQLITE_IOERR_WRITE
	if err := f.judged(codedError(write)); isFull(err) || f.broken != nil {
		t.Errorf("a write that fails is told as %v, and as broken: %v", err, f.broken)
	}
}
