package archive

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/fumibako-mail/fumibako/dedupe"
)

// A record is one line of a journal: what a mail file cannot say. FORMAT.md
// specifies it. A line is eight hexadecimal digits of CRC-32C over the JSON, a
// space, the JSON, LF.
type record struct {
	Type string `json:"t"`
	At   int64  `json:"at,omitempty"` // Unix time of writing

	// t = "mailbox": the first record
	Version   int  `json:"version,omitempty"`
	Account   text `json:"account,omitempty"`
	Mailbox   text `json:"mailbox,omitempty"`
	Delimiter text `json:"delimiter,omitempty"`
	Use       text `json:"use,omitempty"`
	Path      text `json:"path,omitempty"`
	Adopted   bool `json:"adopted,omitempty"` // named by its path: its journal had been lost; of a message: found without a record

	// t = "message"
	File      text    `json:"file,omitempty"`   // Maildir: base name
	Offset    int64   `json:"offset,omitempty"` // mbox: of the entry
	Length    int64   `json:"length,omitempty"` // stored octets; mbox: the entry's
	Form      string  `json:"form,omitempty"`
	EOL       bool    `json:"eol,omitempty"` // mbox: a final line end was added
	Size      int64   `json:"size,omitempty"`
	Digests   int     `json:"digests,omitempty"` // version of the digests' definitions
	Raw       *digest `json:"raw,omitempty"`
	Canonical *digest `json:"canonical,omitempty"`
	Content   *digest `json:"content,omitempty"` // left out if equal to canonical
	Header    *digest `json:"header,omitempty"`
	MessageID text    `json:"message_id,omitempty"`
	Internal  string  `json:"internal,omitempty"` // INTERNALDATE, RFC 3339
	Date      string  `json:"date,omitempty"`     // the message's own, where there is no INTERNALDATE

	// t = "message", "origin", "flags", "gone"
	Seq    uint32   `json:"seq,omitempty"` // of the message
	Flags  []text   `json:"flags,omitempty"`
	Origin *originR `json:"origin,omitempty"`

	// t = "void": records of messages that never reached their file
	Void []uint32 `json:"void,omitempty"`
}

type originR struct {
	Epoch       uint32 `json:"epoch,omitempty"`
	UIDValidity uint32 `json:"uidvalidity,omitempty"`
	UID         text   `json:"uid"`
	Ordinal     int    `json:"ordinal,omitempty"`
	Size        int64  `json:"size"` // as listed; -1 if not said
	Same        text   `json:"same,omitempty"`
	NotCompared bool   `json:"not_compared,omitempty"`
}

// text is a string that need not be UTF-8: JSON would replace its octets.
type text string

func (t text) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(t)) {
		return json.Marshal(string(t))
	}
	return json.Marshal([]string{base64.StdEncoding.EncodeToString([]byte(t))})
}

func (t *text) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		var list []string
		if err := json.Unmarshal(b, &list); err != nil || len(list) != 1 {
			return fmt.Errorf("octets: %w", err)
		}
		p, err := base64.StdEncoding.DecodeString(list[0])
		*t = text(p)
		return err
	}
	return json.Unmarshal(b, (*string)(t))
}

type digest dedupe.Digest

func (d digest) MarshalText() ([]byte, error) {
	return base64.RawStdEncoding.AppendEncode(nil, d[:]), nil
}

func (d *digest) UnmarshalText(b []byte) error {
	n, err := base64.RawStdEncoding.Decode(d[:], b)
	if err == nil && n != len(d) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendLine appends v as one line of a log.
func appendLine(dst []byte, v any) ([]byte, error) {
	j, err := json.Marshal(v)
	if err != nil {
		return dst, err
	}
	if len(j) > maxRecord-16 {
		// Written, it would be no line to any reader.
		return dst, fmt.Errorf("a record of %d octets", len(j))
	}
	dst = fmt.Appendf(dst, "%08x ", crc32.Checksum(j, castagnoli))
	return append(append(dst, j...), '\n'), nil
}

// maxRecord bounds one line: a journal is written by us, but a damaged one may
// hold anything.
const maxRecord = 1 << 20

// readLines calls fn with the JSON of each sound line of r and the offset
// behind it, and returns the offset behind the last sound line and the number
// of unsound lines before it. What comes after that offset is a torn tail.
func readLines(r io.Reader, offset int64, fn func(j []byte, end int64) error) (sound int64, bad int, err error) {
	br := bufio.NewReaderSize(r, 64<<10)
	sound = offset
	pendingBad := 0
	var line []byte
	for {
		line = line[:0]
		for {
			p, e := br.ReadSlice('\n')
			if len(line)+len(p) <= maxRecord {
				line = append(line, p...)
			}
			offset += int64(len(p))
			if e == bufio.ErrBufferFull {
				continue
			}
			if e != nil && e != io.EOF {
				return sound, bad, e
			}
			if e == io.EOF {
				return sound, bad, nil // what has no LF is torn
			}
			break
		}
		j, ok := checkLine(line)
		if !ok {
			pendingBad++
			continue
		}
		bad += pendingBad
		pendingBad = 0
		sound = offset
		if err := fn(j, offset); err != nil {
			return sound, bad, err
		}
	}
}

func checkLine(line []byte) ([]byte, bool) {
	if len(line) < 12 || line[8] != ' ' || line[len(line)-1] != '\n' {
		return nil, false
	}
	sum, err := strconv.ParseUint(string(line[:8]), 16, 32)
	j := line[9 : len(line)-1]
	return j, err == nil && uint32(sum) == crc32.Checksum(j, castagnoli)
}

// readJournal is readLines for the journal of a mailbox.
func readJournal(r io.Reader, offset int64, fn func(rec *record, end int64) error) (sound int64, bad int, err error) {
	return readLines(r, offset, func(j []byte, end int64) error {
		rec := new(record)
		if err := json.Unmarshal(j, rec); err != nil {
			// A sound line of a later version: not ours to understand, nor to cut.
			rec = &record{Type: "unknown"}
		}
		return fn(rec, end)
	})
}

// appendLines appends octets to a journal or another log of ours and hands the
// file over for syncing. If it fails, half a line may stand at the end of the
// log: nothing more is made durable until the archive was opened again, which
// mends that.
func (a *Archive) appendLines(name string, lines []byte) error {
	f, err := a.fs.openFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY)
	if err != nil {
		return err
	}
	if err := a.fs.write(f, lines); err != nil {
		f.Close()
		a.fs.sync.fail(err)
		return err
	}
	return a.fs.sync.written(f)
}

// mendTail cuts a torn tail off a log of ours; the octets are kept in recovered/.
func (a *Archive) mendTail(name string, sound int64) error {
	f, err := a.fs.openFile(name, os.O_RDWR)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || fi.Size() <= sound {
		return err
	}
	if err := a.keepAside(io.NewSectionReader(f, sound, fi.Size()-sound), "journal"); err != nil {
		return err
	}
	a.note(NoteTornJournal, name, 1)
	return a.fs.truncate(f, sound)
}

// keepAside copies octets that belong to nothing into recovered/, durably,
// before they are cut from where they were found.
func (a *Archive) keepAside(r io.Reader, kind string) error {
	if err := a.fs.mkdir(recoveredDir); err != nil {
		return err
	}
	var f *os.File
	err := fs.ErrExist
	for errors.Is(err, fs.ErrExist) {
		name := fmt.Sprintf("%s/%s-%s-%d", recoveredDir, kind, time.Now().UTC().Format("20060102T150405Z"), a.unique())
		f, err = a.fs.openFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY)
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(stepWriter{a.fs, f}, r)
	if err == nil {
		err = syncFile(f)
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = a.fs.syncDir(recoveredDir)
	}
	return err
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339)
}

func parseTimeText(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}
	}
	return t
}

// maxFlagOctets bounds the flags one record names: it must stay below
// maxRecord whatever a server calls a keyword.
const maxFlagOctets = 64 << 10

// texts takes flags into a record. What exceeds maxFlagOctets is left out.
func texts(s []string) []text {
	t := make([]text, 0, len(s))
	n := 0
	for _, f := range s {
		if n += len(f) + 1; n > maxFlagOctets {
			break
		}
		t = append(t, text(f))
	}
	return t
}

func stringsOf(t []text) []string {
	s := make([]string, len(t))
	for i := range t {
		s[i] = string(t[i])
	}
	return s
}

func (r *record) setDigests(fp dedupe.Fingerprint) {
	r.Digests, r.Raw, r.Canonical, r.Header = dedupe.Version, (*digest)(&fp.Raw), (*digest)(&fp.Canonical), (*digest)(&fp.Header)
	if fp.Content != fp.Canonical {
		r.Content = (*digest)(&fp.Content)
	}
}

// entry is the index entry a "message" record stands for.
func (r *record) entry(seq uint32) dedupe.Entry {
	e := dedupe.Entry{
		Seq: seq, Version: byte(r.Digests), Where: string(r.File), Offset: r.Offset, Length: r.Length,
		Form: byte(formVerbatim), Date: parseTimeText(r.Internal), Flags: dedupe.FlagString(stringsOf(r.Flags)),
	}
	if e.Date.IsZero() {
		e.Date = parseTimeText(r.Date)
	}
	if r.Form == formCRLF.String() {
		e.Form = byte(formCRLF)
	}
	if r.EOL {
		e.Form |= formEOL
	}
	e.Size = r.Size
	for _, d := range []struct {
		to   *dedupe.Digest
		from *digest
	}{{&e.Raw, r.Raw}, {&e.Canonical, r.Canonical}, {&e.Content, r.Content}, {&e.Header, r.Header}} {
		if d.from != nil {
			*d.to = dedupe.Digest(*d.from)
		}
	}
	if r.Content == nil {
		e.Content = e.Canonical
	}
	if r.Origin != nil {
		e.Origins = 1
	}
	return e
}

// number gives the number of the message that a "message" record is about;
// highest is the highest of those before it. Every record has carried its
// number since one damaged line was seen to shift all that followed; without
// one it is the next message.
func (r *record) number(highest *uint32) uint32 {
	if r.Seq == 0 {
		*highest++
		return *highest
	}
	*highest = max(*highest, r.Seq)
	return r.Seq
}

// formEOL is set in an entry's Form if mbox added a final line end. The two
// forms are letters, which leave the high bit free.
const formEOL = 0x80

func formOf(e dedupe.Entry) (f form, eol bool) { return form(e.Form &^ formEOL), e.Form&formEOL != 0 }

func (o *originR) origin(account, mailbox string) dedupe.Origin {
	return dedupe.Origin{Account: account, Epoch: o.Epoch, Mailbox: mailbox, UIDValidity: o.UIDValidity, UID: string(o.UID), Ordinal: o.Ordinal}
}
