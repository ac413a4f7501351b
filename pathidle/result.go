package pathidle

import (
	"cmp"
	"fmt"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/duration"
)

// Result is what is known of a path.
type Result struct {
	// Remote is the address of the server that was measured.
	Remote string

	// Verdict tells what Survived and Lost are worth.
	Verdict Verdict

	// Survived is the longest idle time after which the path still knew a
	// connection. Zero is none.
	Survived time.Duration

	// Lost is the shortest idle time after which the path had forgotten a
	// connection. Zero is none.
	Lost time.Duration

	// After is for [ServerCloses] the age at which the server closes
	// connections, and for [ServerSends] the time between its segments.
	After time.Duration

	// Samples are the questions and what became of them, in the order in
	// which they ended.
	Samples []Sample
}

// A Verdict tells how a measurement has ended.
type Verdict string

const (
	// Incomplete: Measure has returned an error.
	Incomplete Verdict = ""

	// Found: the path forgets connections that are idle for longer than
	// Survived, and Lost at the latest.
	Found Verdict = "found"

	// NothingLost: the path knows connections that are idle for Max, which is
	// Survived.
	NothingLost Verdict = "nothing lost"

	// ServerCloses: the server, or a proxy that speaks for it, closes
	// connections itself, when nobody has said anything on them for After.
	// The path remembers for longer than Survived. How much longer can't be
	// seen, and does not matter for connections that say nothing, since probes
	// are answered by the server's kernel and do not reach the program that
	// closes them.
	ServerCloses Verdict = "server closes"

	// ServerSends: the server sends something every After by itself, such as
	// its own keepalive probes, so that the connection is never idle for
	// longer. The path remembers for longer than Survived. How much longer
	// can't be seen, and does not matter as long as the server goes on.
	ServerSends Verdict = "server sends"

	// Varies: a connection was forgotten after a time that another one has
	// survived. There may be several paths, or one whose memory is short.
	// Lost is the shortest time that was lost, and Survived the longest below
	// that survived.
	Varies Verdict = "varies"

	// NeverAnswers: no probe was answered, not even after a second, although
	// the server accepts connections. It, or the path, drops probes.
	NeverAnswers Verdict = "never answers"
)

// Sample is a question, or what happened in place of one.
type Sample struct {
	// Idle is how long the connection was silent.
	Idle time.Duration

	Outcome Outcome

	// Probes is how many probes were sent.
	Probes int

	// RTT is the round-trip time of the probe and its answer, in the
	// resolution of the kernel's tick, 1 ms to 10 ms. It is zero where none
	// was answered, or more than one was sent.
	RTT time.Duration
}

// Outcome is what became of a question.
type Outcome string

const (
	// Answered: the path knew the connection.
	Answered Outcome = "answered"

	// NoAnswer: the path had forgotten the connection. While the probes
	// went unanswered the server has answered on another connection, or has
	// accepted a new one.
	NoAnswer Outcome = "no answer"

	// Reset: somebody has reset the connection. With Probes it is the answer
	// to a probe, of the path, which had forgotten the connection, or of a
	// server that had. Without, somebody has ended the idle connection.
	Reset Outcome = "reset"

	// Closed: the server has closed the connection, and the path let that
	// pass.
	Closed Outcome = "closed"

	// Heard: the server has sent something by itself, and the path let that
	// pass.
	Heard Outcome = "heard"
)

// Plan returns [keepalive.Plan] of t with an IdleLimit of Survived, or of t where
// that is shorter. It keeps the path whatever the Verdict. The error says why
// there is no such policy: Survived is too short for one, or something else
// in t can't be met.
func (r Result) Plan(t keepalive.Target) (keepalive.Config, error) {
	if r.Survived == 0 {
		return keepalive.Config{}, fmt.Errorf("pathidle: no idle time is known to survive")
	}
	t.IdleLimit = min(cmp.Or(t.IdleLimit, r.Survived), r.Survived)
	return keepalive.Plan(t)
}

// String returns the answer in a sentence.
func (r Result) String() string {
	survived, lost, after := duration.Format(r.Survived), duration.Format(r.Lost), duration.Format(r.After)
	switch r.Verdict {
	case Found:
		return fmt.Sprintf("the path forgets a connection that is idle for %s to %s", survived, lost)
	case NothingLost:
		return fmt.Sprintf("the path knows a connection that is idle for %s", survived)
	case ServerCloses:
		return fmt.Sprintf("the server closes connections after %s; the path remembers for longer than %s", after, survived)
	case ServerSends:
		return fmt.Sprintf("the server sends something every %s; the path remembers for longer than %s", after, survived)
	case Varies:
		return fmt.Sprintf("the path forgets some connections that are idle for %s, and others later", lost)
	case NeverAnswers:
		return "no probe was answered, although the server accepts connections"
	}
	switch {
	case r.Survived == 0:
		return "nothing is known of the path"
	case r.Lost == 0:
		return fmt.Sprintf("the path remembers for longer than %s", survived)
	default:
		return fmt.Sprintf("the path remembers for longer than %s, and forgets after %s at the latest", survived, lost)
	}
}
