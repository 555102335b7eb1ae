// A value that goes into the histogram of load.c comes out with an error below 1 %.

#define main load_main
#include "load.c"
#undef main

int main(void) {
	int last = -1;
	for (uint64_t v = 0; v < UINT64_C(1) << 62; v += v / 1000 + 1) {
		int step = step_of(v);
		uint64_t back = middle_of(step), off = back > v ? back - v : v - back;
		if (step < last || step >= 64 * 128 || off * 100 > v || (v < 256 && off != 0)) {
			fprintf(stderr, "%" PRIu64 " comes back as %" PRIu64 " from step %d\n", v, back, step);
			return 1;
		}
		last = step;
	}
	for (int v = 1; v <= 1000; v++)
		record(v * 1000, 1);
	if (llabs((int64_t)quantile(0.5) - 500000) > 5000 || llabs((int64_t)quantile(0.99) - 990000) > 9900 ||
	    quantile(0.9999) != 1000000 || slowest != 1000000) {
		fprintf(stderr, "quantiles of 1 to 1000 µs: %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", quantile(0.5), quantile(0.99), quantile(0.9999));
		return 1;
	}
	return 0;
}
