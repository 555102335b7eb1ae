package history

// Growth is by how much a line rises from the first sample to the last that has the least squares of distances
// to all of them: what was taken once is no growth, nor is what comes and goes.
func Growth(samples []float64) float64 {
	n := float64(len(samples))
	if n < 2 {
		return 0
	}
	var sum, weighted float64
	for i, y := range samples {
		sum += y
		weighted += float64(i) * y
	}
	middle := (n - 1) / 2
	slope := (weighted - middle*sum) / (n * (n*n - 1) / 12)
	return slope * (n - 1)
}
