//go:build integration

package integration

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Dovecot's mail belongs to nobody, who exists everywhere and owns nothing.
const mailUID, mailGID = 65534, 65534

const password = "pass"

// dovecotOptions change what startDovecot starts. The zero value is a Dovecot
// with Maildir++ folders and certificates for localhost.
type dovecotOptions struct {
	otherUIDL bool     // unique-ids from the messages' file names in place of their UIDs
	layoutFS  bool     // folders as folders (delimiter /) in place of Maildir++ (delimiter .)
	certNames []string // whom the certificate names; nil: localhost and 127.0.0.1
	noSSL     bool     // neither TLS nor STARTTLS
}

// A dovecot is a running Dovecot: any user, password "pass".
type dovecot struct {
	dir                      string
	imap, pop3, imaps, pop3s int
	caFile                   string // PEM of the CA that signed its certificate
	options                  dovecotOptions
	binary                   string
	new                      bool // Dovecot 2.4 or later
	cmd                      *exec.Cmd
	exited                   chan error
}

// startDovecot starts a Dovecot that ends with the test.
func startDovecot(t *testing.T, o dovecotOptions) *dovecot {
	t.Helper()
	d := &dovecot{dir: tempDir(t), options: o}
	must(t, os.Mkdir(d.path("mail"), 0o755))
	must(t, os.Chown(d.path("mail"), mailUID, mailGID))
	ports := freePorts(t, 4)
	d.imap, d.pop3, d.imaps, d.pop3s = ports[0], ports[1], ports[2], ports[3]
	names := o.certNames
	if names == nil {
		names = []string{"localhost", "127.0.0.1"}
	}
	d.find(t)
	d.caFile = d.path("ca.pem")
	writeCertificates(t, d.caFile, d.path("cert.pem"), d.path("key.pem"), names)
	d.start(t)
	t.Cleanup(func() {
		d.stop(t)
		if t.Failed() {
			if octets, err := os.ReadFile(d.path("log")); err == nil {
				t.Logf("Dovecot's log:\n%s", tail(octets, 4000))
			}
		}
	})
	return d
}

// find finds the program and its version: 2.3 and 2.4 read different
// configurations.
func (d *dovecot) find(t *testing.T) {
	t.Helper()
	d.binary = "/usr/sbin/dovecot"
	if found, err := exec.LookPath("dovecot"); err == nil {
		d.binary = found
	}
	out, err := exec.Command(d.binary, "--version").Output()
	if err != nil {
		t.Fatalf("Dovecot is not installed (Debian: dovecot-imapd, dovecot-pop3d): %v", err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(string(out), "%d.%d", &major, &minor); err != nil {
		t.Fatalf("Dovecot's version is %q: %v", out, err)
	}
	d.new = major > 2 || minor >= 4
}

func (d *dovecot) path(name string) string { return filepath.Join(d.dir, name) }

// maildir is where the mail of user lies.
func (d *dovecot) maildir(user string) string { return filepath.Join(d.dir, "mail", user) }

func (d *dovecot) port(protocol string) int {
	if protocol == "pop3" {
		return d.pop3
	}
	return d.imap
}

func (d *dovecot) address(protocol string) string {
	return local(d.port(protocol))
}

func (d *dovecot) start(t *testing.T) {
	t.Helper()
	must(t, os.WriteFile(d.path("dovecot.conf"), []byte(d.config()), 0o644))
	d.cmd = exec.Command(d.binary, "-F", "-c", d.path("dovecot.conf"))
	var out bytes.Buffer
	d.cmd.Stdout, d.cmd.Stderr = &out, &out
	// A test that dies must not leave a server behind.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	// Its children inherit the pipe, and one of them may outlive it.
	d.cmd.WaitDelay = 3 * time.Second
	must(t, d.cmd.Start())
	d.exited = make(chan error, 1)
	go func() { d.exited <- d.cmd.Wait() }()
	deadline := time.Now().Add(20 * time.Second)
	for _, port := range []int{d.imap, d.pop3} {
		for {
			c, err := net.Dial("tcp", local(port))
			if err == nil {
				c.Close()
				break
			}
			select {
			case err := <-d.exited:
				t.Fatalf("Dovecot ended: %v\n%s", err, out.Bytes())
			default:
			}
			if time.Now().After(deadline) {
				t.Fatalf("Dovecot does not answer at port %d: %v", port, err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

func (d *dovecot) stop(t *testing.T) {
	t.Helper()
	if d.cmd == nil {
		return
	}
	d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.exited:
	case <-time.After(10 * time.Second):
		// How the server ends proves nothing about the program, whose own tests
		// are over; a child that waits for a client that was killed holds it up.
		d.cmd.Process.Kill()
		<-d.exited
		t.Log("Dovecot did not end in ten seconds and was killed")
	}
	d.cmd = nil
	// Its children may still be writing their last lines.
	time.Sleep(50 * time.Millisecond)
}

// restart runs Dovecot anew with other options, at the same ports.
func (d *dovecot) restart(t *testing.T, o dovecotOptions) {
	t.Helper()
	d.stop(t)
	d.options = o
	d.start(t)
}

// doveadm runs Dovecot's own administration command.
func (d *dovecot) doveadm(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("doveadm", append([]string{"-c", d.path("dovecot.conf")}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("doveadm %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// freePorts returns n loopback ports that nobody listens at just now.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		// Held open until all are chosen, so that all differ.
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// writeCertificates makes a CA and a server certificate for names.
func writeCertificates(t *testing.T, caFile, certFile, keyFile string, names []string) {
	t.Helper()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "fumibako test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	must(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: names[0]},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			cert.IPAddresses = append(cert.IPAddresses, ip)
		} else {
			cert.DNSNames = append(cert.DNSNames, name)
		}
	}
	certDER, err := x509.CreateCertificate(rand.Reader, cert, ca, &key.PublicKey, caKey)
	must(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	for _, f := range []struct {
		path, kind string
		der        []byte
	}{{caFile, "CERTIFICATE", caDER}, {certFile, "CERTIFICATE", certDER}, {keyFile, "PRIVATE KEY", keyDER}} {
		must(t, os.WriteFile(f.path, pem.EncodeToMemory(&pem.Block{Type: f.kind, Bytes: f.der}), 0o600))
	}
}

func tail(octets []byte, n int) []byte {
	if len(octets) > n {
		return append([]byte("…"), octets[len(octets)-n:]...)
	}
	return octets
}

func local(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
