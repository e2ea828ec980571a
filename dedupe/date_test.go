package dedupe

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseDate(t *testing.T) {
	for _, test := range []struct {
		name string
		in   string
		want string // RFC 3339; "" if it must be refused
	}{
		{"RFC 5322", "Fri, 21 Nov 1997 09:55:06 -0600", "1997-11-21T09:55:06-06:00"},
		{"Japan", "Mon, 1 Jan 2001 10:00:00 +0900", "2001-01-01T10:00:00+09:00"},
		{"comment", "Mon, 1 Jan 2001 10:00:00 +0900 (JST)", "2001-01-01T10:00:00+09:00"},
		{"comments everywhere, nested", "(a)Mon(b (c\\) ;)), 1(d)Jan 2001 10:00:00(e)+0900", "2001-01-01T10:00:00+09:00"},
		{"comment not closed", "Mon, 1 Jan 2001 10:00:00 +0900 (JST", "2001-01-01T10:00:00+09:00"},
		{"no day name", "1 Jan 2001 10:00:00 +0900", "2001-01-01T10:00:00+09:00"},
		{"no comma", "Mon 1 Jan 2001 10:00:00 +0900", "2001-01-01T10:00:00+09:00"},
		{"no space after the comma", "Mon,1 Jan 2001 10:00:00 +0900", "2001-01-01T10:00:00+09:00"},
		{"wrong day name", "Sun, 1 Jan 2001 10:00:00 +0900", "2001-01-01T10:00:00+09:00"},
		{"long names", "Monday, 1 January 2001 10:00:00 +0900", "2001-01-01T10:00:00+09:00"},
		{"September", "1 Sept 2001 10:00:00 +0900", "2001-09-01T10:00:00+09:00"},
		{"Japanese day name", "月, 1 Jan 2001 10:00:00 +0900", "2001-01-01T10:00:00+09:00"},
		{"lower case", "mon, 1 jan 2001 10:00:00 gmt", "2001-01-01T10:00:00Z"},
		{"no seconds", "1 Jan 2001 10:00 +0900", "2001-01-01T10:00:00+09:00"},
		{"one-digit hour", "1 Jan 2001 9:05:06 +0900", "2001-01-01T09:05:06+09:00"},
		{"fraction", "1 Jan 2001 10:00:00.123 +0900", "2001-01-01T10:00:00+09:00"},
		{"leap second", "31 Dec 2016 23:59:60 +0000", "2017-01-01T00:00:00Z"},
		{"year 01", "1 Jan 01 10:00:00 +0900", "2001-01-01T10:00:00+09:00"},
		{"year 49", "1 Jan 49 10:00:00 +0900", "2049-01-01T10:00:00+09:00"},
		{"year 99", "1 Jan 99 10:00:00 +0900", "1999-01-01T10:00:00+09:00"},
		{"year 101, a 2001 bug", "1 Jan 101 10:00:00 +0900", "2001-01-01T10:00:00+09:00"},
		{"GMT", "1 Jan 2001 10:00:00 GMT", "2001-01-01T10:00:00Z"},
		{"UT", "1 Jan 2001 10:00:00 UT", "2001-01-01T10:00:00Z"},
		{"EDT", "1 Jul 2001 10:00:00 EDT", "2001-07-01T10:00:00-04:00"},
		{"JST", "1 Jan 2001 10:00:00 JST", "2001-01-01T10:00:00+09:00"},
		{"JST in quotes", `1 Jan 2001 10:00:00 "JST"`, "2001-01-01T10:00:00+09:00"},
		{"offset and name", "1 Jan 2001 10:00:00 +0900 JST", "2001-01-01T10:00:00+09:00"},
		{"name and offset", "1 Jan 2001 10:00:00 JST +0900", "2001-01-01T10:00:00+09:00"},
		{"GMT+0900", "1 Jan 2001 10:00:00 GMT+0900", "2001-01-01T10:00:00+09:00"},
		{"military zone counts as UTC", "1 Jan 2001 10:00:00 A", "2001-01-01T10:00:00Z"},
		{"unknown zone counts as UTC", "1 Jan 2001 10:00:00 XYZT", "2001-01-01T10:00:00Z"},
		{"no zone", "1 Jan 2001 10:00:00", "2001-01-01T10:00:00Z"},
		{"colon in the zone", "1 Jan 2001 10:00:00 +09:00", "2001-01-01T10:00:00+09:00"},
		{"hours only", "1 Jan 2001 10:00:00 +09", "2001-01-01T10:00:00+09:00"},
		{"zone without space", "1 Jan 2001 10:00:00+0900", "2001-01-01T10:00:00+09:00"},
		{"half hour", "1 Jan 2001 10:00:00 -0330", "2001-01-01T10:00:00-03:30"},
		{"easternmost", "1 Jan 2001 10:00:00 +1400", "2001-01-01T10:00:00+14:00"},
		{"ctime", "Mon Jan  1 10:00:00 2001", "2001-01-01T10:00:00Z"},
		{"date(1)", "Mon Jan  1 10:00:00 JST 2001", "2001-01-01T10:00:00+09:00"},
		{"date(1) with offset", "Mon Jan  1 10:00:00 2001 +0900", "2001-01-01T10:00:00+09:00"},
		{"RFC 850", "Monday, 01-Jan-01 10:00:00 GMT", "2001-01-01T10:00:00Z"},
		{"INTERNALDATE", " 1-Jan-2001 10:00:00 +0900", "2001-01-01T10:00:00+09:00"},
		{"year first", "2001 Jan 1 10:00:00 +0900", "2001-01-01T10:00:00+09:00"},
		{"American", "Mon, Jan 1, 2001 10:00 PM -0500", "2001-01-01T22:00:00-05:00"},
		{"midnight in American", "Jan 1, 2001 12:30 am", "2001-01-01T00:30:00Z"},
		{"ISO 8601", "2001-01-01 10:00:00 +0900", "2001-01-01T10:00:00+09:00"},
		{"RFC 3339", "2001-01-01T10:00:00.5+09:00", "2001-01-01T10:00:00+09:00"},
		{"RFC 3339 in UTC", "2001-01-01T10:00:00Z", "2001-01-01T10:00:00Z"},
		{"folded", "Mon, 1 Jan 2001\n 10:00:00\t+0900", "2001-01-01T10:00:00+09:00"},
		{"29 February 2000", "29 Feb 2000 00:00:00 +0000", "2000-02-29T00:00:00Z"},
		{"first", "1 Jan 1970 00:00:00 +0000", "1970-01-01T00:00:00Z"},
		{"last", "31 Dec 2100 23:59:59 +0000", "2100-12-31T23:59:59Z"},

		{"nothing", "", ""},
		{"comment only", "(1 Jan 2001 10:00:00 +0900)", ""},
		{"no time", "1 Jan 2001", ""},
		{"no month", "1 2001 10:00:00", ""},
		{"no year", "1 Jan 10:00:00", ""},
		{"two times", "1 Jan 2001 10:00:00 11:00:00", ""},
		{"three numbers", "1 Jan 2001 7 10:00:00", ""},
		{"30 February", "30 Feb 2000 00:00:00 +0000", ""},
		{"29 February 2001", "29 Feb 2001 00:00:00 +0000", ""},
		{"31 April", "31 Apr 2001 00:00:00 +0000", ""},
		{"day 0", "0 Jan 2001 00:00:00 +0000", ""},
		{"day 32", "32 Jan 2001 00:00:00 +0000", ""},
		{"hour 24", "1 Jan 2001 24:00:00 +0000", ""},
		{"minute 60", "1 Jan 2001 10:60:00 +0000", ""},
		{"second 61", "1 Jan 2001 10:00:61 +0000", ""},
		{"13 PM", "1 Jan 2001 13:00 PM", ""},
		{"zone too far", "1 Jan 2001 10:00:00 +1500", ""},
		{"zone with minute 60", "1 Jan 2001 10:00:00 +0960", ""},
		{"zone of five digits", "1 Jan 2001 10:00:00 +09000", ""},
		{"year 1969", "31 Dec 1969 23:59:59 +0000", ""},
		{"year 1969 in UTC", "1 Jan 1970 00:00:00 +0900", ""},
		{"year 2101", "1 Jan 2101 00:00:00 +0000", ""},
		{"year 2101 in UTC", "31 Dec 2100 23:59:59 -0100", ""},
		{"year of five digits", "1 Jan 20011 00:00:00 +0000", ""},
		{"month 13", "2001-13-01 00:00:00", ""},
		{"unknown month", "1 Foo 2001 10:00:00 +0900", ""},
		{"prose", "yesterday at noon", ""},
		{"time without minutes", "1 Jan 2001 10: +0900", ""},
		{"numbers that overflow", "99999999999999999999 Jan 2001 10:00:00", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := ""
			if at, ok := parseDate(test.in); ok {
				got = at.Format(time.RFC3339)
			}
			if got != test.want {
				t.Errorf("parseDate(%q) = %q, want %q", test.in, got, test.want)
			}
		})
	}
}

func TestParseDateReadsWhatGoWrites(t *testing.T) {
	layouts := []string{
		time.RFC1123Z, time.RFC822Z, time.RubyDate, "Mon, 2 Jan 2006 15:04:05 -0700 (MST)", "_2-Jan-2006 15:04:05 -0700",
		time.RFC3339, "2 January 2006 15:04 -07:00", "Mon Jan _2 15:04:05 2006 -0700",
	}
	rapid.Check(t, func(t *rapid.T) {
		offset := rapid.IntRange(-14*60, 14*60).Draw(t, "minutes east") * 60
		seconds := rapid.Int64Range(24*60*60, 4133894400-24*60*60).Draw(t, "seconds")
		at := time.Unix(seconds, 0).In(time.FixedZone("", offset))
		layout := rapid.SampledFrom(layouts).Draw(t, "layout")
		if layout == time.RFC822Z && (at.Year() < 1970 || at.Year() > 2049) {
			return
		}
		if !strings.Contains(layout, ":05") {
			at = at.Add(-time.Duration(at.Second()) * time.Second)
		}
		s := at.Format(layout)
		got, ok := parseDate(s)
		_, gotOffset := got.Zone()
		if !ok || !got.Equal(at) || gotOffset != offset {
			t.Fatalf("parseDate(%q) = %v, %v", s, got, ok)
		}
	})
}

func FuzzParseDate(f *testing.F) {
	f.Add("Mon, 1 Jan 2001 10:00:00 +0900 (JST)")
	f.Add("2001-01-01T10:00:00.5+09:00")
	f.Add("GMT-Jan-1-10:00:00.+-")
	f.Fuzz(func(t *testing.T, s string) {
		at, ok := parseDate(s)
		if ok && (at.Year() < 1970 || at.Year() > 2100 || at.UTC().Year() < 1970 || at.UTC().Year() > 2100) {
			t.Errorf("parseDate(%q) = %v", s, at)
		}
		receivedDate(s)
	})
}

func TestWhen(t *testing.T) {
	const date = "Mon, 1 Jan 2001 10:00:00 +0900"
	for _, test := range []struct {
		name   string
		head   Head
		want   string
		source string
	}{
		{"received first", Head{Received: "from a by b; Tue, 2 Jan 2001 10:00:00 +0900", Date: date}, "2001-01-02T10:00:00+09:00", "received"},
		{"semicolons before", Head{Received: "from a (x; y) by b id 1; for c; Tue, 2 Jan 2001 10:00:00 +0900", Date: date}, "2001-01-02T10:00:00+09:00", "received"},
		{"semicolon in the comment after", Head{Received: "by b; Tue, 2 Jan 2001 10:00:00 +0900 (a; b)"}, "2001-01-02T10:00:00+09:00", "received"},
		{"unbalanced comment", Head{Received: "from a (x by b; Tue, 2 Jan 2001 10:00:00 +0900"}, "2001-01-02T10:00:00+09:00", "received"},
		{"long", Head{Received: "from " + strings.Repeat("(a ", 5000) + "; Tue, 2 Jan 2001 10:00:00 +0900"}, "2001-01-02T10:00:00+09:00", "received"},
		{"received without date", Head{Received: "from a by b", Date: date}, "2001-01-01T10:00:00+09:00", "date"},
		{"received with a date that is none", Head{Received: "by b; 31 Feb 2001 10:00:00 +0900", Date: date}, "2001-01-01T10:00:00+09:00", "date"},
		{"date only", Head{Date: date}, "2001-01-01T10:00:00+09:00", "date"},
		{"neither", Head{Received: "a; b", Date: "c"}, "", ""},
		{"nothing", Head{}, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := ""
			at, source, ok := test.head.When()
			if ok {
				got = at.Format(time.RFC3339)
			}
			if got != test.want || source != test.source {
				t.Errorf("When() = %q from %q, want %q from %q", got, source, test.want, test.source)
			}
		})
	}
}
