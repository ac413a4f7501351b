package main

import (
	"cmp"
	"runtime/debug"
)

// A build is what the command was built from.
type build struct {
	version string // of the module, "(devel)" where unknown
	commit  string // "unknown" by way of the module proxy, which has no repository
	date    string // of the commit, "" where unknown
	goes    string // the release of Go
}

func thisBuild() build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = new(debug.BuildInfo)
	}
	return buildOf(info)
}

func buildOf(info *debug.BuildInfo) build {
	settings := make(map[string]string)
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	time := settings["vcs.time"]
	return build{
		version: cmp.Or(info.Main.Version, "(devel)"),
		commit:  cmp.Or(settings["vcs.revision"], "unknown"),
		date:    time[:min(len(time), len("2006-01-02"))],
		goes:    info.GoVersion,
	}
}

// String is what --version prints after the name. A checkout with changes has
// "+dirty" in its version.
func (b build) String() string { return b.version + ", commit " + b.commit + ", " + b.goes }
