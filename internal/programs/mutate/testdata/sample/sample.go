// Package sample is code whose mutants are known.
package sample

import "errors"

const limit = 10

var errNegative = errors.New("negative")

// Clamp is tested, but for the limit itself.
func Clamp(n int) (int, error) {
	if n < 0 {
		return 0, errNegative
	}
	if n > limit {
		n = limit
	}
	return n, nil
}

// Untested is not.
func Untested() bool { return true }
