package fetch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fumibako-mail/fumibako/fetch"
	"github.com/fumibako-mail/fumibako/fetch/fetchtest"
	"github.com/fumibako-mail/fumibako/fetch/session"
)

// imapServer spreads messages over three mailboxes, with gaps between the
// UIDs, and adds a level of the hierarchy and an empty mailbox.
func imapServer(t testing.TB, set func(*fetchtest.IMAP), messages []fetchtest.Odd) (*fetchtest.IMAP, *net.TCPAddr, []fetchtest.Expected) {
	t.Helper()
	s := fetchtest.NewIMAP("taro@example.jp", "secret")
	mailboxes := []string{"INBOX", "送信済み", "仕事/見積 & 請求"}
	s.AddMailbox(mailboxes[1], `\Sent`)
	s.AddMailbox(mailboxes[2])
	s.AddMailbox("empty")
	var want []fetchtest.Expected
	for i, o := range messages {
		mailbox := mailboxes[i%len(mailboxes)]
		zone := time.FixedZone("", []int{9 * 3600, -5 * 3600, 0}[i%3])
		date := time.Date(2020, time.March, 1+i, 23, 5, 6, 0, zone)
		flags := [][]string{nil, {`\Seen`}, {`\Seen`, `\Answered`, "$Label1"}, {"keyword"}}[i%4]
		if i%5 == 4 {
			s.SetUIDNext(mailbox, uint32(1000+i))
		}
		uid := s.Add(mailbox, o.Octets, date, flags...)
		want = append(want, fetchtest.Expected{
			Mailbox: mailbox, UID: strconv.FormatUint(uint64(uid), 10), Octets: o.Octets, Flags: flags, InternalDate: date,
		})
	}
	if set != nil {
		set(s)
	}
	addr, err := s.Listen()
	check(t, err)
	t.Cleanup(func() { s.Close() })
	return s, addr, want
}

func openIMAP(s *fetchtest.IMAP, o fetch.IMAPOptions) opener {
	return func(ctx context.Context, addr *net.TCPAddr) (fetch.Source, error) {
		return fetch.OpenIMAP(ctx, s.Server(addr), o)
	}
}

// leftNoTrace checks that a Source did nothing that changes a mailbox.
func leftNoTrace(t *testing.T, s *fetchtest.IMAP) {
	t.Helper()
	for _, command := range s.Commands() {
		verb := strings.TrimPrefix(command, "UID ")
		verb, args, _ := strings.Cut(verb, " ")
		switch verb {
		case "SELECT", "STORE", "EXPUNGE", "APPEND", "COPY", "MOVE", "CREATE", "DELETE", "RENAME", "SUBSCRIBE", "UNSUBSCRIBE", "CLOSE":
			t.Errorf("a Source sent %q", command)
		case "FETCH":
			for _, item := range []string{"BODY[", "RFC822 ", "RFC822)", "RFC822.TEXT", "ENVELOPE", "BODYSTRUCTURE"} {
				if strings.Contains(args, item) {
					t.Errorf("a Source sent %q", command)
				}
			}
		}
	}
}

func TestIMAPConforms(t *testing.T) {
	servers := []struct {
		name    string
		set     func(*fetchtest.IMAP)
		line    *fetchtest.Faults
		options fetch.IMAPOptions
	}{
		{name: "plain"},
		{name: "TLS", set: func(s *fetchtest.IMAP) { s.Security = session.TLS }},
		{name: "STARTTLS", set: func(s *fetchtest.IMAP) { s.Security = session.STARTTLS }},
		{name: "small pieces", line: &fetchtest.Faults{Chunk: 7}},
		{name: "one message at a time", options: fetch.IMAPOptions{FetchCount: 1}},
		{name: "few octets at a time", options: fetch.IMAPOptions{FetchOctets: 300}},
		{name: "poor server", set: func(s *fetchtest.IMAP) {
			s.NoUIDPlus, s.NoListStatus, s.NoSpecialUse, s.NoLiteralPlus = true, true, true, true
		}},
		{name: "trailing space", line: &fetchtest.Faults{Rewrite: func(line []byte) []byte {
			// QUIRK(SurgeMail): `FLAGS (\Seen )`, as modern-email/defects lists it.
			if bytes.HasPrefix(line, []byte("* FLAGS (")) {
				return bytes.Replace(line, []byte(")\r\n"), []byte(" )\r\n"), 1)
			}
			return line
		}}},
	}
	for _, server := range servers {
		t.Run(server.name, func(t *testing.T) {
			s, addr, want := imapServer(t, server.set, fetchtest.Strange())
			if server.line != nil {
				addr = proxied(t, addr, func(int) fetchtest.Faults { return *server.line })
			}
			before := s.Messages("INBOX")
			conform(t, addr, openIMAP(s, server.options), want)
			leftNoTrace(t, s)
			for i, m := range s.Messages("INBOX") {
				if !slices.Equal(m.Flags, before[i].Flags) {
					t.Errorf("UID %d: flags %q became %q", m.UID, before[i].Flags, m.Flags)
				}
			}
		})
	}
}

// TestIMAPNamesWhatIsWithheld lists messages of which the server gives no body.
func TestIMAPNamesWhatIsWithheld(t *testing.T) {
	s, addr, want := imapServer(t, nil, shorter(fetchtest.Strange()))
	for i := range want {
		if i%7 == 3 {
			want[i].Unreadable = true
			uid, err := strconv.ParseUint(want[i].UID, 10, 32)
			check(t, err)
			s.Withhold(want[i].Mailbox, uint32(uid))
		}
	}
	conform(t, addr, openIMAP(s, fetch.IMAPOptions{}), want)
	leftNoTrace(t, s)
}

func TestIMAPSurvivesCuts(t *testing.T) {
	s, addr, want := imapServer(t, nil, shorter(fetchtest.Strange()))
	cuts(t, addr, openIMAP(s, fetch.IMAPOptions{}), want)
	leftNoTrace(t, s)
}

func TestIMAPIsHonestOnABadLine(t *testing.T) {
	s, addr, want := imapServer(t, nil, shorter(fetchtest.Strange()))
	alwaysCut(t, addr, openIMAP(s, fetch.IMAPOptions{}), want)
	leftNoTrace(t, s)
}

func TestIMAPCancels(t *testing.T) {
	s := fetchtest.NewIMAP("taro@example.jp", "secret")
	messages := manyLarge()
	for _, o := range messages {
		s.Add("INBOX", o.Octets, time.Now())
	}
	addr, err := s.Listen()
	check(t, err)
	defer s.Close()
	cancels(t, addr, openIMAP(s, fetch.IMAPOptions{}), len(messages))
}

// TestIMAPExpungedMeanwhile lets another client expunge between List and
// Fetch: what is gone is named as gone, the rest comes.
func TestIMAPExpungedMeanwhile(t *testing.T) {
	s, addr, want := imapServer(t, nil, shorter(fetchtest.Strange()))
	src, err := openIMAP(s, fetch.IMAPOptions{})(t.Context(), addr)
	check(t, err)
	defer src.Close()
	mailboxes, err := src.Mailboxes(t.Context())
	check(t, err)
	inbox := mailboxes[slices.IndexFunc(mailboxes, func(m fetch.Mailbox) bool { return m.Name == "INBOX" })]
	var listed []fetch.Listed
	state, err := src.List(t.Context(), inbox, func(l fetch.Listed) error {
		listed = append(listed, l)
		return nil
	})
	check(t, err)
	s.Expunge("INBOX", 1, 3)
	s.Add("INBOX", []byte("new\r\n"), time.Now())
	o := outcome{taken: make(map[string][][]byte), named: make(map[string]error)}
	gone := 0
	failures, err := src.Fetch(t.Context(), inbox, state, listed, o.take("INBOX"))
	check(t, err)
	for _, f := range failures {
		if f.Gone {
			gone++
		}
		o.named["INBOX/"+f.Listed.UID] = fmt.Errorf("gone %t: %v", f.Gone, f.Err)
	}
	if gone != 2 || len(failures) != 2 || len(o.taken) != len(listed)-2 {
		t.Errorf("%d taken of %d, named %v", len(o.taken), len(listed), o.named)
	}
	o.honest(t, slices.DeleteFunc(want, func(e fetchtest.Expected) bool { return e.Mailbox != "INBOX" }))
	leftNoTrace(t, s)
}

// TestIMAPUIDValidityChangesMeanwhile gives the mailbox a new UIDVALIDITY
// between List and Fetch, and within Fetch: no octets may be taken for those of
// a UID of another epoch.
func TestIMAPUIDValidityChangesMeanwhile(t *testing.T) {
	for _, within := range []bool{false, true} {
		t.Run(fmt.Sprintf("within %t", within), func(t *testing.T) {
			s, addr, _ := imapServer(t, nil, shorter(fetchtest.Strange()))
			src, err := openIMAP(s, fetch.IMAPOptions{FetchCount: 1})(t.Context(), addr)
			check(t, err)
			defer src.Close()
			_, err = src.Mailboxes(t.Context())
			check(t, err)
			inbox := fetch.Mailbox{Name: "INBOX", Delimiter: "/", Selectable: true}
			var listed []fetch.Listed
			state, err := src.List(t.Context(), inbox, func(l fetch.Listed) error {
				listed = append(listed, l)
				return nil
			})
			check(t, err)
			renew := func() {
				s.SetUIDValidity("INBOX", 4711)
			}
			if !within {
				renew()
			}
			o := outcome{taken: make(map[string][][]byte)}
			take := o.take("INBOX")
			calls := 0
			_, err = src.Fetch(t.Context(), inbox, state, listed, func(l fetch.Listed, r io.Reader) error {
				if calls++; within && calls == 3 {
					renew()
				}
				return take(l, r)
			})
			if !errors.Is(err, fetch.ErrChanged) {
				t.Errorf("Fetch: %v", err)
			}
			if !within && calls > 0 {
				t.Errorf("fn was called %d times", calls)
			}
		})
	}
}
