package dial

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/textproto"
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
	in := bufio.NewReader(&bounded{Reader: conn, step: maxDialogue})
	d := &dialogue{in: in, lines: textproto.NewReader(in), out: conn}
	err := within(ctx, conn, func() error { return upgrades[protocol](d) })
	if err == nil && in.Buffered() > 0 {
		// Whoever is on the way may have put it there, to be taken for what came over TLS
		// (CVE-2011-0411).
		err = errBehindGoAhead
	}
	if err != nil {
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
	in    *bufio.Reader
	lines *textproto.Reader
	out   io.Writer
}

func (d *dialogue) say(command string) error {
	_, err := io.WriteString(d.out, command+"\r\n")
	return err
}

// upgradeSMTP is that of RFC 3207.
func upgradeSMTP(d *dialogue) error {
	if err := d.greeted(220); err != nil {
		return err
	}
	if err := d.say("EHLO localhost"); err != nil {
		return err
	}
	_, extensions, err := d.reply()
	switch {
	case err != nil:
		return err
	case !slices.ContainsFunc(strings.Split(extensions, "\n"), isStartTLS):
		return errNotOffered
	}
	return d.ask("STARTTLS", 220)
}

func isStartTLS(extension string) bool {
	return strings.EqualFold(strings.TrimSpace(extension), "STARTTLS")
}

// upgradeFTP is that of RFC 4217, of the control connection alone.
func upgradeFTP(d *dialogue) error {
	if err := d.greeted(220); err != nil {
		return err
	}
	return d.ask("AUTH TLS", 234)
}

// upgradeNNTP is that of RFC 4642.
func upgradeNNTP(d *dialogue) error {
	if err := d.greeted(200, 201); err != nil {
		return err
	}
	return d.ask("STARTTLS", 382)
}

// greeted waits for a greeting with one of the codes.
func (d *dialogue) greeted(codes ...int) error {
	code, text, err := d.reply()
	for err == nil && code/100 == 1 { // it will be ready in a moment (RFC 959, section 5.4)
		code, text, err = d.reply()
	}
	if err == nil && !slices.Contains(codes, code) {
		err = turnedAway(fmt.Sprint(code, " ", text))
	}
	return err
}

// ask asks for TLS, and waits for the code that grants it.
func (d *dialogue) ask(command string, granted int) error {
	if err := d.say(command); err != nil {
		return err
	}
	code, text, err := d.reply()
	if err == nil && code != granted {
		err = refused(fmt.Sprint(code, " ", text))
	}
	return err
}

// reply reads a reply with a code, of one line or of several.
func (d *dialogue) reply() (code int, text string, err error) {
	code, text, err = d.lines.ReadResponse(0)
	var wrong textproto.ProtocolError
	if errors.As(err, &wrong) {
		err = fmt.Errorf("the server does not speak that protocol: %s", string(wrong))
	}
	return code, text, err
}

// upgradePOP3 is that of RFC 2595, section 4.
func upgradePOP3(d *dialogue) error {
	greeting, err := d.lines.ReadLine()
	switch {
	case err != nil:
		return err
	case !hasWord(greeting, "+OK"):
		return turnedAway(greeting)
	}
	if err := d.say("STLS"); err != nil {
		return err
	}
	answer, err := d.lines.ReadLine()
	if err == nil && !hasWord(answer, "+OK") {
		err = refused(answer)
	}
	return err
}

// upgradeIMAP is that of RFC 3501, section 6.2.1.
func upgradeIMAP(d *dialogue) error {
	greeting, err := d.lines.ReadLine()
	switch {
	case err != nil:
		return err
	case !hasWord(greeting, "* OK"):
		return turnedAway(greeting)
	}
	said, answer, err := d.command("a1", "CAPABILITY")
	switch {
	case err != nil:
		return err
	case !hasWord(answer, "OK"):
		return refused(answer)
	case !slices.ContainsFunc(said, offersStartTLS):
		return errNotOffered
	}
	_, answer, err = d.command("a2", "STARTTLS")
	if err == nil && !hasWord(answer, "OK") {
		err = refused(answer)
	}
	return err
}

func offersStartTLS(untagged string) bool {
	return hasWord(untagged, "* CAPABILITY") && slices.ContainsFunc(strings.Fields(untagged), isStartTLS)
}

// command says a command with a tag, and returns what is said up to the answer, and the answer
// without the tag.
func (d *dialogue) command(tag, command string) (said []string, answer string, err error) {
	if err := d.say(tag + " " + command); err != nil {
		return nil, "", err
	}
	for {
		line, err := d.lines.ReadLine()
		if err != nil {
			return nil, "", err
		}
		if answer, is := strings.CutPrefix(line, tag+" "); is {
			return said, answer, nil
		}
		said = append(said, line)
	}
}

// hasWord reports whether a line begins with such a word or words.
func hasWord(line, words string) bool {
	return len(line) >= len(words) && strings.EqualFold(line[:len(words)], words) && (len(line) == len(words) || line[len(words)] == ' ')
}

func turnedAway(greeting string) error {
	return fmt.Errorf("the server's greeting is none that STARTTLS can follow: %s", quoted(greeting))
}

func refused(answer string) error { return fmt.Errorf("%w: it says %s", errNotOffered, quoted(answer)) }

// quoted is the first line of what a server says, as an error shows it.
func quoted(said string) string {
	const most = 200
	line, _, more := strings.Cut(said, "\n")
	if len(line) > most {
		line, more = line[:most], true
	}
	if more {
		line += "…"
	}
	return fmt.Sprintf("%q", line)
}
