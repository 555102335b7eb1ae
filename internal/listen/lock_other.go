//go:build !unix || solaris || aix

package listen

import (
	"context"
	"errors"
	"io/fs"
	"net"
)

// lock cannot be done here: of two servers that start at once at a path, nothing keeps the
// second from taking it from the first.
func lock(context.Context, string) (unlock func(), err error) { return func() {}, nil }

func bind(ctx context.Context, path string, mode fs.FileMode) (net.Listener, error) {
	if mode != 0 {
		return nil, errors.New("a socket has no mode on this system")
	}
	return config().Listen(ctx, "unix", path)
}
