package fetch_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/fumibako-mail/fumibako/fetch"
	"github.com/fumibako-mail/fumibako/fetch/fetchtest"
)

// streetServer has mailboxes in which the same UIDs mean different messages.
func streetServer(boxes, messages int) (*fetchtest.IMAP, []string) {
	s := fetchtest.NewIMAP("taro", "pw")
	names := []string{"INBOX"}
	for i := 1; i < boxes; i++ {
		names = append(names, fmt.Sprintf("箱 %02d & co", i))
		s.AddMailbox(names[i])
	}
	for i, name := range names {
		for n := range messages {
			s.Add(name, streetMessage(i, n), time.Unix(1e9, 0))
		}
	}
	return s, names
}

func streetMessage(box, n int) []byte {
	return fmt.Appendf(nil, "Subject: %d of %d\r\n\r\n%s\r\n", n, box, strings.Repeat("x", 3*box+n))
}

func openStreet(t interface {
	Fatal(...any)
	Helper()
}, s *fetchtest.IMAP, o fetch.IMAPOptions) (fetch.Source, []fetch.Mailbox) {
	t.Helper()
	addr, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	src, err := fetch.OpenIMAP(context.Background(), s.Server(addr), o)
	if err != nil {
		t.Fatal(err)
	}
	boxes, err := src.Mailboxes(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return src, boxes
}

// TestIMAPAheadOfItsTurn goes through the mailboxes as a Pull does, and looks at
// what is on the wire before it is asked for.
func TestIMAPAheadOfItsTurn(t *testing.T) {
	s, names := streetServer(9, 3)
	defer s.Close()
	src, boxes := openStreet(t, s, fetch.IMAPOptions{})
	defer src.Close()
	examines := func() int {
		n := 0
		for _, c := range s.Commands() {
			if strings.HasPrefix(c, "EXAMINE") {
				n++
			}
		}
		return n
	}
	// The server answers one command after the other, so what was sent ahead may
	// still be on its way to it.
	reached := func(what string, i, want int) {
		t.Helper()
		for limit := time.Now().Add(5 * time.Second); examines() < want; time.Sleep(time.Millisecond) {
			if time.Now().After(limit) {
				t.Fatalf("%s %d: %d EXAMINEs on the wire, want %d", what, i, examines(), want)
			}
		}
	}
	listed := make([][]fetch.Listed, len(boxes))
	states := make([]fetch.State, len(boxes))
	ahead := []int{1, 4, 7, 9, 9, 9, 9, 9, 9} // EXAMINEs sent when the i-th mailbox is worked on
	for i, b := range boxes {
		var err error
		states[i], err = src.List(context.Background(), b, func(l fetch.Listed) error {
			listed[i] = append(listed[i], l)
			return nil
		})
		if err != nil || len(listed[i]) != 3 {
			t.Fatalf("%s: %d listed, %v", b.Name, len(listed[i]), err)
		}
		reached("List", i, ahead[i])
	}
	if n := examines(); n != len(names) {
		t.Errorf("%d EXAMINEs for the lists of %d mailboxes", n, len(names))
	}
	s.ResetCommands()
	for i, b := range boxes {
		n := 0
		failures, err := src.Fetch(context.Background(), b, states[i], listed[i], func(l fetch.Listed, r io.Reader) error {
			octets, err := io.ReadAll(r)
			uid, _ := strconv.Atoi(l.UID)
			if want := streetMessage(slices.Index(names, b.Name), uid-1); string(octets) != string(want) {
				t.Errorf("%s: UID %d is %q, want %q", b.Name, uid, octets, want)
			}
			n++
			return err
		})
		if err != nil || len(failures) > 0 || n != 3 {
			t.Fatalf("%s: %d fetched, %v, %v", b.Name, n, failures, err)
		}
		reached("Fetch", i, ahead[i])
	}
	fetches := map[string]int{}
	for _, c := range s.Commands() {
		fetches[strings.Fields(c)[0]]++
	}
	if diff := cmp.Diff(map[string]int{"EXAMINE": 9, "UID": 9}, fetches); diff != "" {
		t.Errorf("commands (-want +got)\n%s", diff)
	}
}

// TestIMAPAheadProperty calls the Source in any order, while the server changes:
// each answer is that of the mailbox that was asked for.
func TestIMAPAheadProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, names := streetServer(rapid.IntRange(2, 8).Draw(t, "mailboxes"), rapid.IntRange(0, 5).Draw(t, "messages"))
		defer s.Close()
		src, boxes := openStreet(t, s, fetch.IMAPOptions{FetchCount: rapid.SampledFrom([]int{1, 3, 500}).Draw(t, "count")})
		defer src.Close()
		ctx := context.Background()
		at := 0
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			step := rapid.SampledFrom([]string{"walk list", "walk list", "walk fetch", "walk fetch", "walk fetch", "list", "part", "heads", "changes", "add", "expunge", "flags"}).Draw(t, "step")
			if i := rapid.IntRange(0, len(boxes)-1).Draw(t, "mailbox"); !strings.HasPrefix(step, "walk") {
				at = i
			} else {
				at = (at + 1) % len(boxes)
			}
			b := boxes[at]
			box := slices.Index(names, b.Name)
			there := s.Messages(b.Name)
			if len(there) > 0 {
				switch step {
				case "expunge":
					s.Expunge(b.Name, there[0].UID)
				case "flags":
					s.SetFlags(b.Name, there[0].UID, `\Seen`)
				}
			}
			if step == "add" {
				s.Add(b.Name, streetMessage(box, len(there)), time.Unix(1e9, 0))
			}
			if step == "add" || step == "expunge" || step == "flags" {
				continue
			}
			var listed []fetch.Listed
			list := func() fetch.State {
				listed = nil
				st, err := src.List(ctx, b, func(l fetch.Listed) error { listed = append(listed, l); return nil })
				if err != nil {
					t.Fatalf("%s of %s: %v", step, b.Name, err)
				}
				return st
			}
			st := list()
			want := s.Messages(b.Name)
			if !sameList(listed, want) && !sameList(again(list, &listed), want) {
				t.Fatalf("%s: listed %v, want %v", b.Name, listed, want)
			}
			byUID := map[string][]byte{}
			for _, m := range want {
				byUID[strconv.Itoa(int(m.UID))] = m.Octets
			}
			if step == "part" && len(listed) > 1 {
				listed = listed[1:]
			}
			got := 0
			see := func(l fetch.Listed, octets []byte) {
				if got++; string(octets) != string(byUID[l.UID]) {
					t.Fatalf("%s: UID %s is %q, want %q", b.Name, l.UID, octets, byUID[l.UID])
				}
			}
			switch step {
			case "walk fetch", "part":
				_, err := src.Fetch(ctx, b, st, listed, func(l fetch.Listed, r io.Reader) error {
					octets, err := io.ReadAll(r)
					see(l, octets)
					return err
				})
				if err != nil || got != len(listed) {
					t.Fatalf("%s: %d of %d, %v", b.Name, got, len(listed), err)
				}
			case "heads":
				for uid, octets := range byUID {
					byUID[uid] = octets[:strings.Index(string(octets), "\r\n\r\n")+4]
				}
				err := src.Heads(ctx, b, st, listed, func(l fetch.Listed, octets []byte) error { see(l, octets); return nil })
				if err != nil || got != len(listed) {
					t.Fatalf("%s: %d of %d heads, %v", b.Name, got, len(listed), err)
				}
			case "changes":
				_, err := src.Changes(ctx, b, st, func(fetch.Listed) error { got++; return nil })
				if err != nil || got != len(want) {
					t.Fatalf("%s: %d of %d changes, %v", b.Name, got, len(want), err)
				}
			}
		}
		logins := 0
		for _, c := range s.Commands() {
			if strings.HasPrefix(c, "AUTHENTICATE") || strings.HasPrefix(c, "LOGIN") {
				logins++
			}
		}
		if logins != 1 {
			t.Fatalf("%d logins", logins)
		}
	})
}

// again lists once more: what was asked for ahead of its turn may be of a moment
// ago.
func again(list func() fetch.State, listed *[]fetch.Listed) []fetch.Listed {
	list()
	return *listed
}

func sameList(got []fetch.Listed, want []fetchtest.Message) bool {
	return slices.EqualFunc(got, want, func(l fetch.Listed, m fetchtest.Message) bool {
		return l.UID == strconv.Itoa(int(m.UID)) && l.Size == int64(len(m.Octets))
	})
}
