package session

import (
	"strconv"
	"strings"

	"github.com/emersion/go-imap/v2"
)

// An Ahead is a command that may be sent before Client is asked for it.
type Ahead struct{ text string }

// ExamineAhead is Client.Select of a mailbox, by the name Client knows it by, with
// ReadOnly and CondStore.
func ExamineAhead(name string, condStore bool) Ahead {
	text := "EXAMINE INBOX"
	if !strings.EqualFold(name, "INBOX") {
		text = "EXAMINE " + string(appendQuoted(nil, []byte(encodeUTF7(name))))
	}
	if condStore {
		text += " (CONDSTORE)"
	}
	return Ahead{text}
}

// FetchAhead is Client.Fetch of set. It knows the options UID, Flags,
// InternalDate, RFC822Size, ChangedSince, and the whole body or its header.
func FetchAhead(set imap.UIDSet, o *imap.FetchOptions) Ahead {
	items := []string{"UID"}
	for _, item := range []struct {
		name  string
		asked bool
	}{{"FLAGS", o.Flags}, {"INTERNALDATE", o.InternalDate}, {"RFC822.SIZE", o.RFC822Size}} {
		if item.asked {
			items = append(items, item.name)
		}
	}
	for _, s := range o.BodySection {
		items = append(items, "BODY.PEEK["+string(s.Specifier)+"]")
	}
	text := "UID FETCH " + set.String() + " (" + strings.Join(items, " ") + ")"
	if o.ChangedSince > 0 {
		text += " (CHANGEDSINCE " + strconv.FormatUint(o.ChangedSince, 10) + ")"
	}
	return Ahead{text}
}

// SendAhead sends commands that Client will most likely be asked for next, and in
// this order, so that their answers are under way when it is: an EXAMINE and the
// FETCH in the mailbox it opens need not be two round trips. Client learns of an
// answer only after it was asked for the command, so nothing can be taken for the
// answer to something else. When it is asked for another command first, those that
// were sent ahead are as good as Forgotten; the server has executed them all the
// same, and has the mailbox open that was examined last.
func (m *IMAP) SendAhead(commands ...Ahead) {
	text := make([]string, len(commands))
	for i, c := range commands {
		text[i] = c.text
	}
	m.g.sendAhead(text...)
}

// Forget gives up the commands that were sent ahead and that Client was not asked
// for: their answers are read and dropped.
func (m *IMAP) Forget() { m.g.forget() }

// Next reports whether c was sent ahead and is the command whose turn is next.
func (m *IMAP) Next(c Ahead) bool { return m.g.next(c.text) }
