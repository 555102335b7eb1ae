package report

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/parley-tcp/parley/internal/load"
)

// writeShares writes what each of several machines did, and how close together they began.
func (r *Report) writeShares(b *strings.Builder) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "agent\tconnections\t%ss\t%s/s\tp99\tCPU\tbegan\t\n", nounsOf(&r.Plan).begun, nounsOf(&r.Plan).plural())
	for _, s := range r.Together.Shares {
		if s.Lost != "" {
			fmt.Fprintf(t, "%s\t%d\tlost\t-\t-\t-\t-\t\n", escaped(s.Machine), s.Connections)
			continue
		}
		p99 := "-"
		if s.P99 > 0 {
			p99 = Short(s.P99)
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%.0f %%\t+%s\t\n", escaped(s.Machine), s.Connections, grouped(float64(s.Requests)), grouped(s.Rate), p99, 100*s.CPU, Short(s.Behind))
	}
	t.Flush()
	if len(r.Together.Shares)-len(r.Lost()) > 1 {
		fmt.Fprintf(b, "starts within %s, by clocks compared to ± %s\n", Short(r.Together.Spread), Short(r.Together.Uncertain))
	}
}

// agents are the names of the machines.
func (r *Report) agents() string {
	var names []string
	for _, s := range r.Together.Shares {
		names = append(names, escaped(s.Machine))
	}
	return strings.Join(names, ", ")
}

// notesOfShares say what is to be known of a load that several machines put on.
func (r *Report) notesOfShares() (notes []string) {
	for _, s := range r.Lost() {
		notes = append(notes, fmt.Sprintf("Incomplete: agent %s was lost: %s. Its share, %s, is in no figure but those of the seconds that were told before.",
			escaped(s.Machine), escaped(s.Lost), plural(uint64(s.Connections), "connection")))
	}
	return notes
}

// togetherJSON is how several machines put a load on, as --json prints it.
type togetherJSON struct {
	Spread    float64     `json:"starts_within_us"`
	Uncertain float64     `json:"clocks_within_us"`
	Shares    []shareJSON `json:"shares"`
}

type shareJSON struct {
	Agent       string   `json:"agent"`
	Connections int      `json:"connections"`
	Lost        string   `json:"lost,omitempty"` // why; then the rest is null
	Requests    *uint64  `json:"requests"`
	Rate        *float64 `json:"rate_per_s"`
	P99         *float64 `json:"p99_us"`
	CPU         *float64 `json:"cpu_share"`
	Behind      *float64 `json:"began_us"` // behind the first
}

func newTogetherJSON(t *load.Together) *togetherJSON {
	if t == nil {
		return nil
	}
	j := &togetherJSON{Spread: microseconds(t.Spread), Uncertain: microseconds(t.Uncertain)}
	for _, s := range t.Shares {
		share := shareJSON{Agent: s.Machine, Connections: s.Connections, Lost: s.Lost}
		if s.Lost == "" {
			rate, p99, cpu, behind := rounded(s.Rate), microseconds(s.P99), rounded(s.CPU), microseconds(s.Behind)
			share.Requests, share.Rate, share.P99, share.CPU, share.Behind = &s.Requests, &rate, &p99, &cpu, &behind
		}
		j.Shares = append(j.Shares, share)
	}
	return j
}
