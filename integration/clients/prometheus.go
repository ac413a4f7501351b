package clients

import (
	"context"
	"net"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/seed-7be6acb7/keepalive"
)

// Losses counts the peers that connections of this program lose, by policy and by the
// address that was dialed.
type Losses struct{ lost *prometheus.CounterVec }

// NewLosses registers the metric.
func NewLosses(registry prometheus.Registerer) Losses {
	lost := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tcp_peers_lost_total",
		Help: "Connections whose peer the kernel gave up, by keepalive policy.",
	}, []string{"policy", "peer"})
	registry.MustRegister(lost)
	return Losses{lost}
}

// Counting returns a dial function whose connections hold the policy and are counted
// when their peer is lost, whether or not anybody reads. The counter is there from the
// first dial on, so that the first loss shows as a rise.
func (l Losses) Counting(d *keepalive.Dialer) keepalive.DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		lost := l.lost.WithLabelValues(d.Config.String(), address)
		conn, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return keepalive.Watch(conn, func(error) { lost.Inc() }), nil
	}
}
