package cgrouppolicy

import (
	"encoding/binary"
	"math"
	"net/netip"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/endpoints"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/rules"
	"github.com/seed-7be6acb7/keepalive/internal/policy"
	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
	"golang.org/x/sys/unix"
)

// Options have numbers in what programs and this process share: those of
// [policy.Options], in that order, and then SO_KEEPALIVE.
const (
	keepAlive = len(policy.Options)
	fields    = keepAlive + 1

	word = 4 // bytes
)

// numbered returns all options by their numbers. Their values are unset.
func numbered() []option {
	options := make([]option, 0, fields)
	for i := range policy.Options {
		options = append(options, newOption(policy.Options[i].Option, 0, ""))
	}
	return append(options, newOption(sockopt.KeepAlive, 0, ""))
}

// accepted returns which values a socket accepts. Others are left to the kernel,
// which refuses them.
func accepted(number int) (least, most int32) {
	if number == keepAlive {
		return math.MinInt32, math.MaxInt32 // it is a truth value
	}
	o := &policy.Options[number]
	if o.Zero == policy.Off {
		return 0, int32(o.Max)
	}
	return int32(o.Min), int32(o.Max)
}

// numberOf returns the number of an option by its key.
func numberOf(key string) int {
	for i := range policy.Options {
		if policy.Options[i].Key == key {
			return i
		}
	}
	panic("there is no option " + key)
}

// A Rule is what connections hold that it is for.
type Rule struct {
	Config keepalive.Config // options whose fields are zero are left to the program
	Mode   rules.Mode
}

// ruleWords are those of a rule in a row: the mode, a bit for each option that it
// names, and their values.
const ruleWords = 2 + fields

const (
	ruleMode = word * iota
	ruleNamed
	ruleValues
)

// words returns the rule as programs read it.
func (r *Rule) words() (w [ruleWords]uint32) {
	w[0] = uint32(r.Mode)
	named, values := &w[1], w[2:]
	c := policy.Config(r.Config)
	for i := range policy.Options {
		if v := policy.Options[i].Value(c); v != 0 {
			*named |= 1 << i
			values[i] = uint32(v)
		}
	}
	*named |= 1 << keepAlive
	if !r.Config.Disable {
		values[keepAlive] = 1
	}
	return w
}

// A Row is addresses and a group of processes, and the rule for connections that
// match them. A rule with several addresses has several rows.
type Row struct {
	Remote, Local endpoints.Endpoint // without a zone
	Rule          Rule
}

// Offsets of a row, as programs read it. The addresses are those of IPv6.
const (
	rowRemote     = 0
	rowRemoteMask = 16
	rowLocal      = 32
	rowLocalMask  = 48
	rowRemotePort = 64
	rowLocalPort  = 68
	rowFamily     = 72 // AF_INET, also for IPv4-mapped addresses, AF_INET6, or 0 for both
	rowRule       = 76
	rowSize       = (rowRule + ruleWords*word + 7) &^ 7
)

// MaxRows is how many rows there can be.
const MaxRows = rules.MaxRows

// Offsets of the table of rows.
const (
	tableGeneration = 0  // of the groups that belong to it
	tableCount      = 4  // of rows
	tableKey        = 8  // which tells this process from others
	tableRows       = 16 // where they start
	tableSize       = tableRows + MaxRows*rowSize
)

// table returns the rows as programs read them.
func table(generation uint32, key uint64, rows []Row) []byte {
	t := make([]byte, tableSize)
	order := binary.NativeEndian
	order.PutUint32(t[tableGeneration:], generation)
	order.PutUint32(t[tableCount:], uint32(len(rows)))
	order.PutUint64(t[tableKey:], key)
	for i := range rows {
		r, at := &rows[i], t[tableRows+i*rowSize:]
		putPrefix(at[rowRemote:], at[rowRemoteMask:], r.Remote.Prefix)
		putPrefix(at[rowLocal:], at[rowLocalMask:], r.Local.Prefix)
		order.PutUint32(at[rowFamily:], r.family())
		order.PutUint32(at[rowRemotePort:], uint32(r.Remote.Port))
		order.PutUint32(at[rowLocalPort:], uint32(r.Local.Port))
		for j, w := range r.Rule.words() {
			order.PutUint32(at[rowRule+j*word:], w)
		}
	}
	return t
}

func (r *Row) family() uint32 {
	for _, e := range []endpoints.Endpoint{r.Remote, r.Local} {
		if e.Prefix.IsValid() && e.Prefix.Addr().Is4() {
			return unix.AF_INET
		}
		if e.Prefix.IsValid() {
			return unix.AF_INET6
		}
	}
	return 0
}

func putPrefix(address, mask []byte, p netip.Prefix) {
	if !p.IsValid() {
		return
	}
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	for i := range 16 {
		mask[i] = ^byte(0xff >> min(8, max(0, bits-8*i)))
	}
	network := p.Addr().As16()
	for i := range 16 {
		address[i] = network[i] & mask[i]
	}
}

// Offsets of what a socket stores: the rule that was chosen for it, what the program
// wants, and what the socket holds.
const (
	storedRule   int16 = 0
	storedWanted int16 = int16(ruleWords * word)
	storedHeld   int16 = storedWanted + int16(fields*word)
	storedSize         = (int(storedHeld) + fields*word + 7) &^ 7
)

// Members are the rows whose groups a group belongs to, a bit for each.
type Members [MaxRows / 64]uint64

// Set adds a row.
func (m *Members) Set(row int) { m[row/64] |= 1 << (row % 64) }

// Has reports whether the group belongs to a row.
func (m *Members) Has(row int) bool { return m[row/64]&(1<<(row%64)) != 0 }

// A Membership is what programs know of a group.
type Membership struct {
	RefuseMPTCP uint64 // whether it can make no MPTCP sockets
	Rows        Members
}

// A groupKey finds the Membership of a group. Unknown groups have ID 0.
type groupKey struct {
	ID         uint64
	Generation uint32
	_          uint32
}

const (
	memberRefuse = 0
	memberRows   = 8
)
