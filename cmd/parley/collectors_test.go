//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// eventsForCollectors are what a server writes of all kinds of messages.
func eventsForCollectors(t *testing.T) (file string, lines []string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "events.json")
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	s := startServerTo(t, out, "--json", "--echo", "--max-sessions-per-ip", "1")
	messages := []string{
		"hello", "ä 日本 😀", `say "\\x" <&>`, "\x00\x1b[2J\xff", "\u2028\u202e\u0085", "{\"event\":\"closed\"}",
		strings.Repeat(`"`, 64<<10), strings.Repeat(`<`, 64<<10), strings.Repeat("\x01", 64<<10), strings.Repeat("\u00a0é", 16<<10),
	}
	held := connect(t, s.addr)
	held.Write([]byte(strings.Join(messages, "\n") + "\n"))
	converse(t, s.addr, "one too many\n") // refused
	held.CloseWrite()
	var got bytes.Buffer
	got.ReadFrom(held)
	if code := s.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines = strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if want := 3 + 2*len(messages) + 1; len(lines) < want-1 {
		t.Errorf("%d events, want about %d", len(lines), want)
	}
	return file, lines
}

// recipeFor is the block of docs/recipes.md that has the text in it.
func recipeFor(t *testing.T, text string) string {
	t.Helper()
	for _, page := range manualPages(t) {
		if page.name != "recipes.md" {
			continue
		}
		for _, b := range page.blocks {
			if block := strings.Join(b.lines, "\n") + "\n"; strings.Contains(block, text) {
				return block
			}
		}
	}
	t.Fatalf("docs/recipes.md has no block with %q", text)
	return ""
}

// What the manual promises collectors of events in JSON: an object a line that is valid UTF-8, without a control
// character, no longer than it says; and its rules for the OTel collector make a time and a severity of each.
func TestEventsAreAsCollectorsReadThem(t *testing.T) {
	_, lines := eventsForCollectors(t)
	recipe := recipeFor(t, "json_parser")
	layout := regexp.MustCompile(`layout: '(.+)'`).FindStringSubmatch(recipe)[1]
	severity := map[string]string{}
	for _, m := range regexp.MustCompile(`(warn|error|debug): \[(.+)\]`).FindAllStringSubmatch(recipe, -1) {
		for _, event := range strings.Split(m[2], ", ") {
			severity[event] = m[1]
		}
	}
	longest, seen := 0, map[string]int{}
	for _, line := range lines {
		longest = max(longest, len(line))
		if !utf8.ValidString(line) || strings.ContainsFunc(line, unicode.IsControl) {
			t.Errorf("it has what no line has: %.200q", line)
		}
		var o map[string]any
		d := json.NewDecoder(strings.NewReader(line))
		d.UseNumber()
		if err := d.Decode(&o); err != nil || d.More() {
			t.Fatalf("%v: %.200q", err, line)
		}
		at, err := time.Parse(layout, o["time"].(string))
		if _, offset := at.Zone(); err != nil || offset != 0 || time.Since(at) > time.Hour {
			t.Errorf("%v, %v: %s", at, err, o["time"])
		}
		for name, value := range o {
			if n, is := value.(json.Number); is {
				if _, err := n.Int64(); err != nil {
					t.Errorf("%s is %s", name, n)
				}
			}
		}
		seen[severity[o["event"].(string)]]++
	}
	if seen["warn"] != 1 || seen["debug"] < 20 || seen[""] < 3 {
		t.Errorf("severities %v; want a warning, of who was refused, two of debugging for each of ten requests, and others", seen)
	}
	if longest < 128<<10 || longest > 256<<10 {
		t.Errorf("the longest line has %d bytes; the manual says that it is under 256 KiB", longest)
	}
}

// rsyslog, with the configuration of the manual, reads each event to the letter.
func TestRsyslogCollectsEvents(t *testing.T) {
	file, lines := eventsForCollectors(t)
	dir := t.TempDir()
	collected, config := filepath.Join(dir, "collected.json"), filepath.Join(dir, "conf")
	text := recipeFor(t, "mmjsonparse")
	for of, is := range map[string]string{"/var/spool/rsyslog": dir, "/var/log/parley/events.json": file, "/var/log/collected.json": collected} {
		if !strings.Contains(text, of) {
			t.Fatalf("the recipe has no %s", of)
		}
		text = strings.ReplaceAll(text, of, is)
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, peer(t, "/usr/sbin/rsyslogd", "-n", "-f", config, "-i", filepath.Join(dir, "pid")))
	var got []string
	eventually(t, "rsyslog has collected all", func() bool {
		text, err := os.ReadFile(collected)
		got = strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
		return err == nil && len(got) >= len(lines) && strings.HasSuffix(string(text), "\n")
	})
	if len(got) != len(lines) {
		t.Fatalf("%d events were collected, want %d", len(got), len(lines))
	}
	for i := range lines {
		var is, was map[string]any
		if err := json.Unmarshal([]byte(got[i]), &is); err != nil {
			t.Fatalf("%v: %.200s", err, got[i])
		}
		json.Unmarshal([]byte(lines[i]), &was)
		if !reflect.DeepEqual(is, was) {
			t.Errorf("event %d was collected as\n%.300s, and is\n%.300s", i+1, got[i], lines[i])
		}
	}
}
