//go:build unix

// Pictures draws what terminals show into docs: it runs the program in a terminal of its own, types what a
// person would, and draws the cells.
//
//	go run ./scripts/pictures            all of them
//	go run ./scripts/pictures bench      docs/bench.svg
//
// They are then to be looked at.
package main

import (
	"flag"
	"fmt"
	"image/color"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	uv "github.com/charmbracelet/ultraviolet"

	"github.com/parley-tcp/parley/internal/screen"
)

func main() {
	dir := flag.String("o", "docs", "the `directory` of the pictures")
	flag.Parse()
	if err := draw(*dir, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "pictures:", err)
		os.Exit(1)
	}
}

// draw draws the scenes of these names, or all.
func draw(dir string, names []string) error {
	work, err := os.MkdirTemp("", "pictures")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	program := filepath.Join(work, "parley")
	if out, err := exec.Command("go", "build", "-o", program, "./cmd/parley").CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	for _, s := range scenes {
		if len(names) > 0 && !slices.Contains(names, s.name) {
			continue
		}
		st := &stage{program: program, dir: filepath.Join(work, s.name)}
		if err := os.Mkdir(st.dir, 0o700); err != nil {
			return err
		}
		rows, err := s.play(st)
		st.end()
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		file := filepath.Join(dir, s.name+".svg")
		if err := os.WriteFile(file, []byte(drawing{s.about, rows}.svg()), 0o644); err != nil {
			return err
		}
		fmt.Println(file)
	}
	return nil
}

// A stage is where a scene is played: programs in terminals, in a directory of their own.
type stage struct {
	program, dir string
	open         []*screen.Screen
}

// noStderr, as the last argument, is not for parley, but for the shell that is not there.
const noStderr = "2>/dev/null"

// start runs parley with these arguments in a terminal.
func (st *stage) start(columns, rows int, args ...string) (*screen.Screen, error) {
	quiet := args[len(args)-1] == noStderr
	if quiet {
		args = args[:len(args)-1]
	}
	cmd := exec.Command(st.program, args...)
	if quiet {
		cmd.Stderr = io.Discard
	}
	cmd.Dir = st.dir
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "PARLEY_") || strings.HasPrefix(v, "NO_COLOR=") || strings.HasPrefix(v, "TERM=")
	}), "TERM=xterm-256color", "XDG_STATE_HOME="+st.dir, "COLORTERM=")
	s, err := screen.Start(cmd, columns, rows)
	if err == nil {
		st.open = append(st.open, s)
	}
	return s, err
}

// run runs parley to its end.
func (st *stage) run(args ...string) error {
	cmd := exec.Command(st.program, args...)
	cmd.Dir = st.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("parley %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// serve starts a server that ends with the stage, and waits until it listens.
func (st *stage) serve(port string, args ...string) (*screen.Screen, error) {
	s, err := st.start(columns, 40, append([]string{"server", port}, args...)...)
	if err != nil {
		return nil, err
	}
	return s, st.run("check", "-q", "--wait", "10s", "localhost:"+port)
}

func (st *stage) end() {
	for _, s := range st.open {
		s.Close()
	}
}

// shown is the command as it was typed, and what the screen shows of its first rows on, without empty ones at the end.
func shown(command string, s *screen.Screen, columns, rows int) [][]uv.Cell {
	all := [][]uv.Cell{typed(command)}
	for y := range rows {
		row := make([]uv.Cell, columns)
		for x := range row {
			row[x] = uv.Cell{Content: " ", Width: 1}
			if cell := s.Cell(x, y); cell != nil {
				row[x] = *cell
			}
		}
		all = append(all, row)
	}
	for len(all) > 1 && isEmpty(all[len(all)-1]) {
		all = all[:len(all)-1]
	}
	return all
}

func isEmpty(row []uv.Cell) bool {
	return !slices.ContainsFunc(row, func(c uv.Cell) bool { return strings.TrimSpace(c.Content) != "" })
}

// typed is a command behind a prompt.
func typed(command string) (row []uv.Cell) {
	for i, r := range "$ " + command {
		cell := uv.Cell{Content: string(r), Width: 1}
		cell.Style.Fg = color.White
		if i < 2 {
			cell.Style.Attrs = uv.AttrFaint
		}
		row = append(row, cell)
	}
	return row
}

const (
	columns = 96
	waiting = 30 * time.Second
)
