package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// command prepares the program to run with the rights of the caller, or of the
// user that was asked for.
func (r *runProgram) command() (*exec.Cmd, error) {
	path, err := exec.LookPath(r.argv[0])
	if err != nil && !errors.Is(err, exec.ErrDot) { // a shell runs it as well
		return nil, err
	}
	cmd := &exec.Cmd{Path: path, Args: r.argv}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = new(syscall.SysProcAttr)
	if r.user != "" {
		return cmd, r.becomeUser(cmd)
	}
	if unix.Getuid() != unix.Geteuid() || unix.Getgid() != unix.Getegid() { // keepalive is set-user-ID
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(unix.Getuid()), Gid: uint32(unix.Getgid()), NoSetGroups: true}
	}
	return cmd, nil
}

// becomeUser has cmd run as the user, with the variables of environ(7) that say
// so.
func (r *runProgram) becomeUser(cmd *exec.Cmd) error {
	if gainedRights() {
		return errors.New("--user: keepalive has rights that its caller lacks (a set-user-ID bit, or file capabilities), which are not for this")
	}
	u, err := user.Lookup(r.user)
	if _, ok := errors.AsType[user.UnknownUserError](err); ok {
		return fmt.Errorf("--user is %q, want the name of a user", r.user)
	}
	if err != nil {
		return fmt.Errorf("--user: %w", err)
	}
	groups, err := u.GroupIds()
	if err != nil {
		return fmt.Errorf("--user: %w", err)
	}
	ids, err := numbers(append([]string{u.Uid, u.Gid}, groups...))
	if err != nil {
		return fmt.Errorf("--user %s: %w", r.user, err)
	}
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: ids[0], Gid: ids[1], Groups: ids[2:]}
	cmd.Env = append(os.Environ(), "HOME="+u.HomeDir, "USER="+u.Username, "LOGNAME="+u.Username)
	return nil
}

// numbers returns ids of passwd(5) or group(5).
func numbers(ids []string) (numbers []uint32, err error) {
	for _, id := range ids {
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("id %s is no number from 0 to 4294967295", id)
		}
		numbers = append(numbers, uint32(n))
	}
	return numbers, nil
}

// gainedRights reports whether this process has rights by the file that it runs,
// see AT_SECURE in getauxval(3).
func gainedRights() bool {
	const secure = 23 // AT_SECURE
	auxv, err := unix.Auxv()
	return err != nil || slices.Contains(auxv, [2]uintptr{secure, 1})
}
