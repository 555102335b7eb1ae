//go:build unix

package screen_test

import (
	"os/exec"
	"testing"

	"github.com/parley-tcp/parley/internal/screen"
)

func TestProgramInATerminal(t *testing.T) {
	s, err := screen.Start(exec.Command("sh", "-c", `stty size; printf '\033[31mred\033[0m 日本\n'; read line; stty size; echo "got $line"`), 30, 8)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.AwaitText("8 30\nred 日本"); err != nil {
		t.Fatal(err)
	}
	if cell := s.Cell(0, 1); cell.Style.Fg == nil {
		t.Errorf("the cell %q has no colour", cell.Content)
	}
	if err := s.Resize(20, 5); err != nil {
		t.Fatal(err)
	}
	s.Type("hello\r")
	if err := s.AwaitText("5 20\ngot hello"); err != nil {
		t.Error(err)
	}
	if err := s.Wait(); err != nil {
		t.Error(err)
	}
}
