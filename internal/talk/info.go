package talk

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/parley-tcp/parley/internal/secure"
	"github.com/parley-tcp/parley/internal/tcpinfo"
)

// tellInfo tells what there is to know of the connection.
func (c *Conversation) tellInfo(context.Context, string) error {
	now := time.Now()
	lines := []string{
		fmt.Sprintf("connected  to %s since %s (%v)", c.Server, c.since.UTC().Format("2006-01-02 15:04:05 UTC"), now.Sub(c.since).Round(time.Millisecond)),
		fmt.Sprintf("addresses  %s here, %s there", addressed(c.conn.LocalAddr().String()), addressed(c.conn.RemoteAddr().String())),
	}
	if c.Commands.Via != "" {
		lines = append(lines, "through    the proxy "+c.Commands.Via+", whose address is the one there")
	}
	lines = append(lines,
		"framing    "+c.Framing.Name,
		fmt.Sprintf("said       %s, %s", counted(c.sent, "request", "requests"), counted(c.replied, "reply", "replies")),
		"TLS        "+c.tlsInfo(now),
		"TCP        "+c.tcpInfo())
	c.View.Tell(strings.Join(lines, "\n"))
	return nil
}

// addressed is an address; one end of a Unix socket has none.
func addressed(address string) string {
	if address == "" || address == "@" {
		return "no address"
	}
	return address
}

func counted(n int, one, several string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, several)
}

func (c *Conversation) tlsInfo(now time.Time) string {
	conn := c.conn
	secured, is := conn.(interface{ ConnectionState() tls.ConnectionState })
	if over, kept := conn.(interface{ NetConn() net.Conn }); kept && !is { // kept in a journal
		secured, is = over.NetConn().(interface{ ConnectionState() tls.ConnectionState })
	}
	if !is {
		return "none"
	}
	about := secure.Describe(secured.ConnectionState(), now)
	text := about.Version + ", " + about.Cipher
	if about.ALPN != "" {
		text += ", " + about.ALPN
	}
	if about.Chain > 0 {
		text += fmt.Sprintf("; for %s, %s left", secure.JoinNames(about.Names), counted(about.DaysLeft, "day", "days"))
	}
	return text
}

func (c *Conversation) tcpInfo() string {
	about, known := tcpinfo.Of(c.conn)
	if !known {
		return "round trip not known here"
	}
	return fmt.Sprintf("round trip %v ± %v, %s", about.RoundTrip, about.Variance, counted(int(about.Retransmits), "retransmit", "retransmits"))
}
