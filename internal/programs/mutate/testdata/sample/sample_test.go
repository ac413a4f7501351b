package sample

import "testing"

func TestClamp(t *testing.T) {
	if n, err := Clamp(5); n != 5 || err != nil {
		t.Error(n, err)
	}
	if n, err := Clamp(12); n != 10 || err != nil {
		t.Error(n, err)
	}
	if _, err := Clamp(-1); err == nil {
		t.Error("no error")
	}
}
