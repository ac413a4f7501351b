// Package bounds is the error of a field whose value is out of range. The command
// keepalive takes it apart, to name a flag where the packages name a field.
package bounds

import "fmt"

// An Error says that the value of a field is out of range.
type Error struct {
	Field string
	Value string
	Want  string // such as "4.5s or more"
	With  string // another field, which narrows the range, "" for none
	Zero  string // what zero stands for
}

func (e *Error) Error() string { return e.Text(e.Field, e.With) }

// Text returns the text with other names for Field and With.
func (e *Error) Text(field, with string) string {
	if e.With != "" {
		with = " with " + with
	}
	return fmt.Sprintf("%s is %s, want %s%s, or 0 for %s", field, e.Value, e.Want, with, e.Zero)
}
