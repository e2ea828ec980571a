package dedupe

import (
	"bytes"
	"crypto/sha256"
	"encoding"
	"hash"
	"strconv"
)

// Version is the version of the definitions of Canonical, Content, Header and
// NormalizeMessageID. Digests of different versions must never be compared;
// when it changes they are computed again from the files.
//
// Version 1:
//
//   - Raw is the SHA-256 of the octets as received.
//   - Canonical is the SHA-256 of the canonical octets: every \r*\n is one
//     CRLF, every NUL is 0x80, and then all CR and LF at the end are dropped.
//     A CR that no LF follows stays where it is, except at the very end:
//     there a server that completes the last line would turn it into a line
//     end, and the two readings of one message would differ.
//   - Header is the SHA-256 of the octets as received up to and including the
//     first empty line (\r*\n at the beginning of a line), or of all octets
//     if there is no empty line.
//   - The canonical body is what follows the first empty line in the
//     canonical octets.
//   - Content is the SHA-256 of "fumibako content 1\n", then one item for each
//     field named From, To, Cc, Subject, Date, Message-ID, Content-Type and
//     Content-Transfer-Encoding, in this order of names and, within a name,
//     in the order of the header, then possibly one item named "?", then
//     "\n" and the canonical body. An item is its name in lower case, ":",
//     the number of octets of its value in decimal, "\n", the value, "\n".
//     The value of a field is its canonical octets after the colon, unfolded
//     (RFC 5322 §2.2.3), each run of spaces and tabs then made one space, and
//     none left at either end. Fields that are absent add nothing, fields
//     that are empty add an item of length 0.
//   - The item "?" exists if the header holds a line that is neither a field
//     nor a part of one, mbox From_ lines and a byte order mark before the
//     first field not counted. Its value is that line and everything after
//     it up to the empty line, with LF line ends: such a header has often
//     swallowed the beginning of a body, which must not go uncounted.
//   - Content is equal to Canonical if the canonical body is empty, or the
//     header is longer than 256 KiB (CRLF counted as one octet), or the
//     Message-ID is empty and Date or From is empty too.
const Version = 1

const (
	contentPrefix = "fumibako content 1\n" // carries Version

	maxHeader = 256 << 10 // octets of a header that are kept for its fields
	blockSize = 32 << 10  // octets scanned and hashed at a time, to stay in the processor's cache
)

// shaState is what a digest of crypto/sha256 can do beyond hash.Hash. Copying
// a state this way needs no allocation and, unlike hash.Cloner, is there in
// every FIPS 140 mode.
type shaState interface {
	hash.Hash
	encoding.BinaryAppender
	encoding.BinaryUnmarshaler
}

// A Hasher computes the Fingerprint and the Head of one message written to it.
// It may be used again after Reset. It is not safe for concurrent use. It
// holds some 40 KiB for ordinary mail and never more than 2 MiB.
//
// Raw and canonical octets of most mail are the same up to the final line end,
// so one running hash serves both until they first differ.
type Hasher struct {
	raw     shaState // while !differ, of the octets up to the pending line ends; then of all octets
	canon   shaState // once differ, of the canonical octets up to buf and the pending line ends
	content shaState // if wanted, of the encoding of Content, as far as canon (or raw) has come
	spare   shaState
	scratch []byte // a serialised state; a normalised field
	title   []byte // what precedes the value of an item of Content
	sum     [sha256.Size]byte

	size   int64
	differ bool   // raw and canonical octets are known to differ
	buf    []byte // once differ: canonical octets not yet hashed, NUL not yet replaced

	// Line ends are held back until another octet follows, because at the end
	// they do not count: crlf line ends, then cr CRs.
	crlf, cr int64
	inHeader int64 // of crlf, those that belong to the header

	keep   headKeeper
	head   Head
	header Digest // once the header has ended
	fields []span

	inBody  bool // the header has ended and its octets have been fed
	wanted  bool // the fields allow Content to be defined
	hasBody bool // the canonical body is not empty
}

// NewHasher returns a Hasher to which nothing has been written.
func NewHasher() *Hasher {
	h := &Hasher{raw: newState(), canon: newState(), content: newState(), spare: newState()}
	h.Reset()
	return h
}

func newState() shaState { return sha256.New().(shaState) }

// Reset makes the Hasher ready for another message.
func (h *Hasher) Reset() {
	h.raw.Reset()
	h.size, h.differ, h.buf = 0, false, h.buf[:0]
	h.crlf, h.cr, h.inHeader = 0, 0, 0
	h.keep.reset()
	h.head, h.header = Head{}, Digest{}
	h.inBody, h.wanted, h.hasBody = false, false, false
}

// Write adds octets of the message. It never fails, does not keep p, and does
// not change it. How the octets are divided between calls makes no difference.
func (h *Hasher) Write(p []byte) (int, error) {
	n := len(p)
	h.size += int64(n)
	if !h.keep.ended {
		k := h.keep.write(p)
		h.feedBlocks(p[:k])
		p = p[k:]
		if h.keep.ended {
			h.endHeader()
		}
	}
	h.feedBlocks(p)
	return n, nil
}

// Sum returns the Fingerprint and the Head of what has been written so far.
// Further octets may be written after it.
func (h *Hasher) Sum() (Fingerprint, Head) {
	f := Fingerprint{Size: h.size}
	if h.differ {
		h.flush()
		f.Raw = h.digest(h.raw)
		f.Canonical = h.digest(h.canon)
	} else {
		f.Canonical = h.digest(h.raw)
		f.Raw = f.Canonical
		if h.crlf > 0 || h.cr > 0 {
			f.Raw = h.digestWithLineEnds()
		}
	}
	f.Content = f.Canonical
	if h.wanted && h.hasBody {
		f.Content = h.digest(h.content)
	}
	if h.inBody {
		f.Header = h.header
		return f, h.head
	}
	f.Header = f.Raw
	var head Head
	head, h.fields, _ = scanHead(h.keep.octets, h.fields[:0])
	return f, head
}

// feedBlocks feeds p in pieces that stay in the cache while they are read
// two or three times.
func (h *Hasher) feedBlocks(p []byte) {
	for len(p) > blockSize {
		h.feed(p[:blockSize])
		p = p[blockSize:]
	}
	h.feed(p)
}

// feed hashes octets that lie within the header or within the body.
func (h *Hasher) feed(p []byte) {
	for len(p) > 0 {
		if h.differ {
			h.raw.Write(p)
			h.canonicalize(p)
			return
		}
		i := h.holdSame(p)
		p = p[i:]
		if len(p) == 0 {
			return
		}
		if c := p[0]; c == '\n' || c == 0 {
			h.part()
			continue
		}
		h.releaseSame()
		p = p[h.same(p):]
	}
}

// holdSame takes the line ends at the beginning of p as pending, as long as
// they are the same in the canonical octets, and returns how many octets it took.
func (h *Hasher) holdSame(p []byte) int {
	for i, c := range p {
		switch {
		case c == '\r':
			h.cr++
		case c == '\n' && h.cr == 1:
			h.cr = 0
			h.crlf++
		default:
			return i
		}
	}
	return len(p)
}

// same hashes the longest beginning of p that is the same in the canonical
// octets and does not end in CR or LF, and returns its length. p begins with
// an octet that is neither NUL, CR nor LF.
func (h *Hasher) same(p []byte) int {
	q := p
	if i := bytes.IndexByte(q, 0); i >= 0 {
		q = q[:i]
	}
	for from := 0; ; {
		i := bytes.IndexByte(q[from:], '\n')
		if i < 0 {
			break
		}
		i += from
		// q[0] is no CR, so a CR at i-1 has an octet before it.
		if q[i-1] != '\r' || q[i-2] == '\r' {
			q = q[:i]
			break
		}
		from = i + 1
	}
	end := len(q)
	for q[end-1] == '\r' || q[end-1] == '\n' {
		end--
	}
	h.raw.Write(q[:end])
	if h.inBody {
		h.hasBody = true
		if h.wanted {
			h.content.Write(q[:end])
		}
	}
	return end
}

// releaseSame hashes the pending line ends, because another octet follows.
func (h *Hasher) releaseSame() {
	writeLineEnds(h.raw, h.crlf, h.cr)
	if h.inBody && h.wanted {
		writeLineEnds(h.content, h.crlf-h.inHeader, h.cr)
	}
	h.crlf, h.cr, h.inHeader = 0, 0, 0
}

// part gives the canonical octets a hash of their own, because the next octet
// makes them differ. The pending line ends stay pending for it.
func (h *Hasher) part() {
	h.copyState(h.canon, h.raw)
	writeLineEnds(h.raw, h.crlf, h.cr)
	h.differ = true
}

// canonicalize hashes the canonical octets of p.
func (h *Hasher) canonicalize(p []byte) {
	for len(p) > 0 {
		i := 0
		for i < len(p) && (p[i] == '\r' || p[i] == '\n') {
			if p[i] == '\r' {
				h.cr++
			} else {
				h.cr = 0
				h.crlf++
			}
			i++
		}
		p = p[i:]
		if len(p) == 0 {
			return
		}
		h.release()
		line := p
		if i := bytes.IndexByte(p, '\n'); i >= 0 {
			line = p[:i]
		}
		for line[len(line)-1] == '\r' {
			line = line[:len(line)-1]
		}
		h.append(line)
		p = p[len(line):]
	}
}

// release appends the pending line ends to buf, because another octet follows.
func (h *Hasher) release() {
	if h.inHeader > 0 {
		// buf is empty: it was flushed when the header ended, and nothing has
		// been appended since. The line ends of the header are not Content.
		writeLineEnds(h.canon, h.inHeader, 0)
		h.crlf -= h.inHeader
		h.inHeader = 0
	}
	for ; h.crlf > 0; h.crlf-- {
		h.append(crlfs[:2])
	}
	for ; h.cr > 0; h.cr-- {
		h.append(crs[:1])
	}
	if h.inBody {
		h.hasBody = true
	}
}

func (h *Hasher) append(p []byte) {
	if h.buf == nil {
		h.buf = make([]byte, 0, blockSize)
	}
	for len(p) > cap(h.buf)-len(h.buf) {
		n := cap(h.buf) - len(h.buf)
		h.buf = append(h.buf, p[:n]...)
		p = p[n:]
		h.flush()
	}
	h.buf = append(h.buf, p...)
}

// flush hashes buf.
func (h *Hasher) flush() {
	replaceNUL(h.buf)
	h.canon.Write(h.buf)
	if h.inBody && h.wanted {
		h.content.Write(h.buf)
	}
	h.buf = h.buf[:0]
}

// endHeader is called once, when the first empty line has been fed.
func (h *Hasher) endHeader() {
	if h.differ {
		h.flush()
		h.header = h.digest(h.raw)
	} else {
		h.header = h.digestWithLineEnds()
	}
	h.inBody = true
	h.inHeader = h.crlf

	var rest []byte
	h.head, h.fields, rest = scanHead(h.keep.octets, h.fields[:0])
	identified := h.head.MessageID != "" || h.head.Date != "" && h.head.From != ""
	h.wanted = identified && !h.keep.over
	if h.wanted {
		h.beginContent(rest)
	}
}

// beginContent hashes all of Content that precedes the body.
func (h *Hasher) beginContent(rest []byte) {
	h.content.Reset()
	h.title = append(h.title[:0], contentPrefix...)
	h.content.Write(h.title)
	for id, name := range contentNames {
		for _, f := range h.fields {
			if int(f.id) == id {
				h.scratch = appendCollapsed(h.scratch[:0], h.keep.octets[f.from:f.to])
				h.item(name, h.scratch)
			}
		}
	}
	if rest != nil {
		h.item("?", rest)
	}
	h.content.Write(crlfs[1:2])
}

func (h *Hasher) item(name string, value []byte) {
	b := append(h.title[:0], name...)
	b = append(b, ':')
	b = strconv.AppendInt(b, int64(len(value)), 10)
	h.title = append(b, '\n')
	h.content.Write(h.title)
	h.content.Write(value)
	h.content.Write(crlfs[1:2])
}

func (h *Hasher) digest(s hash.Hash) Digest {
	s.Sum(h.sum[:0])
	return h.sum
}

// digestWithLineEnds is the digest of raw and the pending line ends.
func (h *Hasher) digestWithLineEnds() Digest {
	h.copyState(h.spare, h.raw)
	writeLineEnds(h.spare, h.crlf, h.cr)
	return h.digest(h.spare)
}

func (h *Hasher) copyState(to, from shaState) {
	b, err := from.AppendBinary(h.scratch[:0])
	if err == nil {
		err = to.UnmarshalBinary(b)
	}
	if err != nil {
		// Both are of one type, that of crypto/sha256, and it has no such error.
		panic("dedupe: the state of a SHA-256 could not be copied: " + err.Error())
	}
	h.scratch = b[:0]
}

var (
	crlfs = bytes.Repeat([]byte("\r\n"), 128)
	crs   = bytes.Repeat([]byte("\r"), 256)
)

// writeLineEnds hashes crlf line ends and then cr CRs.
func writeLineEnds(s hash.Hash, crlf, cr int64) {
	for crlf > 0 {
		n := min(crlf, int64(len(crlfs)/2))
		s.Write(crlfs[:2*n])
		crlf -= n
	}
	for cr > 0 {
		n := min(cr, int64(len(crs)))
		s.Write(crs[:n])
		cr -= n
	}
}

// replaceNUL makes every NUL in p 0x80, as Dovecot and Cyrus return it.
func replaceNUL(p []byte) {
	for {
		i := bytes.IndexByte(p, 0)
		if i < 0 {
			return
		}
		for p = p[i:]; len(p) > 0 && p[0] == 0; p = p[1:] {
			p[0] = 0x80
		}
	}
}
