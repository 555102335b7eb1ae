package journal_test

import (
	"strings"
	"syscall"
	"testing"
)

func mountTmpfs(t *testing.T, dir, options string) {
	flags := uintptr(0)
	options, again := strings.CutPrefix(options, "remount,")
	if again {
		flags = syscall.MS_REMOUNT
	}
	if options == "ro" {
		flags, options = flags|syscall.MS_RDONLY, ""
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", flags, options); err != nil {
		t.Errorf("mount: %v", err)
	}
	if !again {
		t.Cleanup(func() {
			if err := syscall.Unmount(dir, 0); err != nil {
				t.Errorf("unmount: %v", err)
			}
		})
	}
}
