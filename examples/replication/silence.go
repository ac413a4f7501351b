package main

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// watch shows the silence until Read has ended, and expects the kernel to have
// ended it.
func (st *story) watch(since time.Time, held policy, ended <-chan error) error {
	ticker := time.NewTicker(st.period())
	defer ticker.Stop()
	for {
		select {
		case err := <-ended:
			silence := time.Since(since)
			if !errors.Is(err, syscall.ETIMEDOUT) {
				return notLost(err)
			}
			st.say("kernel", "gives the primary up after %.1f s: Read fails with ETIMEDOUT", silence.Seconds())
			return nil
		case <-ticker.C:
			st.refresh("silence", progress(time.Since(since), held))
		}
	}
}

// progress says where the kernel is. That is computed from the policy.
func progress(silence time.Duration, held policy) string {
	next := fmt.Sprintf("first probe due at %s, the end at %s", spell(held.Idle), spell(unnoticed(held)))
	if silence >= held.Idle {
		next = fmt.Sprintf("probes go unanswered, the end is due at %s", spell(unnoticed(held)))
	}
	return fmt.Sprintf("%.1f s: %s", silence.Seconds(), next)
}

// notLost says that a connection ended in another way than by silence.
func notLost(err error) error {
	if err == nil {
		return errors.New("replica: got everything from a primary that was to fall silent half way")
	}
	return err
}
