package dedupe

import (
	"encoding/binary"
	"slices"
	"strings"
	"time"
)

// How keys and values of the index are written. They are internal: an index of
// another version is rebuilt, never converted.

func be32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func refKey(d Digest, mailbox, seq uint32) []byte {
	k := append(make([]byte, 0, 24), d[:16]...)
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(k, mailbox), seq)
}

func sameKey(account string, epoch uint32, name string) []byte {
	return append(append(append([]byte(account), 0), be32(epoch)...), name...)
}

// OriginKey is the octets under which an origin stands within its mailbox.
// For one epoch and UIDVALIDITY, keys of IMAP origins sort by UID.
func OriginKey(o Origin) []byte { return originKey(o) }

func originKey(o Origin) []byte {
	k := make([]byte, 0, 8+10+len(o.UID)+5)
	k = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(k, o.Epoch), o.UIDValidity)
	if o.UIDValidity != 0 && len(o.UID) < 10 { // a decimal UID: padded, so that keys arrive in order
		k = append(k, "0000000000"[len(o.UID):]...)
	}
	k = append(k, o.UID...)
	return binary.BigEndian.AppendUint32(append(k, 0), uint32(o.Ordinal))
}

// ParseOriginKey gives back what OriginKey wrote; Account and Mailbox are not in a key.
func ParseOriginKey(k []byte) Origin {
	if len(k) < 13 {
		return Origin{}
	}
	o := Origin{Epoch: binary.BigEndian.Uint32(k), UIDValidity: binary.BigEndian.Uint32(k[4:]), Ordinal: int(binary.BigEndian.Uint32(k[len(k)-4:]))}
	uid := k[8 : len(k)-5]
	if o.UIDValidity != 0 {
		for len(uid) > 1 && uid[0] == '0' {
			uid = uid[1:]
		}
	}
	o.UID = string(uid)
	return o
}

const (
	boundNotCompared = 1 << iota
	boundGone
)

func encodeBound(b Bound) []byte {
	var f byte
	if b.NotCompared {
		f |= boundNotCompared
	}
	if b.Gone {
		f |= boundGone
	}
	return binary.AppendVarint(append(be32(b.Seq), f), b.Size)
}

func decodeBound(v []byte) (Bound, bool) {
	if len(v) < 6 {
		return Bound{}, false
	}
	size, n := binary.Varint(v[5:])
	return Bound{
		Seq: binary.BigEndian.Uint32(v), Size: size,
		NotCompared: v[4]&boundNotCompared != 0, Gone: v[4]&boundGone != 0,
	}, n > 0
}

func encodeEntry(e Entry) []byte {
	v := make([]byte, 0, 4*32+64+len(e.Where)+len(e.Flags))
	v = append(v, e.Version, e.Form)
	for _, d := range []Digest{e.Raw, e.Canonical, e.Content, e.Header} {
		v = append(v, d[:]...)
	}
	zone := 0
	if !e.Date.IsZero() {
		_, zone = e.Date.Zone()
	}
	for _, n := range []int64{e.Size, e.Offset, e.Length, unixOrZero(e.Date), int64(zone), int64(e.Origins), int64(len(e.Where))} {
		v = binary.AppendVarint(v, n)
	}
	v = append(v, e.Where...)
	return append(v, e.Flags...)
}

func decodeEntry(v []byte) (Entry, bool) {
	var e Entry
	if len(v) < 2+4*32 {
		return e, false
	}
	e.Version, e.Form, v = v[0], v[1], v[2:]
	for _, d := range []*Digest{&e.Raw, &e.Canonical, &e.Content, &e.Header} {
		copy(d[:], v)
		v = v[32:]
	}
	var n [7]int64
	for i := range n {
		k := 0
		if n[i], k = binary.Varint(v); k <= 0 {
			return e, false
		}
		v = v[k:]
	}
	e.Size, e.Offset, e.Length, e.Origins = n[0], n[1], n[2], int(n[5])
	if n[3] != 0 {
		e.Date = time.Unix(n[3], 0).In(zoneOf(int(n[4])))
	}
	if n[6] < 0 || n[6] > int64(len(v)) {
		return e, false
	}
	e.Where, e.Flags = string(v[:n[6]]), string(v[n[6]:])
	return e, true
}

func unixOrZero(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

func zoneOf(seconds int) *time.Location {
	if seconds == 0 {
		return time.UTC
	}
	return time.FixedZone("", seconds)
}

// FlagString gives the form in which flags are kept and compared: sorted, one
// space between, each once.
func FlagString(flags []string) string {
	switch len(flags) {
	case 0:
		return ""
	case 1:
		return flags[0]
	}
	return strings.Join(sortedOnce(flags), " ")
}

func sortedOnce(s []string) []string {
	s = slices.Clone(s)
	slices.Sort(s)
	return slices.Compact(s)
}
