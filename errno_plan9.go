package keepalive

import (
	"errors"
	"syscall"
)

func isGivenUp(_ string, err error) bool {
	return errors.Is(err, syscall.ETIMEDOUT)
}
