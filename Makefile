# make          format, lint, test
# make build    the program, bin/parley
# make static   the same without a C library: for any Linux
# make cross    see that the other systems build
# make test     install what the tests need, then run them all
# make soak     what is tested a few times a hundred times: senders that never read
# make fuzz     every fuzz target for FUZZTIME
# make bench    Parley and its peers side by side, into docs/performance.md
# make micro    the benchmarks of the packages
# make profile  what the compiler optimises by: cmd/parley/default.pgo
# make vuln     known vulnerabilities, where their database can be reached

GO ?= go
FUZZTIME ?= 30s
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
CROSS = linux/arm64 linux/386 darwin/arm64 windows/amd64
LDFLAGS = '-s -w -X main.version=$(VERSION)'
TOOL = $(GO) tool -modfile=tools/go.mod

# SQLite is C code in Go's clothes: it brings its own locks, and the race detector would watch
# every access of its pages, for half of the time that the tests take.
RACE = -race -gcflags=modernc.org/sqlite/lib=-race=false -gcflags=modernc.org/libc/...=-race=false

# A pipe fails where any part of it does.
SHELL = /bin/bash
.SHELLFLAGS = -o pipefail -c

# VERSION is the stamp. Go's own fails where git does not trust the tree's owner.
export GOFLAGS := $(shell $(GO) env GOFLAGS) -buildvcs=false

.PHONY: all build static cross fmt lint test soak fuzz bench micro profile vuln clean
all: fmt lint test

# What `go run ./cmd/parley` has compiled is used again.
build:
	$(GO) build -ldflags $(LDFLAGS) -o bin/parley ./cmd/parley

static:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags $(LDFLAGS) -o bin/parley ./cmd/parley

cross:
	@set -e; for target in $(CROSS); do \
		echo "building for $$target"; \
		CGO_ENABLED=0 GOOS=$${target%/*} GOARCH=$${target#*/} $(GO) build -o /dev/null ./...; \
	done

fmt:
	gofmt -l -w .

lint:
	@unformatted=$$(gofmt -l .) || exit 1; test -z "$$unformatted" || { echo "gofmt would change: $$unformatted"; exit 1; }
	$(GO) mod tidy -diff
	$(GO) vet ./...
	GOOS=windows $(GO) vet ./...
	GOOS=darwin $(GO) vet ./...
	$(TOOL) staticcheck ./...

test:
	scripts/install-test-tools
	@echo "testing with the race detector: eight minutes on two cores the first time, since it compiles SQLite too, then six or seven"
	$(GO) test -json $(RACE) -shuffle=on -p 3 -timeout 9m ./cmd/parley ./internal/journal . ./... | $(GO) run ./scripts/testprogress
	$(GO) test -run Allocat . ./internal/console ./internal/expect # the race detector allocates

soak:
	scripts/install-test-tools
	PARLEY_SOAK=100 $(GO) test -count=1 -timeout 60m -run '^TestSoak' ./cmd/parley

fuzz:
	scripts/fuzz $(FUZZTIME)

bench:
	bench/install
	cd bench && $(GO) run . -out ../docs/performance.md $(BENCHFLAGS)

micro:
	$(GO) test -run '^$$' -bench . -benchmem ./...

profile:
	$(GO) test -pgo=off -run '^$$' -bench 'Server|Load' -benchtime 3s -cpuprofile cmd/parley/default.pgo -o /dev/null ./cmd/parley

vuln:
	$(TOOL) govulncheck ./...

clean:
	rm -rf bin
