package netlab

import (
	"errors"

	"golang.org/x/sys/windows"
)

func (s System) here() bool {
	switch s {
	case Wine:
		return windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() == nil
	case OldWindows:
		return lacksInterval()
	}
	return false
}

// lacksInterval reports whether a socket has no TCP_KEEPINTVL.
func lacksInterval() bool {
	s, err := windows.Socket(windows.AF_INET, windows.SOCK_STREAM, windows.IPPROTO_TCP)
	if err != nil {
		return false
	}
	defer windows.Closesocket(s)
	_, err = windows.GetsockoptInt(s, windows.IPPROTO_TCP, windows.TCP_KEEPINTVL)
	return errors.Is(err, windows.WSAENOPROTOOPT)
}
