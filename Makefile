# make          format, lint, test
# make build    the program, bin/parley
# make static   the same without a C library: for any Linux
# make cross    see that the other systems build
# make install  the program, manual pages, completions and units, below PREFIX; nothing is enabled
# make release  archives, deb, rpm, checksums and what is in them, into dist; VERSION=v1.2.3 if git does not say
# make reproducible  the same twice, from two clones in different places, and compare; ONLY=linux/amd64 for one system
# make test     install what the tests need, then run them all
# make soak     what takes long: fifty million steps of the simulation, the library's tests as often as is promised, senders
#               and programs a hundred times, journals over a NATS that dies in every way and over a disk whose power fails
#               at each write or of which any bit flips, and an hour of histories
# make fuzz     every fuzz target for FUZZTIME
# make corpus   take into testdata/fuzz what that has found and reaches more than what is there
# make mutants  break the code in the ways of scripts/mutants, one at a time, and see that tests notice each
# make bench    Parley and its peers side by side, bare and with what people turn on, into docs/performance.md; twenty minutes
# make micro    the benchmarks of the packages
# make profile  what the compiler optimises by: cmd/parley/default.pgo
# make vuln     known vulnerabilities, where their database can be reached

GO ?= go
FUZZTIME ?= 30s
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
CROSS = linux/arm64 linux/386 darwin/arm64 windows/amd64
COMMIT := $(shell git rev-parse HEAD 2>/dev/null)
COMMIT_DATE := $(shell git log -1 --format=%cs 2>/dev/null)
LDFLAGS = '-s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.date=$(COMMIT_DATE)'
BINARY ?= bin/parley
TOOL = $(GO) tool -modfile=tools/go.mod

# SQLite is C code in Go's clothes, as is its allocator: it brings its own locks, and the race detector would watch
# every access of its pages, for half of the time that the tests take.
RACE = -race -gcflags=modernc.org/sqlite/lib=-race=false -gcflags=modernc.org/libc/...=-race=false -gcflags=modernc.org/memory=-race=false

# A pipe fails where any part of it does.
SHELL = /bin/bash
.SHELLFLAGS = -o pipefail -c

# VERSION is the stamp. Go's own fails where git does not trust the tree's owner.
export GOFLAGS := $(shell $(GO) env GOFLAGS) -buildvcs=false

.PHONY: all build static cross install uninstall release reproducible fmt lint test soak fuzz corpus mutants bench micro profile vuln clean
all: fmt lint test

# What `go run ./cmd/parley` has compiled is used again.
build:
	$(GO) build -ldflags $(LDFLAGS) -o $(BINARY) ./cmd/parley

static:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags $(LDFLAGS) -o $(BINARY) ./cmd/parley

cross:
	@set -e; for target in $(CROSS); do \
		echo "building for $$target"; \
		CGO_ENABLED=0 GOOS=$${target%/*} GOARCH=$${target#*/} $(GO) build -o /dev/null ./...; \
	done

# The program says itself what its pages and completions are: PRINTER, if BINARY is of another machine.
PREFIX ?= /usr/local
PRINTER ?= $(BINARY)
MAN = $(DESTDIR)$(PREFIX)/share/man/man1
COMPLETIONS = $(DESTDIR)$(PREFIX)/share/bash-completion/completions/parley \
	$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_parley \
	$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/parley.fish
UNITS = $(DESTDIR)$(PREFIX)/lib/systemd/system
UNIT_FILES = parley.socket parley.service parley@.service
CONFIG = $(DESTDIR)/etc/parley/parley.conf

# Root need have no Go: what was built is installed.
install: $(BINARY)
	umask 022; set -e; \
	mkdir -p $(DESTDIR)$(PREFIX)/bin $(MAN) $(dir $(COMPLETIONS)); \
	install -m 755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/parley; \
	$(PRINTER) man $(MAN); \
	for file in $(COMPLETIONS); do \
		case $$file in */bash-completion/*) shell=bash;; */zsh/*) shell=zsh;; *) shell=fish;; esac; \
		$(PRINTER) completion $$shell >$$file; \
	done; \
	test "$$(uname -s)" = Linux || exit 0; \
	mkdir -p $(UNITS) $(dir $(CONFIG)); \
	for unit in $(UNIT_FILES); do \
		sed 's,/usr/bin/parley,$(PREFIX)/bin/parley,' packaging/systemd/$$unit >$(UNITS)/$$unit; \
	done; \
	test -e $(CONFIG) || install -m 644 packaging/parley.conf $(CONFIG)

bin/parley:
	$(MAKE) build

# The configuration stays.
uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/parley $(MAN)/parley.1 $(MAN)/parley-*.1 $(COMPLETIONS) $(addprefix $(UNITS)/,$(UNIT_FILES))

release:
	$(GO) run ./scripts/release -version $(VERSION) -time $(shell git log -1 --format=%ct) $(if $(ONLY),-only $(ONLY))

reproducible:
	scripts/reproducible $(VERSION) $(ONLY)

fmt:
	gofmt -l -w .

lint:
	@unformatted=$$(gofmt -l .) || exit 1; test -z "$$unformatted" || { echo "gofmt would change: $$unformatted"; exit 1; }
	$(GO) mod tidy -diff
	$(GO) vet ./...
	GOOS=windows $(GO) vet ./...
	GOOS=darwin $(GO) vet ./...
	GOARCH=386 $(GO) vet ./...
	$(GO) vet -tags simulate ./internal/kernel ./internal/simulation
	$(TOOL) staticcheck ./...
	$(TOOL) staticcheck -tags simulate ./internal/kernel ./internal/simulation

test:
	GO='$(GO)' RACE='$(RACE)' scripts/test

soak:
	scripts/install-test-tools
	PARLEY_STEPS=50000000 $(GO) test -json -tags simulate -timeout 60m ./internal/simulation | $(GO) run ./scripts/testprogress
	PARLEY_SOAK=100 $(GO) test $(RACE) -count=1 -timeout 60m .
	PARLEY_SOAK=100 $(GO) test -count=1 -timeout 60m -run 'PowerFails|FlippedBitInEveryPage' ./internal/journal
	PARLEY_SOAK=100 $(GO) test -count=1 -timeout 60m -run '^TestSoak' ./cmd/parley
	PARLEY_SOAK=60 $(GO) test -count=1 -timeout 70m -v -run '^TestHistories$$' ./cmd/parley # minutes; the race detector's own memory grows

fuzz:
	scripts/fuzz $(FUZZTIME)

corpus:
	$(GO) run ./scripts/corpus ./...

mutants:
	$(GO) run ./scripts/mutants

bench:
	bench/install
	cd bench && $(GO) run . -out ../docs/performance.md $(BENCHFLAGS)
	cd bench && $(GO) run . -everything -rounds 15 -seconds 0.5 -warmup 0.1 -out ../docs/performance.md $(BENCHFLAGS)

micro:
	$(GO) test -run '^$$' -bench . -benchmem ./...

profile:
	@set -e; dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	$(GO) test -pgo=off -run '^$$' -bench 'Server|Load' -benchtime 3s -cpuprofile "$$dir/served" -o /dev/null ./cmd/parley; \
	$(GO) test -pgo=off -run '^$$' -bench 'Batch|Read$$' -benchtime 5s -cpuprofile "$$dir/journal" -o /dev/null ./internal/journal; \
	$(GO) tool pprof -proto "$$dir/served" "$$dir/journal" >cmd/parley/default.pgo

vuln:
	$(TOOL) govulncheck ./...

clean:
	rm -rf bin dist
