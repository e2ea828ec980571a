package session

import (
	"slices"
	"strings"
)

// aheadState tells where a command stands that was sent before the library
// asked for it.
type aheadState int

const (
	notAhead  aheadState = iota
	waiting              // on the wire; the library does not know of it yet
	claimed              // the library asked for it, and waits for its answer
	forgotten            // the library went another way: its answer is not handed on
)

// sendAhead sends commands, without tags and spelled as the library would spell
// them, that the library is expected to ask for next and in this order. When it
// does, nothing is sent again; until it does, their answers are not read. A
// command of the library that does not go on with them makes them forgotten.
//
// It sends nothing in the midst of a command of the library's.
func (g *guard) sendAhead(commands ...string) {
	g.wmu.Lock()
	defer g.wmu.Unlock()
	if g.closed.Load() || g.inside || g.litOut > 0 || len(g.pending) > 0 {
		return
	}
	g.sending = g.sending[:0]
	for _, text := range commands {
		g.aheads++
		tag := string(appendInt([]byte("E"), int64(g.aheads)))
		line, ok := g.restoreMailboxes([]byte(tag + " " + text))
		if _, _, literal := trailingLiteral(line); !ok || literal {
			break // what follows it would be meant for this mailbox
		}
		line = g.askAlso(line)
		g.mu.Lock()
		g.cmds = append(g.cmds, sentCommand{tag: tag, w: commandWants([]byte(text)), text: text, ahead: waiting})
		g.mu.Unlock()
		if g.command != nil {
			g.command(string(line))
		}
		g.sending = append(g.sending, line...)
		g.sending = append(g.sending, "\r\n"...)
	}
	if len(g.sending) > 0 {
		g.Conn.Write(g.sending) // a failure comes out of Read, as in Write
	}
}

// claim looks for a command of the library's among those sent ahead. What was
// sent before it is forgotten; all is, if it is not there.
//
// A FETCH means whatever mailbox is open, so it counts only in its turn. An
// EXAMINE says itself what it means.
func (g *guard) claim(tag string, text []byte) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	found, next := -1, true
	for i := range g.cmds {
		if c := &g.cmds[i]; c.ahead == waiting {
			if sameCommand(c.text, string(text), next) {
				found = i
				break
			}
			next = false
		}
	}
	g.forgetBefore(found)
	if found >= 0 {
		c := &g.cmds[found]
		c.ahead, c.as = claimed, tag
		g.wants.add(c.w)
	}
	g.turned.Broadcast()
	return found >= 0
}

// next reports whether a command would be claimed that is not an EXAMINE.
func (g *guard) next(text string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.cmds {
		if c := &g.cmds[i]; c.ahead == waiting {
			return sameCommand(c.text, text, true)
		}
	}
	return false
}

// forget gives up all that was sent ahead and is still waiting.
func (g *guard) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forgetBefore(-1)
	g.turned.Broadcast()
}

// forgetBefore forgets what waits before the i-th command; all if i is -1. g.mu
// is held.
func (g *guard) forgetBefore(i int) {
	if i < 0 {
		i = len(g.cmds)
	}
	for k := range g.cmds[:i] {
		if c := &g.cmds[k]; c.ahead == waiting {
			c.ahead = forgotten
		}
	}
}

// sameCommand reports whether two commands ask for the same thing. next is true
// if the first would be the next to be answered.
func sameCommand(a, b string, next bool) bool {
	if a == b {
		return next || strings.HasPrefix(a, "EXAMINE ")
	}
	if !next || !strings.HasPrefix(a, "UID FETCH ") || !strings.HasPrefix(b, "UID FETCH ") {
		return false
	}
	// The library writes the items of a FETCH in no fixed order.
	return slices.Equal(sortedWords(a), sortedWords(b))
}

func sortedWords(s string) []string {
	words := strings.Fields(s)
	for i, w := range words {
		words[i] = strings.Trim(w, "()")
	}
	slices.Sort(words)
	return words
}

// turn waits until the response that was read is one that the library can know
// of: its command was claimed, or forgotten. RFC 3501 §5.5: commands of which one
// affects the other are executed in the order in which they were sent. It returns
// false if it shall not wait and would have to, or the session was dropped.
func (g *guard) turn(wait bool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.cmds) > 0 && g.cmds[0].ahead == waiting && !g.dead.Load() {
		if !wait {
			return false
		}
		g.turned.Wait()
	}
	return !g.dead.Load()
}

// unclaimed deals with an untagged response to a forgotten command: only a
// farewell or a warning is of interest. It speaks of another mailbox than the
// library would think.
func (g *guard) unclaimed(kind []byte, numbered bool) error {
	switch {
	case numbered && equalFold(kind, "FETCH"):
		return g.fetched(wants{}, 1)
	case equalFold(kind, "OK"), equalFold(kind, "NO"), equalFold(kind, "BAD"):
		code, _, text := splitCondition(g.seg.rest())
		g.heard(string(appendUpper(nil, kind)), code, text)
		return g.drop(string(kind), g.seg.b)
	}
	return g.skipResponse(string(kind))
}
