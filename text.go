package keepalive

import (
	"fmt"

	"github.com/seed-7be6acb7/keepalive/internal/policy"
)

// Parse returns the Config that s describes: the text of [Config.String], or a
// part of it in any order. A field that is left out is zero. "default" is the
// zero Config, and "off" sets Disable. Durations are those of
// [time.ParseDuration]. White space around a part is ignored.
//
// An error quotes the part of s that is wrong and names what is accepted. The
// empty string is an error, since it is more likely a lost setting than a
// request for the default.
func Parse(s string) (Config, error) {
	c, _, err := policy.Parse(s)
	if err != nil {
		return Config{}, fmt.Errorf("keepalive: %w", err)
	}
	return Config(c), nil
}

// String returns c in the form that [Parse] reads, such as
// "idle=1m0s,interval=5s,count=3,max_rto=2s": the fields that are not zero,
// after "off" if Disable is set. The zero Config is "default". An invalid c is
// formatted too.
func (c Config) String() string { return policy.Config(c).String() }

// MarshalText returns [Config.String], or the error of [Config.Validate]. With
// MarshalText and [Config.UnmarshalText] a Config is a string in JSON, YAML and
// TOML, and the value of a [flag.TextVar]. In YAML 1.1 "off" is a boolean
// unless it is quoted.
func (c Config) MarshalText() ([]byte, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return []byte(c.String()), nil
}

// UnmarshalText sets c to the result of [Parse]. On error it leaves c
// unchanged.
func (c *Config) UnmarshalText(text []byte) error {
	parsed, err := Parse(string(text))
	if err == nil {
		*c = parsed
	}
	return err
}
