package fetch

import (
	"context"
	"errors"
	"slices"

	"github.com/fumibako-mail/fumibako/fetch/session"
)

// maildrop is what one POP3 session lists.
type maildrop struct {
	count   uint32 // by STAT
	list    []Listed
	err     error // "list-incomplete": list is empty
	uidl    bool  // the server has UIDL
	unnamed int   // messages without a unique-id

	at    map[uniqueID]int // index in list; built when first needed
	twins map[string]int   // messages by unique-id
}

// uniqueID tells the messages of one list apart.
type uniqueID struct {
	uid     string
	ordinal int
}

func readMaildrop(ctx context.Context, sess *session.POP3) (*maildrop, error) {
	count, _, err := sess.Stat(ctx)
	if err != nil {
		return nil, err
	}
	d := &maildrop{count: count}
	msgs, uidl, err := sess.Listing(ctx, count)
	var e *session.Error
	if errors.As(err, &e) && e.Reason == "list-incomplete" {
		d.err = err
		return d, nil
	}
	if err != nil {
		return nil, err
	}
	d.uidl = uidl
	d.list = make([]Listed, 0, len(msgs))
	d.twins = make(map[string]int, len(msgs))
	for _, m := range msgs {
		l := Listed{UID: m.UID, Num: m.Num, Size: m.Size}
		if m.UID == "" {
			d.unnamed++
		} else {
			l.Ordinal = d.twins[m.UID]
			d.twins[m.UID]++
		}
		d.list = append(d.list, l)
	}
	return d, nil
}

func (d *maildrop) index() map[uniqueID]int {
	if d.at == nil {
		d.at = make(map[uniqueID]int, len(d.list))
		for i, l := range d.list {
			if l.UID != "" {
				d.at[uniqueID{l.UID, l.Ordinal}] = i
			}
		}
	}
	return d.at
}

// same reports whether two sessions list the same, to the last size.
func (d *maildrop) same(o *maildrop) bool {
	return d == o || slices.EqualFunc(d.list, o.list, func(a, b Listed) bool {
		return a.Num == b.Num && a.Size == b.Size && a.UID == b.UID
	})
}

// kin reports whether d can be the maildrop that o was, changed by time: with
// not one unique-id in common it is rather another one, or the server names its
// messages anew.
func (d *maildrop) kin(o *maildrop) bool {
	if len(d.list) == 0 || len(o.twins) == 0 {
		return true
	}
	for uid := range o.twins {
		if d.twins[uid] > 0 {
			return true
		}
	}
	return false
}

// locate finds the messages want of the list shown in the list d of a later
// session, or the same. Those found come back with d's message numbers, the
// others as failures: gone, where d leaves no doubt, or of lost identity.
func (d *maildrop) locate(shown *maildrop, want []waiting) (found []waiting, lost []Failure) {
	if shown == nil {
		shown = d
	}
	same := d.same(shown)
	// To say that a message is gone, it must not be one that has only lost its
	// name, and the list must speak of the same maildrop.
	certain := d.unnamed <= shown.unnamed && d.kin(shown)
	byNum := map[uint32]int{}
	if same {
		for i, l := range d.list {
			if l.UID == "" {
				byNum[l.Num] = i
			}
		}
	}
	for _, w := range want {
		var i int
		var ok, doubt bool
		if w.UID == "" {
			// Without a name the number is all there is, and it holds only while
			// nothing else has changed.
			i, ok = byNum[w.Num]
			ok = ok && d.list[i].Size == w.Size
			doubt = true
		} else {
			i, ok = d.index()[uniqueID{w.UID, w.Ordinal}]
			if !same && max(d.twins[w.UID], shown.twins[w.UID]) > 1 && d.twins[w.UID] != shown.twins[w.UID] {
				ok, doubt = false, true // which of the twins went is not told
			}
		}
		switch {
		case ok:
			w.num = d.list[i].Num
			found = append(found, w)
		case certain && !doubt:
			lost = append(lost, Failure{Listed: w.Listed, Gone: true, Err: &session.Error{
				Class: session.ClassMissing, Reach: session.ReachMessage, Reason: "gone"}})
		default:
			lost = append(lost, Failure{Listed: w.Listed, Err: &session.Error{
				Class: session.ClassMissing, Reach: session.ReachMessage, Temporary: true, Reason: "identity-lost"}})
		}
	}
	return found, lost
}
