package parley_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The README's program is the one of an example: they cannot part.
func TestReadmeProgramIsTheExample(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("example_service_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "```go\n")
	program, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("the README has no program")
	}
	body := func(text, from string) string {
		_, body, _ := strings.Cut(text, from)
		body, _, _ = strings.Cut(body, "\n}")
		var lines []string
		for line := range strings.Lines(body) {
			if line = strings.TrimSpace(line); line != "" && line != "}" {
				lines = append(lines, line)
			}
		}
		return strings.Join(lines, "\n")
	}
	got, want := body(program, "func main() {"), body(string(example), "func ExampleListenAndServe() {")
	if got != want || got == "" {
		t.Errorf("the README's program is\n%s\n\nthe example's\n%s", got, want)
	}
}

// What a page says is shown by a test is shown by one that is there.
func TestTestsThatPagesNameAreThere(t *testing.T) {
	name := regexp.MustCompile(`\b(Test|Fuzz|Benchmark)[A-Z]\w*`)
	there := make(map[string]bool)
	named := make(map[string]string) // the page that does
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		page := filepath.Ext(file) == ".md" && filepath.Base(file) != "CHANGELOG.md" // which tells of what was
		switch {
		case err != nil:
			return err
		case d.IsDir() && file != "." && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case d.IsDir() || !page && !strings.HasSuffix(file, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(file)
		for line := range strings.Lines(string(text)) {
			function, isOne := strings.CutPrefix(line, "func ")
			switch {
			case page:
				for _, test := range name.FindAllString(line, -1) {
					named[test] = file
				}
			case isOne:
				there[name.FindString(function)] = true
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for test, page := range named {
		if !there[test] {
			t.Errorf("%s names %s, which is not there", page, test)
		}
	}
	if len(named) < 100 {
		t.Errorf("the pages name %d tests only", len(named))
	}
}

// No page sends its reader to a file that is not there, or to a heading that none of its has.
func TestLinksLeadSomewhere(t *testing.T) {
	pages, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	adrs, err := filepath.Glob("docs/adr/*.md")
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`\]\(([^)#: ]*)(#[^) ]*)?\)`) // to a file, not to an address
	for _, page := range slices.Concat([]string{"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "bench/README.md"}, pages, adrs) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, to := range link.FindAllStringSubmatch(string(text), -1) {
			file := page
			if to[1] != "" {
				file = filepath.Join(filepath.Dir(page), to[1])
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s links to %s: %v", page, to[1], err)
			} else if to[2] != "" && !slices.Contains(anchors(t, file), to[2]) {
				t.Errorf("%s links to %s%s, which has no such heading", page, to[1], to[2])
			}
		}
	}
}

// anchors are the fragments by which GitHub knows the headings of a page.
func anchors(t *testing.T, page string) (all []string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	left := regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	fence := false
	for line := range strings.Lines(string(text)) {
		fence = fence != strings.HasPrefix(line, "```")
		if heading := strings.TrimLeft(line, "#"); heading != line && !fence {
			all = append(all, "#"+strings.ReplaceAll(left.ReplaceAllString(strings.ToLower(strings.TrimSpace(heading)), ""), " ", "-"))
		}
	}
	return all
}
