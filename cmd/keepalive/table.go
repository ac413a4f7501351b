package main

import (
	"fmt"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/term"
)

// columns is the style of every table: text in columns, and no lines.
var columns = table.Style{
	Box:     table.BoxStyle{PaddingRight: "  ", UnfinishedRow: "…"},
	Options: table.OptionsNoBordersAndSeparators,
}

// printTable prints rows below a heading, cut to the width of a terminal. The
// columns whose numbers are given, from 1 on, are aligned to the right.
func printTable(out term.Output, heading []string, rows [][]string, right ...int) {
	t := table.NewWriter()
	t.SetStyle(columns)
	t.AppendHeader(toRow(heading, func(s string) string { return out.Paint(term.Heading, s) }))
	for _, row := range rows {
		t.AppendRow(toRow(row, func(s string) string { return s }))
	}
	var configs []table.ColumnConfig
	for _, n := range right {
		configs = append(configs, table.ColumnConfig{Number: n, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(configs)
	t.SuppressTrailingSpaces()
	for line := range strings.Lines(t.Render()) {
		fmt.Fprintln(out, term.Cut(strings.TrimRight(line, "\n"), out.Width))
	}
}

func toRow(cells []string, format func(string) string) table.Row {
	row := make(table.Row, len(cells))
	for i, cell := range cells {
		row[i] = format(cell)
	}
	return row
}
