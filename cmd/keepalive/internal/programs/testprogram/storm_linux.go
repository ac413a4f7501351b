package main

import (
	"bufio"
	"flag"
	"fmt"
	"net"
	"os"
	"slices"

	"github.com/seed-7be6acb7/keepalive"
)

// atOnce is how many connections storm makes for a line, and kept is how many it
// keeps open.
const atOnce, kept = 100, 500

// storm makes connections and reports those that hold none of the policies of its
// arguments, when they are new and when they are open.
func storm() error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var open []ends
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var bad []string
		for range atOnce {
			e, err := dial(new(net.Dialer), ln)
			if err != nil {
				return err
			}
			open = append(open, e)
			bad = append(bad, e.strangers(flag.Args())...)
			if len(open) > kept {
				bad = append(bad, open[0].strangers(flag.Args())...)
				open[0].close()
				open = open[1:]
			}
		}
		counts := make(map[string]int)
		for _, e := range open {
			for _, held := range e.held() {
				counts[held]++
			}
		}
		fmt.Println(len(bad), bad, counts)
	}
	return in.Err()
}

// strangers returns what is held that is none of the policies. It looks again, since
// it may have looked while another policy was set.
func (e ends) strangers(policies []string) (bad []string) {
	for range 3 {
		bad = slices.DeleteFunc(e.held(), func(held string) bool { return slices.Contains(policies, held) })
		if len(bad) == 0 {
			break
		}
	}
	return bad
}

func (e ends) held() (policies []string) {
	for _, conn := range []net.Conn{e.client, e.server} {
		held, err := keepalive.Get(conn)
		if err != nil {
			policies = append(policies, err.Error())
			continue
		}
		policies = append(policies, held.String())
	}
	return policies
}

// close resets the connection, so that its port is free.
func (e ends) close() {
	e.client.(*net.TCPConn).SetLinger(0)
	e.client.Close()
	e.server.Close()
}
