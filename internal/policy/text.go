package policy

import (
	"errors"
	"fmt"
	"strings"
)

// Examples returns the parts that the text form of a policy can have besides
// "off", such as idle=1m.
func Examples() []string {
	var parts []string
	for i := range Options {
		parts = append(parts, Options[i].Key+"="+Options[i].Example)
	}
	return parts
}

func syntax() string {
	return `"default" alone, or any of off, ` + strings.Join(Examples(), ", ") + ", with commas between them"
}

// maxPart is longer than what any part needs. Errors repeat no more of a text.
const maxPart = 64

// Parse returns the policy that s describes. named holds the keys in s, such as
// "idle", "off" and "default", also those whose value is zero.
func Parse(s string) (c Config, named map[string]bool, err error) {
	if strings.TrimSpace(s) == "default" {
		return Config{}, map[string]bool{"default": true}, nil
	}
	named = make(map[string]bool)
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		if len(part) > maxPart {
			return Config{}, nil, fmt.Errorf("%q and %d more bytes: unknown, want %s", part[:maxPart], len(part)-maxPart, syntax())
		}
		key, value, _ := strings.Cut(part, "=")
		err := c.parsePart(part, key, value)
		if err == nil && named[key] {
			err = fmt.Errorf("%s is given twice", key)
		}
		if err != nil {
			return Config{}, nil, fmt.Errorf("%q: %w", part, err)
		}
		named[key] = true
	}
	return c, named, nil
}

func (c *Config) parsePart(part, key, value string) error {
	if part == "off" {
		c.Disable = true
		return nil
	}
	for i := range Options {
		o := &Options[i]
		if o.Key != key {
			continue
		}
		v, err := o.parse(value)
		if err != nil {
			return err
		}
		*c = o.with(*c, v)
		return o.Validate(*c)
	}
	return errors.New("unknown, want " + syntax())
}

// String returns c in the form that [Parse] reads.
func (c Config) String() string {
	if c == (Config{}) {
		return "default"
	}
	var parts []string
	if c.Disable {
		parts = append(parts, "off")
	}
	for i := range Options {
		o := &Options[i]
		if v := o.of(c); v != 0 {
			parts = append(parts, o.Key+"="+o.Format(v))
		}
	}
	return strings.Join(parts, ",")
}
