package exporter

import "github.com/prometheus/client_golang/prometheus"

// The metrics. Sizes are of the last scrape.
var (
	connections = describe("connections", "Established TCP connections, by the policy that they hold.",
		"command", "unit", "policy")
	listening = describe("listening_sockets", "Listening TCP sockets, by the policy that their connections inherit.",
		"command", "unit", "policy")
	unnoticedIdle = describe("connections_unnoticed_idle_seconds", "How long a dead peer of an idle connection goes unnoticed. The sum lacks what only the bucket +Inf has.",
		"command", "unit")
	unnoticedInFlight = describe("connections_unnoticed_in_flight_seconds", "How long a dead peer goes unnoticed with data in flight. The sum lacks what only the bucket +Inf has.",
		"command", "unit")
	unnoticedForever = describe("connections_unnoticed_forever", "Connections on which a dead peer is never noticed while they are idle.",
		"command", "unit")
	suspects = describe("suspect_connections", "Connections whose peer has stopped answering.",
		"command", "unit")
	lossesTotal = describe("losses_total", "Established connections whose peer the kernel gave up.",
		"command", "unit", "cause")
	missedTotal = describe("losses_missed_total", "Losses that came faster than they could be read, and are not in keepalive_losses_total.")

	missingParts = describe("exporter_missing", "What the exporter cannot do, and why. It is 1, and there is none for what works.",
		"part", "reason")
	folded = describe("exporter_folded_values", "Different programs and policies that are counted as other, as there are more than the limit.",
		"label")
	refused        = describe("exporter_refused_processes", "Processes that the exporter may not look into.")
	unseen         = describe("exporter_unseen_connections", "Connections that were found in no process.")
	uncounted      = describe("exporter_uncounted_namespaces", "Network namespaces whose connections could not be counted.")
	scrapeDuration = describe("exporter_scrape_duration_seconds", "How long the last scrape took.")
)

var descriptions []*prometheus.Desc

func describe(name, help string, labels ...string) *prometheus.Desc {
	d := prometheus.NewDesc("keepalive_"+name, help, labels, nil)
	descriptions = append(descriptions, d)
	return d
}

func gauge(d *prometheus.Desc, value float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func counter(d *prometheus.Desc, value uint64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
}

// send sends the metrics of the sockets.
func (s *scrape) send(to chan<- prometheus.Metric) {
	for k, n := range s.connections {
		to <- gauge(connections, float64(n), k.command, k.unit, k.policy)
	}
	for k, n := range s.listening {
		to <- gauge(listening, float64(n), k.command, k.unit, k.policy)
	}
	for p, n := range s.programs {
		labels := []string{p.command, p.unit}
		to <- prometheus.MustNewConstHistogram(unnoticedIdle, n.idle.count, n.idle.seconds, n.idle.cumulative(), labels...)
		to <- prometheus.MustNewConstHistogram(unnoticedInFlight, n.inFlight.count, n.inFlight.seconds, n.inFlight.cumulative(), labels...)
		to <- gauge(unnoticedForever, float64(n.never), labels...)
		to <- gauge(suspects, float64(n.suspect), labels...)
	}
	for name, n := range s.folded {
		to <- gauge(folded, float64(n), name)
	}
	to <- gauge(refused, float64(s.refused))
	to <- gauge(unseen, float64(len(s.unseen.Connections)))
	to <- gauge(uncounted, float64(len(s.unseen.Uncounted)))
}

// sendLosses sends what was lost since the exporter began.
func (c *collector) sendLosses(to chan<- prometheus.Metric) {
	if _, missing := c.missing["losses"]; missing {
		return
	}
	for k, n := range c.losses {
		to <- counter(lossesTotal, n, k.command, k.unit, string(k.cause))
	}
	to <- counter(missedTotal, c.missed)
}

func (c *collector) sendMissing(to chan<- prometheus.Metric) {
	for part, reason := range c.missing {
		to <- gauge(missingParts, 1, part, reason)
	}
}
