package report

import (
	"fmt"
	"time"

	"github.com/parley-tcp/parley/internal/load"
)

func ExampleLine() {
	fmt.Println(Line(load.Second{At: 4 * time.Second, Length: time.Second, Replies: 12345, P50: 81200, P99: 1320 * time.Microsecond}))
	fmt.Println(Line(load.Second{At: 0, Length: time.Second, Bad: 1}))
	// Output:
	// 4s: 12,345 replies/s, p50 81.2 µs, p99 1.32 ms, 0 errors
	// warm-up, 1 error
}
