package term

import (
	"errors"
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// failing fails from the second write on.
type failing struct{ written []string }

func (f *failing) Write(p []byte) (int, error) {
	f.written = append(f.written, string(p))
	if len(f.written) == 2 {
		return 1, errors.New("second")
	}
	return len(p), nil
}

func TestStreamRemembersItsFirstError(t *testing.T) {
	t.Parallel()
	var f failing
	s := NewStream(&f)
	for i, text := range []string{"one", "two", "three"} {
		_, err := io.WriteString(s, text)
		assert.Equal(t, i > 0, err != nil, text)
		assert.Equal(t, err, s.Err(), text)
	}
	assert.EqualError(t, s.Err(), "second")
	assert.Equal(t, []string{"one", "two"}, f.written)
}

func TestNewSeesThroughAStream(t *testing.T) {
	t.Parallel()
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	defer terminal.Close()
	require.True(t, New(terminal).Terminal)
	assert.True(t, New(NewStream(terminal)).Terminal)
}
