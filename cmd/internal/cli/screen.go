package cli

import (
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fumibako-mail/fumibako/cmd/internal/phrase"
	"github.com/fumibako-mail/fumibako/fetch"
)

const (
	tickOnTerminal = 100 * time.Millisecond
	tickElsewhere  = 30 * time.Second
	// The estimate for a line nobody has measured yet: an ordinary home line,
	// and what a server needs for each message however small it is.
	assumedRate    = 2 << 20 // octets in a second
	assumedMessage = 2 * time.Millisecond
)

// screen shows on standard error how far a run is: a bar on a terminal, a plain
// line now and then elsewhere. It reads counters and is never in the way of
// what it counts.
type screen struct {
	a        *app
	terminal bool
	quit     chan struct{}
	gone     chan struct{}

	mu     sync.Mutex // guards what follows and the writing
	tracks []*track
	bar    *bar
	asking bool
	held   []string  // lines that wait for the answer to a question
	told   bool      // that a run may be stopped
	first  time.Time // when octets were seen first: what comes before is waiting, not speed
	before int64     // octets that had arrived by then
}

// track counts the progress of one account.
type track struct {
	s    *screen
	name string
	rate int64

	listing         atomic.Pointer[string]
	nth, of         atomic.Int64
	planned         atomic.Bool
	finished        atomic.Bool
	verifying       atomic.Bool
	messages, total atomic.Int64
	octets, size    atomic.Int64
}

func (a *app) newScreen() *screen {
	return &screen{a: a, terminal: onTerminal(a.Err)}
}

// start begins to show progress; stop ends it and leaves the line clean.
func (s *screen) start() {
	s.a.showing.Store(s)
	s.quit, s.gone = make(chan struct{}), make(chan struct{})
	if s.a.opts.quiet {
		close(s.gone)
		return
	}
	every := tickElsewhere
	if s.terminal {
		every = tickOnTerminal
		s.bar = newBar(s.a.Err)
	}
	go func() {
		defer close(s.gone)
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				s.draw()
			case <-s.quit:
				return
			}
		}
	}()
}

func (s *screen) stop() {
	close(s.quit)
	<-s.gone
	s.a.showing.CompareAndSwap(s, nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bar.clear()
}

// line writes a line of its own, above the bar. While a question stands on the
// terminal it waits: it would run into what is being typed.
func (s *screen) line(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asking {
		s.held = append(s.held, text)
		return
	}
	s.bar.clear()
	_, _ = io.WriteString(s.a.Err, text+"\n")
}

// ask keeps the bar away while a question stands on the terminal.
func (s *screen) ask(fn func()) {
	s.mu.Lock()
	s.bar.clear()
	s.asking = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asking = false
		for _, text := range s.held {
			_, _ = io.WriteString(s.a.Err, text+"\n")
		}
		s.held = nil
	}()
	fn()
}

// track begins to count for an account.
func (s *screen) track(name string, rate int64) *track {
	t := &track{s: s, name: name, rate: rate}
	s.mu.Lock()
	s.tracks = append(s.tracks, t)
	s.mu.Unlock()
	return t
}

func (t *track) done() { t.finished.Store(true) }

// observer counts for the screen.
func (t *track) observer() fetch.Observer {
	return fetch.Observer{
		Listing: func(mailbox string, n, of int) {
			t.listing.Store(&mailbox)
			t.nth.Store(int64(n))
			t.of.Store(int64(of))
		},
		Planned: t.plan,
		Octets:  func(n int) { t.octets.Add(int64(n)) },
		Message: func() { t.messages.Add(1) },
	}
}

// plan says what is coming.
func (t *track) plan(p fetch.Plan) {
	t.total.Store(int64(p.Messages))
	t.size.Store(p.Octets)
	t.planned.Store(true)
	if t.s.a.opts.quiet {
		return
	}
	text := func(k phrase.Key, more phrase.Args) string {
		args := phrase.Args{"Account": t.name, "Server": p.Server, "Octets": t.s.a.p.Octets(p.Octets)}
		return t.s.a.p.Text(k, args, more)
	}
	if p.Facts.ExpiresOnRetr {
		t.s.line(text(phrase.ExpiresOnRetr, nil))
	}
	if p.Messages == 0 {
		t.s.line(text(phrase.PlanNothing, phrase.Args{"N": p.Server}))
		return
	}
	t.s.line(text(phrase.PlanComing, phrase.Args{"N": p.Messages, "Time": t.s.a.p.Duration(estimate(p, t.rate))}))
	if t.s.once() {
		t.s.line(t.s.a.p.Text(phrase.PlanStop))
	}
}

// once reports whether it is called for the first time: what holds for the
// whole run is not said again for each of 200 accounts.
func (s *screen) once() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	told := s.told
	s.told = true
	return !told
}

// estimate is how long a plan is going to take at rate octets a second.
func estimate(p fetch.Plan, rate int64) time.Duration {
	if rate <= 0 {
		rate = assumedRate
	}
	transfer := time.Duration(float64(p.Octets) / float64(rate) * float64(time.Second))
	about := max(time.Second, transfer+time.Duration(p.Messages)*assumedMessage)
	if about >= 2*time.Minute {
		about = about.Round(time.Minute) // seconds would promise too much
	}
	return about
}

// draw shows the counters.
func (s *screen) draw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asking {
		return
	}
	var octets, size int64
	var parts []string
	for _, t := range s.tracks {
		octets += t.octets.Load()
		size += max(t.size.Load(), t.octets.Load())
		if !t.finished.Load() {
			parts = append(parts, s.describe(t))
		}
	}
	if len(parts) == 0 {
		return
	}
	now := time.Now()
	if octets > 0 && s.first.IsZero() {
		s.first, s.before = now, octets
	}
	long, short := s.speed(octets, size, now)
	each, sum := strings.Join(parts, " · "), s.together()
	if s.terminal {
		s.bar.set([]string{long(each), long(sum), short(sum), sum}, octets, size)
		return
	}
	_, _ = io.WriteString(s.a.Err, long(each)+"\n")
}

// speed gives two ways of adding to a text how far all accounts together are:
// octets, rate and time left, or the time alone. Neither adds what cannot be
// told yet.
func (s *screen) speed(octets, size int64, now time.Time) (long, short func(text string) string) {
	args := phrase.Args{"Done": s.a.p.Octets(octets), "Size": s.a.p.Octets(size)}
	longKey, shortKey := phrase.ProgressListing, phrase.ProgressListing
	if size > 0 {
		longKey = phrase.ProgressLine
	}
	// A rate over less than a second is a guess.
	if spent := now.Sub(s.first); !s.first.IsZero() && spent >= time.Second && octets > s.before {
		rate := float64(octets-s.before) / spent.Seconds()
		args["Rate"] = s.a.p.Octets(int64(rate))
		args["Left"] = s.a.p.Duration(time.Duration(float64(size-octets) / rate * float64(time.Second)))
		longKey, shortKey = phrase.ProgressRate, phrase.ProgressLeft
	}
	with := func(k phrase.Key) func(string) string {
		return func(text string) string { return s.a.p.Text(k, args, phrase.Args{"Text": text}) }
	}
	return with(longKey), with(shortKey)
}

// together sums the accounts up, for a line that has no room for each.
func (s *screen) together() string {
	var n int
	var messages, total int64
	var last string
	for _, t := range s.tracks {
		messages += t.messages.Load()
		total += t.total.Load()
		if !t.finished.Load() {
			n++
			last = s.describe(t)
		}
	}
	if len(s.tracks) == 1 && s.tracks[0].planned.Load() {
		// There is no other it could be taken for.
		return s.a.p.Text(phrase.TrackAlone, phrase.Args{"N": messages, "Total": total})
	}
	if n == 1 {
		return last
	}
	return s.a.p.Text(phrase.TrackSeveral, phrase.Args{"N": n, "Messages": messages, "Total": total})
}

// describe says in a few words where an account is.
func (s *screen) describe(t *track) string {
	if t.verifying.Load() {
		return s.a.p.Text(phrase.TrackVerifying)
	}
	if t.planned.Load() {
		return s.a.p.Text(phrase.TrackMessages, phrase.Args{"Account": t.name, "N": t.messages.Load(), "Total": t.total.Load()})
	}
	if name := t.listing.Load(); name != nil {
		return s.a.p.Text(phrase.TrackListing, phrase.Args{"Account": t.name, "Mailbox": *name, "Nth": t.nth.Load(), "Of": t.of.Load()})
	}
	return s.a.p.Text(phrase.TrackConnecting, phrase.Args{"Account": t.name})
}
