// Package secure makes TLS configurations of files, and says in words what a certificate is and
// what went wrong with TLS. TLS is 1.2 at least, on either side.
//
// What it says of peers is as they wrote it: whoever shows it escapes it.
package secure

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// ServerOptions are what a server shows of itself and asks of its clients.
type ServerOptions struct {
	Cert, Key  string   // PEM files: the certificate, what it was signed by behind it; and its key
	SelfSigned bool     // instead of these, a certificate of a CA of our own, kept in StateDir
	Names      []string // of the self-signed certificate, beside those of this host
	StateDir   string   // $XDG_STATE_HOME/parley/tls if empty, ~/.local/state/parley/tls without that
	ClientCA   string   // PEM file of who signs clients' certificates, which they must have; not asked for if empty
	ALPN       []string // protocols, the preferred first; a client that names only others is refused, any if empty
	KeyLog     string   // file to which the keys of each session are added, none if empty
}

// An Identity is what a server shows of itself and asks of its clients, as its files had it when
// they were last read.
type Identity struct {
	options ServerOptions
	config  *tls.Config
	keyLog  *os.File

	reloading sync.Mutex // held by the one reload that there may be
	current   atomic.Pointer[credentials]
}

// credentials are what was in the files at one time.
type credentials struct {
	config   *tls.Config
	leaf     *x509.Certificate
	ca       *authority // nil if the certificate is not of our own making
	warnings []string
}

// Open reads the files. Its error says in words which of them cannot be used, and what helps.
func Open(options ServerOptions) (*Identity, error) {
	id := &Identity{options: options}
	if options.KeyLog != "" {
		var err error
		if id.keyLog, err = openKeyLog(options.KeyLog); err != nil {
			return nil, err
		}
	}
	if err := id.Reload(); err != nil {
		return nil, errors.Join(err, id.Close())
	}
	// It is asked at each handshake. The keys of session tickets are those of this one.
	id.config = &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: options.ALPN,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return id.current.Load().config, nil
		},
	}
	return id, nil
}

// Config is that of all listeners. Handshakes that begin after a reload go by the new files.
func (id *Identity) Config() *tls.Config { return id.config }

// Reload reads all files again. If one of them cannot be used nothing changes, and the error says
// why. Connections that are open stay as they are.
func (id *Identity) Reload() error {
	id.reloading.Lock()
	defer id.reloading.Unlock()
	read, err := id.read(time.Now())
	if err != nil {
		return err
	}
	id.current.Store(read)
	return nil
}

func (id *Identity) read(now time.Time) (*credentials, error) {
	read := &credentials{}
	var certificate tls.Certificate
	var err error
	if id.options.SelfSigned {
		certificate, read.ca, err = selfSigned(id.options.StateDir, id.options.Names, now)
	} else {
		certificate, err = loadPair(os.ReadFile, id.options.Cert, id.options.Key)
	}
	if err != nil {
		return nil, err
	}
	read.leaf = certificate.Leaf
	read.warnings = warnings("certificate "+id.options.Cert, read.leaf, now)
	read.config = &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{certificate},
		NextProtos:   id.options.ALPN,

		DynamicRecordSizingDisabled: true, // as of a Client
	}
	if id.keyLog != nil {
		read.config.KeyLogWriter = id.keyLog
	}
	if id.options.ClientCA != "" {
		read.config.ClientAuth = tls.RequireAndVerifyClientCert
		if read.config.ClientCAs, err = loadRoots(os.ReadFile, "client CA", id.options.ClientCA); err != nil {
			return nil, err
		}
	}
	return read, nil
}

// Close closes the key log. Connections that are open stay as they are.
func (id *Identity) Close() error {
	if id.keyLog == nil {
		return nil
	}
	return id.keyLog.Close()
}

// CA is the file of the CA that signed the self-signed certificate, for clients to trust, and its
// SHA-256 fingerprint as openssl prints it; empty if the certificate is not of our own making.
func (id *Identity) CA() (path, fingerprint string) {
	ca := id.current.Load().ca
	if ca == nil {
		return "", ""
	}
	return ca.file, fingerprintOf(ca.cert)
}

// Expires is when the certificate that is in use does.
func (id *Identity) Expires() time.Time { return id.current.Load().leaf.NotAfter }

// Warnings are what is wrong with the files that are in use, though they can be used: a
// certificate that has expired.
func (id *Identity) Warnings() []string { return id.current.Load().warnings }

// About says which certificate is in use: its names, and until when it is valid.
func (id *Identity) About() string {
	leaf := id.current.Load().leaf
	return fmt.Sprintf("certificate for %s, valid until %s", JoinNames(namesOf(leaf)), dateOf(leaf.NotAfter))
}

// Fingerprint is the SHA-256 fingerprint of the certificate that is in use, as openssl prints it.
func (id *Identity) Fingerprint() string { return fingerprintOf(id.current.Load().leaf) }

// IsFor reports whether the certificate in use is for a host name or an IP address.
func (id *Identity) IsFor(host string) bool {
	return id.current.Load().leaf.VerifyHostname(host) == nil
}
