//go:build !linux

package main

var completers map[string]completer
