package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// run has `go test -json` run over packages of the given files, and returns what is shown
// of it and the exit code.
func run(t *testing.T, files map[string]string) (shown string, code int) {
	t.Helper()
	dir := t.TempDir()
	files["go.mod"] = "module example.test\n"
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "test", "-json", "./...")
	cmd.Dir = dir
	out, _ := cmd.Output() // it fails where a test does
	var screen bytes.Buffer
	r := newReport(&screen, time.Now())
	for line := range strings.Lines(string(out)) {
		r.read(line, time.Now())
	}
	code = r.end(time.Now())
	return screen.String(), code
}

const header = "package p\nimport \"testing\"\n"

func TestWhatPassesIsOneLine(t *testing.T) {
	shown, code := run(t, map[string]string{
		"p_test.go":     header + `func TestA(t *testing.T) { t.Log("quiet"); t.Run("sub", func(*testing.T) {}) }`,
		"none/p.go":     "package none",
		"two/p_test.go": header + `func TestB(*testing.T) {}`,
	})
	if code != 0 || strings.Contains(shown, "quiet") {
		t.Errorf("exit code %d, shown:\n%s", code, shown)
	}
	for _, want := range []string{"ok    example.test ", "ok    example.test/two", "\n2 passed, 0 failed, 0 skipped\n"} {
		if !strings.Contains(shown, want) {
			t.Errorf("not shown: %q in\n%s", want, shown)
		}
	}
}

func TestWhatFailsIsShown(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"a test":         {header + `func TestA(t *testing.T) { t.Run("sub", func(t *testing.T) { t.Error("the reason") }) }`, "the reason"},
		"a panic":        {header + `func TestA(t *testing.T) { panic("the reason") }`, "the reason"},
		"an exit":        {header + "import \"os\"\nfunc TestMain(m *testing.M) { m.Run(); println(\"the reason\"); os.Exit(1) }\nfunc TestA(*testing.T) {}", "the reason"},
		"a build":        {header + `func TestA(t *testing.T) { t.Reason() }`, "t.Reason undefined"},
		"nothing tested": {"package p", "0 passed"},
	} {
		shown, code := run(t, map[string]string{"p_test.go": c.text})
		if code != 1 || !strings.Contains(shown, c.want) {
			t.Errorf("%s: exit code %d, want 1 and %q, shown:\n%s", name, code, c.want, shown)
		}
	}
}

func TestWhyATestWasSkippedIsShown(t *testing.T) {
	shown, code := run(t, map[string]string{"p_test.go": header + `func TestA(t *testing.T) { t.Skip("no such tool") }
func TestB(*testing.T) {}`})
	if code != 0 || !strings.Contains(shown, "no such tool") || !strings.Contains(shown, "1 passed, 0 failed, 1 skipped") {
		t.Errorf("exit code %d, shown:\n%s", code, shown)
	}
}

func TestSilenceIsFilledWithWhatIsUnderWay(t *testing.T) {
	var screen bytes.Buffer
	began := time.Now()
	r := newReport(&screen, began)
	r.underWay(began.Add(silence))
	r.read(`{"Action":"run","Package":"p","Test":"TestSlow"}`, began)
	r.underWay(began.Add(2 * silence))
	r.read(`{"Action":"pass","Package":"p","Test":"TestSlow"}`, began)
	r.underWay(began.Add(3 * silence))
	want := "      10s: compiling\n      20s: in p, TestSlow\n      30s: compiling\n"
	if screen.String() != want {
		t.Errorf("shown:\n%swant:\n%s", screen.String(), want)
	}
}
