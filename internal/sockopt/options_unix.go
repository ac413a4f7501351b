//go:build darwin || dragonfly || freebsd || linux || netbsd

package sockopt

import "golang.org/x/sys/unix"

func (o *Option) set(fd uintptr, value int) error {
	return unix.SetsockoptInt(int(fd), o.Level, o.Number, value)
}

func (o *Option) get(fd uintptr) (int, error) {
	return unix.GetsockoptInt(int(fd), o.Level, o.Number)
}
