package dedupe

import (
	"strings"
	"time"
)

// When returns the time at which the message arrived or was written, with the
// zone it was given in, and where it was found: "received" for h.Received,
// else "date" for h.Date. It is not ok if neither can be read. The times are
// what machines along the way wrote there: a courtesy to the reader, never a
// means to order or to identify messages.
func (h Head) When() (t time.Time, source string, ok bool) {
	if t, ok := receivedDate(h.Received); ok {
		return t, "received", true
	}
	if t, ok := parseDate(h.Date); ok {
		return t, "date", true
	}
	return time.Time{}, "", false
}

// maxDate bounds the octets that are looked at for a date.
const maxDate = 1024

// receivedDate reads the date of a Received field: what follows its last ";"
// outside comments (RFC 5322 §3.6.7).
func receivedDate(s string) (time.Time, bool) {
	// A date stands at the end, however long the hop describes itself.
	if len(s) > maxDate {
		s = s[len(s)-maxDate:]
	}
	if t, ok := afterSemicolon(stripComments(s)); ok {
		return t, true
	}
	// An unbalanced parenthesis before the date, as some hosts write it.
	return afterSemicolon(s)
}

func afterSemicolon(s string) (time.Time, bool) {
	i := strings.LastIndexByte(s, ';')
	if i < 0 {
		return time.Time{}, false
	}
	return parseDate(s[i+1:])
}

// stripComments makes a space of each comment (RFC 5322 §3.2.2); one that is
// not closed ends with s.
func stripComments(s string) string {
	if strings.IndexByte(s, '(') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && depth > 0:
			i++
		case c == '(':
			depth++
			b = append(b, ' ')
		case c == ')' && depth > 0:
			depth--
		case depth == 0:
			b = append(b, c)
		}
	}
	return string(b)
}

// dateParts is a date as far as its words have been read.
type dateParts struct {
	numbers       [2]int // day and year, in the order of the words
	digits        [2]int // how many digits each was written with
	n             int
	month         time.Month
	monthAt       int // numbers before the month
	hour, min     int
	sec           int
	hasTime       bool
	pm, am        bool
	offset        int // seconds east of UTC
	zone          string
	hasZone       bool // a zone that says something
	year, day     int
	hasYearAndDay bool // by an ISO 8601 date
}

// parseDate reads a date as RFC 5322 §3.3 and §4.3 have it, and as mail
// programs of forty years have written it: without day name, seconds or zone,
// with comments, two-digit years and the zones of RFC 822, with the words of
// ctime(3) or ISO 8601. A zone that is missing or unknown counts as UTC
// (RFC 5322 §4.3). Dates that do not exist, zones beyond ±14:59 and years
// outside 1970 to 2100 are refused.
func parseDate(s string) (time.Time, bool) {
	if len(s) > maxDate {
		s = s[:maxDate]
	}
	s = stripComments(s)
	var d dateParts
	for len(s) > 0 {
		var word string
		word, s = nextWord(s)
		if word != "" && !d.take(word) {
			return time.Time{}, false
		}
	}
	return d.time()
}

// nextWord cuts the first word off s. Words end at white space and commas.
func nextWord(s string) (word, rest string) {
	i := 0
	for i < len(s) && (s[i] <= ' ' || s[i] == ',' || s[i] == '"') {
		i++
	}
	j := i
	for j < len(s) && s[j] > ' ' && s[j] != ',' && s[j] != '"' {
		j++
	}
	return s[i:j], s[j:]
}

// take reads one word and reports whether it can be part of a date.
func (d *dateParts) take(word string) bool {
	c := word[0]
	switch {
	case (c == '+' || c == '-') && len(word) > 1:
		return d.takeOffset(word)
	case !isDigit(c):
		return d.takeName(word)
	case isISO(word):
		return d.takeISO(word)
	case strings.IndexByte(word, ':') > 0:
		return d.takeTime(word)
	case strings.IndexByte(word, '-') > 0:
		// 17-Jul-1996, as IMAP and older mail programs write it.
		for part := range strings.SplitSeq(word, "-") {
			if part == "" || part[0] == '+' || !d.take(part) {
				return false
			}
		}
		return true
	}
	n, rest, digits := number(word)
	if rest != "" || digits > 4 || d.n == len(d.numbers) {
		return false
	}
	if d.month == 0 {
		d.monthAt++
	}
	d.numbers[d.n], d.digits[d.n] = n, digits
	d.n++
	return true
}

func (d *dateParts) takeName(word string) bool {
	if strings.IndexByte(word, '-') > 0 && d.month == 0 {
		// Jul-17-1996
		for part := range strings.SplitSeq(word, "-") {
			if part == "" || !d.take(part) {
				return false
			}
		}
		return true
	}
	name := strings.ToLower(strings.TrimRight(word, "."))
	if m, ok := months[name[:min(len(name), 3)]]; ok && d.month == 0 && strings.HasPrefix(monthNames[m], name[:min(len(name), 4)]) {
		d.month = m
		return true
	}
	if name == "am" || name == "pm" {
		d.am, d.pm = name == "am", name == "pm"
		return d.hasTime
	}
	if !d.hasTime {
		// A day name, in whatever language: it says nothing that the date does not.
		return d.n == 0 && d.month == 0
	}
	return d.takeZone(word)
}

// takeZone reads the name of a zone, also one with an offset, as in GMT+0900.
func (d *dateParts) takeZone(word string) bool {
	name := word
	if i := strings.IndexAny(word, "+-"); i > 0 {
		name = word[:i]
		if len(name) == 1 && name != "Z" && name != "z" {
			return false
		}
		return d.takeOffset(word[i:])
	}
	if d.hasZone {
		return true // "+0900 JST": the number has said it
	}
	if h, ok := zones[strings.ToUpper(name)]; ok {
		d.hasZone, d.zone, d.offset = true, strings.ToUpper(name), h*60*60
	}
	return true
}

// takeOffset reads +hhmm, +hh:mm, +hh or +hmm.
func (d *dateParts) takeOffset(word string) bool {
	n, rest, digits := number(word[1:])
	h, m := n/100, n%100
	switch {
	case digits == 2 && len(rest) == 3 && rest[0] == ':':
		mm, left, k := number(rest[1:])
		if left != "" || k != 2 {
			return false
		}
		h, m, rest = n, mm, ""
	case digits <= 2:
		h, m = n, 0
	}
	if rest != "" || digits == 0 || digits > 4 || h > 14 || m > 59 {
		return false
	}
	if d.hasZone && d.zone == "" {
		return false
	}
	d.offset = (h*60 + m) * 60
	if word[0] == '-' {
		d.offset = -d.offset
	}
	d.hasZone, d.zone = true, ""
	return true
}

// takeTime reads hh:mm, hh:mm:ss and hh:mm:ss.fraction, possibly with a zone
// that follows without a space.
func (d *dateParts) takeTime(word string) bool {
	if d.hasTime {
		return false
	}
	d.hasTime = true
	var digits int
	d.hour, word, digits = number(word)
	if digits > 2 || len(word) == 0 || word[0] != ':' {
		return false
	}
	d.min, word, digits = number(word[1:])
	if digits == 0 || digits > 2 {
		return false
	}
	if len(word) > 0 && word[0] == ':' {
		d.sec, word, digits = number(word[1:])
		if digits == 0 || digits > 2 {
			return false
		}
		if len(word) > 1 && word[0] == '.' {
			_, word, digits = number(word[1:])
			if digits == 0 {
				return false
			}
		}
	}
	return word == "" || d.take(word)
}

func isISO(word string) bool {
	return len(word) >= 10 && word[4] == '-' && word[7] == '-' && isDigit(word[1]) && isDigit(word[2]) && isDigit(word[3])
}

// takeISO reads 2006-01-02, possibly with a T and the time (ISO 8601, RFC 3339).
func (d *dateParts) takeISO(word string) bool {
	if d.hasYearAndDay {
		return false
	}
	y, rest, _ := number(word)
	m, rest, km := number(rest[1:])
	if km != 2 || rest[0] != '-' {
		return false
	}
	day, rest, kd := number(rest[1:])
	if kd != 2 || m < 1 || m > 12 {
		return false
	}
	d.year, d.month, d.day, d.hasYearAndDay = y, time.Month(m), day, true
	if rest == "" {
		return true
	}
	if len(rest) < 2 || rest[0] != 'T' && rest[0] != 't' || !isDigit(rest[1]) {
		return false
	}
	return d.takeTime(rest[1:])
}

// time puts the parts together.
func (d *dateParts) time() (time.Time, bool) {
	if !d.hasTime || d.month == 0 {
		return time.Time{}, false
	}
	if d.hasYearAndDay && d.n > 0 || !d.hasYearAndDay && !d.setYearAndDay() {
		return time.Time{}, false
	}
	if d.am || d.pm {
		if d.hour < 1 || d.hour > 12 {
			return time.Time{}, false
		}
		d.hour %= 12
		if d.pm {
			d.hour += 12
		}
	}
	// Second 60 is a leap second (RFC 5322 §3.3).
	if d.hour > 23 || d.min > 59 || d.sec > 60 || d.day < 1 {
		return time.Time{}, false
	}
	zone := time.UTC
	if d.offset != 0 {
		zone = time.FixedZone(d.zone, d.offset)
	}
	if time.Date(d.year, d.month, d.day, 0, 0, 0, 0, time.UTC).Day() != d.day {
		return time.Time{}, false
	}
	t := time.Date(d.year, d.month, d.day, d.hour, d.min, d.sec, 0, zone)
	for _, y := range [...]int{d.year, t.Year(), t.UTC().Year()} {
		if y < 1970 || y > 2100 {
			return time.Time{}, false
		}
	}
	return t, true
}

// setYearAndDay decides which of two numbers is the day. RFC 5322 and ctime(3)
// both have the day first; 1996 Jul 17 is told by its digits.
func (d *dateParts) setYearAndDay() bool {
	if d.n != 2 {
		return false
	}
	day, year := 0, 1
	if d.digits[0] == 4 && d.monthAt == 1 {
		day, year = 1, 0
	}
	if d.digits[day] > 2 || d.monthAt > 1 {
		return false
	}
	d.day, d.year = d.numbers[day], d.numbers[year]
	// RFC 5322 §4.3: two digits 00 to 49 are 2000 to 2049, others and three
	// digits count from 1900.
	switch digits := d.digits[year]; {
	case digits <= 2 && d.year < 50:
		d.year += 2000
	case digits <= 3:
		d.year += 1900
	}
	return true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// number reads the digits at the beginning of s; more than nine make the
// number meaningless but not too large.
func number(s string) (n int, rest string, digits int) {
	for digits < len(s) && isDigit(s[digits]) {
		if digits < 9 {
			n = n*10 + int(s[digits]-'0')
		}
		digits++
	}
	return n, s[digits:], digits
}

var months = map[string]time.Month{
	"jan": 1, "feb": 2, "mar": 3, "apr": 4, "may": 5, "jun": 6, "jul": 7, "aug": 8, "sep": 9, "oct": 10, "nov": 11, "dec": 12,
}

// monthNames are enough of each name to refuse words that only begin alike.
var monthNames = [13]string{
	"", "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december",
}

// zones are the zones of RFC 5322 §4.3 and those that mean one thing only, in
// hours east of UTC. The letters of RFC 822 are not here: RFC 5322 §4.3 takes
// them as UTC, because that RFC gave them with the wrong sign.
var zones = map[string]int{
	"UT": 0, "GMT": 0, "UTC": 0, "Z": 0,
	"EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7,
	"JST": 9, "KST": 9, "HKT": 8, "MSK": 3, "AEST": 10, "AEDT": 11, "NZST": 12, "NZDT": 13,
	"WET": 0, "WEST": 1, "CET": 1, "CEST": 2, "MET": 1, "MEST": 2, "EET": 2, "EEST": 3,
	"HST": -10, "AKST": -9, "AKDT": -8,
}
