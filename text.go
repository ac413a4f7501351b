package keepalive

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const accepted = `"default" alone, or any of off, idle=1m, interval=5s, count=3, user_timeout=1m15s, with commas between them`

// Parse returns the Config that s stands for: what [Config.String] returns, or
// a part of it in any order. What is left out is zero, and "default" the zero
// Config. Durations are those of [time.ParseDuration]. White space around a part
// does not count.
//
// An error shows the part of s that is wrong and what is accepted. The empty
// string is one: it is more often a setting that got lost than a wish for the
// default.
func Parse(s string) (Config, error) {
	if strings.TrimSpace(s) == "default" {
		return Config{}, nil
	}
	var c Config
	seen := make(map[string]bool)
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		key, value, _ := strings.Cut(part, "=")
		err := c.set(part, key, value)
		if err == nil && seen[key] {
			err = fmt.Errorf("%s is given twice", key)
		}
		if err != nil {
			return Config{}, fmt.Errorf("keepalive: %q: %s", part, strings.TrimPrefix(err.Error(), "keepalive: "))
		}
		seen[key] = true
	}
	return c, nil
}

func (c *Config) set(part, key, value string) (err error) {
	switch {
	case part == "off":
		c.Disable = true
	case key == "idle":
		c.Idle, err = time.ParseDuration(value)
	case key == "interval":
		c.Interval, err = time.ParseDuration(value)
	case key == "count":
		c.Count, err = strconv.Atoi(value)
	case key == "user_timeout":
		c.UserTimeout, err = time.ParseDuration(value)
	default:
		err = errors.New("unknown")
	}
	if err != nil {
		return fmt.Errorf("%w, want %s", err, accepted)
	}
	return c.Validate()
}

// String returns c as [Parse] takes it, such as
// "idle=1m0s,interval=5s,count=3,user_timeout=1m15s": those fields that are not
// zero, after "off" with Disable. The zero Config is "default". An invalid c is
// shown as it is.
func (c Config) String() string {
	if c == (Config{}) {
		return "default"
	}
	var parts []string
	for _, part := range []struct {
		set  bool
		text string
	}{
		{c.Disable, "off"},
		{c.Idle != 0, "idle=" + c.Idle.String()},
		{c.Interval != 0, "interval=" + c.Interval.String()},
		{c.Count != 0, "count=" + strconv.Itoa(c.Count)},
		{c.UserTimeout != 0, "user_timeout=" + c.UserTimeout.String()},
	} {
		if part.set {
			parts = append(parts, part.text)
		}
	}
	return strings.Join(parts, ",")
}

// MarshalText returns [Config.String], or the error of [Config.Validate]: what
// it writes can be read back. With it and [Config.UnmarshalText] a Config is a
// string in JSON, YAML and TOML, and the value of a [flag.TextVar].
func (c Config) MarshalText() ([]byte, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return []byte(c.String()), nil
}

// UnmarshalText sets c to what [Parse] returns. With an error it leaves c as
// it was.
func (c *Config) UnmarshalText(text []byte) error {
	parsed, err := Parse(string(text))
	if err == nil {
		*c = parsed
	}
	return err
}
