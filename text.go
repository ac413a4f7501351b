package keepalive

import (
	"errors"
	"fmt"
	"strings"
)

const syntax = `"default" alone, or any of off, idle=1m, interval=5s, count=3, user_timeout=1m15s, max_rto=2s, with commas between them`

// maxPart is longer than what any part needs. Errors repeat no more of a text.
const maxPart = 64

// Parse returns the Config that s describes: the result of [Config.String], or
// a part of it in any order. A field that is left out is zero. "default" is the
// zero Config. Durations are those of [time.ParseDuration]. White space around
// a part is ignored.
//
// An error quotes the part of s that is wrong and says what is accepted. The
// empty string is an error: it is more likely a lost setting than a request for
// the default.
func Parse(s string) (Config, error) {
	if strings.TrimSpace(s) == "default" {
		return Config{}, nil
	}
	var c Config
	seen := make(map[string]bool)
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		if len(part) > maxPart {
			return Config{}, fmt.Errorf("keepalive: %q and %d more bytes: unknown, want %s", part[:maxPart], len(part)-maxPart, syntax)
		}
		key, value, _ := strings.Cut(part, "=")
		err := c.parsePart(part, key, value)
		if err == nil && seen[key] {
			err = fmt.Errorf("%s is given twice", key)
		}
		if err != nil {
			return Config{}, fmt.Errorf("keepalive: %q: %w", part, err)
		}
		seen[key] = true
	}
	return c, nil
}

func (c *Config) parsePart(part, key, value string) error {
	if part == "off" {
		c.Disable = true
		return nil
	}
	for i := range options {
		o := &options[i]
		if o.key != key {
			continue
		}
		v, err := o.parse(value)
		if err != nil {
			return err
		}
		*c = o.set(*c, v)
		return o.validate(*c)
	}
	return errors.New("unknown, want " + syntax)
}

// String returns c in the form that [Parse] reads, such as
// "idle=1m0s,interval=5s,count=3,user_timeout=1m15s,max_rto=2s": the fields
// that are not zero, after "off" with Disable. The zero Config is "default". An
// invalid c is shown as it is.
func (c Config) String() string {
	if c == (Config{}) {
		return "default"
	}
	var parts []string
	if c.Disable {
		parts = append(parts, "off")
	}
	for i := range options {
		o := &options[i]
		if v := o.get(c); v != 0 {
			parts = append(parts, o.key+"="+o.format(v))
		}
	}
	return strings.Join(parts, ",")
}

// MarshalText returns [Config.String], or the error of [Config.Validate]. Its
// result can always be read back. With MarshalText and [Config.UnmarshalText] a
// Config is a string in JSON, YAML and TOML, and the value of a [flag.TextVar].
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
