package keepalive_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func readError(err error) error {
	return &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", err)}
}

func TestIsPeerLost(t *testing.T) {
	for name, err := range map[string]error{
		"errno":     tcptest.ETIMEDOUT,
		"read":      readError(tcptest.ETIMEDOUT),
		"write":     &net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("write", tcptest.ETIMEDOUT)},
		"sendfile":  &net.OpError{Op: "write", Net: "tcp", Err: &net.OpError{Op: "readfrom", Err: os.NewSyscallError("sendfile", tcptest.ETIMEDOUT)}},
		"url.Error": &url.Error{Op: "Get", URL: "http://replica.example/", Err: readError(tcptest.ETIMEDOUT)},
		"%w":        fmt.Errorf("replica: %w", readError(tcptest.ETIMEDOUT)),
		"joined":    errors.Join(errors.New("not stored"), readError(tcptest.ETIMEDOUT)),
	} {
		assert.True(t, keepalive.IsPeerLost(err), name)
	}

	for name, err := range map[string]error{
		"nil":              nil,
		"EOF":              io.EOF,
		"unexpected EOF":   io.ErrUnexpectedEOF,
		"closed":           net.ErrClosed,
		"deadline":         os.ErrDeadlineExceeded,
		"read deadline":    readError(os.ErrDeadlineExceeded),
		"context deadline": context.DeadlineExceeded,
		"context canceled": context.Canceled,
		"client timeout":   &url.Error{Op: "Get", Err: context.DeadlineExceeded},
		"text":             errors.New(tcptest.ETIMEDOUT.Error()),
		"name lookup":      &net.DNSError{Err: tcptest.ETIMEDOUT.Error(), IsTimeout: true},
		"dial":             &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", tcptest.ETIMEDOUT)},
		"dial on Windows":  &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connectex", tcptest.ETIMEDOUT)},
		"connect":          os.NewSyscallError("connect", tcptest.ETIMEDOUT),
		"refused":          tcptest.ECONNREFUSED,
		"dial refused":     &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", tcptest.ECONNREFUSED)},
		"dial by proxy":    &url.Error{Err: &net.OpError{Op: "proxyconnect", Err: &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", tcptest.ETIMEDOUT)}}},
	} {
		assert.False(t, keepalive.IsPeerLost(err), name)
	}
}

// Errors that the system gives, on connections whose peer is there.
func TestIsNotPeerLost(t *testing.T) {
	t.Parallel()
	not := func(name string, err, is error) {
		t.Helper()
		assert.ErrorIs(t, err, is, name)
		assert.False(t, keepalive.IsPeerLost(err), name)
	}
	ln := tcptest.PlainListen(t, "tcp4")
	conn, peer := tcptest.Pair(t, new(net.Dialer), ln)
	conn.SetDeadline(time.Now())
	_, err := conn.Read(make([]byte, 1))
	not("deadline", err, os.ErrDeadlineExceeded)
	_, err = tls.Client(conn, &tls.Config{ServerName: "x"}).Read(make([]byte, 1))
	not("deadline through TLS", err, os.ErrDeadlineExceeded)
	peer.Close()
	not("EOF", tcptest.Read(conn), io.EOF)
	conn.Close()
	not("closed", tcptest.Read(conn), net.ErrClosed)

	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, "GET", "http://"+ln.Addr().String(), nil)
	require.NoError(t, err)
	_, err = http.DefaultClient.Do(request)
	not("context", err, context.DeadlineExceeded)

	_, err = net.Dial("tcp4", tcptest.Refused)
	require.Error(t, err)
	assert.False(t, keepalive.IsPeerLost(err), "refused")
}

// Of several errors each is judged by what wraps it.
func TestIsPeerLostJudgesEachError(t *testing.T) {
	call := func(name string, errno error) error { return os.NewSyscallError(name, errno) }
	op := func(op, network string, err error) error { return &net.OpError{Op: op, Net: network, Err: err} }
	lost := op("read", "tcp", call("read", tcptest.ETIMEDOUT))
	redial := op("dial", "tcp", call("connect", tcptest.ETIMEDOUT))
	refused := op("dial", "tcp", call("connect", tcptest.ECONNREFUSED))
	reset := op("read", "tcp", call("read", tcptest.ECONNRESET))
	deadline := op("read", "tcp", os.ErrDeadlineExceeded)
	for _, err := range []error{
		lost,
		errors.Join(refused, lost),
		errors.Join(lost, redial),
		fmt.Errorf("replica: %w, then %w", lost, refused),
		fmt.Errorf("replica: %w", errors.Join(errors.New("x"), fmt.Errorf("%w", lost))),
		op("readfrom", "tcp", op("write", "tcp", call("write", tcptest.ETIMEDOUT))),
		op("write", "", call("write", tcptest.ETIMEDOUT)),
		tcptest.ETIMEDOUT,
	} {
		assert.True(t, keepalive.IsPeerLost(err), "%v", err)
	}
	for _, err := range []error{
		nil,
		redial,
		op("dial", "tcp", tcptest.ETIMEDOUT),
		errors.Join(reset, redial),
		errors.Join(deadline, redial),
		errors.Join(),
		errors.Join(nil, io.EOF),
		&fs.PathError{Op: "read", Path: "/mnt/nfs", Err: tcptest.ETIMEDOUT},
		&os.LinkError{Op: "rename", Err: tcptest.ETIMEDOUT},
		op("read", "udp", call("recvfrom", tcptest.EHOSTUNREACH)),
		op("write", "udp4", call("sendto", tcptest.ENETUNREACH)),
		op("read", "udp", call("read", tcptest.ECONNREFUSED)),
		op("write", "unix", call("write", tcptest.ECONNREFUSED)),
		op("set", "tcp", call("setsockopt", tcptest.ECONNREFUSED)),
		op("read", "ip4:icmp", call("recvfrom", tcptest.EHOSTUNREACH)),
		&net.DNSError{Err: "timeout", UnwrapErr: tcptest.ETIMEDOUT},
	} {
		assert.False(t, keepalive.IsPeerLost(err), "%v", err)
	}
}
