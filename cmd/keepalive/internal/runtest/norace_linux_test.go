//go:build !race

package runtest_test

const withRace = false
