package exporter

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgroup"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/sockets"
)

// other is the value of the labels of what exceeds a limit.
const other = "other"

// A program is what metrics are told apart by.
type program struct{ command, unit string }

// newProgram returns the values of labels for a process in a control group: its unit,
// or else its path, as containers have it that systemd does not start. Labels are
// UTF-8, which a path need not be.
func newProgram(command, group string) program {
	return program{command, strings.ToValidUTF8(cmp.Or(cgroup.Unit(group), group), "?")}
}

// A collector makes the metrics at each scrape.
type collector struct {
	options Options
	errors  prometheus.Counter

	mu       sync.Mutex // one scrape at a time
	programs *admission[program]
	policies *admission[string]
	losses   map[loss]uint64
	missed   uint64
	missing  map[string]string // part to reason
}

// A loss is what losses are counted by.
type loss struct {
	program
	cause sockets.Cause
}

func newCollector(o Options) *collector {
	return &collector{
		options:  o,
		errors:   prometheus.NewCounter(prometheus.CounterOpts{Name: "keepalive_exporter_scrape_errors_total", Help: "Scrapes in which the sockets could not be read."}),
		programs: newAdmission[program](cmp.Or(o.Programs, DefaultPrograms)),
		policies: newAdmission[string](cmp.Or(o.Policies, DefaultPolicies)),
		losses:   make(map[loss]uint64),
		missing:  make(map[string]string),
	}
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range descriptions {
		to <- d
	}
	c.errors.Describe(to)
}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(to chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	began := time.Now()
	s, err := c.scrape()
	if err != nil {
		c.errors.Inc()
		c.options.log("the sockets could not be read: %v", err)
	} else {
		s.send(to)
	}
	c.sendLosses(to)
	c.sendMissing(to)
	to <- c.errors
	to <- gauge(scrapeDuration, time.Since(began).Seconds())
}

// A scrape is what was found of the sockets.
type scrape struct {
	connections, listening map[class]int
	programs               map[program]*counts
	folded                 map[string]int // label to number of values in other
	refused                int
	unseen                 sockets.Unseen
}

// A class is sockets of a program that have the same policy.
type class struct {
	program
	policy string
}

// counts are those of the connections of a program.
type counts struct {
	idle, inFlight histogram
	never, suspect int
}

// A rawClass is sockets of a process that have the same policy.
type rawClass struct {
	pid    int
	listen bool
	policy keepalive.Config
}

// A tally is what was found before it is brought together.
type tally struct {
	byClass map[rawClass]int
	byPID   map[int]*counts
	names   map[int]string
}

// scrape reads the sockets.
func (c *collector) scrape() (*scrape, error) {
	found, err := sockets.Find(c.options.Reading)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	if _, fallback := found.Reading(); fallback != nil && c.options.Reading != sockets.ByDescriptor {
		c.missing["ebpf"] = fallback.Error()
	} else {
		delete(c.missing, "ebpf")
	}
	t := tally{byClass: make(map[rawClass]int), byPID: make(map[int]*counts), names: make(map[int]string)}
	for s := range found.All(func(sockets.Process) bool { return true }) {
		t.add(s)
	}
	s := c.fold(&t)
	s.refused, s.unseen = len(found.Refusals()), found.Unseen(nil)
	return s, nil
}

// add counts a socket for its first process.
func (t *tally) add(s *sockets.Socket) {
	if s.State != sockets.Listen && !s.State.Synchronized() {
		return
	}
	h := s.Holders[0]
	t.byClass[rawClass{h.PID, s.State == sockets.Listen, s.Config}]++
	of := t.byPID[h.PID]
	if of == nil {
		of = new(counts)
		t.byPID[h.PID], t.names[h.PID] = of, h.Command
	}
	if s.State != sockets.Listen {
		of.add(s)
	}
}

func (n *counts) add(s *sockets.Socket) {
	n.idle.add(s.Idle)
	n.inFlight.add(s.InFlight)
	if s.Idle.Never {
		n.never++
	}
	if s.Status.Suspect() {
		n.suspect++
	}
}

// fold brings processes of the same program together, and what exceeds the limits.
// Where not all are admitted, those with the most sockets are.
func (c *collector) fold(t *tally) *scrape {
	s := &scrape{connections: make(map[class]int), listening: make(map[class]int), programs: make(map[program]*counts), folded: map[string]int{"program": 0, "policy": 0}}
	now := time.Now()
	of := make(map[int]program)
	sizes, policySizes, policies := make(map[program]int), make(map[string]int), make(map[keepalive.Config]string)
	for pid, name := range t.names {
		of[pid] = newProgram(name, cgroup.PathOf(pid))
	}
	for raw, n := range t.byClass {
		sizes[of[raw.pid]] += n
		if policies[raw.policy] == "" {
			policies[raw.policy] = raw.policy.String()
		}
		policySizes[policies[raw.policy]] += n
	}
	programs := admitLargest(sizes, func(p program) bool { return c.admit(p, now) })
	admitted := admitLargest(policySizes, func(p string) bool {
		in, _ := c.policies.admit(p, now)
		return in
	})
	programOf := func(pid int) program {
		if p := of[pid]; programs[p] {
			return p
		}
		return program{other, other}
	}
	for raw, n := range t.byClass {
		k := class{programOf(raw.pid), policies[raw.policy]}
		if !admitted[k.policy] {
			k.policy = other
		}
		if raw.listen {
			s.listening[k] += n
		} else {
			s.connections[k] += n
		}
	}
	for pid, n := range t.byPID {
		p := programOf(pid)
		if s.programs[p] == nil {
			s.programs[p] = new(counts)
			for _, cause := range sockets.Causes { // a first loss is a rise only where a zero came before
				c.losses[loss{p, cause}] += 0
			}
		}
		s.programs[p].merge(n)
	}
	s.folded["program"], s.folded["policy"] = without(programs), without(admitted)
	return s
}

// admit reports whether a program has labels of its own. One that had to go for it
// loses its counts.
func (c *collector) admit(p program, now time.Time) bool {
	in, gone := c.programs.admit(p, now)
	for k := range c.losses {
		if slices.Contains(gone, k.program) {
			delete(c.losses, k)
		}
	}
	return in
}

// admitLargest asks for each value, the largest first.
func admitLargest[K comparable](sizes map[K]int, admit func(K) bool) map[K]bool {
	values := make([]K, 0, len(sizes))
	for v := range sizes {
		values = append(values, v)
	}
	slices.SortFunc(values, func(a, b K) int { return cmp.Compare(sizes[b], sizes[a]) })
	admitted := make(map[K]bool, len(values))
	for _, v := range values {
		admitted[v] = admit(v)
	}
	return admitted
}

func without[K comparable](admitted map[K]bool) (n int) {
	for _, in := range admitted {
		if !in {
			n++
		}
	}
	return n
}

func (n *counts) merge(m *counts) {
	n.idle.merge(&m.idle)
	n.inFlight.merge(&m.inFlight)
	n.never += m.never
	n.suspect += m.suspect
}
