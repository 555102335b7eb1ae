package dial

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
)

// StartTLSProtocols are the protocols that have words to go over to TLS on a connection that began in
// plain, and whose messages are lines, so that it can be told where the words end and TLS begins.
func StartTLSProtocols() []string { return slices.Sorted(maps.Keys(upgrades)) }

var upgrades = map[string]func(*dialogue) error{
	"smtp": upgradeSMTP,
	"imap": upgradeIMAP,
	"pop3": upgradePOP3,
	"ftp":  upgradeFTP,
	"nntp": upgradeNNTP,
}

// startTLS speaks a protocol up to the server's word that TLS begins. The greeting has been heard
// then, and the server will not greet again.
func startTLS(ctx context.Context, conn net.Conn, protocol string) error {
	d := newDialogue(protocol, conn, conn)
	if err := within(ctx, conn, d.run); err != nil {
		return &stepError{TLSFailed, "STARTTLS", err}
	}
	return nil
}

var (
	errBehindGoAhead = errors.New("the server says more in plain behind its word that TLS begins; somebody on the way may have put it there")
	errNotOffered    = errors.New("the server does not offer it")
)

// A dialogue is what is said in plain before TLS, line by line.
type dialogue struct {
	protocol string
	in       *bufio.Reader
	out      io.Writer
}

func newDialogue(protocol string, in io.Reader, out io.Writer) *dialogue {
	return &dialogue{protocol, bufio.NewReader(&bounded{Reader: in, step: maxDialogue}), out}
}

func (d *dialogue) run() error {
	err := upgrades[d.protocol](d)
	if err == nil && d.in.Buffered() > 0 {
		// Whoever is on the way may have put it there, to be taken for what came over TLS
		// (CVE-2011-0411).
		err = errBehindGoAhead
	}
	return err
}

// upgradeSMTP is that of RFC 3207.
func upgradeSMTP(d *dialogue) error {
	if err := d.greeted("220"); err != nil {
		return err
	}
	extensions, err := d.ask("EHLO localhost", "250")
	switch {
	case err != nil:
		return err
	case !slices.ContainsFunc(extensions, isStartTLS):
		return errNotOffered
	}
	_, err = d.ask("STARTTLS", "220")
	return err
}

// isStartTLS reports whether a line of the reply to EHLO offers STARTTLS.
func isStartTLS(line string) bool {
	return len(line) > 4 && strings.EqualFold(strings.TrimSpace(line[4:]), "STARTTLS")
}

// upgradeFTP is that of RFC 4217, of the control connection alone.
func upgradeFTP(d *dialogue) error {
	if err := d.greeted("220"); err != nil {
		return err
	}
	_, err := d.ask("AUTH TLS", "234")
	return err
}

// upgradeNNTP is that of RFC 4642.
func upgradeNNTP(d *dialogue) error {
	if err := d.greeted("200", "201"); err != nil {
		return err
	}
	_, err := d.ask("STARTTLS", "382")
	return err
}

// upgradePOP3 is that of RFC 2595, section 4.
func upgradePOP3(d *dialogue) error {
	greeting, err := d.line()
	switch {
	case err != nil:
		return err
	case !begins(greeting, "+OK"):
		return turnedAway(greeting)
	}
	if err := d.say("STLS"); err != nil {
		return err
	}
	answer, err := d.line()
	if err == nil && !begins(answer, "+OK") {
		err = refused(answer)
	}
	return err
}

// upgradeIMAP is that of RFC 3501, section 6.2.1.
func upgradeIMAP(d *dialogue) error {
	greeting, err := d.line()
	switch {
	case err != nil:
		return err
	case !begins(greeting, "* OK"):
		return turnedAway(greeting)
	}
	said, err := d.command("a1", "CAPABILITY")
	switch {
	case err != nil:
		return err
	case !slices.ContainsFunc(said, offersStartTLS):
		return errNotOffered
	}
	_, err = d.command("a2", "STARTTLS")
	return err
}

func offersStartTLS(untagged string) bool {
	isIt := func(capability string) bool { return strings.EqualFold(capability, "STARTTLS") }
	return begins(untagged, "* CAPABILITY") && slices.ContainsFunc(strings.Fields(untagged), isIt)
}

// greeted waits for a greeting with one of the codes.
func (d *dialogue) greeted(codes ...string) error {
	code, lines, err := d.reply()
	for err == nil && code[0] == '1' { // it will be ready in a moment (RFC 959, section 5.4)
		code, lines, err = d.reply()
	}
	if err == nil && !slices.Contains(codes, code) {
		err = turnedAway(lines...)
	}
	return err
}

// ask says a command, and waits for the reply with the code that grants it.
func (d *dialogue) ask(command, granted string) (lines []string, err error) {
	if err := d.say(command); err != nil {
		return nil, err
	}
	code, lines, err := d.reply()
	if err == nil && code != granted {
		err = refused(lines...)
	}
	return lines, err
}

// reply reads a reply with a code, of one line or of several, between whose first and last may be
// any text (RFC 959, section 4.2).
func (d *dialogue) reply() (code string, lines []string, err error) {
	line, err := d.line()
	if err != nil {
		return "", nil, err
	}
	if len(line) < 3 || strings.Trim(line[:3], "0123456789") != "" {
		return "", nil, fmt.Errorf("the server does not speak %s: it says %s", d.protocol, quoted(line))
	}
	code, lines = line[:3], []string{line}
	for !strings.HasPrefix(line, code) || strings.HasPrefix(line[3:], "-") {
		if line, err = d.line(); err != nil {
			return "", nil, err
		}
		lines = append(lines, line)
	}
	return code, lines, nil
}

// command says a command with a tag, and returns what is said up to the answer that grants it.
func (d *dialogue) command(tag, command string) (said []string, err error) {
	if err := d.say(tag + " " + command); err != nil {
		return nil, err
	}
	for {
		line, err := d.line()
		if err != nil {
			return nil, err
		}
		answer, is := strings.CutPrefix(line, tag+" ")
		switch {
		case is && begins(answer, "OK"):
			return said, nil
		case is:
			return nil, refused(answer)
		}
		said = append(said, line)
	}
}

func (d *dialogue) say(command string) error {
	_, err := io.WriteString(d.out, command+"\r\n")
	return err
}

// line reads a line, as long as bounded lets it be.
func (d *dialogue) line() (string, error) {
	line, err := d.in.ReadString('\n')
	return strings.TrimRight(line, "\r\n"), err
}

// begins reports whether a line begins with such a word or words.
func begins(line, words string) bool {
	return len(line) >= len(words) && strings.EqualFold(line[:len(words)], words) && (len(line) == len(words) || line[len(words)] == ' ')
}

func turnedAway(greeting ...string) error {
	return fmt.Errorf("the server's greeting is none that STARTTLS can follow: %s", quoted(greeting...))
}

func refused(answer ...string) error {
	return fmt.Errorf("%w: it says %s", errNotOffered, quoted(answer...))
}

// quoted is the first line of what a server says, as an error shows it.
func quoted(lines ...string) string {
	const most = 200
	line, more := lines[0], len(lines) > 1
	if len(line) > most {
		line, more = line[:most], true
	}
	if more {
		line += "…"
	}
	return fmt.Sprintf("%q", line)
}
