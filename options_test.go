package keepalive_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/policy"
	"github.com/stretchr/testify/assert"
)

// Every field of Config but Disable is a row of the table of options, in order.
func TestEveryFieldIsAnOption(t *testing.T) {
	fields := reflect.VisibleFields(reflect.TypeFor[keepalive.Config]())
	assert.Equal(t, "Disable", fields[0].Name)
	assert.Len(t, policy.Options, len(fields)-1)
	for i, field := range fields[1:] {
		o := &policy.Options[i]
		assert.Equal(t, field.Name, o.Field)
		assert.Equal(t, field.Type != reflect.TypeFor[time.Duration](), o.IsNumber(), o.Field)

		least := int64(o.Min) * int64(o.Unit)
		var c keepalive.Config
		reflect.ValueOf(&c).Elem().FieldByIndex(field.Index).SetInt(least)
		assert.Equal(t, least, o.Of(policy.Config(c)), o.Field)
		assert.Equal(t, policy.Config(c), o.With(policy.Config{}, least), o.Field)
		assert.NoError(t, c.Validate())
		assert.Equal(t, o.Key+"="+o.Format(least), c.String())
		parsed, err := keepalive.Parse(o.Key + "=" + o.Example)
		assert.NoError(t, err)
		assert.NotZero(t, o.Of(policy.Config(parsed)), o.Field)
	}
}
