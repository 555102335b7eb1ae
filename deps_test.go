package parley_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/parley-tcp/parley"

// mayImport says which packages, beside the standard library, each package may
// import. Imports point one way: a new arrow is a decision, made here.
var mayImport = map[string][]string{
	".":                 {"internal/epoll", "internal/accept", "internal/kernel", "internal/tlsconn"},
	"internal/accept":   {},
	"internal/agent":    {"internal/dial", "internal/dialect", "internal/dialogue", "internal/expect", "internal/load", "internal/natsconn", "internal/secure", "github.com/fxamacker/cbor/v2", "github.com/nats-io/nats.go"},
	"internal/answer":   {".", "internal/dialect", "internal/dialogue", "internal/replay", "internal/shape", "internal/tlsconn"},
	"internal/epoll":    {"internal/kernel"},
	"internal/tlsconn":  {"internal/kernel"},
	"internal/leaks":    {},
	"internal/listen":   {".", "internal/tlsconn", "github.com/pires/go-proxyproto", "github.com/pires/go-proxyproto/tlvparse", "golang.org/x/sys/unix"},
	"internal/systemd":  {".", "golang.org/x/sys/unix", "github.com/coreos/go-systemd/v22/activation", "github.com/coreos/go-systemd/v22/daemon"},
	"parleytest":        {"."},
	"internal/console":  {".", "internal/dialect", "internal/dialogue", "internal/ends", "internal/journal", "internal/tally", "github.com/clipperhouse/displaywidth"},
	"internal/capture":  {".", "internal/tap", "github.com/gopacket/gopacket", "github.com/gopacket/gopacket/layers", "github.com/gopacket/gopacket/pcapgo"},
	"internal/cmdline":  {},
	"internal/crashfs":  {"github.com/hanwen/go-fuse/v2/fuse"}, // of tests only
	"internal/dial":     {".", "internal/secure", "internal/tlsconn", "github.com/pires/go-proxyproto", "golang.org/x/net/proxy"},
	"internal/dialect":  {".", "internal/suggest"},
	"internal/dialogue": {".", "internal/dial", "internal/dialect"},
	"internal/ends":     {"internal/journal"},
	"internal/expect":   {},
	"internal/history":  {}, // of tests only
	"internal/child":    {".", "internal/cmdline", "github.com/creack/pty", "golang.org/x/term"},
	"internal/probe":    {".", "internal/dial", "internal/dialect", "internal/dialogue", "internal/expect", "internal/secure", "internal/console"},
	"internal/fault":    {".", "internal/suggest"},
	"internal/lineedit": {"internal/talk", "github.com/clipperhouse/displaywidth", "golang.org/x/sys/unix"},
	"internal/load":     {".", "internal/dial", "internal/dialect", "internal/dialogue", "internal/expect", "internal/epoll", "internal/kernel", "github.com/HdrHistogram/hdrhistogram-go"},
	"internal/secure":   {"internal/statedir", "internal/tlsconn"},
	"internal/report":   {"internal/load", "internal/dial", "internal/dialogue", "internal/console", "github.com/HdrHistogram/hdrhistogram-go"},
	"internal/fleet":    {"internal/journal", "internal/natsconn", "github.com/nats-io/nats.go", "github.com/nats-io/nats.go/jetstream"},
	"internal/natstest": {"github.com/nats-io/nats-server/v2/server", "github.com/nats-io/nats.go", "github.com/nats-io/nats.go/jetstream"}, // of tests only
	"internal/journal":  {".", "internal/kernel", "internal/sqliteconn", "github.com/fxamacker/cbor/v2", "modernc.org/sqlite"},
	"internal/natsconn": {"internal/dial", "internal/secure", "github.com/nats-io/nats.go"},
	"internal/guard":    {},
	"internal/metrics":  {".", "internal/probe", "internal/guard", "github.com/prometheus/client_golang/prometheus", "github.com/prometheus/client_golang/prometheus/collectors", "github.com/prometheus/client_golang/prometheus/promhttp", "github.com/prometheus/client_model/go", "google.golang.org/protobuf/types/known/timestamppb"},
	"internal/screen":   {"github.com/charmbracelet/ultraviolet", "github.com/charmbracelet/x/vt", "github.com/creack/pty"},
	"internal/recent":   {"internal/statedir"},
	"internal/shape":    {},
	"internal/statedir": {},
	"internal/suggest":  {},
	"internal/replay":   {".", "internal/dial", "internal/dialect", "internal/journal", "internal/load", "internal/shape", "github.com/HdrHistogram/hdrhistogram-go"},
	"internal/talk":     {".", "internal/dial", "internal/dialect", "internal/dialogue", "internal/secure", "internal/suggest", "internal/tcpinfo", "golang.org/x/sys/unix", "golang.org/x/term"},
	"internal/redact":   {".", "internal/expect"},
	"internal/tally":    {"internal/dialect", "internal/journal", "internal/shape", "github.com/HdrHistogram/hdrhistogram-go"},
	"internal/tcpinfo":  {"golang.org/x/sys/unix"},
	"internal/tap":      {".", "internal/accept", "internal/epoll", "internal/kernel", "golang.org/x/sys/unix"},
	"internal/web":      {".", "internal/console", "internal/dialect", "internal/ends", "internal/expect", "internal/guard", "internal/journal", "internal/tally"},
	"cmd/parley":        {"*"},

	"internal/kernel":     {"internal/simkernel"}, // by the tag simulate only
	"internal/simkernel":  {},
	"internal/simdisk":    {"modernc.org/libc", "modernc.org/sqlite/lib"}, // of tests only
	"internal/simulation": {},
	"internal/sqliteconn": {"modernc.org/libc", "modernc.org/libc/sys/types", "modernc.org/sqlite/lib"},

	"scripts/pictures":     {"internal/screen", "github.com/charmbracelet/ultraviolet"},
	"scripts/corpus":       {},
	"scripts/mutants":      {},
	"scripts/release":      {},
	"scripts/testprogress": {},
}

func TestImportsPointOneWay(t *testing.T) {
	seen := make(map[string]bool)
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && file != "." && (d.Name() == "testdata" || d.Name() == "bench" || strings.HasPrefix(d.Name(), ".")):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go"):
			return nil
		}
		pkg := path.Dir(filepath.ToSlash(file))
		allowed, known := mayImport[pkg]
		if !known {
			t.Errorf("package %s has no line in mayImport", pkg)
			return nil
		}
		seen[pkg] = true
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range parsed.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if !mayBeImported(name, allowed) {
				t.Errorf("%s imports %s, which package %s may not", file, name, pkg)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range mayImport {
		if !seen[pkg] {
			t.Errorf("mayImport has a line for %s, which is not there", pkg)
		}
	}
}

func mayBeImported(name string, allowed []string) bool {
	first, _, _ := strings.Cut(name, "/")
	if !strings.Contains(first, ".") {
		return true // the standard library
	}
	for _, a := range allowed {
		if a == "*" || path.Join(module, a) == name || a == name {
			return true
		}
	}
	return false
}
