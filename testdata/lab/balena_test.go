package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/balena-community/balena-migrate/testdata/balenaapi"
)

// apiToken is the operator's key for the API. It may never show up anywhere.
const apiToken = "canary-operator-api-key-0123456789"

// api is balena's API for the machines of a test, at 127.0.0.1 and, in a guest, at 10.0.2.2, as an openBalena with a
// certificate of its own.
type api struct {
	*balenaapi.Server
	fleet *balenaapi.Fleet
	url   string
	dir   string // ca.pem, and token with the operator's key
}

func startAPI(t *testing.T) api {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	a := api{Server: balenaapi.New(apiToken, "canary-session"), dir: t.TempDir(), url: "https://127.0.0.1:" + strconv.Itoa(port)}
	a.Host, a.Poll = "10.0.2.2:"+strconv.Itoa(port), time.Minute
	a.fleet = a.AddFleet("operator/kiosks", "genericx86-64-ext")
	certificate, ca := makeCertificate(t, net.IPv4(127, 0, 0, 1), net.IPv4(10, 0, 2, 2))
	a.RootCA = base64.StdEncoding.EncodeToString(ca)
	for name, data := range map[string][]byte{"ca.pem": ca, "token": []byte(apiToken + "\n")} {
		if err := os.WriteFile(filepath.Join(a.dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	server := &http.Server{Handler: a, TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}}, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.ServeTLS(listener, "", "") }()
	t.Cleanup(func() { _ = server.Close() })
	return a
}

// makeCertificate makes one that vouches for itself; the second value is it in PEM.
func makeCertificate(t *testing.T, addresses ...net.IP) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: addresses, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
