package talk

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/suggest"
)

// Needs are what the commands of who types need of others. What is nil or empty is not there.
type Needs struct {
	Save    func(file string) error // keeps what was said so far in a file that is not there yet
	Reframe func(name string) error // has all that depends on the framing be as with that of this name
	Via     string                  // the proxy on the way, without its password
}

// A command is what a line that begins with a slash asks for. Run is given what stands behind the
// name; its error is told, and all goes on, unless it is the end of the connection.
type command struct {
	name, args, help string
	run              func(c *Conversation, ctx context.Context, args string) error
	complete         func(typed string) []string // what the argument may become; nil if nobody knows
}

// A refusal is why a command was not done.
type refusal struct{ why string }

func (r *refusal) Error() string { return r.why }

func refuse(format string, args ...any) error { return &refusal{fmt.Sprintf(format, args...)} }

var commands []command

func init() {
	commands = []command{
		{"help", "", "this list", (*Conversation).help, nil},
		{"hex", "00 FF", "these bytes are one request", (*Conversation).sendHex, nil},
		{"file", "PATH", "the bytes of a file, 16 MiB at most, are one request", (*Conversation).sendFile, files},
		{"repeat", "N [EVERY]", "the last request N times in all, one each 500ms if so given", (*Conversation).repeat, nil},
		{"secret", "", "the next line is sent, but neither shown nor kept", (*Conversation).hideNext, nil},
		{"time", "", "each line with its time (UTC), or without it again", (*Conversation).toggleTimes, nil},
		{"info", "", "what there is to know of the connection", (*Conversation).tellInfo, nil},
		{"framing", "[NAME]", "where a message ends: shows it, or changes it", (*Conversation).changeFraming, framings},
		{"reconnect", "", "close this connection and make another like it", (*Conversation).connectAgain, nil},
		{"save", "FILE", "what was said: .md a table, .json events, else a dialogue", (*Conversation).save, files},
		{"close", "", "end the conversation, as a blank line does", (*Conversation).leave, nil},
	}
}

// obey does what a typed line asks for: a command, or a request; // begins one that begins with a
// slash. Behind /secret, and inside a request of several lines, there are no commands.
func (c *Conversation) obey(ctx context.Context, line []byte) error {
	name, args, isCommand := parseCommand(string(line))
	if most, bounded := c.input.typist.(interface{ Longest() int }); bounded && len(line) >= most.Longest() {
		c.View.NotSent(c.shownTyped(line), fmt.Sprintf("it may have been cut: the terminal keeps %d bytes of a line; /file or a pipe sends longer ones", most.Longest()))
		return nil
	}
	switch {
	case c.secret:
		defer func() { c.secret = c.unfinished != nil }() // all lines of a request are as secret as its first
		return c.answer(ctx, line)
	case c.unfinished != nil || !isCommand && !strings.HasPrefix(string(line), "/"):
		return c.answer(ctx, line)
	case !isCommand:
		return c.answer(ctx, line[1:])
	}
	c.View.Typed(dialect.Message{Body: line})
	if name == "secret" && args != "" {
		c.View.Tell("/secret: type it alone, and the secret as the next line; this line was neither sent nor kept")
		return nil
	}
	c.input.remember(line, true)
	i := slices.IndexFunc(commands, func(known command) bool { return known.name == name })
	if i < 0 {
		c.View.Tell(unknownCommand(name))
		return nil
	}
	if commands[i].args == "" && args != "" && name != "help" {
		c.View.Tell("/" + name + ": it takes nothing behind it")
		return nil
	}
	err := commands[i].run(c, ctx, args)
	var refused *refusal
	if errors.As(err, &refused) {
		c.View.Tell("/" + name + ": " + refused.why)
		return nil
	}
	return err
}

// parseCommand takes a line that is a command apart.
func parseCommand(line string) (name, args string, is bool) {
	if !strings.HasPrefix(line, "/") || strings.HasPrefix(line, "//") {
		return "", "", false
	}
	name, args, _ = strings.Cut(line[1:], " ")
	return name, strings.TrimSpace(args), true
}

// Complete returns the lines that a line which is being typed may become: those of commands, and of
// their arguments where these are known. None if it is no command.
func Complete(line string) []string {
	name, args, is := strings.Cut(line, " ")
	if !strings.HasPrefix(name, "/") || strings.HasPrefix(name, "//") {
		return nil
	}
	var lines []string
	for _, known := range commands {
		switch {
		case !is && strings.HasPrefix("/"+known.name, name):
			lines = append(lines, "/"+known.name)
		case is && "/"+known.name == name && known.complete != nil:
			for _, arg := range known.complete(args) {
				lines = append(lines, name+" "+arg)
			}
		}
	}
	return lines
}

func framings(typed string) []string {
	var names []string
	for _, known := range dialect.Completions(typed) {
		if strings.HasPrefix(known.Name, typed) {
			names = append(names, known.Name)
		}
	}
	return names
}

// files are the paths that begin so, of directories with a slash at the end.
func files(typed string) []string {
	dir, base := filepath.Split(typed)
	entries, _ := os.ReadDir(cmp.Or(fromHome(dir), "."))
	var paths []string
	for _, entry := range entries {
		switch name := entry.Name(); {
		case !strings.HasPrefix(name, base) || base == "" && strings.HasPrefix(name, "."):
		case entry.IsDir():
			paths = append(paths, dir+name+string(filepath.Separator))
		default:
			paths = append(paths, dir+name)
		}
	}
	return paths
}

// fromHome is a path in which ~/ is the home directory, as a shell has it.
func fromHome(path string) string {
	behind, is := strings.CutPrefix(path, "~/")
	home, err := os.UserHomeDir()
	if !is || err != nil {
		return path
	}
	return home + "/" + behind
}

func unknownCommand(name string) string {
	var names, like []string
	for _, known := range commands {
		names = append(names, known.name)
		if name != "" && strings.HasPrefix(known.name, name) {
			like = append(like, "/"+known.name)
		}
	}
	if near := suggest.Nearest(name, names); near != "" && len(like) == 0 {
		like = []string{"/" + near}
	}
	text := fmt.Sprintf("no command is called /%s", name)
	if len(like) > 0 {
		text += " (did you mean " + strings.Join(like, " or ") + "?)"
	} else {
		text += "; /help lists them"
	}
	return text + "; nothing was sent, and //" + name + " sends /" + name
}

func (c *Conversation) help(context.Context, string) error {
	var text strings.Builder
	for _, known := range commands {
		fmt.Fprintf(&text, "  %-17s %s\n", strings.TrimSpace("/"+known.name+" "+known.args), known.help)
	}
	c.View.Tell(text.String() + "  //x               sends /x")
	return nil
}

func (c *Conversation) sendHex(ctx context.Context, digits string) error {
	request, err := hex.DecodeString(strings.Join(strings.Fields(digits), ""))
	switch {
	case digits == "":
		return refuse("which bytes? two hexadecimal digits each, as in /hex 00 ff")
	case err != nil:
		return refuse("%q are no bytes; write two hexadecimal digits for each, as in /hex 00 ff", digits)
	}
	return c.ask(ctx, request)
}

// maxFile is how many bytes of a file are a request; a server may take less.
const maxFile = 16 << 20

func (c *Conversation) sendFile(ctx context.Context, path string) error {
	if path == "" {
		return refuse("which file? as in /file request.bin")
	}
	request, err := readFile(fromHome(path))
	if err != nil {
		return refuse("cannot read %s: %s", path, dial.Reason(err))
	}
	if len(request) > maxFile {
		return refuse("%s has more than 16 MiB, which is the most that is sent as one request", path)
	}
	if len(request) == 0 {
		return refuse("%s is empty", path)
	}
	if _, isLine := c.requests.End(append(c.requests.Begin(nil), request...), 0); isLine != nil && !c.Framing.IsProtocol() {
		// The newline at the end of a file of text is that of its last line.
		request = []byte(strings.TrimSuffix(strings.TrimSuffix(string(request), "\n"), "\r"))
	}
	return c.ask(ctx, request)
}

// readFile reads as much of a file as there may be, and a byte more if there is one.
func readFile(path string) ([]byte, error) {
	switch about, err := os.Stat(path); {
	case err != nil:
		return nil, err
	case about.IsDir():
		return nil, errors.New("it is a directory")
	case !about.Mode().IsRegular():
		return nil, errors.New("it is no regular file")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, maxFile+1))
}

// ask has a request answered that was not typed as it is.
func (c *Conversation) ask(ctx context.Context, request []byte) error {
	framed, err := c.frame(nil, request)
	if err != nil {
		return refuse("not sent: %s", inWords(err))
	}
	c.again = request
	return c.exchange(ctx, framed)
}

const mostRepeats = 1_000_000

func (c *Conversation) repeat(ctx context.Context, args string) error {
	words := strings.Fields(args)
	if len(words) == 0 || len(words) > 2 {
		return refuse("how often? as in /repeat 10 or /repeat 10 500ms")
	}
	n, err := strconv.Atoi(words[0])
	if err != nil || n < 1 || n > mostRepeats {
		return refuse("%q is no number from 1 to %d", words[0], mostRepeats)
	}
	every := time.Duration(0)
	if len(words) == 2 {
		if every, err = time.ParseDuration(words[1]); err != nil || every < 0 {
			return refuse("%q is no time; write one with its unit, such as 500ms or 2s", words[1])
		}
	}
	if c.again == nil {
		return refuse("nothing has been sent that could be sent again")
	}
	for i := range n {
		if i > 0 {
			if err := c.await(ctx, every); err != nil {
				return err
			}
		}
		if err := c.ask(ctx, c.again); err != nil {
			return err
		}
	}
	return nil
}

// await waits, and shows what the server says meanwhile.
func (c *Conversation) await(ctx context.Context, pause time.Duration) error {
	enough := time.After(pause)
	for {
		select {
		case <-enough:
			return nil
		case h := <-c.heard:
			if h.err != nil {
				c.hearAgain(h)
				return refuse("the server has ended it")
			}
			c.showMessage(h)
		case <-ctx.Done():
			return c.cut(ctx)
		}
	}
}

// A hider is a Typist that can hide what is typed.
type hider interface{ Hide(hidden bool) }

func (c *Conversation) hideNext(context.Context, string) error {
	if !c.hide(true) {
		return refuse("what is typed here cannot be hidden")
	}
	c.secret = true
	return nil
}

// hide has what is typed not be shown, or again, and reports whether that can be done.
func (c *Conversation) hide(hidden bool) bool {
	h, can := c.input.typist.(hider)
	if can {
		h.Hide(hidden)
	}
	return can
}

func (c *Conversation) toggleTimes(context.Context, string) error {
	switch on, can := c.View.ToggleTimes(); {
	case !can:
		return refuse("only lines of the narrative can have their time, without -q, --raw and --json")
	case on:
		c.View.Tell("each line has its time from here on (UTC)")
	default:
		c.View.Tell("lines are without their time again")
	}
	return nil
}

func (c *Conversation) changeFraming(_ context.Context, name string) error {
	switch {
	case name == "":
		c.View.Tell("framing " + c.Framing.Name)
		return nil
	case c.Commands.Reframe == nil:
		return refuse("it cannot be changed here")
	}
	h := c.interrupted()
	for ; h.err == nil; h = <-c.heard {
		c.showMessage(h)
	}
	switch {
	case !errors.Is(h.err, context.Canceled): // the server has ended it, which is told at the prompt
		c.hearAgain(h)
		return refuse("it stays %s: the server has ended the connection", c.Framing.Name)
	case len(h.body) > 0:
		c.listen()
		return refuse("it stays %s: %d bytes of a message came that is not whole in it, %q", c.Framing.Name, len(h.body), excerpt(h.body))
	}
	defer c.listen()
	if err := c.Commands.Reframe(name); err != nil {
		return refuse("it stays %s: %v", c.Framing.Name, err)
	}
	// A server that speaks first has spoken.
	c.frameBy(c.Framing.BehindGreeting().Requests, c.ofReplies())
	c.View.Tell("framing " + c.Framing.Name + " from here on")
	return nil
}

func (c *Conversation) connectAgain(context.Context, string) error {
	if c.Dial == nil {
		return refuse("there is no way to connect again")
	}
	c.View.Closed("reconnect", "to reconnect")
	return errReconnect
}

func (c *Conversation) save(_ context.Context, file string) error {
	switch {
	case file == "":
		return refuse("in which file? as in /save talk.md, /save talk.json or /save talk.dialogue")
	case c.Commands.Save == nil:
		return refuse("nothing is kept here that could be saved")
	}
	if err := c.Commands.Save(fromHome(file)); err != nil {
		return refuse("%v", err)
	}
	c.View.Tell("saved as " + file)
	return nil
}

func (c *Conversation) leave(ctx context.Context, _ string) error {
	c.input.over = true
	return c.hangUp(ctx)
}
