package dial

import (
	"context"
	"errors"
	"io"
	"net"
	"time"
)

// within has what step reads and writes on the connection end with ctx.
func within(ctx context.Context, conn net.Conn, step func() error) error {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	err := step()
	if !stop() {
		return ctx.Err()
	}
	return err
}

// maxDialogue is how many bytes a server or a proxy may say before the conversation.
const maxDialogue = 64 << 10

var errTooMuch = errors.New("too much is said before the conversation: more than 64 KiB")

// A bounded reader is one that gives maxDialogue bytes at most, and step at once.
type bounded struct {
	io.Reader
	step int
	read int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.read == maxDialogue {
		return 0, errTooMuch
	}
	n, err := b.Reader.Read(p[:min(len(p), b.step, maxDialogue-b.read)])
	b.read += n
	return n, err
}
