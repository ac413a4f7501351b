//go:build !keepalive_portable

package keepalive

import (
	"fmt"
	"sync"
	"syscall"
)

// operations control sockets by functions that take, or give, a T.
//
// syscall.RawConn wants a func(uintptr) and lets it escape. Made for each call,
// that func, what it captures and what it returns would be an allocation each,
// together as dear as a system call; so they are pooled.
type operations[T any] struct {
	pool sync.Pool
}

type operation[T any] struct {
	do  func(fd int, v *T) error
	v   T
	err error
	run func(fd uintptr)
}

func (o *operations[T]) get() *operation[T] {
	if op, ok := o.pool.Get().(*operation[T]); ok {
		return op
	}
	op := new(operation[T])
	op.run = func(fd uintptr) { op.err = op.do(int(fd), &op.v) }
	return op
}

// control calls do with the descriptor of rc and v, and returns v as do left
// it.
func (o *operations[T]) control(rc syscall.RawConn, v T, do func(fd int, v *T) error) (T, error) {
	op := o.get()
	op.do, op.v, op.err = do, v, nil
	closed := rc.Control(op.run)
	v, err := op.v, op.err
	o.pool.Put(op)
	if closed != nil {
		return v, fmt.Errorf("keepalive: %w", closed)
	}
	return v, err
}

// controlConn is control for the socket that sc is.
func (o *operations[T]) controlConn(sc syscall.Conn, v T, do func(fd int, v *T) error) (T, error) {
	rc, err := sc.SyscallConn()
	if err != nil {
		return v, fmt.Errorf("keepalive: %w", err)
	}
	return o.control(rc, v, do)
}
