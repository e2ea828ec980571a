package fetchtest_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"
	"pgregory.net/rapid"

	"github.com/fumibako-mail/fumibako/fetch/fetchtest"
	"github.com/fumibako-mail/fumibako/fetch/session"
)

var aDate = time.Date(2026, time.April, 6, 9, 0, 0, 0, time.FixedZone("", 9*3600))

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// dialIMAP opens a client of go-imap without logging in.
func dialIMAP(t testing.TB, s *fetchtest.IMAP) *imapclient.Client {
	t.Helper()
	addr, err := s.Listen()
	check(t, err)
	t.Cleanup(func() { s.Close() })
	_, pool := fetchtest.Certificate()
	options := &imapclient.Options{TLSConfig: &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}}
	dial := imapclient.DialInsecure
	switch s.Security {
	case session.TLS:
		dial = imapclient.DialTLS
	case session.STARTTLS:
		dial = imapclient.DialStartTLS
	}
	c, err := dial(addr.String(), options)
	check(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func openIMAP(t testing.TB, s *fetchtest.IMAP) *imapclient.Client {
	t.Helper()
	c := dialIMAP(t, s)
	check(t, c.Login(s.User, s.Password).Wait())
	return c
}

// bodies fetches BODY[] of the UIDs, keyed by UID.
func bodies(t testing.TB, c *imapclient.Client, set imap.UIDSet, section *imap.FetchItemBodySection) map[imap.UID][]byte {
	t.Helper()
	all := make(map[imap.UID][]byte)
	messages, err := c.Fetch(set, &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{section}}).Collect()
	check(t, err)
	for _, m := range messages {
		for _, b := range m.BodySection {
			all[m.UID] = b.Bytes
		}
	}
	return all
}

func TestIMAPSecurity(t *testing.T) {
	for _, security := range []session.Security{"", session.Cleartext, session.TLS, session.STARTTLS} {
		t.Run(string(security), func(t *testing.T) {
			s := fetchtest.NewIMAP("taro", "secret")
			s.Security = security
			s.Add("INBOX", []byte("A: b\r\n\r\nc"), aDate)
			c := openIMAP(t, s)
			must(c.Select("INBOX", &imap.SelectOptions{ReadOnly: true}).Wait())
			got := bodies(t, c, imap.UIDSetNum(1), &imap.FetchItemBodySection{Peek: true})
			if string(got[1]) != "A: b\r\n\r\nc" {
				t.Fatalf("body %q", got[1])
			}
			check(t, c.Logout().Wait())
			commands := strings.Join(s.Commands(), "\n")
			for _, want := range []string{"LOGIN ***", "EXAMINE INBOX", "UID FETCH 1 (UID BODY.PEEK[])", "LOGOUT"} {
				if !strings.Contains(commands, want) {
					t.Errorf("no %q in log:\n%s", want, commands)
				}
			}
			if strings.Contains(commands, "secret") {
				t.Errorf("password in log:\n%s", commands)
			}
			if security == session.STARTTLS != slices.Contains(s.Commands(), "STARTTLS") {
				t.Errorf("STARTTLS:\n%s", commands)
			}
			if p := s.Problems(); p != "" {
				t.Errorf("problems: %s", p)
			}
		})
	}
}

func TestIMAPLoginBeforeSTARTTLS(t *testing.T) {
	s := fetchtest.NewIMAP("taro", "secret")
	s.Security = session.STARTTLS
	addr := must(s.Listen())
	defer s.Close()
	c := rawDial(t, addr)
	c.line("* OK [CAPABILITY IMAP4rev1")
	c.send("a1 LOGIN taro secret\r\n")
	c.line("a1 NO [PRIVACYREQUIRED]")
	c.send("a2 CAPABILITY\r\n")
	if line := c.line("* CAPABILITY"); !strings.Contains(line, "STARTTLS LOGINDISABLED") {
		t.Errorf("capabilities %q", line)
	}
	c.line("a2 OK")
	c.send("a3 STARTTLS\r\na4 CAPABILITY\r\n") // injected: must not be answered
	c.line("a3 OK")
	_, pool := fetchtest.Certificate()
	protected := tls.Client(c.Conn, &tls.Config{RootCAs: pool, ServerName: "localhost"})
	c.over(protected)
	c.send("a5 NOOP\r\n")
	c.line("a5 OK")
}

func TestIMAPAuthentication(t *testing.T) {
	tests := []struct {
		name   string
		client sasl.Client
		ok     bool
	}{
		{"plain", sasl.NewPlainClient("", "taro", "secret"), true},
		{"plain wrong", sasl.NewPlainClient("", "taro", "wrong"), false},
		{"xoauth2", &xoauth2{"taro", "token"}, true},
		{"xoauth2 wrong", &xoauth2{"taro", "other"}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := fetchtest.NewIMAP("taro", "secret")
			s.Token = "token"
			err := dialIMAP(t, s).Authenticate(test.client)
			var no *imap.Error
			if test.ok != (err == nil) || err != nil && (!errors.As(err, &no) || no.Code != imap.ResponseCodeAuthenticationFailed) {
				t.Errorf("Authenticate: %v", err)
			}
			if log := strings.Join(s.Commands(), "\n"); !strings.Contains(log, "AUTHENTICATE") || strings.Contains(log, "dGFyb") {
				t.Errorf("log:\n%s", log)
			}
		})
	}
}

type xoauth2 struct{ user, token string }

func (x *xoauth2) Start() (string, []byte, error) {
	return "XOAUTH2", []byte("user=" + x.user + "\x01auth=Bearer " + x.token + "\x01\x01"), nil
}
func (x *xoauth2) Next([]byte) ([]byte, error) { return nil, nil }

func TestIMAPOctets(t *testing.T) {
	s := fetchtest.NewIMAP("taro", "secret")
	odd := fetchtest.Strange()
	for _, o := range odd {
		s.Add("INBOX", o.Octets, aDate)
	}
	c := openIMAP(t, s)
	must(c.Select("INBOX", &imap.SelectOptions{ReadOnly: true}).Wait())
	var all imap.UIDSet
	all.AddRange(1, 0)
	whole := bodies(t, c, all, &imap.FetchItemBodySection{Peek: true})
	heads := bodies(t, c, all, &imap.FetchItemBodySection{Peek: true, Specifier: imap.PartSpecifierHeader})
	texts := bodies(t, c, all, &imap.FetchItemBodySection{Peek: true, Specifier: imap.PartSpecifierText})
	part := bodies(t, c, all, &imap.FetchItemBodySection{Peek: true, Partial: &imap.SectionPartial{Offset: 1, Size: 20}})
	for i, o := range odd {
		uid := imap.UID(i + 1)
		if !bytes.Equal(whole[uid], o.Octets) {
			t.Errorf("%s: BODY[] differs", o.Name)
		}
		if !bytes.Equal(append(bytes.Clone(heads[uid]), texts[uid]...), o.Octets) {
			t.Errorf("%s: BODY[HEADER] and BODY[TEXT] do not make the message", o.Name)
		}
		if want := o.Octets[1:min(21, len(o.Octets))]; !bytes.Equal(part[uid], want) {
			t.Errorf("%s: BODY[]<1.20> = %q, want %q", o.Name, part[uid], want)
		}
	}
}

func TestIMAPAnyOctets(t *testing.T) {
	s := fetchtest.NewIMAP("taro", "secret")
	c := openIMAP(t, s)
	must(c.Select("INBOX", nil).Wait())
	rapid.Check(t, func(r *rapid.T) {
		octets := drawOctets(r)
		appended := c.Append("INBOX", int64(len(octets)), &imap.AppendOptions{Time: aDate})
		if _, err := appended.Write(octets); err != nil {
			r.Fatal(err)
		}
		if err := appended.Close(); err != nil {
			r.Fatal(err)
		}
		at, err := appended.Wait()
		if err != nil {
			r.Fatal(err)
		}
		cmd := c.Fetch(imap.UIDSetNum(at.UID), &imap.FetchOptions{UID: true, RFC822Size: true, InternalDate: true,
			BodySection: []*imap.FetchItemBodySection{{Peek: true}}})
		got, err := cmd.Collect()
		if err != nil || len(got) != 1 {
			r.Fatalf("FETCH: %d messages, %v", len(got), err)
		}
		if len(got[0].BodySection) != 1 || !bytes.Equal(got[0].BodySection[0].Bytes, octets) {
			r.Fatalf("octets differ")
		}
		if got[0].RFC822Size != int64(len(octets)) || !got[0].InternalDate.Equal(aDate) {
			r.Fatalf("size %d, date %v", got[0].RFC822Size, got[0].InternalDate)
		}
	})
	if p := s.Problems(); p != "" {
		t.Error(p)
	}
}

// drawOctets draws messages that are rich in what breaks readers.
func drawOctets(r *rapid.T) []byte {
	pieces := rapid.SliceOfN(rapid.OneOf(
		rapid.SampledFrom([]string{"\r\n", "\n", "\r", ".", "..", "\x00", "\r\n.\r\n", "\n.\n", "\r\n\r\n", "Subject: a\r\n", "{3}\r\n", ")"}),
		rapid.StringMatching(`[ -~]{0,12}`),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 8), func(b []byte) string { return string(b) }),
	), 0, 24).Draw(r, "pieces")
	return []byte(strings.Join(pieces, ""))
}

func TestIMAPList(t *testing.T) {
	s := fetchtest.NewIMAP("taro", "secret")
	s.AddMailbox("送信済み", `\Sent`)
	s.AddMailbox("仕事/見積")
	s.Add("送信済み", []byte("x"), aDate, `\Seen`)
	s.SetUIDNext("送信済み", 40)
	s.Add("送信済み", []byte("xyz"), aDate)
	s.SetUIDValidity("送信済み", 77)
	c := openIMAP(t, s)
	data, err := c.List("", "*", &imap.ListOptions{ReturnSpecialUse: true,
		ReturnStatus: &imap.StatusOptions{NumMessages: true, UIDNext: true, UIDValidity: true, NumUnseen: true}}).Collect()
	check(t, err)
	byName := make(map[string]*imap.ListData)
	for _, d := range data {
		byName[d.Mailbox] = d
	}
	if len(data) != 4 || byName["INBOX"] == nil || byName["仕事/見積"] == nil {
		t.Fatalf("mailboxes %v", data)
	}
	if d := byName["仕事"]; !slices.Contains(d.Attrs, imap.MailboxAttrNoSelect) || d.Status != nil || !slices.Contains(d.Attrs, imap.MailboxAttrHasChildren) {
		t.Errorf("仕事: %+v", d)
	}
	d := byName["送信済み"]
	if !slices.Contains(d.Attrs, imap.MailboxAttrSent) || d.Delim != '/' {
		t.Errorf("送信済み: %+v", d)
	}
	if st := d.Status; st == nil || *st.NumMessages != 2 || st.UIDNext != 41 || st.UIDValidity != 77 || *st.NumUnseen != 1 {
		t.Errorf("status %+v", st)
	}
	if _, err := c.Select("仕事", nil).Wait(); err == nil {
		t.Error(`a \Noselect mailbox was selected`)
	}
	if _, err := c.Select("nowhere", nil).Wait(); err == nil {
		t.Error("a mailbox that is not there was selected")
	}
}

func TestIMAPReadOnly(t *testing.T) {
	s := fetchtest.NewIMAP("taro", "secret")
	s.Add("INBOX", []byte("A: b\r\n\r\n"), aDate, `\Deleted`)
	c := openIMAP(t, s)
	must(c.Select("INBOX", &imap.SelectOptions{ReadOnly: true}).Wait())
	bodies(t, c, imap.UIDSetNum(1), &imap.FetchItemBodySection{})
	if err := c.Store(imap.UIDSetNum(1), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagFlagged}}, nil).Close(); err == nil {
		t.Error("STORE in a read-only mailbox was accepted")
	}
	if err := c.UIDExpunge(imap.UIDSetNum(1)).Close(); err == nil {
		t.Error("UID EXPUNGE in a read-only mailbox was accepted")
	}
	check(t, c.UnselectAndExpunge().Wait())
	if m := s.Messages("INBOX"); len(m) != 1 || !slices.Equal(m[0].Flags, []string{`\Deleted`}) {
		t.Errorf("mailbox changed: %+v", m)
	}
	// The same without EXAMINE changes everything.
	must(c.Select("INBOX", nil).Wait())
	bodies(t, c, imap.UIDSetNum(1), &imap.FetchItemBodySection{})
	if m := s.Messages("INBOX"); !slices.Contains(m[0].Flags, `\Seen`) {
		t.Errorf("BODY[] did not set \\Seen: %+v", m)
	}
	check(t, c.Expunge().Close())
	if m := s.Messages("INBOX"); len(m) != 0 {
		t.Errorf("not expunged: %+v", m)
	}
}

func TestIMAPUpdates(t *testing.T) {
	s := fetchtest.NewIMAP("taro", "secret")
	for range 4 {
		s.Add("INBOX", []byte("A: b\r\n\r\n"), aDate)
	}
	c := openIMAP(t, s)
	must(c.Select("INBOX", nil).Wait())
	s.Expunge("INBOX", 2, 3)
	s.Add("INBOX", []byte("C: d\r\n\r\n"), aDate)
	s.SetFlags("INBOX", 4, `\Seen`, "keyword")

	// Before a poll the client's numbers still hold; what is gone is left out.
	got, err := c.Fetch(imap.SeqSetNum(1, 2, 4), &imap.FetchOptions{UID: true, Flags: true}).Collect()
	check(t, err)
	var uids []imap.UID
	for _, m := range got {
		uids = append(uids, m.UID)
	}
	slices.Sort(uids)
	if uids = slices.Compact(uids); !slices.Equal(uids, []imap.UID{1, 4}) {
		t.Errorf("UIDs %v", uids)
	}
	check(t, c.Noop().Wait())
	if n := c.Mailbox().NumMessages; n != 3 {
		t.Errorf("%d messages after the poll", n)
	}
	found, err := c.UIDSearch(&imap.SearchCriteria{Flag: []imap.Flag{"keyword"}}, nil).Wait()
	check(t, err)
	if !slices.Equal(found.AllUIDs(), []imap.UID{4}) {
		t.Errorf("found %v", found.AllUIDs())
	}
	s.SetUIDValidity("INBOX", 9)
	if err := c.Noop().Wait(); err == nil {
		t.Error("the session outlived its UIDVALIDITY")
	}
}

func TestIMAPSearch(t *testing.T) {
	s := fetchtest.NewIMAP("taro", "secret")
	s.Add("INBOX", []byte("Message-ID: <a@example.jp>\r\nDate: Mon, 06 Apr 2026 09:00:00 +0900\r\n\r\nalpha\r\n"), aDate, `\Seen`)
	s.Add("INBOX", []byte("Message-ID:\r\n <b@example.jp>\r\n\r\nbeta\x00gamma\r\n"), aDate.AddDate(0, 0, 3))
	c := openIMAP(t, s)
	must(c.Select("INBOX", &imap.SelectOptions{ReadOnly: true}).Wait())
	header := func(k, v string) []imap.SearchCriteriaHeaderField {
		return []imap.SearchCriteriaHeaderField{{Key: k, Value: v}}
	}
	tests := []struct {
		name string
		c    imap.SearchCriteria
		want []imap.UID
	}{
		{"all", imap.SearchCriteria{}, []imap.UID{1, 2}},
		{"message-id", imap.SearchCriteria{Header: header("Message-ID", "<a@example.jp>")}, []imap.UID{1}},
		{"folded message-id", imap.SearchCriteria{Header: header("message-id", "<b@example.jp>")}, []imap.UID{2}},
		{"has date", imap.SearchCriteria{Header: header("Date", "")}, []imap.UID{1}},
		{"uid range", imap.SearchCriteria{UID: []imap.UIDSet{{{Start: 2, Stop: 0}}}}, []imap.UID{2}},
		{"since", imap.SearchCriteria{Since: aDate.AddDate(0, 0, 1)}, []imap.UID{2}},
		{"before", imap.SearchCriteria{Before: aDate.AddDate(0, 0, 1)}, []imap.UID{1}},
		{"sent", imap.SearchCriteria{SentSince: aDate}, []imap.UID{1}},
		{"body", imap.SearchCriteria{Body: []string{"ALPHA"}}, []imap.UID{1}},
		{"text", imap.SearchCriteria{Text: []string{"gamma"}}, []imap.UID{2}},
		{"unseen", imap.SearchCriteria{NotFlag: []imap.Flag{imap.FlagSeen}}, []imap.UID{2}},
		{"not", imap.SearchCriteria{Not: []imap.SearchCriteria{{Body: []string{"alpha"}}}}, []imap.UID{2}},
		{"or", imap.SearchCriteria{Or: [][2]imap.SearchCriteria{{{Body: []string{"alpha"}}, {Body: []string{"beta"}}}}}, []imap.UID{1, 2}},
		{"none", imap.SearchCriteria{Larger: 1 << 20}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			found, err := c.UIDSearch(&test.c, nil).Wait()
			check(t, err)
			if got := found.AllUIDs(); !slices.Equal(got, test.want) {
				t.Errorf("found %v, want %v", got, test.want)
			}
		})
	}
}

func TestIMAPHeaderFields(t *testing.T) {
	s := fetchtest.NewIMAP("taro", "secret")
	s.Add("INBOX", []byte("From: a\r\nno field\r\nSubject: one\r\n two\r\nTo: b\r\nSUBJECT : three\r\n\r\nSubject: body\r\n"), aDate)
	c := openIMAP(t, s)
	must(c.Select("INBOX", &imap.SelectOptions{ReadOnly: true}).Wait())
	fields := &imap.FetchItemBodySection{Peek: true, Specifier: imap.PartSpecifierHeader, HeaderFields: []string{"Subject"}}
	if got := bodies(t, c, imap.UIDSetNum(1), fields)[1]; string(got) != "Subject: one\r\n two\r\nSUBJECT : three\r\n\r\n" {
		t.Errorf("HEADER.FIELDS %q", got)
	}
}

func TestIMAPAppend(t *testing.T) {
	s := fetchtest.NewIMAP("taro", "secret")
	s.RefuseAppend = func(_ string, octets []byte) error {
		if bytes.IndexByte(octets, 0) >= 0 {
			return &imap.Error{Type: imap.StatusResponseTypeNo, Code: imap.ResponseCodeCannot, Text: "NUL"}
		}
		return nil
	}
	c := openIMAP(t, s)
	put := func(mailbox, octets string) (*imap.AppendData, error) {
		cmd := c.Append(mailbox, int64(len(octets)), &imap.AppendOptions{Flags: []imap.Flag{imap.FlagSeen, "k"}, Time: aDate})
		_, err := io.WriteString(cmd, octets)
		check(t, err)
		check(t, cmd.Close())
		return cmd.Wait()
	}
	data, err := put("INBOX", "A: b\r\n\r\n")
	check(t, err)
	if data.UID != 1 || data.UIDValidity != 1 {
		t.Errorf("APPENDUID %+v", data)
	}
	m := s.Messages("INBOX")
	if _, zone := m[0].Date.Zone(); len(m) != 1 || !m[0].Date.Equal(aDate) || zone != 9*3600 || !slices.Equal(m[0].Flags, []string{`\Seen`, "k"}) {
		t.Errorf("stored %+v", m)
	}
	for _, test := range []struct {
		name, mailbox, octets string
		code                  imap.ResponseCode
	}{
		{"no mailbox", "nowhere", "x", imap.ResponseCodeTryCreate},
		{"refused", "INBOX", "\x00", imap.ResponseCodeCannot},
	} {
		var no *imap.Error
		if _, err := put(test.mailbox, test.octets); !errors.As(err, &no) || no.Code != test.code {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	check(t, c.Create("送信済み", &imap.CreateOptions{SpecialUse: []imap.MailboxAttr{imap.MailboxAttrSent}}).Wait())
	if err := c.Create("inbox", nil).Wait(); err == nil {
		t.Error("INBOX was created again")
	}
	if data, err := put("送信済み", strings.Repeat("x", 100_000)); err != nil || data.UID != 1 || data.UIDValidity != 2 {
		t.Errorf("APPEND: %+v, %v", data, err)
	}
	if log := s.Commands(); !slices.ContainsFunc(log, func(l string) bool {
		return strings.HasPrefix(l, `APPEND "&kAFP4W4IMH8-"`) && strings.HasSuffix(l, "{100000}")
	}) {
		t.Errorf("log %q", log)
	}
}

func TestIMAPWithhold(t *testing.T) {
	s := fetchtest.NewIMAP("taro", "secret")
	s.Add("INBOX", []byte("one"), aDate)
	s.Withhold("INBOX", s.Add("INBOX", []byte("two"), aDate))
	s.Add("INBOX", []byte("three"), aDate)
	c := openIMAP(t, s)
	must(c.Select("INBOX", &imap.SelectOptions{ReadOnly: true}).Wait())
	got := bodies(t, c, imap.UIDSetNum(1, 2, 3), &imap.FetchItemBodySection{Peek: true})
	if _, ok := got[2]; ok || len(got) != 2 {
		t.Errorf("bodies %v", got)
	}
}
