# make          format, lint, test
# make build    the static program, bin/parley
# make test     install what the tests need, then run them all
# make fuzz     every fuzz target for FUZZTIME
# make bench    the benchmarks of the packages

GO ?= go
FUZZTIME ?= 30s
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
TOOL = $(GO) tool -modfile=tools/go.mod

.PHONY: all build fmt lint test fuzz bench vuln clean
all: fmt lint test

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/parley ./cmd/parley

fmt:
	gofmt -l -w .

lint:
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "gofmt would change: $$unformatted"; exit 1; }
	$(GO) mod tidy -diff
	$(GO) vet ./...
	GOOS=windows $(GO) vet ./...
	GOOS=darwin $(GO) vet ./...
	$(TOOL) staticcheck ./...

test:
	scripts/install-test-tools
	$(GO) test -race -shuffle=on -timeout 9m ./...

fuzz:
	scripts/fuzz $(FUZZTIME)

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./...

# Needs the vulnerability database, which not every network reaches.
vuln:
	$(TOOL) govulncheck ./...

clean:
	rm -rf bin
