//go:build !linux || keepalive_portable

package policy

func explain(_ uintptr, err error) error { return err }
