package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// histogram returns a line for each stretch of time, with how many of times
// fall into it.
func histogram(times []time.Duration) []string {
	least, most := slices.Min(times), slices.Max(times)
	step := stepFor(most - least)
	first := least.Truncate(step)
	counts := make([]int, (most-first)/step+1)
	for _, t := range times {
		counts[(t-first)/step]++
	}
	const width = 50
	highest := slices.Max(counts)
	lines := make([]string, len(counts))
	for i, n := range counts {
		from := first + time.Duration(i)*step
		bar := strings.Repeat("#", (n*width+highest-1)/highest)
		lines[i] = strings.TrimRight(fmt.Sprintf("%7.1f s %7s %s", from.Seconds(), group(n), bar), " ")
	}
	return lines
}

// stepFor returns the smallest round step that cuts span into a dozen or fewer.
func stepFor(span time.Duration) time.Duration {
	for unit := 100 * time.Millisecond; ; unit *= 10 {
		for _, step := range []time.Duration{unit, 2 * unit, 5 * unit} {
			if span <= 12*step {
				return step
			}
		}
	}
}

// extremes returns the least of times, the middle one and the most.
func extremes(times []time.Duration) (least, median, most time.Duration) {
	sorted := slices.Sorted(slices.Values(times))
	return sorted[0], sorted[len(sorted)/2], sorted[len(sorted)-1]
}
