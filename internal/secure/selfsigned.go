package secure

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/parley-tcp/parley/internal/statedir"
)

const (
	day         = 24 * time.Hour
	caLifetime  = 3653 * day // ten years
	leafMost    = 397 * day  // the longest that browsers take
	renewBefore = 30 * day
	skew        = time.Hour // how far behind a client's clock may be
)

const (
	caFile    = "ca.pem"
	caKeyFile = "ca-key.pem"
	leafFile  = "server.pem" // certificate and key
	lockFile  = "lock"
)

// An authority signs certificates.
type authority struct {
	file string
	cert *x509.Certificate
	key  crypto.PrivateKey
}

// selfSigned is a certificate for this host and the names, of a CA that is made once and kept in
// the directory. The certificate is kept as well, and made anew if it has other names or
// expires within 30 days; so is the CA if it does.
func selfSigned(dir string, names []string, now time.Time) (tls.Certificate, *authority, error) {
	certificate, ca, err := keptCertificate(dir, names, now)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("self-signed certificate: %w", err)
	}
	return certificate, ca, nil
}

func keptCertificate(dir string, names []string, now time.Time) (tls.Certificate, *authority, error) {
	if dir == "" {
		var err error
		if dir, err = statedir.Path("tls"); err != nil {
			return tls.Certificate{}, nil, err
		}
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	defer unlock()
	ca, err := keptAuthority(dir, now)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	names = hostNames(names)
	file := filepath.Join(dir, leafFile)
	if kept, err := loadPair(os.ReadFile, file, file); err == nil && ca.stillFits(kept.Leaf, names, now) {
		return kept, ca, nil
	}
	fresh, err := ca.sign(file, names, now)
	return fresh, ca, err
}

// lockDir makes the directory and keeps other processes from it until unlock is called.
func lockDir(dir string) (unlock func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("directory %s: %w; set XDG_STATE_HOME to one that can be written", dir, inWords(err))
	}
	if err := refuseOthersAt(dir, 0o700); err != nil {
		return nil, fmt.Errorf("directory %s: %w", dir, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("directory %s: %w; set XDG_STATE_HOME to one that can be written", dir, inWords(err))
	}
	if err := lock(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return f.Close, nil
}

func refuseOthersAt(file string, most os.FileMode) error {
	f, err := os.Open(file)
	if err != nil {
		return inWords(err)
	}
	defer f.Close()
	return refuseOthers(f, most)
}

// keptAuthority is the CA that is there, or a new one. Its key is written first: a certificate
// without a key would be one that clients are told to trust and that signs nothing.
func keptAuthority(dir string, now time.Time) (*authority, error) {
	file, keyFile := filepath.Join(dir, caFile), filepath.Join(dir, caKeyFile)
	if _, err := os.Lstat(file); err == nil {
		kept, err := loadPair(os.ReadFile, file, keyFile)
		if err != nil {
			return nil, fmt.Errorf("%w; remove %s to have a new CA made", err, file)
		}
		if err := refuseOthersAt(keyFile, 0o600); err != nil {
			return nil, fmt.Errorf("key %s: %w", keyFile, err)
		}
		if now.Add(renewBefore).Before(kept.Leaf.NotAfter) {
			return &authority{file, kept.Leaf, kept.PrivateKey}, nil
		}
	}
	host, _ := os.Hostname() // a machine may have no name
	return newAuthority(file, keyFile, host, now)
}

func newAuthority(file, keyFile, host string, now time.Time) (*authority, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: commonName("Parley CA of " + host)},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(caLifetime),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true, // it signs no other CA
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	cert, err := create(template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	keyText, err := keyPEM(key)
	if err != nil {
		return nil, err
	}
	if err := writeWhole(keyFile, keyText); err != nil {
		return nil, err
	}
	if err := writeWhole(file, certPEM(cert)); err != nil {
		return nil, err
	}
	return &authority{file, cert, key}, nil
}

// stillFits reports whether a certificate that was made before is one for these names now.
func (a *authority) stillFits(leaf *x509.Certificate, names []string, now time.Time) bool {
	return leaf.CheckSignatureFrom(a.cert) == nil && slices.Equal(namesOf(leaf), names) &&
		now.After(leaf.NotBefore) && now.Add(renewBefore).Before(leaf.NotAfter)
}

// sign makes a certificate for the names and writes it with its key to the file.
func (a *authority) sign(file string, names []string, now time.Time) (tls.Certificate, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: commonName(names[0])},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(leafMost - skew),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if template.NotAfter.After(a.cert.NotAfter) {
		template.NotAfter = a.cert.NotAfter
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	if template.SubjectKeyId, err = keyID(key.Public()); err != nil {
		return tls.Certificate{}, err
	}
	cert, err := create(template, a.cert, key.Public(), a.key)
	if err != nil {
		return tls.Certificate{}, err
	}
	keyText, err := keyPEM(key)
	if err != nil {
		return tls.Certificate{}, err
	}
	if err := writeWhole(file, append(certPEM(cert), keyText...)); err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}, nil
}

func create(template, parent *x509.Certificate, public crypto.PublicKey, by crypto.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, by)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// keyID is the key's identifier by RFC 7093, section 2, method 1: what crypto/x509 gives to a CA.
func keyID(public crypto.PublicKey) ([]byte, error) {
	text, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	return sum[:20], nil
}

// commonName is a name that is not too long for one (RFC 5280, ub-common-name).
func commonName(name string) string {
	return name[:min(len(name), 64)]
}

func certPEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func keyPEM(key crypto.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// writeWhole writes a file that only its owner can read, whole or not at all.
func writeWhole(file string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*") // with mode 0600
	if err != nil {
		return fmt.Errorf("file %s: %w", file, inWords(err))
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("file %s: %w", file, inWords(err))
	}
	return nil
}

// hostNames are the names of a certificate: those that were asked for, and those of this host.
func hostNames(more []string) []string {
	own := []string{"localhost", "127.0.0.1", "::1"}
	if host, err := os.Hostname(); err == nil && CheckName(host) == nil {
		own = append(own, host)
	}
	var names []string
	for _, name := range slices.Concat(more, own) {
		name = strings.ToLower(name)
		if ip := net.ParseIP(name); ip != nil {
			name = ip.String()
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.SortStableFunc(names, func(a, b string) int { return kindOf(a) - kindOf(b) })
	return names
}

// kindOf has addresses behind names, as a certificate has them.
func kindOf(name string) int {
	if net.ParseIP(name) != nil {
		return 1
	}
	return 0
}

// CheckName says why a certificate cannot be made for a name: it is no IP address and no host
// name, which may begin with "*." for all names one level below.
func CheckName(name string) error {
	if net.ParseIP(name) != nil {
		return nil
	}
	labels := strings.Split(strings.TrimPrefix(name, "*."), ".")
	isLabel := func(s string) bool {
		return s != "" && len(s) <= 63 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == "" && s[0] != '-'
	}
	if len(name) > 253 || slices.ContainsFunc(labels, func(s string) bool { return !isLabel(s) }) {
		return fmt.Errorf("%q is neither a host name such as db.example.com or *.example.com, nor an IP address", name)
	}
	return nil
}
