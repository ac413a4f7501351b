package cgrouppolicy

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/credentials"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/kernelfields"
)

// Rules are rules that are in force for the connections of a group and of those
// below it. Their programs are attached once, and the rules replaced as often as
// wanted.
type Rules struct {
	Attachment
	maps       *maps
	pins       *Pins // or nil
	generation uint32
	key        uint64
}

// NewRules prepares rules, and attaches nothing. With pins they stay in force when
// the process ends, and go on from what is pinned.
func NewRules(pins *Pins) (*Rules, error) {
	if self := credentials.Of("self"); !self.Has(unix.CAP_SYS_ADMIN) && !self.Has(unix.CAP_PERFMON) {
		return nil, errors.New("eBPF is refused: rules for a machine take CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, or CAP_SYS_ADMIN, and this process lacks CAP_PERFMON: " +
			"run it as root, or setcap cap_bpf,cap_net_admin,cap_perfmon,cap_sys_ptrace+ep its binary")
	}
	r := &Rules{pins: pins}
	random(&r.generation)
	err := error(nil)
	if pins != nil {
		r.maps, err = pins.loadMaps()
	}
	if r.maps == nil && err == nil {
		r.maps, err = newMaps()
	}
	if err != nil {
		return nil, explainRules(err)
	}
	return r, nil
}

func random(to any) { binary.Read(rand.Reader, binary.NativeEndian, to) }

// Attach puts the rules in force that Replace has been given.
func (r *Rules) Attach(root *os.File) error {
	specs, err := r.programs()
	if err != nil {
		return explainRules(err)
	}
	if r.pins != nil {
		if err := r.pins.pinMaps(r.maps); err != nil {
			return err
		}
	}
	for _, spec := range specs {
		if err := r.attach(root, spec); err != nil {
			return explainRules(err)
		}
	}
	if r.pins != nil {
		return r.pins.removeOthers()
	}
	return nil
}

func (r *Rules) attach(root *os.File, spec *ebpf.ProgramSpec) error {
	if r.pins == nil {
		return r.Attachment.attach(root, spec)
	}
	program, err := ebpf.NewProgram(spec)
	if err != nil {
		return err
	}
	defer program.Close() // the link holds it
	l, err := r.pins.attach(root, program, spec)
	if err == nil {
		r.links = append(r.links, l)
	}
	return err
}

func (r *Rules) programs() ([]*ebpf.ProgramSpec, error) {
	if strconv.IntSize != 64 {
		return nil, errors.New("a program of 32 bits, which has other pointers than the kernel may have")
	}
	kernel, err := kernelfields.New()
	if err != nil {
		return nil, err
	}
	defer kernel.Close()
	specs := []*ebpf.ProgramSpec{keepChosen(r.maps), chooseAndSet(kernel, r.maps), refuseMPTCPOfGroups(r.maps)}
	return specs, kernel.Err()
}

// Replace puts other rows in force, at once. Groups has the Membership of each known
// group. ID 0 stands for all unknown groups.
func (r *Rules) Replace(rows []Row, groups map[uint64]Membership) error {
	next, key := r.generation+1, uint64(0)
	random(&key)
	if err := r.fill(next, key, rows, groups); err != nil {
		if r.key != 0 { // else another process has put those in force that are there
			r.removeOldGroups()
		}
		return err
	}
	r.generation, r.key = next, key
	r.removeOldGroups()
	return nil
}

// fill makes a generation known, and puts it in force.
func (r *Rules) fill(next uint32, key uint64, rows []Row, groups map[uint64]Membership) error {
	for id, m := range groups {
		if err := r.put(next, id, m); err != nil {
			return err
		}
	}
	inner, err := ebpf.NewMap(tableSpec())
	if err != nil {
		return err
	}
	defer inner.Close() // the outer one holds it
	if err := inner.Put(uint32(0), table(next, key, rows)); err != nil {
		return err
	}
	return r.maps.rules.Put(uint32(0), inner)
}

// removeOldGroups removes groups of other generations, which another process may have
// left. The next call removes the rest.
func (r *Rules) removeOldGroups() {
	var old []groupKey
	var key groupKey
	var m Membership
	for all := r.maps.groups.Iterate(); all.Next(&key, &m); {
		if key.Generation != r.generation {
			old = append(old, key)
		}
	}
	for _, key := range old {
		r.maps.groups.Delete(key)
	}
}

func (r *Rules) put(generation uint32, id uint64, m Membership) error {
	return r.maps.groups.Put(groupKey{ID: id, Generation: generation}, m)
}

// AddGroup makes a group known.
func (r *Rules) AddGroup(id uint64, m Membership) error {
	return r.put(r.generation, id, m)
}

// RemoveGroup makes a group unknown.
func (r *Rules) RemoveGroup(id uint64) {
	r.maps.groups.Delete(groupKey{ID: id, Generation: r.generation})
}

// Order has a connection, of which fd is a descriptor, hold a rule, or if rule is
// nil what its program wants. It changes nothing that is so already.
func (r *Rules) Order(fd int, rule *Rule, probing bool) error {
	order := make([]byte, orderSize)
	flags := uint32(orderAny)
	if probing {
		flags |= orderProbing
	}
	if rule == nil {
		flags |= orderForget
		rule = new(Rule)
	}
	binary.NativeEndian.PutUint64(order[orderKey:], r.key)
	binary.NativeEndian.PutUint32(order[orderFlags:], flags)
	for i, w := range rule.words() {
		binary.NativeEndian.PutUint32(order[orderRule+i*word:], w)
	}
	return os.NewSyscallError("setsockopt", unix.SetsockoptString(fd, orderLevel, orderName, string(order)))
}

// Close ends the rules, unless they are pinned. Connections keep what they hold.
func (r *Rules) Close() error {
	if r.pins == nil {
		return errors.Join(r.Attachment.Close(), r.maps.Close())
	}
	err := r.maps.Close()
	for _, l := range r.links {
		err = errors.Join(err, l.Close())
	}
	return err
}

// explainRules says what rules take that Attach does not.
func explainRules(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, errTooMany) {
		return explain(err)
	}
	return fmt.Errorf("rules for a machine take Linux 6.1 with BTF (CONFIG_DEBUG_INFO_BTF): %w", explain(err))
}

// CheckNone returns an error where rules are in force for a group already, but for
// those that pins keep. Pins may be nil.
func CheckNone(root *os.File, pins *Pins) error {
	attached, err := link.QueryPrograms(link.QueryOptions{Target: int(root.Fd()), Attach: ebpf.AttachCGroupSockOps})
	if err != nil {
		return nil // without the right to ask, the programs are refused too
	}
	pinned := pins.programs()
	for _, each := range attached.Programs {
		if pinned[each.ID] {
			continue
		}
		program, err := ebpf.NewProgramFromID(each.ID)
		if err != nil {
			continue // it has gone, or it takes CAP_SYS_ADMIN to know
		}
		info, err := program.Info()
		program.Close()
		if err == nil && info.Name == applyName {
			return errors.New("rules are in force already: end the other keepalive apply, use --pin where they are pinned, or keepalive apply --remove")
		}
	}
	return nil
}
