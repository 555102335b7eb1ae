package journal

import (
	"path/filepath"
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
