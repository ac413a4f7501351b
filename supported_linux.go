//go:build !keepalive_portable

package keepalive

import "github.com/seed-7be6acb7/keepalive/internal/policy"

func supported(c Config) Config { return Config(policy.Supported(policy.Config(c))) }
