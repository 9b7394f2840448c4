// Writes the pages beside it, as client_golang 1.25.0 shows them: first.* after 202 requests, second.* after 300 more.
// Too many native buckets make the client halve their resolution on the way. Run: go mod init page && go mod tidy && go run .
package main

import (
	"io"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
)

func main() {
	registry := prometheus.NewRegistry()
	total := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "http_requests_total", Help: "Requests."},
		[]string{"code", "path"})
	both := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "http_request_duration_seconds", Help: "Latency.",
		Buckets: []float64{0.01, 0.1, 1}, NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 40}, []string{"path"})
	classic := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "other_seconds", Help: "Classic.",
		Buckets: []float64{0.01, 0.1, 1}})
	queue := prometheus.NewGauge(prometheus.GaugeOpts{Name: "queue", Help: "Waiting."})
	registry.MustRegister(total, both, classic, queue)

	show := func(out io.Writer, format expfmt.FormatType) {
		encoder := expfmt.NewEncoder(out, expfmt.NewFormat(format))
		families, err := registry.Gather()
		if err != nil {
			panic(err)
		}
		for _, family := range families {
			if err := encoder.Encode(family); err != nil {
				panic(err)
			}
		}
	}
	write := func(name string) {
		for suffix, format := range map[string]expfmt.FormatType{".pb": expfmt.TypeProtoDelim, ".txt": expfmt.TypeTextPlain} {
			file, err := os.Create(name + suffix)
			if err != nil {
				panic(err)
			}
			show(file, format)
			file.Close()
		}
	}
	serve := func(seconds float64) {
		total.WithLabelValues("200", "/a").Inc()
		both.WithLabelValues("/a").Observe(seconds)
		classic.Observe(seconds)
	}

	queue.Set(7.5)
	for i := 1; i <= 200; i++ {
		serve(0.001 * float64(i))
	}
	both.WithLabelValues("/a").Observe(0)
	both.WithLabelValues("/b \"quoted\"\n").Observe(2.5)
	write("first")
	for i := 1; i <= 300; i++ {
		serve(0.0001 * float64(i*i))
	}
	total.WithLabelValues("503", "/a").Add(3)
	write("second")
}
