package main

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/duration"
	"github.com/seed-7be6acb7/keepalive/internal/policy"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/sockets"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/term"
)

// compareAttention puts first what needs attention.
func compareAttention(a, b *sockets.Socket) int {
	return cmp.Or(
		cmp.Compare(urgency(a), urgency(b)),
		cmp.Compare(longest(b), longest(a)),
		cmp.Compare(firstHolder(a).Command, firstHolder(b).Command),
		cmp.Compare(firstHolder(a).PID, firstHolder(b).PID),
		cmp.Compare(firstHolder(a).FD, firstHolder(b).FD),
	)
}

// firstHolder returns the zero Holder for a socket that no process holds.
func firstHolder(s *sockets.Socket) (h sockets.Holder) {
	if len(s.Holders) > 0 {
		h = s.Holders[0]
	}
	return h
}

func longest(s *sockets.Socket) time.Duration {
	if s.Idle.Never {
		return math.MaxInt64
	}
	return s.Idle.For
}

func urgency(s *sockets.Socket) int {
	switch {
	case s.Status.Suspect():
		return 0
	case s.State == sockets.Listen:
		return 3
	case !s.State.Synchronized():
		return 4
	case s.Idle.Never:
		return 1
	}
	return 2
}

// A column of the table of sockets.
type column struct {
	heading string
	right   bool
	cell    func(*sockets.Socket) (string, term.Style)
	cut     func(s string, width int) string // nil where nothing may be cut
}

var (
	processColumn = column{heading: "PROCESS", cell: plain(processes), cut: cutProcesses}
	localColumn   = column{heading: "LOCAL", cell: plain(func(s *sockets.Socket) string { return endpointText(s.Local) }), cut: term.CutLeft}
	remoteColumn  = column{heading: "REMOTE", cell: remote, cut: term.CutLeft}
	peerColumn    = column{heading: "PEER", cell: peer, cut: term.CutLeft}
	portColumn    = column{heading: "PORT", right: true, cell: plain(localPort)}
	policyColumn  = column{heading: "POLICY", cell: shortPolicy}
	idleColumn    = column{heading: "UNNOTICED", right: true, cell: unnoticedIdle}
	flightColumn  = column{heading: "IN FLIGHT", right: true, cell: unnoticedInFlight}
	heardColumn   = column{heading: "HEARD", right: true, cell: heard}

	answerColumns = []column{
		{heading: "PROBES", right: true, cell: unanswered(func(s *sockets.Socket) int { return s.Status.Probes })},
		{heading: "RETRANS", right: true, cell: unanswered(func(s *sockets.Socket) int { return s.Status.Retransmits })},
	}
	namespaceColumn = column{heading: "NETNS", right: true, cell: plain(func(s *sockets.Socket) string {
		if s.NetNS == 0 {
			return unknown
		}
		return strconv.FormatUint(s.NetNS, 10)
	})}
)

// keepaliveColumns returns a column for SO_KEEPALIVE and one for each option.
func keepaliveColumns() []column {
	columns := []column{{heading: "KEEPALIVE", cell: onOff}}
	for i := range policy.Options {
		o := &policy.Options[i]
		columns = append(columns, column{heading: heading(o), right: true, cell: plain(func(s *sockets.Socket) string {
			return optionText(o, o.Held(policy.Config(s.Config)))
		})})
	}
	return columns
}

// heading returns the key of an option in capitals.
func heading(o *policy.Option) string { return strings.ToUpper(strings.ReplaceAll(o.Key, "_", " ")) }

func optionText(o *policy.Option, v int64) string {
	switch {
	case o.IsNumber():
		return o.Format(v)
	case v == 0 && o.Zero == policy.Off:
		return nothing
	}
	return duration.Format(time.Duration(v))
}

// layouts are sets of columns, the widest first. A terminal gets the first that
// fits, or the first of the narrow ones that fits when it is cut.
func layouts() (wide, narrow [][]column) {
	full := slices.Concat([]column{processColumn, localColumn, remoteColumn}, keepaliveColumns(),
		[]column{idleColumn, flightColumn, heardColumn}, answerColumns, []column{namespaceColumn})
	wide = [][]column{
		full, // pipes get this one, terminals only where namespaces differ
		full[:len(full)-1],
		slices.Concat([]column{processColumn, localColumn, remoteColumn, policyColumn, idleColumn, flightColumn, heardColumn}, answerColumns),
		slices.Concat([]column{processColumn, portColumn, peerColumn, policyColumn, idleColumn, flightColumn, heardColumn}, answerColumns),
	}
	narrow = [][]column{
		{processColumn, portColumn, peerColumn, policyColumn, idleColumn, flightColumn, heardColumn},
		{processColumn, peerColumn, policyColumn, idleColumn, flightColumn, heardColumn},
		{processColumn, peerColumn, idleColumn, flightColumn, heardColumn},
		{processColumn, peerColumn, idleColumn},
		{processColumn, idleColumn},
	}
	return wide, narrow
}

func plain(text func(*sockets.Socket) string) func(*sockets.Socket) (string, term.Style) {
	return func(s *sockets.Socket) (string, term.Style) { return text(s), term.Plain }
}

// processes names the program once, and the ids of all that share the socket.
func processes(s *sockets.Socket) string {
	if len(s.Holders) == 0 {
		return nothing
	}
	var ids []string
	for _, h := range s.Holders {
		if id := strconv.Itoa(h.PID); !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return fmt.Sprintf("%s[%s]", s.Holders[0].Command, strings.Join(ids, ","))
}

// cutProcesses shortens the name, so that the ids stay legible.
func cutProcesses(s string, width int) string {
	i := strings.LastIndexByte(s, '[')
	if left := width - (len(s) - i); left >= 2 {
		return term.Cut(s[:i], left) + s[i:]
	}
	return term.Cut(s, width)
}

func endpointText(a netip.AddrPort) string {
	if !a.IsValid() || a.Port() == 0 && a.Addr().IsUnspecified() {
		return nothing
	}
	return a.String()
}

// localPort is what a server is known by.
func localPort(s *sockets.Socket) string {
	if s.Local.Port() == 0 {
		return nothing
	}
	return strconv.Itoa(int(s.Local.Port()))
}

// remote has the state in its place where the socket is not connected, or not to
// both sides.
func remote(s *sockets.Socket) (string, term.Style) {
	switch {
	case s.State == sockets.Established:
		return endpointText(s.Remote), term.Plain
	case s.Remote.IsValid():
		return endpointText(s.Remote) + " " + s.State.String(), term.Faint
	}
	return s.State.String(), term.Faint
}

// peer stands alone, so that of a listening socket it tells the address.
func peer(s *sockets.Socket) (string, term.Style) {
	text, style := remote(s)
	if s.State == sockets.Listen {
		text = "listen " + endpointText(s.Local)
	}
	return text, style
}

func onOff(s *sockets.Socket) (string, term.Style) {
	if s.Config.Disable {
		return "off", connected(s, term.Warning)
	}
	return "on", term.Good
}

// shortPolicy returns the whole policy in one column: IDLE/INTERVAL/COUNT, and
// the other options if they are set.
func shortPolicy(s *sockets.Socket) (string, term.Style) {
	text, style := onOff(s)
	var timing []string
	others := ""
	for i := range policy.Options {
		o := &policy.Options[i]
		v := o.Of(policy.Config(s.Config))
		if o.Abbr == "" {
			timing = append(timing, optionText(o, v))
		} else if v != 0 {
			others += " " + o.Abbr + "=" + optionText(o, v)
		}
	}
	if !s.Config.Disable {
		text, style = strings.Join(timing, "/"), term.Plain
	}
	return text + others, style
}

// shortPolicyHelp explains the column.
func shortPolicyHelp() string {
	var timing, others []string
	for i := range policy.Options {
		if o := &policy.Options[i]; o.Abbr == "" {
			timing = append(timing, heading(o))
		} else {
			others = append(others, o.Abbr+"="+heading(o))
		}
	}
	return strings.Join(timing, "/") + ", with " + enumerate(others, "and")
}

func unnoticedIdle(s *sockets.Socket) (string, term.Style) {
	if s.Idle.NoPeer {
		return nothing, term.Faint
	}
	if s.Idle.Never {
		return never, connected(s, term.Alarm)
	}
	return withArmed(s, s.Idle)
}

func unnoticedInFlight(s *sockets.Socket) (string, term.Style) {
	if s.InFlight.NoPeer {
		return nothing, term.Faint
	}
	if !s.InFlight.Known {
		return unknown, connected(s, term.Warning)
	}
	return withArmed(s, s.InFlight)
}

// withArmed adds the time that is left of a timer which the policy has to wait for.
func withArmed(s *sockets.Socket, u sockets.Unnoticed) (string, term.Style) {
	text := duration.Format(u.For)
	if u.Armed == 0 {
		return text, attention(s, u.For)
	}
	return text + " (" + duration.Format(roundedUp(u.Armed)) + ")", connected(s, term.Warning)
}

// roundedUp returns whole seconds.
func roundedUp(d time.Duration) time.Duration { return (d + time.Second - 1).Truncate(time.Second) }

// attention is due where a dead peer goes unnoticed for longer than an hour.
func attention(s *sockets.Socket, d time.Duration) term.Style {
	if d > time.Hour {
		return connected(s, term.Warning)
	}
	return term.Plain
}

// connected returns the style for a socket that has a peer.
func connected(s *sockets.Socket, style term.Style) term.Style {
	if !s.State.Synchronized() {
		return term.Plain
	}
	return style
}

func heard(s *sockets.Socket) (string, term.Style) {
	if !s.Status.Open {
		return nothing, term.Faint
	}
	style := term.Plain
	if s.Status.Suspect() {
		style = term.Alarm
	}
	d := s.Status.SinceHeard()
	if d >= time.Second {
		d = d.Truncate(time.Second)
	}
	return duration.Format(d), style
}

func unanswered(count func(*sockets.Socket) int) func(*sockets.Socket) (string, term.Style) {
	return func(s *sockets.Socket) (string, term.Style) {
		switch n := count(s); {
		case !s.Status.Open:
			return nothing, term.Faint
		case n > 0:
			return strconv.Itoa(n), term.Alarm
		default:
			return "0", term.Faint
		}
	}
}

// renderSockets returns the lines of a table, of which the first is the heading.
func renderSockets(out term.Output, list []*sockets.Socket) []string {
	rendered := make(map[string]term.Column)
	var t term.Table
	wide, narrow := layouts()
	if out.Terminal && !slices.ContainsFunc(list, func(s *sockets.Socket) bool { return s.NetNS != list[0].NetNS }) {
		wide = wide[1:]
	}
	for i, layout := range slices.Concat(wide, narrow[:1], narrow) {
		t = nil
		for _, c := range layout {
			if _, ok := rendered[c.heading]; !ok {
				rendered[c.heading] = c.render(out, list)
			}
			t = append(t, rendered[c.heading])
		}
		width := t.Width
		if i > len(wide) {
			width = t.LeastWidth
		}
		if out.Width == 0 || width() <= out.Width {
			break
		}
	}
	return t.Lines(out)
}

func (c column) render(out term.Output, list []*sockets.Socket) term.Column {
	r := term.Column{Heading: c.heading, Right: c.right, Cut: c.cut}
	for _, s := range list {
		text, style := c.cell(s)
		r.Cells = append(r.Cells, out.Paint(style, text))
	}
	return r
}
