package keepalive_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var texts = []struct {
	config keepalive.Config
	text   string
}{
	{keepalive.Config{}, "default"},
	{keepalive.Config{Disable: true}, "off"},
	{keepalive.Config{Idle: time.Minute}, "idle=1m0s"},
	{keepalive.Config{Interval: 1}, "interval=1ns"},
	{keepalive.Config{Count: 127}, "count=127"},
	{keepalive.Config{UserTimeout: 1500 * time.Microsecond}, "user_timeout=1.5ms"},
	{keepalive.Config{Disable: true, Idle: 90 * time.Second}, "off,idle=1m30s"},
	{
		keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3, UserTimeout: 75 * time.Second},
		"idle=1m0s,interval=5s,count=3,user_timeout=1m15s",
	},
	{
		keepalive.Config{Disable: true, Idle: 32767 * time.Second, Interval: 32767*time.Second - 1, Count: 1, UserTimeout: math.MaxInt32 * time.Millisecond},
		"off,idle=9h6m7s,interval=9h6m6.999999999s,count=1,user_timeout=596h31m23.647s",
	},
}

func TestText(t *testing.T) {
	for _, tt := range texts {
		assert.Equal(t, tt.text, tt.config.String())
		parsed, err := keepalive.Parse(tt.text)
		assert.NoError(t, err)
		assert.Equal(t, tt.config, parsed)

		text, err := tt.config.MarshalText()
		assert.NoError(t, err)
		assert.Equal(t, tt.text, string(text))
		c := keepalive.Config{Count: 99}
		assert.NoError(t, c.UnmarshalText(text))
		assert.Equal(t, tt.config, c, "what is left out is zero")
	}
}

func TestParseAccepts(t *testing.T) {
	for s, want := range map[string]keepalive.Config{
		"count=3,idle=1m":                {Idle: time.Minute, Count: 3},
		"idle=60s, interval=5000ms":      {Idle: time.Minute, Interval: 5 * time.Second},
		"\t idle=1m30s ,\ncount=3,off\n": {Disable: true, Idle: 90 * time.Second, Count: 3},
		" default\n":                     {},
		"idle=0s,interval=0,count=0":     {},
		"off,user_timeout=0":             {Disable: true},
	} {
		c, err := keepalive.Parse(s)
		assert.NoError(t, err, "%q", s)
		assert.Equal(t, want, c, "%q", s)
	}
}

func TestParseRefuses(t *testing.T) {
	want := `, want "default" alone, or any of off, idle=1m, interval=5s, count=3, user_timeout=1m15s, max_rto=2s, with commas between them`
	for s, says := range map[string]string{
		"":                                 `"": unknown` + want,
		" ":                                `"": unknown` + want,
		",":                                `"": unknown` + want,
		"idle=1m,":                         `"": unknown` + want,
		"idle=1m,,count=3":                 `"": unknown` + want,
		"on":                               `"on": unknown` + want,
		"idle=1m,ideal=5s":                 `"ideal=5s": unknown` + want,
		"Idle=1m":                          `"Idle=1m": unknown` + want,
		"OFF":                              `"OFF": unknown` + want,
		"idle =1m":                         `"idle =1m": unknown` + want,
		"idle=1m interval=5s":              `"idle=1m interval=5s": time: unknown unit "m interval=" in duration "1m interval=5s", want a duration such as 1m`,
		"idle=1m;count=3":                  `"idle=1m;count=3": time: unknown unit "m;count=" in duration "1m;count=3", want a duration such as 1m`,
		"idle":                             `"idle": time: invalid duration "", want a duration such as 1m`,
		"idle=":                            `"idle=": time: invalid duration "", want a duration such as 1m`,
		"idle= 1m":                         `"idle= 1m": time: invalid duration " 1m", want a duration such as 1m`,
		"idle=60":                          `"idle=60": time: missing unit in duration "60", want a duration such as 1m`,
		"interval=5":                       `"interval=5": time: missing unit in duration "5", want a duration such as 1m`,
		"user_timeout=75000":               `"user_timeout=75000": time: missing unit in duration "75000", want a duration such as 1m`,
		"count=3s":                         `"count=3s": want a number from 1 to 127`,
		"count=3.0":                        `"count=3.0": want a number from 1 to 127`,
		"count=99999999999999999999":       `"count=99999999999999999999": want a number from 1 to 127`,
		"count=":                           `"count=": want a number from 1 to 127`,
		"count=999999999":                  `"count=999999999": Count is 999999999, want 1 to 127, or 0 for the system default`,
		"idle=9999999999h":                 `"idle=9999999999h": time: invalid duration "9999999999h", want a duration such as 1m`,
		"idle=1m,default":                  `"default": unknown` + want,
		"default,idle=1m":                  `"default": unknown` + want,
		"default=1":                        `"default=1": unknown` + want,
		"off=1m":                           `"off=1m": unknown` + want,
		"off=":                             `"off=": unknown` + want,
		"idle=1m,idle=x":                   `"idle=x": time: invalid duration "x", want a duration such as 1m`,
		strings.Repeat("x", 64):            `"` + strings.Repeat("x", 64) + `": unknown` + want,
		strings.Repeat("x", 65):            `"` + strings.Repeat("x", 64) + `" and 1 more bytes: unknown` + want,
		"off,off":                          `"off": off is given twice`,
		"idle=1m,count=3,idle=1m,ideal=1m": `"idle=1m": idle is given twice`,
		"count=3,idle=10h":                 `"idle=10h": Idle is 10h0m0s, want 1s to 9h6m7s (32767 s), or 0 for the system default`,
		"interval=-1s":                     `"interval=-1s": Interval is -1s, want 1s to 9h6m7s (32767 s), or 0 for the system default`,
		"count=128":                        `"count=128": Count is 128, want 1 to 127, or 0 for the system default`,
		"max_rto=121s":                     `"max_rto=121s": MaxRTO is 2m1s, want 1s to 2m0s (120000 ms), or 0 for no change`,
		"max_rto=999ms":                    `"max_rto=999ms": MaxRTO is 999ms, want 1s to 2m0s (120000 ms), or 0 for no change`,
		"user_timeout=600h":                `"user_timeout=600h": UserTimeout is 600h0m0s, want 1ms to 596h31m23.647s (2147483647 ms), or 0 for off`,
	} {
		c, err := keepalive.Parse(s)
		assert.EqualError(t, err, "keepalive: "+says, "%q", s)
		assert.Zero(t, c, "%q", s)

		c = keepalive.Config{Idle: time.Minute}
		assert.EqualError(t, c.UnmarshalText([]byte(s)), "keepalive: "+says, "%q", s)
		assert.Equal(t, keepalive.Config{Idle: time.Minute}, c, "left as it was")
	}
}

// Errors repeat no more than a part of a text.
func TestParseRefusesALongText(t *testing.T) {
	for _, s := range []string{strings.Repeat("x", 1<<20), "idle=" + strings.Repeat("9", 1<<20) + "s", "count=" + strings.Repeat("3", 100)} {
		_, err := keepalive.Parse(s)
		assert.ErrorContains(t, err, fmt.Sprintf(`keepalive: %q and %d more bytes: unknown, want "default"`, s[:64], len(s)-64))
		assert.Less(t, len(err.Error()), 300)
	}
}

// String hides nothing, MarshalText writes nothing that can't be read back.
func TestTextOfInvalidConfig(t *testing.T) {
	for _, tt := range invalid {
		_, err := keepalive.Parse(tt.config.String())
		assert.ErrorContains(t, err, tt.says)
		text, err := tt.config.MarshalText()
		assert.ErrorContains(t, err, tt.says)
		assert.Nil(t, text)
	}
	assert.Equal(t, "idle=-1ns,count=128", keepalive.Config{Idle: -1, Count: 128}.String())
}

func TestTextInJSON(t *testing.T) {
	type settings struct {
		Keepalive keepalive.Config
		Optional  *keepalive.Config `json:",omitempty"`
		ByName    map[string]keepalive.Config
	}
	want := settings{
		Keepalive: keepalive.Config{Idle: time.Minute, Count: 3},
		Optional:  &keepalive.Config{},
		ByName:    map[string]keepalive.Config{"replica": {Disable: true}},
	}
	text, err := json.Marshal(want)
	require.NoError(t, err)
	assert.JSONEq(t, `{"Keepalive": "idle=1m0s,count=3", "Optional": "default", "ByName": {"replica": "off"}}`, string(text))
	var got settings
	require.NoError(t, json.Unmarshal(text, &got))
	assert.Equal(t, want, got)

	assert.ErrorContains(t, json.Unmarshal([]byte(`{"Keepalive": "idle=60"}`), &got), `keepalive: "idle=60": time: missing unit`)
	assert.Error(t, json.Unmarshal([]byte(`{"Keepalive": {"Idle": 60}}`), &got))
	assert.Equal(t, want, got)
}

func TestTextAsFlag(t *testing.T) {
	var c keepalive.Config
	flags := flag.NewFlagSet("test", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.TextVar(&c, "keepalive", keepalive.Config{Count: 3}, "")
	assert.Equal(t, "count=3", flags.Lookup("keepalive").DefValue)
	require.NoError(t, flags.Parse(nil))
	assert.Equal(t, keepalive.Config{Count: 3}, c)
	assert.ErrorContains(t, flags.Parse([]string{"-keepalive=idle=60"}), `keepalive: "idle=60": time: missing unit`)
	require.NoError(t, flags.Parse([]string{"-keepalive", "off"}))
	assert.Equal(t, keepalive.Config{Disable: true}, c)
}

func FuzzParse(f *testing.F) {
	for _, tt := range texts {
		f.Add(tt.text)
	}
	for _, s := range []string{"", "idle=60", "idle=1m,idle=1m", "default,off", "off=", " idle=1h , count=3 ", "count=128", "user_timeout=1.5ms", "idle=-1s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := keepalive.Parse(s)
		if err != nil {
			assert.Zero(t, c)
			return
		}
		assert.NoError(t, c.Validate())
		again, err := keepalive.Parse(c.String())
		assert.NoError(t, err)
		assert.Equal(t, c, again)
	})
}

func FuzzString(f *testing.F) {
	for _, tt := range texts {
		c := tt.config
		f.Add(c.Disable, int64(c.Idle), int64(c.Interval), c.Count, int64(c.UserTimeout))
	}
	for _, tt := range invalid {
		c := tt.config
		f.Add(c.Disable, int64(c.Idle), int64(c.Interval), c.Count, int64(c.UserTimeout))
	}
	f.Fuzz(func(t *testing.T, disable bool, idle, interval int64, count int, userTimeout int64) {
		c := keepalive.Config{
			Disable:     disable,
			Idle:        time.Duration(idle),
			Interval:    time.Duration(interval),
			Count:       count,
			UserTimeout: time.Duration(userTimeout),
		}
		if c.Validate() != nil {
			assert.Error(t, tcptest.Err(keepalive.Parse(c.String())))
		}
		c.Idle = c.Idle.Abs() % (32767*time.Second + 1)
		c.Interval = c.Interval.Abs() % (32767*time.Second + 1)
		c.Count = int(uint(c.Count) % 128)
		c.UserTimeout = c.UserTimeout.Abs() % (math.MaxInt32*time.Millisecond + 1)
		parsed, err := keepalive.Parse(c.String())
		assert.NoError(t, err)
		assert.Equal(t, c, parsed)
	})
}
