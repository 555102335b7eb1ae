package journal

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
)

// SQLite reads of a -wal file what is whole from its beginning on, and takes the rest for what was
// never written. That is right where a process was killed, and hides what was damaged later.

const (
	walHead   = 32 // bytes of the file's head
	frameHead = 24 // and of that of each page in it

	// logNotWhole is what is said of such a file, and from where on.
	logNotWhole = "its -wal file is not whole: what was written to it is not read (a power cut leaves that too, of what was not synced) from byte "
)

// checkLog looks whether there is something in the -wal file that SQLite does not read. What a server writes now is
// left alone.
func (r *Reader) checkLog() error {
	before, err := r.logAtRest()
	if err != nil || before == nil {
		return err
	}
	log, err := os.Open(r.file + "-wal")
	if err != nil {
		return nil // which Notice says
	}
	defer log.Close()
	whole, more, err := wholeLog(bufio.NewReaderSize(log, 1<<20))
	if err != nil || !more {
		return err
	}
	after, err := r.logAtRest()
	if err == nil && after != nil && after.Size() == before.Size() && after.ModTime().Equal(before.ModTime()) {
		r.report(Damage{Why: logNotWhole + strconv.FormatInt(whole, 10)})
	}
	return err
}

// logAtRest is what there is of a -wal file that no server writes; nil if one does, or there is none.
func (r *Reader) logAtRest() (fs.FileInfo, error) {
	main, err := os.Open(r.file)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer main.Close()
	if err := tryReadLock(main); err != nil {
		return nil, nil
	}
	info, err := os.Stat(r.file + "-wal")
	if err != nil {
		return nil, nil
	}
	return info, nil
}

// wholeLog reads a -wal file. It returns up to where transactions are whole, and whether more was written behind the first
// frame that is not: that one may be half of what a process was writing when it was killed. All frames since the file was
// last written from its beginning on have the two salts of its head; what is behind them is older.
func wholeLog(log io.Reader) (whole int64, more bool, err error) {
	head := make([]byte, walHead)
	if _, err := io.ReadFull(log, head); err != nil {
		return 0, false, atItsEnd(err)
	}
	sums := newWALSum(head)
	page := binary.BigEndian.Uint32(head[8:])
	good := sums.add(head[:24]).are(head[24:]) && page >= 512 && page <= 64<<10 && page&(page-1) == 0
	if !good {
		_, err := io.ReadFull(log, make([]byte, frameHead))
		return 0, err == nil, atItsEnd(err)
	}
	for at, frame := int64(walHead), make([]byte, frameHead+page); ; {
		if _, err := io.ReadFull(log, frame); err != nil {
			return whole, false, atItsEnd(err)
		}
		at += int64(len(frame))
		salt, other := bytes.Equal(frame[8:12], head[16:20]), bytes.Equal(frame[12:16], head[20:24])
		switch {
		case !good && (salt || other): // one of them may be what is damaged
			return whole, true, nil
		case !good:
		case !salt || !other || !sums.add(frame[:8]).add(frame[frameHead:]).are(frame[16:]):
			good = false
		case binary.BigEndian.Uint32(frame[4:]) != 0: // its transaction ends
			whole = at
		}
	}
}

// atItsEnd is the error of reading a file, unless it is at its end.
func atItsEnd(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil
	}
	return err
}

// A walSum is the checksum of a -wal file from its beginning on: two numbers, made of pairs of others.
type walSum struct {
	order        binary.ByteOrder // of these
	first, other uint32
}

func newWALSum(head []byte) *walSum {
	if head[3]&1 > 0 {
		return &walSum{order: binary.BigEndian}
	}
	return &walSum{order: binary.LittleEndian}
}

func (s *walSum) add(p []byte) *walSum {
	for ; len(p) > 0; p = p[8:] {
		s.first += s.order.Uint32(p) + s.other
		s.other += s.order.Uint32(p[4:]) + s.first
	}
	return s
}

// are says whether the sums are those that stand here.
func (s *walSum) are(there []byte) bool {
	return binary.BigEndian.Uint32(there) == s.first && binary.BigEndian.Uint32(there[4:]) == s.other
}
