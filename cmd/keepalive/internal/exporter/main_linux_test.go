package exporter

import (
	"testing"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
)

func TestMain(m *testing.M) { netlab.Main(m) }
