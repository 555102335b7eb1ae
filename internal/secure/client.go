package secure

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"time"
)

// ClientOptions are what a client asks of a server and shows of itself.
type ClientOptions struct {
	CA         string   // PEM file of who signs servers' certificates; the system's if empty
	Cert, Key  string   // PEM files, for servers that want a certificate of their clients; none if empty
	ServerName string   // whom the certificate must name, and the server is told; the host that is dialled if empty
	Insecure   bool     // any certificate is taken
	ALPN       []string // protocols, the preferred first; none is named if empty
	KeyLog     string   // file to which the keys of each session are added, none if empty
	Resume     bool     // a connection resumes the session of one before, with a shorter handshake

	// Read reads the PEM files; os.ReadFile if nil.
	Read func(file string) ([]byte, error)
}

// A Client is what a client asks of a server and shows of itself.
type Client struct {
	Config   *tls.Config    // without a ServerName unless one was given
	Roots    *x509.CertPool // who signs servers' certificates; the system's if nil
	Warnings []string       // what is wrong with our own certificate, though it can be used

	keyLog *os.File
}

// Open reads the files. Its error says in words which of them cannot be used, and what helps.
func (o ClientOptions) Open() (*Client, error) {
	c := &Client{Config: &tls.Config{
		MinVersion:         tls.VersionTLS12,
		Renegotiation:      tls.RenegotiateNever,
		ServerName:         o.ServerName,
		InsecureSkipVerify: o.Insecure,
		NextProtos:         o.ALPN,

		DynamicRecordSizingDisabled: true, // a message of up to 16 KiB is a record, and one chunk to who reads so
	}}
	if o.Resume {
		c.Config.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	}
	read := reader(os.ReadFile)
	if o.Read != nil {
		read = o.Read
	}
	if o.CA != "" {
		var err error
		if c.Roots, err = loadRoots(read, "CA", o.CA); err != nil {
			return nil, err
		}
		c.Config.RootCAs = c.Roots
	}
	if o.Cert != "" {
		certificate, err := loadPair(read, o.Cert, o.Key)
		if err != nil {
			return nil, err
		}
		c.Warnings = warnings("certificate "+o.Cert, certificate.Leaf, time.Now())
		// Also to a server that names other signers: it then says that it does not trust ours,
		// and not that there was none.
		c.Config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &certificate, nil
		}
	}
	if o.KeyLog != "" {
		var err error
		if c.keyLog, err = openKeyLog(o.KeyLog); err != nil {
			return nil, err
		}
		c.Config.KeyLogWriter = c.keyLog
	}
	return c, nil
}

// Close closes the key log. Connections that are open stay as they are.
func (c *Client) Close() error {
	if c.keyLog == nil {
		return nil
	}
	return c.keyLog.Close()
}
