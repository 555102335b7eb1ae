package secure

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"time"
)

// loadPair reads a certificate, behind which those may stand that it was signed by, and its key.
// One file may have both.
func loadPair(read reader, certFile, keyFile string) (tls.Certificate, error) {
	certs, err := readPEM(read, "certificate", certFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	chain, err := certs.certificates()
	if err != nil {
		return tls.Certificate{}, err
	}
	keys, err := readPEM(read, "key", keyFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := keys.key()
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := pairOf(chain, key)
	if err == nil {
		return pair, nil
	}
	for i := range chain[1:] {
		if _, err := pairOf(chain[i+1:], key); err == nil {
			return tls.Certificate{}, fmt.Errorf("key %s is that of certificate %d of %d in %s; it must be the first there, and those that signed it follow", keyFile, i+2, len(chain), certFile)
		}
	}
	if strings.Contains(err.Error(), "does not match") {
		err = errors.New("it is not the key of this certificate; take the one that the certificate was asked for with")
	}
	return tls.Certificate{}, fmt.Errorf("certificate %s and key %s: %w", certFile, keyFile, err)
}

func pairOf(chain []*x509.Certificate, key *pem.Block) (tls.Certificate, error) {
	var certs []byte
	for _, c := range chain {
		certs = append(certs, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return tls.X509KeyPair(certs, pem.EncodeToMemory(key))
}

// loadRoots reads those who sign certificates.
func loadRoots(read reader, what, file string) (*x509.CertPool, error) {
	f, err := readPEM(read, what, file)
	if err != nil {
		return nil, err
	}
	certs, err := f.certificates()
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, c := range certs {
		pool.AddCert(c)
	}
	return pool, nil
}

// A pemFile is what one file has.
type pemFile struct {
	name   string // what it is and where, for errors
	blocks []*pem.Block
}

// A reader reads a file, as os.ReadFile does.
type reader func(file string) ([]byte, error)

func readPEM(read reader, what, file string) (*pemFile, error) {
	f := &pemFile{name: what + " " + file}
	text, err := read(file)
	if err != nil {
		return nil, f.errorf("%w", inWords(err))
	}
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		f.blocks = append(f.blocks, block)
	}
	switch {
	case len(f.blocks) > 0:
		return f, nil
	case len(text) == 0:
		return nil, f.errorf("the file is empty")
	case text[0] == 0x30: // an ASN.1 sequence
		return nil, f.errorf("it is binary and not PEM; 'openssl x509 -inform der', 'openssl pkey -inform der' or, for .p12 and .pfx, 'openssl pkcs12 -nodes' make PEM of it")
	}
	return nil, f.errorf("it is not PEM: there is no whole part from -----BEGIN to -----END")
}

func (f *pemFile) errorf(format string, args ...any) error {
	return fmt.Errorf(f.name+": "+format, args...)
}

func (f *pemFile) certificates() ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for _, b := range f.blocks {
		if b.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, f.errorf("certificate %d in it is damaged: %s", len(certs)+1, strings.TrimPrefix(err.Error(), "x509: "))
		}
		certs = append(certs, c)
	}
	switch {
	case len(certs) > 0:
		return certs, nil
	case isKey(f.blocks[0]):
		return nil, f.errorf("it has a private key and no certificate; are the two files swapped?")
	}
	return nil, f.errorf("it has no certificate, but %s", f.blocks[0].Type)
}

func isKey(b *pem.Block) bool { return strings.HasSuffix(b.Type, "PRIVATE KEY") }

func (f *pemFile) key() (*pem.Block, error) {
	for _, b := range f.blocks {
		switch {
		case !isKey(b):
			continue
		case b.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(b.Headers["Proc-Type"], "ENCRYPTED"):
			return nil, f.errorf("the key is encrypted with a passphrase; 'openssl pkey -in FILE -out PLAINFILE' takes that away")
		case b.Type == "OPENSSH PRIVATE KEY":
			return nil, f.errorf("it is a key of ssh, which certificates are not made with")
		}
		return b, nil
	}
	if f.blocks[0].Type == "CERTIFICATE" {
		return nil, f.errorf("it has a certificate and no private key; are the two files swapped?")
	}
	return nil, f.errorf("it has no private key, but %s", f.blocks[0].Type)
}

// warnings say what is wrong with a certificate that can be used all the same.
func warnings(name string, c *x509.Certificate, now time.Time) []string {
	switch {
	case now.After(c.NotAfter):
		return []string{fmt.Sprintf("%s expired on %s; peers that verify it will refuse it", name, dateOf(c.NotAfter))}
	case now.Before(c.NotBefore):
		return []string{fmt.Sprintf("%s is not valid before %s; peers that verify it will refuse it until then", name, dateOf(c.NotBefore))}
	}
	return nil
}

// inWords is an error of the system without the names that the caller knows better.
func inWords(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	if err == syscall.ENOENT {
		return errors.New("no such file or directory")
	}
	return err
}
