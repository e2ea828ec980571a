package fetchtest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
)

// A Step is one thing that a Script does.
type Step struct {
	name string
	do   func(*scriptConn) error
}

// Send writes text as it is, but for `$TAG`, which stands for the first word
// of the line that the last Expect read: the tag of an IMAP command.
func Send(text string) Step {
	return Step{"send", func(c *scriptConn) error {
		_, err := io.WriteString(c.raw, strings.ReplaceAll(text, "$TAG", c.tag))
		return err
	}}
}

// SendOctets writes octets as they are.
func SendOctets(octets []byte) Step {
	return Step{"send", func(c *scriptConn) error {
		_, err := c.raw.Write(octets)
		return err
	}}
}

// Repeat writes octets n times, or until the peer is gone if n is negative.
// A peer that leaves early is no error.
func Repeat(octets []byte, n int64) Step {
	return Step{"repeat", func(c *scriptConn) error {
		per := max(1, 32<<10/max(1, len(octets)))
		block := bytes.Repeat(octets, per)
		for n != 0 {
			out := block
			if n > 0 && n < int64(per) {
				out = block[:int(n)*len(octets)]
			}
			if _, err := c.raw.Write(out); err != nil {
				return errScriptEnd
			}
			if n > 0 {
				n -= int64(len(out) / max(1, len(octets)))
			}
		}
		return nil
	}}
}

// Expect reads one line and demands that it contains text, in whatever case.
// An empty text takes any line.
func Expect(text string) Step {
	return Step{"expect " + text, func(c *scriptConn) error {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return err
		}
		line = strings.TrimRight(line, "\r\n")
		c.script.mu.Lock()
		c.script.received = append(c.script.received, line)
		c.script.mu.Unlock()
		c.tag, _, _ = strings.Cut(line, " ")
		if !strings.Contains(strings.ToLower(line), strings.ToLower(text)) {
			return fmt.Errorf("received %q", line)
		}
		return nil
	}}
}

// Hang says nothing more until the peer closes the connection or the Script is
// closed.
func Hang() Step {
	return Step{"hang", func(c *scriptConn) error {
		io.Copy(io.Discard, c.r)
		return errScriptEnd
	}}
}

// Reset ends the connection with a reset.
func Reset() Step {
	return Step{"reset", func(c *scriptConn) error {
		end(c.raw, true)
		return errScriptEnd
	}}
}

var errScriptEnd = errors.New("fetchtest: the script has ended")

// A Script is a peer on a loopback address that plays steps to each client and
// then closes the connection. It understands nothing.
type Script struct {
	plays [][]Step

	peer
	n        int
	received []string
	err      error
}

type scriptConn struct {
	script *Script
	raw    *net.TCPConn
	r      *bufio.Reader
	tag    string
}

// NewScript returns a Script that plays the same steps in each connection. It
// listens only after Listen.
func NewScript(steps ...Step) *Script { return NewScripts(steps) }

// NewScripts returns a Script that plays one list of steps in each connection;
// the last list serves all later ones.
func NewScripts(plays ...[]Step) *Script {
	return &Script{plays: plays}
}

// Listen starts the peer on a free port of 127.0.0.1 and returns its address.
func (s *Script) Listen() (*net.TCPAddr, error) {
	return s.listen(func(c net.Conn) {
		s.mu.Lock()
		s.conns[c] = struct{}{}
		steps := s.plays[min(s.n, len(s.plays)-1)]
		s.n++
		s.mu.Unlock()
		go s.play(c.(*net.TCPConn), steps)
	})
}

func (s *Script) play(raw *net.TCPConn, steps []Step) {
	c := &scriptConn{script: s, raw: raw, r: bufio.NewReader(raw)}
	for i, step := range steps {
		err := step.do(c)
		if errors.Is(err, errScriptEnd) {
			break
		}
		if err != nil {
			s.mu.Lock()
			if s.err == nil {
				s.err = fmt.Errorf("fetchtest: step %d (%s): %w", i+1, step.name, err)
			}
			s.mu.Unlock()
			break
		}
	}
	end(raw, false)
	s.mu.Lock()
	delete(s.conns, raw)
	s.mu.Unlock()
}

// Close stops the peer and ends every connection. It may be called twice.
func (s *Script) Close() error { return s.close() }

// Received returns the lines that Expect has read so far, without line ends.
func (s *Script) Received() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.received...)
}

// Conns returns how many connections were accepted so far.
func (s *Script) Conns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

// Err returns the first step that did not go as written, or nil.
func (s *Script) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
