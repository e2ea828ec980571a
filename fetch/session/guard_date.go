package session

import (
	"bytes"
	"time"
)

// dateLayout is the one the library reads.
const dateLayout = "_2-Jan-2006 15:04:05 -0700"

// otherDates are layouts that servers were seen to use for INTERNALDATE, most
// of them without the zone that RFC 3501 §9 demands; that is UTC then.
var otherDates = []string{
	"_2-Jan-2006 15:04:05",
	"_2-Jan-2006 15:04:05 -07:00",
	"_2-Jan-2006 15:04:05 -07",
	"Mon, _2 Jan 2006 15:04:05 -0700",
	"_2 Jan 2006 15:04:05 -0700",
	time.RFC3339,
}

// normalDate returns an INTERNALDATE in the library's layout, nil if it means no
// moment that can be told.
func normalDate(raw []byte) []byte {
	s := string(bytes.Trim(raw, " "))
	if t, err := time.Parse(dateLayout, s); err == nil {
		if usableDate(t) {
			return []byte(s)
		}
		return nil
	}
	if head, zone, ok := cutZone(s); ok {
		s = head + " " + zone
	}
	for _, layout := range append([]string{dateLayout}, otherDates...) {
		if t, err := time.Parse(layout, s); err == nil && usableDate(t) {
			return []byte(t.Format("02-Jan-2006 15:04:05 -0700"))
		}
	}
	return nil
}

func usableDate(t time.Time) bool { return t.Year() > 1 && t.Year() <= 9999 }

// cutZone rewrites the zones that time.Parse does not read: three digits, and
// the names of UTC.
func cutZone(s string) (head, zone string, ok bool) {
	i := len(s) - 1
	for i >= 0 && s[i] != ' ' {
		i--
	}
	if i < 0 {
		return "", "", false
	}
	head, zone = s[:i], s[i+1:]
	switch {
	case equalFold([]byte(zone), "GMT"), equalFold([]byte(zone), "UTC"), equalFold([]byte(zone), "UT"), equalFold([]byte(zone), "Z"):
		return head, "+0000", true
	case len(zone) == 4 && (zone[0] == '+' || zone[0] == '-'):
		return head, zone[:1] + "0" + zone[1:], true
	}
	return "", "", false
}
