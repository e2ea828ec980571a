package fetchtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"sync"
	"time"
)

var certificate = sync.OnceValues(func() (tls.Certificate, *x509.CertPool) {
	return CertificateFor(time.Now().Add(24*time.Hour), "localhost", "127.0.0.1", "::1")
})

// Certificate returns the certificate that the servers of this package show if
// none is given, valid for localhost, 127.0.0.1 and ::1, and the pool that
// trusts it and nothing else. It is made once in each process and never
// written anywhere.
func Certificate() (tls.Certificate, *x509.CertPool) {
	return certificate()
}

// CertificateFor makes a self-signed certificate that is valid until notAfter,
// which may lie in the past, for the named hosts and IP addresses, and the pool
// that trusts it.
func CertificateFor(notAfter time.Time, hosts ...string) (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic("fetchtest: " + err.Error())
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(time.Now().UnixNano()),
		Subject:               pkix.Name{CommonName: "fumibako test server"},
		NotBefore:             notAfter.Add(-48 * time.Hour),
		NotAfter:              notAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic("fetchtest: " + err.Error())
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic("fetchtest: " + err.Error())
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

// tlsConfig is the server side's configuration for cert, or for Certificate's
// if cert is nil.
func tlsConfig(cert *tls.Certificate) *tls.Config {
	if cert == nil {
		c, _ := Certificate()
		cert = &c
	}
	return &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS12}
}
