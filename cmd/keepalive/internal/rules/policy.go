package rules

import (
	"errors"
	"fmt"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/bounds"
	"github.com/seed-7be6acb7/keepalive/internal/policy"
)

func (p *parser) policyOrPlan(rule *yaml.Node, r *Rule, policy, plan *yaml.Node) {
	switch {
	case policy == nil && plan == nil:
		p.fail(rule, "the rule has no policy, want policy or plan")
	case policy != nil && plan != nil:
		p.fail(plan, "the rule has a policy and a plan, want one of both")
	case policy != nil:
		p.text(policy, "policy", func(s string) (err error) {
			r.Config, err = parsePolicy(s)
			return err
		})
	default:
		p.plan(r, plan)
	}
}

// parsePolicy parses a policy for connections that are yet to be made. They have no
// value to go back to, so a zero makes no sense.
func parsePolicy(s string) (keepalive.Config, error) {
	c, named, err := policy.Parse(s)
	for i := range policy.Options {
		o := &policy.Options[i]
		if err == nil && named[o.Key] && o.Of(c) == 0 {
			err = fmt.Errorf("%s is 0, want a value, or none to leave it to the program", o.Key)
		}
	}
	return keepalive.Config(c), err
}

// keyOf is the key that sets a field of keepalive.Target.
var keyOf = map[string]string{"Detect": "detect", "IdleLimit": "idle_limit", "SlowReads": "in_flight: max_rto"}

func (p *parser) plan(r *Rule, n *yaml.Node) {
	var target keepalive.Target
	before := len(p.problems)
	duration := func(name string, to *time.Duration) func(*yaml.Node) {
		return func(n *yaml.Node) {
			p.text(n, name, func(s string) (err error) {
				if *to, err = time.ParseDuration(s); err != nil || *to <= 0 {
					err = fmt.Errorf("%q is no duration above zero, want one such as 350s", s)
				}
				return err
			})
		}
	}
	p.mapping(n, "plan", keys{
		"detect":     duration("detect", &target.Detect),
		"idle_limit": duration("idle_limit", &target.IdleLimit),
		"in_flight": func(n *yaml.Node) {
			p.text(n, "in_flight", func(s string) error {
				target.Unacked, target.SlowReads = true, s == "max_rto"
				if s != "max_rto" && s != "user_timeout" {
					return fmt.Errorf("it is %q, want max_rto or user_timeout", s)
				}
				return nil
			})
		},
	})
	if len(p.problems) > before {
		return
	}
	if target.Detect == 0 && target.IdleLimit == 0 {
		p.fail(n, "the plan demands nothing, want detect, idle_limit or both")
		return
	}
	c, err := keepalive.Plan(target)
	if e, ok := errors.AsType[*bounds.Error](err); ok {
		err = errors.New(e.Text(keyOf[e.Field], keyOf[e.With]))
	}
	if err != nil {
		p.fail(n, "plan: %w", err)
	}
	r.Config = c
}
