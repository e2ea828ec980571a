package fetchtest

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/fumibako-mail/fumibako/fetch"
	"github.com/fumibako-mail/fumibako/fetch/session"
)

// A memorySource keeps the contract, but for the faults set in it.
type memorySource struct {
	want  []Expected
	fault string
	again int // how often List was called
}

var suiteDate = time.Date(2026, time.May, 1, 8, 30, 0, 0, time.FixedZone("", 9*3600))

func suiteMail() []Expected {
	var want []Expected
	for i, o := range Strange() {
		mailbox := []string{"INBOX", "送信済み"}[i%2]
		want = append(want, Expected{Mailbox: mailbox, Octets: o.Octets, Flags: []string{`\Seen`, "k"}, InternalDate: suiteDate})
	}
	for i := range want {
		want[i].UID = strconv.Itoa(i + 10)
	}
	want = append(want, Expected{Mailbox: "INBOX", UID: "99", Octets: []byte("x"), Unreadable: true,
		Flags: []string{`\Seen`, "k"}, InternalDate: suiteDate})
	return want
}

func (s *memorySource) Mailboxes(context.Context) ([]fetch.Mailbox, error) {
	all := []fetch.Mailbox{{Name: "level"}, {Name: "empty", Selectable: true}}
	for _, e := range s.want {
		if !slices.ContainsFunc(all, func(m fetch.Mailbox) bool { return m.Name == e.Mailbox }) {
			all = append(all, fetch.Mailbox{Name: e.Mailbox, Selectable: true, Delimiter: "/"})
		}
	}
	switch s.fault {
	case "mailbox twice":
		all = append(all, all[1])
	case "mailbox lost":
		all = all[:len(all)-1]
	}
	return all, nil
}

func (s *memorySource) inside(m fetch.Mailbox) []Expected {
	return slices.DeleteFunc(slices.Clone(s.want), func(e Expected) bool { return e.Mailbox != m.Name })
}

func (s *memorySource) state(n int) fetch.State {
	return fetch.State{UIDValidity: 7, UIDNext: 1000, Messages: uint32(n)}
}

func (s *memorySource) List(_ context.Context, m fetch.Mailbox, fn func(fetch.Listed) error) (fetch.State, error) {
	all := s.inside(m)
	s.again++
	if s.fault == "list shorter" && len(all) > 0 || s.fault == "second list shorter" && s.again > 4 {
		all = all[1:]
	}
	for i, e := range all {
		l := fetch.Listed{UID: e.UID, Num: uint32(i + 1), Size: int64(len(e.Octets)), Flags: e.Flags}
		if s.fault == "flags lost" {
			l.Flags = nil
		}
		if err := fn(l); err != nil {
			if s.fault == "list goes on" {
				continue
			}
			return fetch.State{}, err
		}
	}
	if s.fault == "wrong count" {
		return s.state(len(all) + 1), nil
	}
	return s.state(len(all)), nil
}

func (s *memorySource) Changes(_ context.Context, m fetch.Mailbox, last fetch.State, fn func(fetch.Listed) error) (fetch.State, error) {
	for _, e := range s.inside(m) {
		if s.fault == "changes invent" {
			e.UID = "5"
		}
		if err := fn(fetch.Listed{UID: e.UID, Flags: e.Flags}); err != nil {
			return fetch.State{}, err
		}
	}
	return last, nil
}

func (s *memorySource) Fetch(ctx context.Context, m fetch.Mailbox, state fetch.State, want []fetch.Listed, fn func(fetch.Listed, io.Reader) error) ([]fetch.Failure, error) {
	if state.UIDValidity != 7 && s.fault != "UIDVALIDITY ignored" {
		return nil, fetch.ErrChanged
	}
	var failures []fetch.Failure
	all := s.inside(m)
	var rest bytes.Buffer
	for n, l := range want {
		if ctx.Err() != nil && s.fault != "cancel ignored" {
			return failures, ctx.Err()
		}
		i := slices.IndexFunc(all, func(e Expected) bool { return e.UID == l.UID })
		if i < 0 && s.fault == "gone is silent" {
			continue
		}
		if i < 0 || all[i].Unreadable && s.fault != "unreadable is empty" {
			failures = append(failures, fetch.Failure{Listed: l, Gone: i < 0, Err: &session.Error{Class: session.ClassMissing}})
			continue
		}
		octets := all[i].Octets
		l.InternalDate = all[i].InternalDate
		switch {
		case s.fault == "octet changed":
			octets = append(bytes.Clone(octets[:len(octets)-1]), octets[len(octets)-1]+1)
		case s.fault == "octets lost":
			octets = octets[:len(octets)-1]
		case s.fault == "zone lost":
			l.InternalDate = l.InternalDate.UTC()
		case s.fault == "half read spoils" && rest.Len() > 0:
			octets = append(rest.Bytes(), octets...)
		case s.fault == "last one lost" && n == len(want)-1:
			continue
		}
		rest.Reset()
		r := bytes.NewReader(octets)
		if err := s.call(l, r, fn); err != nil {
			switch s.fault {
			case "stop ignored":
				continue
			case "stop wrapped":
				return failures, &session.Error{Err: err}
			}
			return failures, err
		}
		io.Copy(&rest, r)
	}
	if s.fault == "failures invented" && len(want) > 0 {
		failures = append(failures, fetch.Failure{Listed: want[0], Err: &session.Error{}})
	}
	return failures, nil
}

func (s *memorySource) call(l fetch.Listed, r io.Reader, fn func(fetch.Listed, io.Reader) error) error {
	switch s.fault {
	case "twice":
		fn(l, r)
	case "reader never ends":
		r = &dotReader{r: r}
	}
	return fn(l, r)
}

// A dotReader goes on after it has ended.
type dotReader struct {
	r     io.Reader
	ended bool
}

func (d *dotReader) Read(b []byte) (int, error) {
	if d.ended {
		b[0] = '.'
		return 1, nil
	}
	n, err := d.r.Read(b)
	d.ended = err == io.EOF
	return n, err
}

func (s *memorySource) Heads(_ context.Context, m fetch.Mailbox, _ fetch.State, want []fetch.Listed, fn func(fetch.Listed, []byte) error) error {
	for _, l := range want {
		all := s.inside(m)
		i := slices.IndexFunc(all, func(e Expected) bool { return e.UID == l.UID })
		if i < 0 || all[i].Unreadable {
			continue
		}
		end, whole := HeaderEnd(all[i].Octets)
		if s.fault == "head without its empty line" && whole {
			end--
		}
		if s.fault == "head left out" && i == 2 {
			continue
		}
		if s.fault == "head with a line of the body" && whole && end < len(all[i].Octets) {
			end++
		}
		if err := fn(l, all[i].Octets[:end]); err != nil {
			if s.fault == "heads stop ignored" {
				continue
			}
			return err
		}
	}
	return nil
}

func (s *memorySource) Facts() fetch.Facts {
	return fetch.Facts{Protocol: "imap", KeepsFlags: true}
}

func (s *memorySource) Close() error { return nil }
func (s *memorySource) Drop()        {}

func TestSourceAcceptsTheContract(t *testing.T) {
	TestSource(t, func(*testing.T) fetch.Source { return &memorySource{want: suiteMail()} }, suiteMail())
}

// TestSourceFindsEveryFault is the suite's own test: each breach of the
// contract must be found by at least one check.
func TestSourceFindsEveryFault(t *testing.T) {
	faults := []string{
		"mailbox twice", "mailbox lost", "list shorter", "second list shorter", "flags lost", "wrong count", "list goes on",
		"changes invent", "octet changed", "octets lost", "zone lost", "half read spoils", "last one lost", "twice",
		"stop ignored", "stop wrapped", "gone is silent", "unreadable is empty", "failures invented", "UIDVALIDITY ignored",
		"cancel ignored", "head without its empty line", "head left out", "head with a line of the body", "heads stop ignored", "reader never ends",
	}
	for _, fault := range faults {
		t.Run(fault, func(t *testing.T) {
			for _, check := range sourceChecks {
				if len(check.against(&memorySource{want: suiteMail(), fault: fault}, suiteMail())) > 0 {
					return
				}
			}
			t.Error("no check found it")
		})
	}
}

// TestSourceFindsConcurrency calls fn from two goroutines.
func TestSourceFindsConcurrency(t *testing.T) {
	check := sourceCheck{"fetch", (*sourceTest).fetchHalfRead}
	if len(check.against(concurrentSource{&memorySource{want: suiteMail()}}, suiteMail())) == 0 {
		t.Error("not found")
	}
}

type concurrentSource struct{ *memorySource }

func (c concurrentSource) Fetch(ctx context.Context, m fetch.Mailbox, state fetch.State, want []fetch.Listed, fn func(fetch.Listed, io.Reader) error) ([]fetch.Failure, error) {
	return c.memorySource.Fetch(ctx, m, state, want, func(l fetch.Listed, r io.Reader) error {
		done := make(chan struct{})
		go func() {
			defer close(done)
			fn(l, bytes.NewReader(nil))
		}()
		err := fn(l, r)
		<-done
		return err
	})
}
