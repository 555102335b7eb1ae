package fleet

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/parley-tcp/parley/internal/natsconn"
	"github.com/parley-tcp/parley/internal/natstest"
)

// Over TLS, with certificates on both sides and credentials as nsc writes them, journals are shipped and
// collected; and who lacks one of the two is told which.
func TestShippingOverTLSWithCredentials(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePair(t, cert, key)
	accounts, creds := operated(t, dir)
	c := natstest.New(t, 1, accounts+fmt.Sprintf(`
		tls { cert_file: %q, key_file: %q, ca_file: %q, verify: true }
	`, cert, key, cert)).Start()
	options := natsconn.Options{URLs: strings.Replace(c.URL(), "nats://", "tls://", 1), Creds: creds, CA: cert, Cert: cert, Key: key}

	s, stop := ship(t, record(t, "web-1", "a", "b", "c"), ShipOptions{NATS: options, Drain: time.Second, Note: t.Logf})
	eventually(t, "all is shipped", func() bool { return s.Count().Blocks > 0 && s.Count().Left == 0 })
	if err := stop(); err != nil {
		t.Error(err)
	}
	requests, missing := collect(t, filepath.Join(dir, "all"), CollectOptions{NATS: options, Note: t.Logf})
	if !slices.Equal(requests, []string{"a", "b", "c"}) || missing != 0 {
		t.Errorf("collected: %q, %d missing", requests, missing)
	}

	for _, wrong := range []struct {
		name, want string
		options    natsconn.Options
	}{
		{"no credentials", "authorization violation", natsconn.Options{URLs: options.URLs, CA: cert, Cert: cert, Key: key}},
		// A server of TLS 1.3 says that it wants one when we already write, and its end may overtake its reason.
		{"no certificate", "--nats-cert and --nats-key|connection reset|broken pipe", natsconn.Options{URLs: options.URLs, Creds: creds, CA: cert}},
		{"no CA", "--nats-ca FILE names who", natsconn.Options{URLs: options.URLs, Creds: creds, Cert: cert, Key: key}},
		{"nats:// and a server of TLS", "--nats-ca FILE names who", natsconn.Options{URLs: c.URL(), Creds: creds}},
	} {
		nc, err := wrong.options.Connect(context.Background())
		if err == nil {
			nc.Close()
			t.Errorf("%s: connected", wrong.name)
		} else if !regexp.MustCompile(wrong.want).MatchString(err.Error()) {
			t.Errorf("%s: %v; want %s in it", wrong.name, err, wrong.want)
		}
	}
}

// operated is a configuration with an operator and one account that may use JetStream, and the credentials of a
// user of it.
func operated(t *testing.T, dir string) (conf, creds string) {
	t.Helper()
	pair := func(create func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
		t.Helper()
		key, err := create()
		if err != nil {
			t.Fatal(err)
		}
		public, err := key.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		return key, public
	}
	signed := func(claims jwt.Claims, by nkeys.KeyPair) string {
		t.Helper()
		text, err := claims.Encode(by)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	operator, operatorID := pair(nkeys.CreateOperator)
	_, systemID := pair(nkeys.CreateAccount)
	account, accountID := pair(nkeys.CreateAccount)
	user, userID := pair(nkeys.CreateUser)

	operatorClaims := jwt.NewOperatorClaims(operatorID)
	operatorClaims.SystemAccount = systemID
	accountClaims := jwt.NewAccountClaims(accountID)
	accountClaims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	conf = fmt.Sprintf(`
		operator: %s
		system_account: %s
		resolver: MEMORY
		resolver_preload: { %s: %s, %s: %s }
	`, signed(operatorClaims, operator), systemID,
		systemID, signed(jwt.NewAccountClaims(systemID), operator), accountID, signed(accountClaims, operator))

	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.FormatUserConfig(signed(jwt.NewUserClaims(userID), account), seed)
	if err != nil {
		t.Fatal(err)
	}
	creds = filepath.Join(dir, "user.creds")
	if err := os.WriteFile(creds, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return conf, creds
}

// writePair writes a certificate for 127.0.0.1, which is its own CA, and its key.
func writePair(t *testing.T, cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
