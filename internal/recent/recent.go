// Package recent keeps the addresses that somebody talked to, for a shell to complete them.
package recent

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/parley-tcp/parley/internal/statedir"
)

// What a file holds: addresses, a line each, the newest first.
const (
	most    = 100 // of them
	longest = 256 // bytes of one
)

// File is where the addresses of this user are.
func File() (string, error) { return statedir.Path("addresses") }

// Add puts an address before all others of the file, which it makes if there is none, for nobody else
// to read. What falls out at the end is forgotten. Of two that add at the same moment one may be lost.
func Add(file, address string) error {
	if address == "" || len(address) > longest || strings.ContainsFunc(address, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return nil
	}
	all := Read(file)
	if len(all) > 0 && all[0] == address {
		return nil
	}
	all = slices.DeleteFunc(all, func(a string) bool { return a == address })
	all = slices.Insert(all, 0, address)
	return write(file, strings.Join(all[:min(len(all), most)], "\n")+"\n")
}

// Read returns the addresses of the file, the newest first; none if it cannot be read.
func Read(file string) []string {
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(f, most*(longest+1)))
	if err != nil {
		return nil
	}
	text = text[:bytes.LastIndexByte(text, '\n')+1] // the last line may be cut
	return slices.DeleteFunc(strings.Split(string(text), "\n"), func(line string) bool { return line == "" })
}

// write puts the file into its place whole, so that none who reads finds half of it.
func write(file, text string) error {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".addresses-*") // 0600
	if err != nil {
		return err
	}
	_, errWrite := f.WriteString(text)
	if err := errors.Join(errWrite, f.Close()); err != nil {
		os.Remove(f.Name())
		return err
	}
	if err := os.Rename(f.Name(), file); err != nil {
		os.Remove(f.Name())
		return err
	}
	return nil
}
