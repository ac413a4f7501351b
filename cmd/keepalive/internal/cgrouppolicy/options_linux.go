package cgrouppolicy

import (
	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/policy"
	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
)

// An option is a socket option and the value that the policy wants.
type option struct {
	name          string
	level, number int32
	value         int32
	needs         string // what eBPF needs to set it
}

// optionsOf returns the options that c names, and SO_KEEPALIVE. An option that a
// socket may lack comes first, so that its refusal leaves the socket as it was.
// SO_KEEPALIVE comes last, so that it arms the timer with the policy.
func optionsOf(c keepalive.Config) ([]option, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	const linux59 = "Linux 5.9"
	var options []option
	for i := len(policy.Options) - 1; i >= 0; i-- {
		o := &policy.Options[i]
		needs := linux59
		if o.Since != "" {
			needs = "Linux " + o.Since + ", or a policy without " + o.Key
		}
		if value := o.Value(policy.Config(c)); value != 0 {
			options = append(options, newOption(o.Option, value, needs))
		}
	}
	on := 1
	if c.Disable {
		on = 0
	}
	return append(options, newOption(sockopt.KeepAlive, on, linux59)), nil
}

func newOption(o sockopt.Option, value int, needs string) option {
	return option{o.Name, int32(o.Level), int32(o.Number), int32(value), needs}
}
