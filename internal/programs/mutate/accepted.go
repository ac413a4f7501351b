package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// acceptance is a line of the file of accepted survivors.
type acceptance struct {
	survivor string // an asterisk stands for any text
	pattern  *regexp.Regexp
	used     bool
}

// readAccepted reads survivors and their reasons, which it requires: a line each,
// divided by " # ".
func readAccepted(file string) (accepted []*acceptance, err error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for i, line := range strings.Split(string(text), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		survivor, reason, _ := strings.Cut(line, " # ")
		if survivor = strings.TrimSpace(survivor); strings.TrimSpace(reason) == "" {
			return nil, fmt.Errorf("%s:%d: no reason, want SURVIVOR # REASON", file, i+1)
		}
		pattern := strings.ReplaceAll(regexp.QuoteMeta(survivor), `\*`, ".*")
		accepted = append(accepted, &acceptance{survivor: survivor, pattern: regexp.MustCompile("^" + pattern + "$")})
	}
	return accepted, nil
}

// isAccepted marks every line that names the survivor.
func isAccepted(survivor string, accepted []*acceptance) (found bool) {
	for _, a := range accepted {
		if a.pattern.MatchString(survivor) {
			a.used, found = true, true
		}
	}
	return found
}
