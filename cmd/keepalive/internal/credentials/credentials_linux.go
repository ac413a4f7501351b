// Package credentials reads what the kernel lets everyone know of the rights of a
// process: credentials(7), capabilities(7) and user_namespaces(7).
package credentials

import (
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Credentials are those of a process.
type Credentials struct {
	UIDs, GIDs []string // real, effective, saved set, file system

	Permitted, Effective uint64 // capabilities

	Dumpable bool
	Nested   bool   // not in the initial user namespace
	UserNS   string // "" where that can't be read
}

// Of returns those of a process, such as "1" or "self". What can't be read is
// zero.
func Of(pid string) Credentials {
	dir := "/proc/" + pid
	c := Credentials{Dumpable: true}
	text, _ := os.ReadFile(dir + "/status")
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch key {
		case "Uid":
			c.UIDs = strings.Fields(value)
		case "Gid":
			c.GIDs = strings.Fields(value)
		case "CapPrm":
			c.Permitted, _ = strconv.ParseUint(value, 16, 64)
		case "CapEff":
			c.Effective, _ = strconv.ParseUint(value, 16, 64)
		}
	}
	// Files of a process that is not dumpable belong to root: proc(5).
	if info, err := os.Stat(dir); err == nil && len(c.UIDs) > 1 {
		c.Dumpable = c.UIDs[1] == strconv.FormatUint(uint64(info.Sys().(*syscall.Stat_t).Uid), 10)
	}
	// The initial user namespace alone maps every id to itself.
	uidMap, err := os.ReadFile(dir + "/uid_map")
	c.Nested = err == nil && !slices.Equal(strings.Fields(string(uidMap)), []string{"0", "0", "4294967295"})
	c.UserNS, _ = os.Readlink(dir + "/ns/user")
	return c
}

// Has reports whether the process can use a capability, such as unix.CAP_BPF.
func (c Credentials) Has(capability int) bool { return c.Effective&(1<<capability) != 0 }

// RunsAs reports whether the process has no other user or group than the real
// ones of another.
func (c Credentials) RunsAs(other Credentials) bool {
	same := func(ids, own []string) bool {
		return len(own) > 0 && len(ids) > 2 && !slices.ContainsFunc(ids[:3], func(id string) bool { return id != own[0] })
	}
	return same(c.UIDs, other.UIDs) && same(c.GIDs, other.GIDs)
}

// User returns the name of the effective user, or else its id.
func (c Credentials) User() string {
	if len(c.UIDs) < 2 {
		return "?"
	}
	if u, err := user.LookupId(c.UIDs[1]); err == nil {
		return u.Username
	}
	return c.UIDs[1]
}
