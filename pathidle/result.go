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
	// connections, for [ServerSends] the time between its segments, and for
	// [EndsByAge] the age at which the path ends connections.
	After time.Duration

	// Outages is how often the network was down, or the path had forgotten all
	// connections at once. The questions of that time do not count, and were
	// asked again.
	Outages int

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
	// Survived, and Lost at the latest. A connection in each of the places
	// that Options.Connections allows has survived Survived, and two were
	// lost. If a share p of all connections takes another path that forgets
	// sooner, none of n connections took it with a probability of (1-p)^n:
	// 0.4 % for one half and eight connections, 17 % for one fifth.
	Found Verdict = "found"

	// NothingLost: the path knows connections that are idle for Max, which is
	// Survived. One connection has shown that, the others at least half of
	// it.
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
	// survived. There may be several paths, or one whose memory is short, or a
	// firewall has restarted. Lost is the shortest time that was lost, and
	// Survived one that each connection has survived: the least of the longest
	// idle times that the connections have.
	Varies Verdict = "varies"

	// EndsByAge: the path forgets connections that have reached the age After,
	// although probes were answered until then. No keepalive policy keeps them.
	EndsByAge Verdict = "ends by age"

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
	// accepted a new one. In an outage it has not, and the question was
	// asked again.
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
// that is shorter. The error says why there is no such policy: Survived is too short
// for one, the path ends connections whatever the policy, or something else in t
// can't be met.
//
// The policy keeps the paths that the measurement took, as far as the Verdict says.
func (r Result) Plan(t keepalive.Target) (keepalive.Config, error) {
	switch {
	case r.Verdict == EndsByAge:
		return keepalive.Config{}, fmt.Errorf("pathidle: the path ends connections after %s, whatever the policy", duration.Format(r.After))
	case r.Survived == 0:
		return keepalive.Config{}, fmt.Errorf("pathidle: no idle time is known to survive")
	}
	t.IdleLimit = min(cmp.Or(t.IdleLimit, r.Survived), r.Survived)
	return keepalive.Plan(t)
}

// String returns the answer in a sentence, and a second one after an outage.
func (r Result) String() string {
	switch r.Outages {
	case 0:
		return r.answer()
	case 1:
		return r.answer() + "; the network failed meanwhile"
	}
	return fmt.Sprintf("%s; the network failed %d times meanwhile", r.answer(), r.Outages)
}

func (r Result) answer() string {
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
	case EndsByAge:
		return fmt.Sprintf("the path ends connections after %s, although probes are answered", after)
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
