package main

import (
	"fmt"
	"time"

	"github.com/seed-7be6acb7/keepalive"
)

// OpenSSH from 9.2 to 9.4 asks the client every two intervals: it waits for one,
// and then asks only if more whole seconds have passed than that.
const sshdIntervals = 2

func sshd(t keepalive.Target, c keepalive.Config) []string {
	interval, count := questions(t, c, sshdIntervals)
	return []string{"TCPKeepAlive yes", "# takes the sysctls",
		"# these ask within SSH, and bound data in flight too:",
		fmt.Sprintf("ClientAliveInterval %d", interval), fmt.Sprintf("ClientAliveCountMax %d", count),
		fmt.Sprintf("# takes %ds, and %ds with OpenSSH 9.2 to 9.4", interval*(count+1), sshdIntervals*interval*(count+1))}
}

func ssh(t keepalive.Target, c keepalive.Config) []string {
	interval, count := questions(t, c, 1)
	return []string{fmt.Sprintf("ServerAliveInterval %d", interval), fmt.Sprintf("ServerAliveCountMax %d", count),
		fmt.Sprintf("# takes %ds", interval*(count+1))}
}

// questions returns how often SSH asks and how many questions may stay unanswered:
// it gives up when the next one is due. A question comes after so many intervals
// at the latest. The timers are those of poll(2), which are not late.
func questions(t keepalive.Target, c keepalive.Config, intervals int) (interval, count int) {
	budget := t.Detect
	if budget == 0 {
		budget, _ = c.DetectionTime()
	}
	seconds := int(budget/time.Second) / intervals
	count = max(1, min(c.Count, seconds-1))
	interval = seconds / (count + 1)
	if t.IdleLimit != 0 {
		interval = min(interval, int((t.IdleLimit-1)/time.Second)/intervals) // less than IdleLimit
	}
	return max(1, interval), count
}
