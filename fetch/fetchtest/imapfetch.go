package fetchtest

import (
	"bytes"
	"net/mail"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
)

// fetched is what a FETCH answers for one message, collected while IMAP.mu is
// held and written after it was released, so that a slow client stops nobody.
type fetched struct {
	seqNum   uint32
	msg      *message
	flags    []imap.Flag
	withheld bool
}

func (u *imapSession) Fetch(w *imapserver.FetchWriter, set imap.NumSet, options *imap.FetchOptions) error {
	if options.Envelope || options.BodyStructure != nil || len(options.BinarySection) > 0 || len(options.BinarySectionSize) > 0 {
		return no(imap.ResponseCodeCannot, "This server has whole messages only")
	}
	for _, section := range options.BodySection {
		if len(section.Part) > 0 || section.Specifier == imap.PartSpecifierMIME {
			return no(imap.ResponseCodeCannot, "This server has whole messages only")
		}
	}
	seen := !u.readOnly && slices.ContainsFunc(options.BodySection, func(b *imap.FetchItemBodySection) bool { return !b.Peek })
	for _, f := range u.collect(set, seen) {
		if u.s.FetchDelay > 0 {
			time.Sleep(u.s.FetchDelay)
		}
		if err := f.write(w.CreateMessage(f.seqNum), options, seen); err != nil {
			return err
		}
	}
	return nil
}

func (u *imapSession) collect(set imap.NumSet, seen bool) []fetched {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	var all []fetched
	for _, i := range u.matching(set) {
		msg := u.view[i].msg
		if seen && !hasFlag(msg.flags, string(imap.FlagSeen)) {
			msg.setFlags(append(slices.Clone(msg.flags), string(imap.FlagSeen)))
			u.view[i].rev = msg.rev
		}
		all = append(all, fetched{uint32(i + 1), msg, imapFlags(msg.flags), msg.withheld})
	}
	return all
}

func (f fetched) write(w *imapserver.FetchResponseWriter, options *imap.FetchOptions, seen bool) error {
	if options.UID {
		w.WriteUID(imap.UID(f.msg.uid))
	}
	if options.Flags || seen {
		w.WriteFlags(f.flags)
	}
	if options.InternalDate {
		w.WriteInternalDate(f.msg.date)
	}
	if options.RFC822Size {
		w.WriteRFC822Size(int64(len(f.msg.octets)))
	}
	var failed error
	for _, section := range options.BodySection {
		if f.withheld || failed != nil {
			break
		}
		octets := bodySection(f.msg.octets, section)
		literal := w.WriteBodySection(section, int64(len(octets)))
		if _, err := literal.Write(octets); err != nil {
			failed = err
		}
		if err := literal.Close(); err != nil {
			failed = err
		}
	}
	// The writer holds the connection's lock until it is closed.
	if err := w.Close(); err != nil {
		return err
	}
	return failed
}

// bodySection cuts a section out of a message without changing an octet
// (RFC 3501 §6.4.5).
func bodySection(octets []byte, section *imap.FetchItemBodySection) []byte {
	end, _ := HeaderEnd(octets)
	switch section.Specifier {
	case imap.PartSpecifierHeader:
		octets = octets[:end]
		if len(section.HeaderFields) > 0 || len(section.HeaderFieldsNot) > 0 {
			octets = chosenFields(octets, section)
		}
	case imap.PartSpecifierText:
		octets = octets[end:]
	}
	if p := section.Partial; p != nil {
		from := min(p.Offset, int64(len(octets)))
		octets = octets[from:min(from+p.Size, int64(len(octets)))]
	}
	return octets
}

func chosenFields(header []byte, section *imap.FetchItemBodySection) []byte {
	names, want := section.HeaderFields, true
	if len(names) == 0 {
		names, want = section.HeaderFieldsNot, false
	}
	var chosen bytes.Buffer
	for _, f := range headerFields(header) {
		if slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, f.name) }) == want {
			chosen.Write(f.octets)
		}
	}
	chosen.WriteString("\r\n")
	return chosen.Bytes()
}

func (u *imapSession) Store(w *imapserver.FetchWriter, set imap.NumSet, change *imap.StoreFlags, _ *imap.StoreOptions) error {
	if u.readOnly {
		return errReadOnly
	}
	u.s.mu.Lock()
	var answers []fetched
	for _, i := range u.matching(set) {
		msg := u.view[i].msg
		kept := slices.Clone(msg.flags)
		if change.Op == imap.StoreFlagsSet {
			kept = nil
		}
		for _, f := range change.Flags {
			kept = slices.DeleteFunc(kept, func(k string) bool { return strings.EqualFold(k, string(f)) })
			if change.Op != imap.StoreFlagsDel {
				kept = append(kept, string(f))
			}
		}
		msg.setFlags(kept)
		u.view[i].rev = msg.rev
		answers = append(answers, fetched{seqNum: uint32(i + 1), msg: msg, flags: imapFlags(kept)})
	}
	u.s.wake()
	u.s.mu.Unlock()
	if change.Silent {
		return nil
	}
	for _, f := range answers {
		if err := f.write(w.CreateMessage(f.seqNum), &imap.FetchOptions{UID: true, Flags: true}, false); err != nil {
			return err
		}
	}
	return nil
}

func (u *imapSession) Search(kind imapserver.NumKind, criteria *imap.SearchCriteria, _ *imap.SearchOptions) (*imap.SearchData, error) {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	var (
		data imap.SearchData
		seqs imap.SeqSet
		uids imap.UIDSet
	)
	for i := range u.view {
		if u.view[i].msg.gone || !u.matches(i, criteria) {
			continue
		}
		num := u.view[i].msg.uid
		if kind == imapserver.NumKindSeq {
			num = uint32(i + 1)
			seqs.AddNum(num)
		} else {
			uids.AddNum(imap.UID(num))
		}
		if data.Min == 0 {
			data.Min = num
		}
		data.Max = num
		data.Count++
	}
	data.All = uids
	if kind == imapserver.NumKindSeq {
		data.All = seqs
	}
	return &data, nil
}

func (u *imapSession) matches(i int, c *imap.SearchCriteria) bool {
	msg := u.view[i].msg
	for _, set := range c.SeqNum {
		if !u.inSet(set)(i) {
			return false
		}
	}
	for _, set := range c.UID {
		if !u.inSet(set)(i) {
			return false
		}
	}
	for _, f := range c.Flag {
		if !hasFlag(msg.flags, string(f)) {
			return false
		}
	}
	for _, f := range c.NotFlag {
		if hasFlag(msg.flags, string(f)) {
			return false
		}
	}
	size := int64(len(msg.octets))
	if c.Larger > 0 && size <= c.Larger || c.Smaller > 0 && size >= c.Smaller {
		return false
	}
	if !onDay(msg.date, c.Since, c.Before) || !msg.contains(c) {
		return false
	}
	for k := range c.Not {
		if u.matches(i, &c.Not[k]) {
			return false
		}
	}
	for k := range c.Or {
		if !u.matches(i, &c.Or[k][0]) && !u.matches(i, &c.Or[k][1]) {
			return false
		}
	}
	return true
}

// contains checks what a search asks of the octets. Encoded words and transfer
// encodings are not decoded.
func (msg *message) contains(c *imap.SearchCriteria) bool {
	end, _ := HeaderEnd(msg.octets)
	fields := headerFields(msg.octets[:end])
	for _, want := range c.Header {
		if !slices.ContainsFunc(fields, func(f headerField) bool {
			return strings.EqualFold(f.name, want.Key) && containsFold(f.value(), want.Value)
		}) {
			return false
		}
	}
	for _, want := range c.Body {
		if !containsFold(msg.octets[end:], want) {
			return false
		}
	}
	for _, want := range c.Text {
		if !containsFold(msg.octets, want) {
			return false
		}
	}
	if c.SentSince.IsZero() && c.SentBefore.IsZero() {
		return true
	}
	for _, f := range fields {
		if f.name == "date" {
			sent, err := mail.ParseDate(string(f.value()))
			return err == nil && onDay(sent, c.SentSince, c.SentBefore)
		}
	}
	return false
}

func containsFold(octets []byte, want string) bool {
	return bytes.Contains(bytes.ToLower(octets), bytes.ToLower([]byte(want)))
}

// onDay compares calendar days without regard to the zone (RFC 3501 §6.4.4).
func onDay(t, since, before time.Time) bool {
	day := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
	return (since.IsZero() || !day.Before(since)) && (before.IsZero() || day.Before(before))
}
