package web

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"testing"
)

// The arithmetic of the charts, run by NodeJS.
func TestSeries(t *testing.T) {
	if _, err := exec.LookPath("node"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("node is not installed")
		}
		t.Skip("node is not installed; scripts/install-test-tools installs it")
	}
	module, err := fs.ReadFile(assets, "assets/series.js")
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile("testdata/series_test.js")
	if err != nil {
		t.Fatal(err)
	}
	node := exec.Command("node", "--input-type=module")
	node.Stdin = bytes.NewReader(append(module, tests...))
	if said, err := node.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, said)
	}
}
