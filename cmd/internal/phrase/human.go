package phrase

import (
	"strconv"
	"strings"
	"time"
)

// Number groups the digits of n: 1,234,567.
func (p *Printer) Number(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	var b strings.Builder
	b.WriteString(sign)
	for i, d := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// Octets says how much n octets are, in decimal units as disks and providers
// count: 512 bytes, 12.3 MB.
func (p *Printer) Octets(n int64) string {
	if n < 1000 && n > -1000 {
		return p.Text(HumanBytes, Args{"N": n})
	}
	v, unit := float64(n), ""
	for _, u := range []string{"kB", "MB", "GB", "TB", "PB", "EB"} {
		v, unit = v/1000, u
		if v < 999.5 && v > -999.5 {
			break
		}
	}
	decimals := 1
	if v >= 99.95 || v <= -99.95 {
		decimals = 0
	}
	return strconv.FormatFloat(v, 'f', decimals, 64) + " " + unit
}

// Duration says how long d is, in at most two units: 3 min 20 s.
func (p *Printer) Duration(d time.Duration) string {
	switch {
	case d < time.Second:
		return p.Text(HumanMoment)
	case d < time.Minute:
		return p.Text(HumanSeconds, Args{"N": int64(d / time.Second)})
	case d < time.Hour:
		m, s := int64(d/time.Minute), int64(d%time.Minute/time.Second)
		if s == 0 || m >= 10 {
			return p.Text(HumanMinutes, Args{"N": m})
		}
		return p.Text(HumanMinutesSeconds, Args{"Minutes": m, "Seconds": s})
	case d < 48*time.Hour:
		h, m := int64(d/time.Hour), int64(d%time.Hour/time.Minute)
		if m == 0 {
			return p.Text(HumanHours, Args{"N": h})
		}
		return p.Text(HumanHoursMinutes, Args{"Hours": h, "Minutes": m})
	}
	return p.Text(HumanDays, Args{"N": int64(d / (24 * time.Hour))})
}

// Age says how long ago something d old was: 3 hours ago.
func (p *Printer) Age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return p.Text(HumanNow)
	case d < time.Hour:
		return p.Text(HumanMinutesAgo, Args{"N": int64(d / time.Minute)})
	case d < 48*time.Hour:
		return p.Text(HumanHoursAgo, Args{"N": int64(d / time.Hour)})
	}
	return p.Text(HumanDaysAgo, Args{"N": int64(d / (24 * time.Hour))})
}

// Moment writes t as date and time where the reader is.
func (p *Printer) Moment(t time.Time) string { return t.Local().Format("2006-01-02 15:04") }

// Day writes the date of t where the reader is.
func (p *Printer) Day(t time.Time) string {
	if p.lang == Japanese {
		return t.Local().Format("2006年1月2日")
	}
	return t.Local().Format("2006-01-02")
}
