package sockopt

import (
	"errors"
	"slices"
	"sync"

	"golang.org/x/sys/windows"
)

// Lacks reports whether sockets lack an option in this release of the system:
// TCP_KEEPCNT before Windows 10.0.15063, TCP_KEEPIDLE and TCP_KEEPINTVL before
// 10.0.16299.
func Lacks(o Option) bool { return slices.Contains(lacking(), o) }

// lacking asks a socket, as net does, and knows of nothing where it gets none.
var lacking = sync.OnceValue(func() (options []Option) {
	s, err := windows.Socket(windows.AF_INET, windows.SOCK_STREAM, windows.IPPROTO_TCP)
	if err != nil {
		return nil
	}
	defer windows.Closesocket(s)
	for _, o := range []Option{KeepIdle, KeepIntvl, KeepCnt} {
		if _, err := o.Get(uintptr(s)); errors.Is(err, windows.WSAENOPROTOOPT) {
			options = append(options, o)
		}
	}
	return options
})
