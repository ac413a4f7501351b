package docs

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestIdleTimeoutsInTheDocs(t *testing.T) {
	for _, row := range choosingTable(t, "path", 4) {
		c, err := keepalive.Plan(keepalive.Target{IdleLimit: time.Duration(number(t, row[1])) * time.Second})
		require.NoError(t, err)
		assert.EqualValues(t, c.Idle/time.Second, number(t, row[2]), row[0])
		assert.EqualValues(t, c.Interval/time.Second, number(t, row[3]), row[0])
		assert.Equal(t, 3, c.Count)
	}
}

func TestTrafficInTheDocs(t *testing.T) {
	for _, row := range choosingTable(t, "connections", 6) {
		perSecond := number(t, row[0]) * 1e6 / number(t, row[1])
		packets := 2 * perSecond
		assert.InDelta(t, perSecond, number(t, row[2]), 0.5, row)
		assert.InDelta(t, packets, number(t, row[3]), 0.5, row)
		assert.Equal(t, fmt.Sprintf("%.2f", packets*tcptest.ProbeSizeIPv4/1e6), row[4], row)
		assert.Equal(t, fmt.Sprintf("%.2f", packets*tcptest.ProbeSizeIPv6/1e6), row[5], row)
	}
	for _, row := range choosingTable(t, "Idle", 3) {
		perDay := 24 * 60 * 60 / number(t, row[0])
		assert.InDelta(t, perDay, number(t, row[1]), 0.5, row)
		assert.Equal(t, fmt.Sprintf("%.1f", perDay*2*tcptest.ProbeSizeIPv4/1e3), row[2], row)
	}
}

// choosingTable returns the cells of a table in choosing.md, without the
// heading, whose first column is called so.
func choosingTable(t *testing.T, first string, columns int) (rows [][]string) {
	t.Helper()
	document, err := os.ReadFile("choosing.md")
	require.NoError(t, err)
	_, table, found := strings.Cut(string(document), "\n| "+first+" |")
	require.True(t, found, first)
	table, _, _ = strings.Cut(table, "\n\n")
	for _, line := range strings.Split(strings.TrimSpace(table), "\n")[2:] {
		row := strings.Split(strings.Trim(line, "| "), " | ")
		require.Len(t, row, columns, line)
		rows = append(rows, row)
	}
	require.NotEmpty(t, rows)
	return rows
}

// number reads "66 667", "15 s" or "1 million" without its unit.
func number(t *testing.T, cell string) float64 {
	t.Helper()
	digits := strings.ReplaceAll(strings.TrimRight(cell, " abcdefghijklmnopqrstuvwxyz"), " ", "")
	n, err := strconv.ParseFloat(digits, 64)
	require.NoError(t, err)
	return n
}
