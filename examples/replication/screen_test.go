package main

import (
	"bytes"
	"errors"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestTerminalRefreshesInPlace(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := &Screen{w: &out, terminal: true}
	s.Refresh("silence", "%.1f s", 0.1)
	s.Refresh("silence", "%.1f s", 0.2)
	s.Say("kernel", "ends it")
	s.End()
	got := regexp.MustCompile(` +`).ReplaceAllString(out.String(), " ")
	assert.Equal(t, "\rsilence 0.1 s \rsilence 0.2 s \nkernel ends it\n", got)
	assert.Equal(t, 100*time.Millisecond, s.Period(time.Minute))
}

func TestPlainLines(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := NewScreen(&out)
	s.Refresh("silence", "%.1f s", 0.1)
	s.Refresh("silence", "%.1f s", 0.2)
	s.Line("the end")
	s.End()
	assert.Equal(t, "silence   0.1 s\nsilence   0.2 s\nthe end\n", out.String())
	assert.Equal(t, time.Minute, s.Period(time.Minute))
	assert.NoError(t, s.Err())
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("broken") }

func TestErr(t *testing.T) {
	t.Parallel()
	s := NewScreen(broken{})
	s.Line("nobody can read this")
	assert.EqualError(t, s.Err(), "broken")
}
