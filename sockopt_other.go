//go:build !linux || keepalive_portable

package keepalive

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"syscall"
	"time"
)

// unsupported is the error for what net can't do on this system.
func unsupported(what string) error {
	return fmt.Errorf("keepalive: %s on %s: %w", what, runtime.GOOS, errors.ErrUnsupported)
}

func dial(ctx context.Context, nd *net.Dialer, c Config, network, address string) (net.Conn, error) {
	c, err := settle(c)
	if err != nil {
		return nil, err
	}
	conn, err := nd.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if err := apply(conn, c); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// listen leaves the listening socket alone: SO_KEEPALIVE on it would end it on
// macOS and the BSDs.
func listen(ctx context.Context, nlc *net.ListenConfig, c Config, network, address string) (net.Listener, error) {
	c, err := settle(c)
	if err != nil {
		return nil, err
	}
	ln, err := nlc.Listen(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &Listener{Listener: ln, config: c, tcp: true}, nil
}

func checkListener(_ net.Listener, c Config) (Config, error) { return c, nil }

// setFresh can't write to a socket that may be about to listen. What it has by
// itself is keepalive off.
func setFresh(_ syscall.RawConn, c Config) error {
	if c == (Config{Disable: true}) {
		return nil
	}
	return unsupported("Config.Control")
}

// setOpen leaves zero fields as they are: net can't read them, and -1 is its
// word for that.
func setOpen(sc syscall.Conn, c Config) error {
	conn, ok := sc.(interface {
		SetKeepAliveConfig(net.KeepAliveConfig) error
	})
	if !ok {
		return unsupported(fmt.Sprintf("keepalive of %T", sc))
	}
	set := net.KeepAliveConfig{Enable: !c.Disable, Idle: -1, Interval: -1, Count: -1}
	if c.Idle != 0 {
		set.Idle = c.Idle
	}
	if c.Interval != 0 {
		set.Interval = c.Interval
	}
	if c.Count != 0 {
		set.Count = c.Count
	}
	if err := conn.SetKeepAliveConfig(set); err != nil {
		return fmt.Errorf("keepalive: %w", err)
	}
	return nil
}

func get(syscall.Conn) (Config, error) {
	return Config{}, unsupported("Get")
}

func stat(syscall.Conn) (Status, error) {
	return Status{}, unsupported("Stat")
}

// isLost reports whether err says that a connection died before it was tuned.
// The BSDs and macOS refuse options of a connection that was reset with EINVAL,
// which nothing else gives for a valid Config.
func isLost(err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.EINVAL)
}

func systemDefaults() Config {
	return Config{Idle: 2 * time.Hour, Interval: 75 * time.Second, Count: 9}
}

// settle refuses what net has no call for.
func settle(c Config) (Config, error) {
	if c.UserTimeout != 0 {
		return Config{}, unsupported("UserTimeout")
	}
	return c, nil
}
