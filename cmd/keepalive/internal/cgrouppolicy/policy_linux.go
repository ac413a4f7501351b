// Package cgrouppolicy holds the TCP sockets of a control group to a keepalive
// policy by eBPF, whatever the programs that own them set.
//
// It takes Linux 5.9, and CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN, of the
// initial user namespace. What Attach attaches is gone with the process at the
// latest. [Rules] for a machine take Linux 6.1 and BTF, and can be pinned.
package cgrouppolicy

import (
	"errors"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/seed-7be6acb7/keepalive"
	"golang.org/x/sys/unix"
)

// An Attachment is a policy that is in force.
type Attachment struct{ links []link.Link }

// Attach puts the policy in force for the sockets of a group and of those below
// it: for each connection once it is established, and for each option that the
// policy names whenever a program sets it. Fields of c that are zero are left to
// the programs, and so is what connections have that are established already.
//
// It is one of [Rules], for one group. There is nothing to choose and nothing to
// store, so the values are in the programs, and Linux 5.9 can run them.
//
// Without mptcp the group can make no MPTCP sockets.
func Attach(group *os.File, c keepalive.Config, mptcp bool) (*Attachment, error) {
	options, err := optionsOf(c)
	if err != nil {
		return nil, err
	}
	programs := []*ebpf.ProgramSpec{rewriteSetsockopt(options), setOnEstablished(options)}
	if !mptcp {
		programs = append(programs, refuseMPTCP())
	}
	var a Attachment
	for _, spec := range programs {
		if err := a.attach(group, spec); err != nil {
			return nil, errors.Join(explain(err), a.Close())
		}
	}
	return &a, nil
}

func (a *Attachment) attach(group *os.File, spec *ebpf.ProgramSpec) error {
	program, err := ebpf.NewProgram(spec)
	if err != nil {
		return err
	}
	defer program.Close() // the link holds it
	l, err := attachLink(group, program, spec)
	if err != nil {
		return err
	}
	a.links = append(a.links, l)
	return nil
}

func attachLink(group *os.File, program *ebpf.Program, spec *ebpf.ProgramSpec) (*link.RawLink, error) {
	l, err := link.AttachRawLink(link.RawLinkOptions{Target: int(group.Fd()), Program: program, Attach: spec.AttachType})
	if errors.Is(err, unix.E2BIG) {
		return nil, errTooMany
	}
	return l, err
}

// Close ends it. Connections keep what they have. A process that another goroutine is
// starting has copies of descriptors for a moment, so it does not suffice to close them.
func (a *Attachment) Close() error {
	var errs []error
	for _, l := range a.links {
		errs = append(errs, l.Detach(), l.Close())
	}
	return errors.Join(errs...)
}
