package main

import (
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/fumibako-mail/fumibako/cmd/internal/demo"
	"github.com/fumibako-mail/fumibako/fetch/fetchtest"
	"github.com/fumibako-mail/fumibako/fetch/session"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"fumibako": main})
}

// scriptPassword is the password of every account in the scripts. It must not
// appear in anything the program writes.
const scriptPassword = "geheim-ひみつ-7391"

func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			home := filepath.Join(e.WorkDir, "home")
			e.Vars = append(e.Vars,
				"HOME="+home, "USERPROFILE="+home, "LocalAppData="+filepath.Join(home, "state"), "AppData="+filepath.Join(home, "config"),
				"XDG_CONFIG_HOME="+filepath.Join(home, "config"), "XDG_STATE_HOME="+filepath.Join(home, "state"),
				"LC_ALL=", "LC_MESSAGES=", "LANG=en_US.UTF-8", "TZ=UTC",
				// No keyring: the one of whoever runs the tests is none of our business.
				"DBUS_SESSION_BUS_ADDRESS=unix:path="+filepath.Join(home, "none"),
				"MAIL_PASSWORD="+scriptPassword)
			if err := os.WriteFile(filepath.Join(e.WorkDir, "password.txt"), []byte(scriptPassword+"\n"), 0o600); err != nil {
				return err
			}
			return os.MkdirAll(home, 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": code, "json": jsonIs, "imap": imapServer, "pop3": pop3Server, "peer": peer, "closed": closed,
			"config": writeConfig, "nosecret": noSecret, "until": until,
		},
	})
}

// code N PROGRAM ARG … runs a program and demands its exit code.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N PROGRAM [ARG …]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	got := 0
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
	for _, stream := range []string{"stdout", "stderr"} {
		if strings.Contains(ts.ReadFile(stream), scriptPassword) {
			ts.Fatalf("the password is in %s", stream)
		}
	}
}

// json PATH VALUE demands that standard output is one JSON object and has VALUE
// at PATH, such as accounts.0.class.
func jsonIs(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: json PATH VALUE")
	}
	d := json.NewDecoder(strings.NewReader(ts.ReadFile("stdout")))
	d.UseNumber()
	var v any
	ts.Check(d.Decode(&v))
	if d.More() {
		ts.Fatalf("more than one JSON object")
	}
	for _, step := range strings.Split(args[0], ".") {
		switch at := v.(type) {
		case map[string]any:
			v = at[step]
		case []any:
			i, err := strconv.Atoi(step)
			if step == "len" {
				v = json.Number(strconv.Itoa(len(at)))
				continue
			}
			ts.Check(err)
			if i >= len(at) {
				ts.Fatalf("%s: only %d entries", args[0], len(at))
			}
			v = at[i]
		default:
			ts.Fatalf("%s: nothing there", args[0])
		}
	}
	if got := fmt.Sprint(v); (got == args[1]) == neg {
		ts.Fatalf("%s is %s", args[0], got)
	}
}

// setAddress tells a script where a server listens.
func setAddress(ts *testscript.TestScript, name string, at *net.TCPAddr) {
	ts.Setenv(name+"_PORT", strconv.Itoa(at.Port))
}

// imap [OPTION …] starts an IMAP server with sample mail; its port is
// $IMAP_PORT, the user taro@example.jp.
func imapServer(ts *testscript.TestScript, _ bool, args []string) {
	s := fetchtest.NewIMAP(demo.IMAPUser, scriptPassword)
	s.AddMailbox("送信済み", `\Sent`)
	s.AddMailbox("仕事/見積")
	s.AddMailbox("迷惑メール", `\Junk`)
	letters, _ := demo.Letters()
	for _, l := range letters {
		s.Add(l.Mailbox, l.Octets, l.Date, l.Flags...)
	}
	s.Add("迷惑メール", []byte("Subject: spam\r\n\r\nspam\r\n"), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	for _, arg := range args {
		switch name, value, _ := strings.Cut(arg, "="); name {
		case "tls":
			s.Security = session.TLS
		case "expired":
			s.Security = session.TLS
			cert, _ := fetchtest.CertificateFor(time.Now().Add(-time.Hour), "127.0.0.1", "localhost")
			s.Cert = &cert
		case "starttls":
			s.Security = session.STARTTLS
		case "withhold":
			uid, err := strconv.ParseUint(value, 10, 32)
			ts.Check(err)
			s.Withhold("INBOX", uint32(uid))
		case "slow":
			d, err := time.ParseDuration(value)
			ts.Check(err)
			s.FetchDelay = d
		default:
			ts.Fatalf("unknown option %s", arg)
		}
	}
	at, err := s.Listen()
	ts.Check(err)
	ts.Defer(func() {
		// A pull reads; nothing else may be seen.
		for _, c := range s.Commands() {
			for _, word := range []string{"SELECT ", "STORE ", "EXPUNGE", "COPY ", "MOVE ", "APPEND ", "DELETE "} {
				if strings.Contains(strings.ToUpper(c), " "+word) {
					ts.Fatalf("the server was asked to change something: %s", c)
				}
			}
		}
		ts.Check(s.Close())
	})
	setAddress(ts, "IMAP", at)
	writeCA(ts, s.Cert)
}

// writeCA leaves the certificate of the servers in $CA for SSL_CERT_FILE.
func writeCA(ts *testscript.TestScript, cert *tls.Certificate) {
	if cert == nil {
		c, _ := fetchtest.Certificate()
		cert = &c
	}
	var out []byte
	for _, der := range cert.Certificate {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	path := ts.MkAbs("ca.pem")
	ts.Check(os.WriteFile(path, out, 0o600))
	ts.Setenv("CA", path)
}

// pop3 [OPTION …] starts a POP3 server with sample mail; its port is
// $POP3_PORT, the user yamada@shop.example.jp.
func pop3Server(ts *testscript.TestScript, _ bool, args []string) {
	s := fetchtest.NewPOP3(demo.POP3User, scriptPassword)
	_, letters := demo.Letters()
	for _, l := range letters {
		s.Add(l.Octets, l.UIDL)
	}
	for _, arg := range args {
		switch name, value, _ := strings.Cut(arg, "="); name {
		case "expire":
			s.Expire = value
		case "nouidl":
			s.NoUIDL = true
		case "locked":
			s.Lock(true)
		case "refuse":
			n, err := strconv.Atoi(value)
			ts.Check(err)
			s.RefuseRetr = func(i int) string {
				if i == n {
					return "cannot read it \x1b[31m"
				}
				return ""
			}
		default:
			ts.Fatalf("unknown option %s", arg)
		}
	}
	at, err := s.Listen()
	ts.Check(err)
	ts.Defer(func() {
		if n := s.Deletes(); n != 0 {
			ts.Fatalf("%d DELE commands were sent", n)
		}
		ts.Check(s.Close())
	})
	setAddress(ts, "POP3", at)
}

// peer TEXT starts something on $PEER_PORT that says TEXT and then nothing.
func peer(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: peer TEXT")
	}
	s := fetchtest.NewScript(fetchtest.Send(strings.ReplaceAll(args[0], `\r\n`, "\r\n")), fetchtest.Hang())
	at, err := s.Listen()
	ts.Check(err)
	ts.Defer(func() { _ = s.Close() }) // a peer that is left in the middle of its part says so
	setAddress(ts, "PEER", at)
}

// closed sets $CLOSED_PORT to a port where nobody listens.
func closed(ts *testscript.TestScript, _ bool, _ []string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	setAddress(ts, "CLOSED", ln.Addr().(*net.TCPAddr))
	ts.Check(ln.Close())
}

// config ACCOUNT … writes config.toml for accounts, each NAME:PROTOCOL:PORT
// with further lines after commas.
func writeConfig(ts *testscript.TestScript, _ bool, args []string) {
	var b strings.Builder
	b.WriteString("[archive]\npath = \"mail\"\nformat = \"maildir\"\n")
	for _, arg := range args {
		head, rest, _ := strings.Cut(arg, ",")
		parts := strings.Split(head, ":")
		if len(parts) != 3 {
			ts.Fatalf("usage: config NAME:PROTOCOL:PORT[,LINE …]")
		}
		user := demo.IMAPUser
		if parts[1] == "pop3" {
			user = demo.POP3User
		}
		lines := map[string]string{"host": `"127.0.0.1"`, "security": `"cleartext"`, "user": strconv.Quote(user), "password_env": `"MAIL_PASSWORD"`}
		for _, line := range strings.Split(rest, ",") {
			if k, v, ok := strings.Cut(line, "="); ok {
				lines[k] = v
			}
		}
		fmt.Fprintf(&b, "\n[[account]]\nname = %q\nprotocol = %q\nport = %s\n", parts[0], parts[1], parts[2])
		for k, v := range lines {
			fmt.Fprintf(&b, "%s = %s\n", k, v)
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs("config.toml"), []byte(b.String()), 0o600))
}

// nosecret DIR demands that no file below DIR contains the password.
func noSecret(ts *testscript.TestScript, _ bool, args []string) {
	for _, dir := range args {
		ts.Check(filepath.WalkDir(ts.MkAbs(dir), func(path string, d os.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			octets, err := os.ReadFile(path)
			if err == nil && strings.Contains(string(octets), scriptPassword) {
				err = fmt.Errorf("the password is in %s", path)
			}
			return err
		}))
	}
}

// until PATTERN waits until a file matches, for at most ten seconds.
func until(ts *testscript.TestScript, _ bool, args []string) {
	for range 1000 {
		if hits, _ := filepath.Glob(ts.MkAbs(args[0])); len(hits) > 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Fatalf("no file %s", args[0])
}
