package controller

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ovs-sg/ovs-sg/controller/control"
)

// Collect and Describe make the controller a Prometheus collector: each
// scrape asks the loop once.

type metric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(control.Status) map[string]float64 // by label value; "" with no label
}

func one(v float64) map[string]float64 { return map[string]float64{"": v} }

func count[T any](list []T, label func(T) string, all ...string) map[string]float64 {
	out := map[string]float64{}
	for _, l := range all {
		out[l] = 0
	}
	for _, x := range list {
		out[label(x)]++
	}
	return out
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("ovs_sg_"+name, help, labels, nil)
}

var metrics = []metric{
	{desc("enforcing", "1 if the newest policy is in force"), prometheus.GaugeValue,
		func(s control.Status) map[string]float64 {
			if s.State == "enforcing" {
				return one(1)
			}
			return one(0)
		}},
	{desc("flows", "flows installed"), prometheus.GaugeValue,
		func(s control.Status) map[string]float64 { return one(float64(s.Flows)) }},
	{desc("applied_total", "rounds that were confirmed by the switch"), prometheus.CounterValue,
		func(s control.Status) map[string]float64 { return one(float64(s.Rounds)) }},
	{desc("failures_total", "rounds that failed and were tried again"), prometheus.CounterValue,
		func(s control.Status) map[string]float64 { return one(float64(s.Failures)) }},
	{desc("drifts_total", "differences that others had made in the switch and that were put right"), prometheus.CounterValue,
		func(s control.Status) map[string]float64 {
			if s.Drift == nil {
				return one(0)
			}
			return one(float64(s.Drift.Count))
		}},
	{desc("drifted", "1 while the switch is known to differ because somebody else changes it"), prometheus.GaugeValue,
		func(s control.Status) map[string]float64 {
			if s.State == "drifted" {
				return one(1)
			}
			return one(0)
		}},
	{desc("last_change_seconds", "time from the first event of the last change to its confirmation"), prometheus.GaugeValue,
		func(s control.Status) map[string]float64 {
			if s.Last == nil {
				return one(0)
			}
			return one(s.Last.Took.Seconds())
		}},
	{desc("files", "files of the policy directory by state", "state"), prometheus.GaugeValue,
		func(s control.Status) map[string]float64 {
			return map[string]float64{"accepted": float64(s.Counts.Accepted), "kept": float64(s.Counts.Kept), "rejected": float64(s.Counts.Rejected)}
		}},
	{desc("unsaved_files", "accepted files that could not be saved in the state directory and are tried again"), prometheus.GaugeValue,
		func(s control.Status) map[string]float64 { return one(float64(s.Unsaved)) }},
	{desc("ports", "ports of the bridge by state", "state"), prometheus.GaugeValue,
		func(s control.Status) map[string]float64 {
			return count(s.Ports, func(p control.PortStatus) string { return p.State }, "enforced", "blocked", "trusted", "error", "pending")
		}},
	{desc("warnings", "warnings in the status"), prometheus.GaugeValue,
		func(s control.Status) map[string]float64 { return one(float64(len(s.Warnings))) }},
}

// Describe implements prometheus.Collector.
func (c *Controller) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range metrics {
		ch <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c *Controller) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s, err := c.Status(ctx, false)
	for _, m := range metrics {
		if err != nil {
			ch <- prometheus.NewInvalidMetric(m.desc, err)
			continue
		}
		for label, v := range m.value(s) {
			if label == "" {
				ch <- prometheus.MustNewConstMetric(m.desc, m.kind, v)
			} else {
				ch <- prometheus.MustNewConstMetric(m.desc, m.kind, v, label)
			}
		}
	}
}
