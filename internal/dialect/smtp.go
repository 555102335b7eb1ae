package dialect

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/parley-tcp/parley"
)

var smtpFraming = Framing{
	Name:        "smtp",
	Requests:    protocol{func() grammar { return new(smtp) }},
	Words:       smtpWords{},
	SpeaksFirst: true,
	greeted:     protocol{func() grammar { return &smtp{greeted: true} }},
	Status:      smtpStatus,
	Waits:       smtpWaits,
	Pipelining:  smtpPipelining,
	Steady:      smtpSteady,
}

// smtp is the grammar of RFC 5321, with command pipelining (RFC 2920), BDAT (RFC 3030), STARTTLS
// (RFC 3207) and AUTH (RFC 4954). A request is a command, or the message that follows DATA, or a
// line of credentials; lines may end in a bare LF. Control replies of FTP (RFC 959) and NNTP (RFC
// 3977) have the same form.
//
// Which of those the client's next bytes are turns on the replies, for which a client has to
// wait. With one that does not, it is so:
//
//   - What comes behind DATA, whose reply is not there, is the message, as nothing else may come
//     there (RFC 2920, section 3.1). If that reply then refuses it, the server takes the
//     message's lines for commands and replies to each. What had come by then, up to the end of
//     its line, is one request; the first of those replies is its own, and the others are alone.
//   - A message, or a part of one, that was replied to before its end was there is alone too.
//   - What comes behind AUTH, whose reply is not there, is credentials unless it begins with a command's verb.
//   - What comes behind STARTTLS, whose reply is not there, is TLS if it begins so.
type smtp struct {
	greeted bool
	stage   smtpStage
	tls     bool   // agreed on: no more can be read
	below   bool   // TLS is opened below, so that what was agreed on is read like before
	ahead   bool   // TLS has begun, and STARTTLS is not replied to
	surplus uint64 // replies that answer the lines of a refused message, but for the first
	secret  bool   // the last command or line of credentials was

	inFlight []smtpRun // requests without a reply
	text     []byte    // scratch

	command smtpCommand
	message smtpMessage
	reply   smtpReply
}

// A smtpStage is what the client's next bytes are.
type smtpStage uint8

const (
	smtpCommands    smtpStage = iota
	smtpUngranted             // DATA is not replied to: the message, or nothing
	smtpGranted               // 354: the message
	smtpCredentials           // 334: a line of credentials
)

// A smtpKind is what matters of a request until it is replied to.
type smtpKind uint8

const (
	smtpPlain    smtpKind = iota
	smtpData              // DATA
	smtpBody              // the message
	smtpRefused           // the message, behind a DATA that was refused
	smtpAuth              // AUTH, or a line of credentials
	smtpStartTLS          // STARTTLS
	smtpQuit              // QUIT
)

// A smtpRun is requests of the same kind that follow one another; of messages, one with n lines.
type smtpRun struct {
	kind smtpKind
	n    uint64
}

// maxSMTPRuns bounds what is remembered of a client that does not wait for its replies.
const maxSMTPRuns = 1024

var (
	errSMTPReply = fmt.Errorf("%w: an SMTP reply begins with three digits", parley.ErrMalformed)
	errSMTPTLS   = fmt.Errorf("%w: TLS, not smtp", parley.ErrMalformed)
	errSMTPAhead = fmt.Errorf("%w: the SMTP client is too far ahead of its replies", parley.ErrMalformed)
)

func (s *smtp) parser(of side) parser {
	switch {
	case s.tls:
		return chunks{}
	case of == replies:
		s.reply = smtpReply{}
		return &s.reply
	case s.stage == smtpUngranted || s.stage == smtpGranted:
		s.message = smtpMessage{smtp: s, bare: s.command.bare, atStart: true}
		return &s.message
	}
	s.command = smtpCommand{smtp: s}
	return &s.command
}

func (s *smtp) ended(of side, p parser) parley.Note {
	switch p := p.(type) {
	case *smtpReply:
		code := p.code()
		quits := len(s.inFlight) > 0 && s.inFlight[0].kind == smtpQuit
		return parley.Note{Alone: !s.replied(code), Last: quits && code == "221" || code == "421"} // RFC 5321, section 3.8
	case *smtpMessage:
		return parley.Note{Alone: !s.sentMessage(p)}
	case *smtpCommand:
		if !p.chunk {
			s.secret = s.sentCommand(p)
			return parley.Note{Secret: s.secret}
		}
	}
	return parley.Note{Alone: true} // TLS
}

// sentCommand notes a command, or a line of credentials, and reports whether it is secret.
func (s *smtp) sentCommand(c *smtpCommand) (secret bool) {
	verb, rest := c.verb()
	stage := s.stage
	s.stage = smtpCommands
	switch {
	case stage == smtpCredentials || s.newest() == smtpAuth && !slices.Contains(smtpVerbs, verb):
		s.push(smtpAuth, 1)
		return verb != "*" // which cancels
	case verb == "DATA":
		s.push(smtpData, 1)
		s.stage = smtpUngranted
	case verb == "AUTH":
		s.push(smtpAuth, 1)
		_, initial, _ := strings.Cut(rest, " ")
		return strings.Trim(initial, " =") != "" // = is an empty one
	case verb == "STARTTLS":
		s.push(smtpStartTLS, 1)
	case verb == "QUIT":
		s.push(smtpQuit, 1)
	default:
		s.push(smtpPlain, 1)
		return verb == "PASS" // of FTP
	}
	return false
}

// smtpVerbs are those that no line of credentials is taken for.
var smtpVerbs = []string{"EHLO", "HELO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "VRFY", "EXPN", "HELP", "NOOP", "QUIT", "STARTTLS", "AUTH"}

// sentMessage notes the message that followed DATA, and reports whether a reply will come to it.
func (s *smtp) sentMessage(m *smtpMessage) (asks bool) {
	refused := s.stage == smtpCommands
	s.stage = smtpCommands
	switch {
	case m.accepted:
		return false
	case refused && m.replies > 0:
		s.surplus += m.lines - min(m.lines, m.replies)
		return false
	case refused:
		s.push(smtpRefused, m.lines)
	default:
		s.push(smtpBody, m.lines)
	}
	return true
}

// push notes a request that is not replied to.
func (s *smtp) push(kind smtpKind, n uint64) {
	if last := len(s.inFlight) - 1; last >= 0 && s.inFlight[last].kind == kind {
		s.inFlight[last].n += n
		return
	}
	s.inFlight = append(s.inFlight, smtpRun{kind, n})
}

// pop takes off the oldest request in flight. There is one.
func (s *smtp) pop() smtpRun {
	oldest := &s.inFlight[0]
	whole := oldest.kind == smtpBody || oldest.kind == smtpRefused
	if !whole && oldest.n > 1 {
		oldest.n--
		return smtpRun{oldest.kind, 1}
	}
	run := *oldest
	s.inFlight = append(s.inFlight[:0], s.inFlight[1:]...)
	return run
}

// newest is the kind of the newest request in flight.
func (s *smtp) newest() smtpKind {
	if n := len(s.inFlight); n > 0 {
		return s.inFlight[n-1].kind
	}
	return smtpPlain
}

// replied notes a message of the server, and reports whether it is the reply to a request.
func (s *smtp) replied(code string) bool {
	switch {
	case !s.greeted:
		s.greeted = true
		return false
	case s.surplus > 0:
		s.surplus--
		return false
	case len(s.inFlight) == 0: // there may be a message that is still being sent
		s.message.replies++
		// If it is accepted, the server has seen an end where there is none, as some do at
		// a bare LF.
		s.message.accepted = s.stage == smtpGranted && code[0] == '2'
		return false
	}
	answered := s.pop()
	only := len(s.inFlight) == 0
	switch {
	case answered.kind == smtpRefused:
		s.surplus = answered.n - 1
	case answered.kind == smtpData && only && code[0] == '3':
		s.stage = smtpGranted
	case answered.kind == smtpData && only:
		s.stage = smtpCommands
	case answered.kind == smtpData && code[0] != '3' && s.inFlight[0].kind == smtpBody:
		s.inFlight[0].kind = smtpRefused
	case answered.kind == smtpAuth && code == "334" && only:
		s.stage = smtpCredentials
	case answered.kind == smtpStartTLS && s.below && code[0] == '2':
		*s = smtp{greeted: true, below: true}
	case answered.kind == smtpStartTLS:
		s.tls, s.ahead = code[0] == '2', false
	}
	return true
}

// A smtpCommand is the parser of a line, and of the octets behind BDAT.
type smtpCommand struct {
	*smtp
	head   [64]byte // of the line
	length int      // of the line so far, without its LF; head has its beginning
	last   byte     // of the line so far
	bare   bool     // the line ended without CR
	octets uint64   // to come behind the line
	inBDAT bool
	chunk  bool // it is TLS
}

func (c *smtpCommand) parse(p []byte, _ bool) (n int, done bool, err error) {
	switch {
	case c.tls, c.ahead, c.length == 0 && len(p) > 0 && p[0] == tlsHandshake && c.newest() == smtpStartTLS:
		c.chunk, c.ahead = true, !c.tls
		return len(p), true, nil
	case len(c.inFlight) >= maxSMTPRuns:
		return 0, false, errSMTPAhead
	case c.inBDAT:
		n = int(min(uint64(len(p)), c.octets))
		c.octets -= uint64(n)
		return n, c.octets == 0, nil
	}
	end := bytes.IndexByte(p, '\n')
	if end < 0 {
		c.add(p)
		return len(p), false, c.tlsError()
	}
	c.add(p[:end])
	if err := c.tlsError(); err != nil {
		return 0, false, err
	}
	c.bare = c.last != '\r'
	if c.octets = c.sizeOfBDAT(); c.octets > 0 {
		c.inBDAT = true
		n, done, err = c.parse(p[end+1:], false)
		return end + 1 + n, done, err
	}
	return end + 1, true, nil
}

// coming is how many bytes are still to come at least.
func (c *smtpCommand) coming() uint64 { return c.octets }

func (c *smtpCommand) add(p []byte) {
	if len(p) == 0 {
		return
	}
	if c.length < len(c.head) {
		copy(c.head[c.length:], p)
	}
	c.length += len(p)
	c.last = p[len(p)-1]
}

func (c *smtpCommand) line() []byte { return c.head[:min(c.length, len(c.head))] }

// tlsHandshake begins the TLS record that a client begins with; behind it is the version, 3.x.
const tlsHandshake = 0x16

func (c *smtpCommand) tlsError() error {
	if bytes.HasPrefix(c.line(), []byte{tlsHandshake, 3}) {
		return errSMTPTLS
	}
	return nil
}

// verb is the first word of the line, as its first 64 bytes tell, and rest what is behind it.
func (c *smtpCommand) verb() (verb, rest string) { return smtpVerb(c.line()) }

func smtpVerb(line []byte) (verb, rest string) {
	verb, rest, _ = strings.Cut(string(bytes.TrimSpace(line)), " ")
	return strings.ToUpper(verb), strings.TrimLeft(rest, " ")
}

func (c *smtpCommand) sizeOfBDAT() uint64 {
	if c.length > len(c.head) {
		return 0
	}
	n, _ := smtpBDAT(c.line())
	return n
}

// smtpBDAT reads BDAT SIZE [LAST] (RFC 3030, section 2). What is none has a size the server
// will not read either.
func smtpBDAT(line []byte) (size uint64, ok bool) {
	verb, rest := smtpVerb(line)
	number, last, two := strings.Cut(rest, " ")
	if verb != "BDAT" || two && !strings.EqualFold(strings.TrimSpace(last), "LAST") {
		return 0, false
	}
	size, err := strconv.ParseUint(number, 10, 63)
	if err != nil {
		return 0, false
	}
	return size, true
}

// A smtpMessage is the parser of the message behind DATA: up to a line that is a lone dot
// (RFC 5321, section 4.1.1.4). If the line of DATA ended in CRLF, so do its lines: a bare LF
// before that dot would make it the end for some and not for others. Otherwise they need not.
type smtpMessage struct {
	*smtp
	bare     bool
	atStart  bool // the line began behind the end of one
	length   int  // of the line so far
	head     [2]byte
	last     byte
	lines    uint64
	accepted bool   // the server has replied to it
	replies  uint64 // to its lines, if it was refused
}

func (m *smtpMessage) parse(p []byte, _ bool) (n int, done bool, err error) {
	if m.accepted || m.refused() && m.length == 0 && m.lines > 0 {
		return 0, true, nil
	}
	for n < len(p) {
		end := bytes.IndexByte(p[n:], '\n')
		if end < 0 {
			m.add(p[n:])
			return len(p), false, nil
		}
		m.add(p[n : n+end])
		n += end + 1
		m.lines++
		dot := m.atStart && (m.length == 2 && m.head == [2]byte{'.', '\r'} || m.bare && m.length == 1 && m.head[0] == '.')
		m.atStart = m.bare || m.length > 0 && m.last == '\r'
		m.length = 0
		if dot || m.refused() {
			return n, true, nil
		}
	}
	return n, false, nil
}

// refused reports whether DATA has been since the message began.
func (m *smtpMessage) refused() bool { return m.stage == smtpCommands }

func (m *smtpMessage) add(p []byte) {
	if len(p) == 0 {
		return
	}
	if m.length < len(m.head) {
		copy(m.head[m.length:], p)
	}
	m.length += len(p)
	m.last = p[len(p)-1]
}

// A smtpReply is the parser of a reply (RFC 5321, section 4.2). One of several lines ends with
// the line whose three digits no hyphen follows; those between may be any text (RFC 959,
// section 4.2).
type smtpReply struct {
	first  [3]byte // the code
	head   [4]byte // of the line
	length int     // of the line so far
	later  bool    // it is not the first line
}

func (r *smtpReply) parse(p []byte, _ bool) (n int, done bool, err error) {
	for n < len(p) {
		line := p[n:]
		end := bytes.IndexByte(line, '\n')
		if end >= 0 {
			line = line[:end]
		}
		if r.length < len(r.head) {
			copy(r.head[r.length:], line)
		}
		r.length += len(line)
		if !r.later && !smtpDigits(r.head[:min(r.length, 3)]) {
			return 0, false, errSMTPReply
		}
		if end < 0 {
			return len(p), false, nil
		}
		n += end + 1
		coded := r.length >= 3 && smtpDigits(r.head[:3])
		if !r.later {
			if !coded {
				return 0, false, errSMTPReply
			}
			copy(r.first[:], r.head[:])
		}
		if coded && (r.length == 3 || r.head[3] != '-') {
			return n, true, nil
		}
		r.later, r.length = true, 0
	}
	return n, false, nil
}

func (r *smtpReply) code() string { return string(r.first[:]) }

func smtpDigits(p []byte) bool {
	for _, c := range p {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// smtpStatus is the code of a reply.
func smtpStatus(reply []byte) (code string, ok bool) {
	if len(reply) < 3 || !smtpDigits(reply[:3]) {
		return "", false
	}
	return string(reply[:3]), true
}

func (s *smtp) encode(of side, dst []byte, start int) ([]byte, error) {
	text := append(s.text, dst[start:]...)
	s.text = spare(text)
	switch {
	case of == replies:
		return s.encodeReply(dst[:start], text), nil
	case s.stage == smtpUngranted || s.stage == smtpGranted:
		return encodeSMTPMessage(dst[:start], text)
	}
	return encodeSMTPCommand(dst[:start], text)
}

// encodeSMTPCommand has a line end in CRLF. Behind the line of BDAT are its octets, as they are.
func encodeSMTPCommand(dst, text []byte) ([]byte, error) {
	line, octets, two := bytes.Cut(text, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	size, ok := smtpBDAT(line)
	switch {
	case ok && uint64(len(octets)) > size:
		return dst, fmt.Errorf("%d bytes follow %s", len(octets), line)
	case ok && uint64(len(octets)) < size:
		return dst, fmt.Errorf("%w: %d bytes follow %s", parley.ErrUnfinished, len(octets), line)
	case !ok && two:
		return dst, fmt.Errorf("a newline at byte %d would end the command early", len(text)-len(octets)-1)
	}
	dst = append(append(dst, line...), "\r\n"...)
	return append(dst, octets...), nil
}

var errSMTPNoDot = fmt.Errorf("%w: a line with nothing but a dot ends it", parley.ErrUnfinished)

// encodeSMTPMessage makes a message of lines of which the last is a lone dot. Others that begin
// with a dot get another one, which the receiver takes off (RFC 5321, section 4.5.2).
func encodeSMTPMessage(dst, text []byte) ([]byte, error) {
	lines := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
	for i, line := range lines {
		line = bytes.TrimSuffix(line, []byte("\r"))
		last := i == len(lines)-1
		switch {
		case last && string(line) != ".":
			return dst, errSMTPNoDot
		case !last && bytes.HasPrefix(line, []byte(".")):
			dst = append(dst, '.')
		}
		dst = append(append(dst, line...), "\r\n"...)
	}
	return dst, nil
}

// encodeReply makes a reply of text. A code that it begins with is kept; without one it gets that
// with which its request is done, so that any text will do to receive mail. It gets that also in
// place of another code that means success, which some requests are never done with.
func (s *smtp) encodeReply(dst, text []byte) []byte {
	text = bytes.TrimSuffix(text, []byte("\n"))
	answered := smtpPlain
	if len(s.inFlight) > 0 {
		answered = s.inFlight[0].kind
	}
	code, own := smtpStatus(text)
	own = own && (len(text) == 3 || text[3] == ' ' || text[3] == '-')
	exact := answered == smtpData || answered == smtpAuth || answered == smtpQuit
	failure, failed := bytes.CutPrefix(text, []byte("Error: "))
	switch {
	case own && (code[0] != '2' || !exact):
	case failed:
		text, code = failure, smtpFailure(failure)
	default:
		code = smtpDone[answered]
		if answered == smtpAuth && s.secret { // of which the text may be made
			text = []byte("OK")
		}
	}
	for i := 0; ; i++ {
		line, rest, more := bytes.Cut(text, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		if own && len(line) >= 3 && smtpDigits(line[:3]) { // as its line of several has it
			line = bytes.TrimLeft(line[3:], "- ")
		}
		dst = append(dst, code...)
		if !more {
			return append(append(append(dst, ' '), line...), "\r\n"...)
		}
		dst = append(append(append(dst, '-'), line...), "\r\n"...)
		text = rest
	}
}

// smtpDone are the codes with which requests are done (RFC 5321, section 4.3.2; RFC 4954,
// section 6). There is nobody who could speak TLS from then on.
var smtpDone = [...]string{
	smtpPlain: "250", smtpData: "354", smtpBody: "250", smtpRefused: "250", smtpAuth: "235", smtpStartTLS: "502", smtpQuit: "221",
}

// smtpFailure is the code of a server's error text (RFC 5321, section 4.2.3).
func smtpFailure(text []byte) string {
	switch {
	case bytes.HasPrefix(text, []byte("server is ")), bytes.HasPrefix(text, []byte("too many sessions ")):
		return "421"
	case bytes.HasPrefix(text, []byte("request longer than ")):
		return "552"
	}
	return "500"
}

// greet is what a server says before it is asked anything (RFC 5321, section 3.1).
func (s *smtp) greet(dst []byte) []byte {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return fmt.Appendf(dst, "220 %s ESMTP parley\r\n", host)
}

func (s *smtp) appendText(of side, dst []byte, m Message) []byte {
	if of == replies {
		return smtpWords{}.AppendReply(dst, m)
	}
	if verb, _ := smtpVerb(m.Body); verb == "PASS" {
		m.Secret = true
	}
	return smtpWords{}.AppendRequest(dst, m)
}

// smtpWords tell by its bytes what a message is: a recording has nothing else.
type smtpWords struct{}

func (smtpWords) AppendRequest(dst []byte, m Message) []byte {
	if m.Secret {
		return appendSMTPSecret(dst, m.Body)
	}
	line, behind, ended := bytes.Cut(m.Body, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	_, bdat := smtpBDAT(line)
	switch {
	case smtpBinary(m.Body) && !bdat:
		return appendSMTPBinary(dst, m)
	case ended && (bdat || len(behind) == 0 && m.Cut == 0 && string(line) != "."):
		return append(dst, line...)
	case !ended:
		return appendSMTPCut(append(dst, line...), m)
	}
	return fmt.Appendf(dst, "message (%d bytes)", smtpSize(m))
}

// appendSMTPSecret leaves credentials out.
func appendSMTPSecret(dst, body []byte) []byte {
	switch verb, rest := smtpVerb(body); verb {
	case "AUTH":
		mechanism, _, _ := strings.Cut(rest, " ")
		return fmt.Appendf(dst, "AUTH %s (secret)", mechanism)
	case "PASS":
		return append(dst, "PASS (secret)"...)
	}
	return append(dst, "(secret)"...)
}

func (smtpWords) AppendReply(dst []byte, m Message) []byte {
	if smtpBinary(m.Body) {
		return appendSMTPBinary(dst, m)
	}
	code, _ := smtpStatus(m.Body)
	first := true
	for line := range bytes.Lines(m.Body) {
		line = bytes.TrimRight(line, "\r\n")
		if !first {
			if code != "" && bytes.HasPrefix(line, []byte(code)) {
				line = bytes.TrimLeft(line[3:], "- ")
			}
			if len(line) == 0 {
				continue
			}
			dst = append(dst, ", "...)
		} else if len(line) > 3 && code != "" && line[3] == '-' {
			dst, line = append(append(dst, code...), ' '), line[4:]
		}
		dst = append(dst, line...)
		first = false
	}
	return appendSMTPCut(dst, m)
}

// smtpSize is that of the whole message.
func smtpSize(m Message) uint64 { return uint64(len(m.Body)) + m.Cut }

// appendSMTPCut says how much there was of what is cut.
func appendSMTPCut(dst []byte, m Message) []byte {
	if m.Cut == 0 {
		return dst
	}
	return fmt.Appendf(dst, "…(%d bytes)", smtpSize(m))
}

// smtpBinary reports whether the beginning of body cannot be text.
func smtpBinary(body []byte) bool {
	return bytes.ContainsFunc(body[:min(len(body), 64)], func(r rune) bool {
		return r < ' ' && r != '\t' && r != '\r' && r != '\n'
	})
}

func appendSMTPBinary(dst []byte, m Message) []byte {
	if len(m.Body) > 2 && m.Body[0] >= 0x14 && m.Body[0] <= 0x17 && m.Body[1] == 3 { // a record's type and version
		return fmt.Appendf(dst, "TLS (%d bytes)", smtpSize(m))
	}
	return fmt.Appendf(dst, "(%d bytes)", smtpSize(m))
}
