package policy

import (
	"math/bits"
	"time"
)

// ModelTimeout returns how long a peer goes unnoticed with data in flight and
// without a UserTimeout, as tcp_model_timeout computes it for a connection that
// is established: with TCP_RTO_MIN for rto_base.
func ModelTimeout(retries int, maxRTO time.Duration) time.Duration {
	const rtoMin = 200 * time.Millisecond
	maxRTO = min(max(maxRTO, time.Second), 120*time.Second) // all that a socket accepts
	doublings := bits.Len64(uint64(maxRTO/rtoMin)) - 1
	if retries <= doublings {
		return (2<<retries - 1) * rtoMin
	}
	return (2<<doublings-1)*rtoMin + time.Duration(retries-doublings)*maxRTO
}
