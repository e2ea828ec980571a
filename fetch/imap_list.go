package fetch

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/fumibako-mail/fumibako/fetch/session"
)

// uidSetLength bounds the text of a set of UIDs: servers need not take lines of
// more than 8192 octets (RFC 7162 §4).
const uidSetLength = 4000

// uidRangeLength is the length of a range: two numbers of ten digits, colon, comma.
const uidRangeLength = 22

// everyUID is 1:*.
func everyUID() imap.UIDSet { return imap.UIDSet{imap.UIDRange{Start: 1}} }

// uidSets returns sets that name uids, which are in ascending order, each short
// enough for a command.
func uidSets(uids []imap.UID) []imap.UIDSet {
	var sets []imap.UIDSet
	var set imap.UIDSet
	length := 0
	for i := 0; i < len(uids); {
		j := i
		for j+1 < len(uids) && uids[j+1] == uids[j]+1 {
			j++
		}
		set = append(set, imap.UIDRange{Start: uids[i], Stop: uids[j]})
		if length += uidRangeLength; length > uidSetLength {
			sets, set, length = append(sets, set), nil, 0
		}
		i = j + 1
	}
	if len(set) > 0 {
		sets = append(sets, set)
	}
	return sets
}

// An imapListing is one run of List.
type imapListing struct {
	s       *imapSource
	ctx     context.Context
	m       Mailbox
	st      State
	fn      func(Listed) error
	seen    imap.UIDSet
	count   uint32
	size    int64
	unsized []imap.UID // listed without a size: asked for again
}

// List lists the messages of m.
func (s *imapSource) List(ctx context.Context, m Mailbox, fn func(Listed) error) (State, error) {
	release, err := s.use(ctx)
	if err != nil {
		return State{}, err
	}
	defer release()
	s.begin(walkList, m, listAhead(m))
	st, err := s.examine(ctx, m)
	if err != nil {
		return st, err
	}
	l := &imapListing{s: s, ctx: ctx, m: m, st: st, fn: fn}
	if st.Messages == 0 {
		s.topUp()
	} else if err := l.run(); err != nil {
		return st, err
	}
	if b := s.ahead.box(m); b != nil {
		b.uids, b.count, b.size = nil, int(l.count), l.size
		if b.count <= s.o.FetchCount && b.size <= min(imapOctetsAhead, s.o.FetchOctets) {
			b.uids = l.seen
		}
	}
	return st, nil
}

func (l *imapListing) run() error {
	if err := l.first(); err != nil {
		return err
	}
	if len(l.unsized) == 0 && !l.short() {
		return nil
	}
	if err := l.s.back(l.ctx, l.m, l.st.UIDValidity); err != nil {
		return err
	}
	if err := l.sizes(); err != nil {
		return err
	}
	if !l.short() {
		return nil
	}
	// Something is missing that the server counts: most likely it came while the
	// others were listed. Else all is listed again, and then asked for by name.
	newest := imap.UID(1)
	if n := len(l.seen); n > 0 {
		newest = l.seen[n-1].Stop
	}
	for _, set := range []imap.UIDSet{{imap.UIDRange{Start: newest}}, everyUID()} {
		if err := l.fetch(set, false); err != nil {
			return err
		}
		if !l.short() {
			return nil
		}
	}
	if err := l.search(); err != nil {
		return err
	}
	if l.short() {
		return &session.Error{Class: session.ClassProtocol, Reach: session.ReachMailbox, Temporary: true, Reason: "list-short"}
	}
	return nil
}

// first lists the mailbox for the first time.
func (l *imapListing) first() error {
	early := l.s.m.Next(session.FetchAhead(everyUID(), listOptions()))
	if !early {
		if err := l.s.back(l.ctx, l.m, l.st.UIDValidity); err != nil {
			return err
		}
	}
	cmd := l.s.m.Client.Fetch(everyUID(), listOptions())
	l.s.topUp()
	err := l.take(cmd, true)
	var e *session.Error
	if !early || !errors.As(err, &e) || e.Class != session.ClassRefused || l.s.m == nil || l.count > 0 {
		return err
	}
	// QUIRK(conceivable): the FETCH is judged before the EXAMINE in front of it has
	// opened the mailbox.
	l.s.ahead.never = true
	if err := l.s.back(l.ctx, l.m, l.st.UIDValidity); err != nil {
		return err
	}
	return l.fetch(everyUID(), true)
}

// short reports whether fewer messages were listed than the mailbox has by the
// server's latest EXISTS and EXPUNGE.
func (l *imapListing) short() bool {
	b := l.s.m.Client.Mailbox()
	return b != nil && l.count < b.NumMessages
}

// fetch lists set. Messages without a size are left for sizes if sizesLater is
// true.
func (l *imapListing) fetch(set imap.UIDSet, sizesLater bool) error {
	return l.take(l.s.m.Client.Fetch(set, listOptions()), sizesLater)
}

func listOptions() *imap.FetchOptions {
	return &imap.FetchOptions{UID: true, Flags: true, RFC822Size: true}
}

func (l *imapListing) take(cmd *imapclient.FetchCommand, sizesLater bool) error {
	for msg := cmd.Next(); msg != nil; msg = cmd.Next() {
		if err := l.message(msg, sizesLater); err != nil {
			l.s.abandon(cmd)
			return err
		}
	}
	return l.s.err(l.ctx, cmd.Close())
}

func (l *imapListing) message(msg *imapclient.FetchMessageData, sizesLater bool) error {
	m := Listed{Size: -1}
	var uid imap.UID
	for item := msg.Next(); item != nil; item = msg.Next() {
		switch item := item.(type) {
		case imapclient.FetchItemDataUID:
			uid = item.UID
		case imapclient.FetchItemDataFlags:
			m.Flags = l.s.intern(item.Flags)
		case imapclient.FetchItemDataRFC822Size:
			m.Size = item.Size
		}
	}
	if uid == 0 || l.seen.Contains(uid) {
		return nil
	}
	if m.Size < 0 && sizesLater {
		l.unsized = append(l.unsized, uid)
		return nil
	}
	m.UID = strconv.FormatUint(uint64(uid), 10)
	m.SameAs = l.s.m.TakeExtra(uid)
	return l.give(uid, m)
}

func (l *imapListing) give(uid imap.UID, m Listed) error {
	l.seen.AddNum(uid)
	l.count++
	if m.Size < 0 {
		l.size += imapUnknownSize
	}
	l.size += max(m.Size, 0)
	return l.fn(m)
}

// sizes lists again what came without a size: a FETCH of the server's own
// accord, for a change of flags, may have come in the place of the answer.
func (l *imapListing) sizes() error {
	slices.Sort(l.unsized)
	l.unsized = slices.Compact(l.unsized)
	for _, set := range uidSets(l.unsized) {
		if err := l.fetch(set, false); err != nil {
			return err
		}
	}
	return nil
}

// search lists what only SEARCH knows of, without size and flags.
func (l *imapListing) search() error {
	d, err := l.s.m.Client.UIDSearch(&imap.SearchCriteria{}, nil).Wait()
	if err != nil {
		return l.s.err(l.ctx, err)
	}
	set, _ := d.All.(imap.UIDSet)
	for _, r := range set {
		for uid := uint64(r.Start); uid <= uint64(r.Stop); uid++ {
			if uid == 0 || l.seen.Contains(imap.UID(uid)) {
				continue
			}
			if err := l.give(imap.UID(uid), Listed{UID: strconv.FormatUint(uid, 10), Size: -1}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Changes lists the flags of the messages of m that changed since last.
func (s *imapSource) Changes(ctx context.Context, m Mailbox, last State, fn func(Listed) error) (State, error) {
	release, err := s.use(ctx)
	if err != nil {
		return State{}, err
	}
	defer release()
	var ahead *session.Ahead
	o := &imap.FetchOptions{UID: true, Flags: true}
	if m.Status != nil && m.Status.Messages > 0 && m.Status.HighestModSeq == 0 {
		f := session.FetchAhead(everyUID(), o)
		ahead = &f
	} else if m.Status != nil && last.HighestModSeq > 0 && m.Status.HighestModSeq != last.HighestModSeq {
		o.ChangedSince = last.HighestModSeq
		f := session.FetchAhead(everyUID(), o)
		ahead = &f
	}
	s.begin(walkChanges, m, ahead)
	st, err := s.examine(ctx, m)
	if err != nil {
		return st, err
	}
	if st.UIDValidity != last.UIDValidity {
		return st, ErrChanged
	}
	since := uint64(0)
	if st.HighestModSeq > 0 {
		since = last.HighestModSeq
	}
	if st.Messages == 0 || since > 0 && since == st.HighestModSeq {
		return st, nil
	}
	o.ChangedSince = since
	cmd := s.m.Client.Fetch(everyUID(), o)
	for msg := cmd.Next(); msg != nil; msg = cmd.Next() {
		var uid imap.UID
		var l Listed
		for item := msg.Next(); item != nil; item = msg.Next() {
			switch item := item.(type) {
			case imapclient.FetchItemDataUID:
				uid = item.UID
			case imapclient.FetchItemDataFlags:
				l.Flags = s.intern(item.Flags)
			}
		}
		if uid == 0 {
			continue
		}
		l.UID = strconv.FormatUint(uint64(uid), 10)
		if err := fn(l); err != nil {
			s.abandon(cmd)
			return st, err
		}
	}
	return st, s.err(ctx, cmd.Close())
}

// abandon ends the session in the midst of cmd, which has no literal half read.
func (s *imapSource) abandon(cmd *imapclient.FetchCommand) {
	s.m.Drop()
	cmd.Close()
	s.m.Wait()
	s.lose()
}
