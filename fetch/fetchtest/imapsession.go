package fetchtest

import (
	"cmp"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-sasl"
)

// An imapSession is one client's session. imapserver runs one command at a
// time in it; everything it shares with others is guarded by IMAP.mu.
type imapSession struct {
	s        *IMAP
	conn     *imapserver.Conn
	selected *mailbox
	readOnly bool
	view     []viewed // what the client has been told the mailbox holds; index+1 is the sequence number
}

// viewed is a message as the client knows it.
type viewed struct {
	msg *message
	rev int
}

// limitedSession adds APPENDLIMIT (RFC 7889), which imapserver offers whenever
// the method exists.
type limitedSession struct{ *imapSession }

func (l limitedSession) AppendLimit() uint32 { return l.s.AppendLimit }

var (
	_ imapserver.SessionSASL        = (*imapSession)(nil)
	_ imapserver.SessionNamespace   = (*imapSession)(nil)
	_ imapserver.SessionAppendLimit = limitedSession{}
)

func (s *IMAP) newSession(c *imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
	sess := &imapSession{s: s, conn: c}
	s.mu.Lock()
	s.sessions[sess] = struct{}{}
	s.mu.Unlock()
	if s.AppendLimit > 0 {
		return limitedSession{sess}, nil, nil
	}
	return sess, nil, nil
}

func no(code imap.ResponseCode, text string) error {
	return &imap.Error{Type: imap.StatusResponseTypeNo, Code: code, Text: text}
}

var (
	errNoMailbox = no(imap.ResponseCodeNonExistent, "No such mailbox")
	errReadOnly  = no("READ-ONLY", "Mailbox is open read-only")
)

func (u *imapSession) Close() error {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	delete(u.s.sessions, u)
	u.selected, u.view = nil, nil
	return nil
}

func (u *imapSession) Login(user, password string) error {
	if u.s.RefuseLogin != nil {
		if err := u.s.RefuseLogin(user, password); err != nil {
			return err
		}
	}
	if user != u.s.User || password != u.s.Password {
		return imapserver.ErrAuthFailed
	}
	return nil
}

func (u *imapSession) AuthenticateMechanisms() []string {
	if u.s.Token != "" {
		return []string{sasl.Plain, "XOAUTH2"}
	}
	return []string{sasl.Plain}
}

func (u *imapSession) Authenticate(mechanism string) (sasl.Server, error) {
	switch {
	case mechanism == sasl.Plain:
		return sasl.NewPlainServer(func(identity, user, password string) error {
			if identity != "" && identity != user {
				return no(imap.ResponseCodeAuthorizationFailed, "Acting for another user is not supported")
			}
			return u.Login(user, password)
		}), nil
	case mechanism == "XOAUTH2" && u.s.Token != "":
		return &xoauth2{user: u.s.User, token: u.s.Token}, nil
	}
	return nil, no("", "SASL mechanism not supported")
}

// xoauth2 is the server side of XOAUTH2. A refusal is a challenge that the
// client answers with an empty line before the NO.
type xoauth2 struct {
	user, token string
	refused     bool
}

func (x *xoauth2) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case x.refused:
		return nil, false, imapserver.ErrAuthFailed
	case response == nil:
		return nil, false, nil
	case string(response) == "user="+x.user+"\x01auth=Bearer "+x.token+"\x01\x01":
		return nil, true, nil
	}
	x.refused = true
	return []byte(`{"status":"400","schemes":"Bearer"}`), false, nil
}

func (u *imapSession) Namespace() (*imap.NamespaceData, error) {
	return &imap.NamespaceData{Personal: []imap.NamespaceDescriptor{{Delim: hierarchyDelimiter}}}, nil
}

func (u *imapSession) Select(name string, options *imap.SelectOptions) (*imap.SelectData, error) {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	m := u.s.find(name)
	if m == nil {
		return nil, errNoMailbox
	}
	if !m.selectable() {
		return nil, no("", "Mailbox cannot be selected")
	}
	u.selected, u.readOnly, u.view = m, options.ReadOnly, nil
	data := &imap.SelectData{
		Flags:       m.flags(),
		NumMessages: uint32(len(m.messages)),
		UIDNext:     imap.UID(m.uidNext),
		UIDValidity: m.uidValidity,
	}
	for i, msg := range m.messages {
		u.view = append(u.view, viewed{msg, msg.rev})
		if data.FirstUnseenSeqNum == 0 && !hasFlag(msg.flags, string(imap.FlagSeen)) {
			data.FirstUnseenSeqNum = uint32(i + 1)
		}
	}
	if !options.ReadOnly {
		data.PermanentFlags = append(slices.Clone(data.Flags), imap.FlagWildcard)
	}
	return data, nil
}

func (m *mailbox) selectable() bool {
	return !slices.Contains(m.attrs, imap.MailboxAttrNoSelect) && !slices.Contains(m.attrs, imap.MailboxAttrNonExistent)
}

// flags returns the system flags and the keywords in use.
func (m *mailbox) flags() []imap.Flag {
	all := []imap.Flag{imap.FlagAnswered, imap.FlagFlagged, imap.FlagDeleted, imap.FlagSeen, imap.FlagDraft}
	for _, msg := range m.messages {
		for _, f := range msg.flags {
			if !slices.ContainsFunc(all, func(g imap.Flag) bool { return strings.EqualFold(string(g), f) }) {
				all = append(all, imap.Flag(f))
			}
		}
	}
	return all
}

func (u *imapSession) Unselect() error {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	u.selected, u.view = nil, nil
	return nil
}

func (u *imapSession) Create(name string, options *imap.CreateOptions) error {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	name = strings.TrimSuffix(name, string(hierarchyDelimiter))
	if m := u.s.find(name); m != nil {
		if m.selectable() {
			return no(imap.ResponseCodeAlreadyExists, "Mailbox exists")
		}
		m.attrs = nil // a mere level of the hierarchy becomes a mailbox
		return nil
	}
	var attrs []string
	for _, a := range options.SpecialUse {
		attrs = append(attrs, string(a))
	}
	u.s.add(name, attrs...)
	return nil
}

func (u *imapSession) Delete(name string) error {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	m := u.s.find(name)
	if m == nil {
		return errNoMailbox
	}
	if m.name == "INBOX" {
		return no(imap.ResponseCodeCannot, "INBOX cannot be deleted")
	}
	u.s.remove(m, func(*message) bool { return true })
	u.s.mailboxes = slices.DeleteFunc(u.s.mailboxes, func(o *mailbox) bool { return o == m })
	return nil
}

func (u *imapSession) Rename(name, newName string, _ *imap.RenameOptions) error {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	m := u.s.find(name)
	switch {
	case m == nil:
		return errNoMailbox
	case m.name == "INBOX":
		return no(imap.ResponseCodeCannot, "INBOX cannot be renamed here")
	case u.s.find(newName) != nil:
		return no(imap.ResponseCodeAlreadyExists, "Mailbox exists")
	}
	old := m.name + string(hierarchyDelimiter)
	for _, o := range u.s.mailboxes {
		if rest, ok := strings.CutPrefix(o.name, old); ok {
			o.name = newName + string(hierarchyDelimiter) + rest
		}
	}
	m.name = newName
	return nil
}

func (u *imapSession) Subscribe(name string) error   { return u.subscribe(name, true) }
func (u *imapSession) Unsubscribe(name string) error { return u.subscribe(name, false) }

func (u *imapSession) subscribe(name string, on bool) error {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	m := u.s.find(name)
	if m == nil {
		return errNoMailbox
	}
	m.subscribed = on
	return nil
}

func (u *imapSession) List(w *imapserver.ListWriter, ref string, patterns []string, options *imap.ListOptions) error {
	if len(patterns) == 0 { // RFC 3501 §6.3.8: an empty name asks for the delimiter
		return w.WriteList(&imap.ListData{Attrs: []imap.MailboxAttr{imap.MailboxAttrNoSelect}, Delim: hierarchyDelimiter})
	}
	for _, data := range u.listed(ref, patterns, options) {
		if err := w.WriteList(data); err != nil {
			return err
		}
	}
	return nil
}

func (u *imapSession) listed(ref string, patterns []string, options *imap.ListOptions) []*imap.ListData {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	var all []*imap.ListData
	for _, m := range u.s.mailboxes {
		matches := slices.ContainsFunc(patterns, func(p string) bool {
			return imapserver.MatchList(m.name, hierarchyDelimiter, ref, p) || m.name == "INBOX" && strings.EqualFold(ref+p, "INBOX")
		})
		special := slices.DeleteFunc(slices.Clone(m.attrs), func(a imap.MailboxAttr) bool {
			return a == imap.MailboxAttrNoSelect || a == imap.MailboxAttrNonExistent
		})
		if !matches || options.SelectSubscribed && !m.subscribed || options.SelectSpecialUse && len(special) == 0 {
			continue
		}
		data := &imap.ListData{Mailbox: m.name, Delim: hierarchyDelimiter, Attrs: slices.Clone(m.attrs)}
		if u.s.NoSpecialUse {
			data.Attrs = slices.DeleteFunc(data.Attrs, func(a imap.MailboxAttr) bool { return slices.Contains(special, a) })
		}
		child := imap.MailboxAttrHasNoChildren
		for _, o := range u.s.mailboxes {
			if strings.HasPrefix(o.name, m.name+string(hierarchyDelimiter)) {
				child = imap.MailboxAttrHasChildren
			}
		}
		data.Attrs = append(data.Attrs, child)
		if options.ReturnSubscribed && m.subscribed {
			data.Attrs = append(data.Attrs, imap.MailboxAttrSubscribed)
		}
		if options.ReturnStatus != nil && m.selectable() {
			data.Status = m.status()
		}
		all = append(all, data)
	}
	return all
}

func (u *imapSession) Status(name string, _ *imap.StatusOptions) (*imap.StatusData, error) {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	m := u.s.find(name)
	if m == nil || !m.selectable() {
		return nil, errNoMailbox
	}
	return m.status(), nil
}

// status fills in everything; imapserver writes what was asked for.
func (m *mailbox) status() *imap.StatusData {
	var unseen, deleted, recent uint32
	var size, deletedSize int64
	for _, msg := range m.messages {
		size += int64(len(msg.octets))
		if !hasFlag(msg.flags, string(imap.FlagSeen)) {
			unseen++
		}
		if hasFlag(msg.flags, string(imap.FlagDeleted)) {
			deleted++
			deletedSize += int64(len(msg.octets))
		}
	}
	n := uint32(len(m.messages))
	return &imap.StatusData{
		Mailbox: m.name, NumMessages: &n, NumRecent: &recent, UIDNext: imap.UID(m.uidNext), UIDValidity: m.uidValidity,
		NumUnseen: &unseen, NumDeleted: &deleted, Size: &size, DeletedStorage: &deletedSize,
	}
}

func (u *imapSession) Append(name string, r imap.LiteralReader, options *imap.AppendOptions) (*imap.AppendData, error) {
	octets, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	if int64(len(octets)) != r.Size() {
		// imapserver ends a literal quietly at EOF; half a message must not be kept.
		return nil, io.ErrUnexpectedEOF
	}
	if u.s.RefuseAppend != nil {
		if err := u.s.RefuseAppend(name, octets); err != nil {
			return nil, err
		}
	}
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	m := u.s.find(name)
	if m == nil || !m.selectable() {
		return nil, no(imap.ResponseCodeTryCreate, "No such mailbox")
	}
	date := options.Time
	if date.IsZero() {
		date = time.Now()
	}
	var flags []string
	for _, f := range options.Flags {
		flags = append(flags, string(f))
	}
	uid := u.s.append(m, octets, date, flags)
	if u.s.NoUIDPlus {
		return nil, nil
	}
	return &imap.AppendData{UID: imap.UID(uid), UIDValidity: m.uidValidity}, nil
}

// Poll tells the client what changed since it was last told. Sequence numbers
// of removed messages are given from the highest down, so that each is right
// when it is read.
func (u *imapSession) Poll(w *imapserver.UpdateWriter, allowExpunge bool) error {
	u.s.mu.Lock()
	m, view := u.selected, u.view
	var gone, flags []int
	if m == nil {
		u.s.mu.Unlock()
		return nil
	}
	last := uint32(0)
	for i := range view {
		last = view[i].msg.uid
		switch {
		case view[i].msg.gone:
			gone = append(gone, i)
		case view[i].rev != view[i].msg.rev:
			flags = append(flags, i)
		}
	}
	before := len(view)
	for _, msg := range m.messages {
		if msg.uid > last {
			view = append(view, viewed{msg, msg.rev})
		}
	}
	updates := make([][]imap.Flag, len(flags))
	for k, i := range flags {
		view[i].rev = view[i].msg.rev
		updates[k] = imapFlags(view[i].msg.flags)
	}
	u.s.mu.Unlock()

	u.view = view
	for k, i := range flags {
		if err := w.WriteMessageFlags(uint32(i+1), imap.UID(view[i].msg.uid), updates[k]); err != nil {
			return err
		}
	}
	if allowExpunge {
		for _, i := range slices.Backward(gone) {
			u.view = slices.Delete(u.view, i, i+1)
			if err := w.WriteExpunge(uint32(i + 1)); err != nil {
				return err
			}
		}
	}
	if len(view) > before {
		return w.WriteNumMessages(uint32(len(u.view)))
	}
	return nil
}

func (u *imapSession) Idle(w *imapserver.UpdateWriter, stop <-chan struct{}) error {
	for {
		u.s.mu.Lock()
		changed := u.s.changed
		u.s.mu.Unlock()
		if err := u.Poll(w, true); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-stop:
			return nil
		}
	}
}

func (u *imapSession) Expunge(w *imapserver.ExpungeWriter, uids *imap.UIDSet) error {
	if u.readOnly && uids != nil {
		return errReadOnly
	}
	if u.readOnly {
		// CLOSE of a read-only mailbox removes nothing and succeeds (RFC 3501 §6.4.2);
		// imapserver calls Expunge for it with nil as for EXPUNGE itself.
		return nil
	}
	u.s.mu.Lock()
	u.s.remove(u.selected, func(msg *message) bool {
		return hasFlag(msg.flags, string(imap.FlagDeleted)) && (uids == nil || uids.Contains(imap.UID(msg.uid)))
	})
	var gone []int
	for i := range u.view {
		if u.view[i].msg.gone {
			gone = append(gone, i)
		}
	}
	u.s.mu.Unlock()
	for _, i := range slices.Backward(gone) {
		u.view = slices.Delete(u.view, i, i+1)
		if err := w.WriteExpunge(uint32(i + 1)); err != nil {
			return err
		}
	}
	return nil
}

func (u *imapSession) Copy(set imap.NumSet, dest string) (*imap.CopyData, error) {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	to := u.s.find(dest)
	if to == nil || !to.selectable() {
		return nil, no(imap.ResponseCodeTryCreate, "No such mailbox")
	}
	data := &imap.CopyData{UIDValidity: to.uidValidity}
	for _, i := range u.matching(set) {
		msg := u.view[i].msg
		data.SourceUIDs.AddNum(imap.UID(msg.uid))
		data.DestUIDs.AddNum(imap.UID(u.s.append(to, msg.octets, msg.date, msg.flags)))
	}
	if u.s.NoUIDPlus || len(data.SourceUIDs) == 0 {
		return nil, nil
	}
	return data, nil
}

// matching returns the indices into the view that set names and that are still
// there. IMAP.mu is held.
func (u *imapSession) matching(set imap.NumSet) []int {
	contains := u.inSet(set)
	var all []int
	for i := range u.view {
		if !u.view[i].msg.gone && contains(i) {
			all = append(all, i)
		}
	}
	return all
}

// inSet tells which indices into the view a set names; `*` is the last message
// of the view (RFC 3501 §9, seq-number).
func (u *imapSession) inSet(set imap.NumSet) func(i int) bool {
	type span struct{ from, to uint32 }
	var spans []span
	var number func(i int) uint32
	switch set := set.(type) {
	case imap.SeqSet:
		number = func(i int) uint32 { return uint32(i + 1) }
		for _, r := range set {
			spans = append(spans, span{r.Start, r.Stop})
		}
	case imap.UIDSet:
		number = func(i int) uint32 { return u.view[i].msg.uid }
		for _, r := range set {
			spans = append(spans, span{uint32(r.Start), uint32(r.Stop)})
		}
	}
	if len(u.view) == 0 {
		return func(int) bool { return false }
	}
	last := number(len(u.view) - 1)
	for k := range spans {
		s := &spans[k]
		s.from, s.to = cmp.Or(s.from, last), cmp.Or(s.to, last)
		if s.from > s.to {
			s.from, s.to = s.to, s.from
		}
	}
	return func(i int) bool {
		n := number(i)
		return slices.ContainsFunc(spans, func(s span) bool { return s.from <= n && n <= s.to })
	}
}

func hasFlag(flags []string, flag string) bool {
	return slices.ContainsFunc(flags, func(f string) bool { return strings.EqualFold(f, flag) })
}

func imapFlags(flags []string) []imap.Flag {
	all := make([]imap.Flag, len(flags))
	for i, f := range flags {
		all[i] = imap.Flag(f)
	}
	return all
}
