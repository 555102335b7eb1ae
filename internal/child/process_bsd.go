//go:build unix && !linux

package child

import "syscall"

func attributes(*int) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func (p *process) awaitExit(int) { p.wait() }
