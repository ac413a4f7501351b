package main

import (
	"bytes"
	"flag"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestParse(t *testing.T) {
	t.Parallel()
	parse := func(args ...string) (number int, stdout string, err error) {
		flags := flag.NewFlagSet("program", flag.ContinueOnError)
		flags.IntVar(&number, "number", 3, "a `number`")
		var out bytes.Buffer
		err = Parse(flags, args, &out)
		return number, out.String(), err
	}
	number, stdout, err := parse("-number", "4")
	assert.NoError(t, err)
	assert.Equal(t, 4, number)
	assert.Empty(t, stdout)

	_, stdout, err = parse("-h")
	assert.Equal(t, flag.ErrHelp, err)
	assert.Contains(t, stdout, "-number number")

	_, stdout, err = parse("-number", "x")
	assert.ErrorContains(t, err, `invalid value "x" for flag -number`)
	assert.ErrorContains(t, err, "Usage of program", "all that flag says")
	assert.Empty(t, stdout)

	_, _, err = parse("-number", "4", "more")
	assert.EqualError(t, err, `unexpected argument "more", want flags only (-h explains them)`)
}
