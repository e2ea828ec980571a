package session

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"
	"unicode/utf8"
)

const (
	pipelineMessages = 32      // commands on their way at once, at most
	pipelineOctets   = 1 << 20 // announced octets on their way at once, but for one message
	unknownSize      = 16 << 10

	// maxUniqueID bounds a unique-id in octets. QUIRK(several): RFC 1939 §7 allows
	// 70, but a somewhat longer one names a message just as well; fetchmail has
	// room for 128.
	maxUniqueID = 128
)

// Listing returns the messages of the maildrop by LIST and UIDL, where Stat
// said there were count, in the server's order. uidl tells whether the server
// has UIDL at all. If LIST names more or fewer messages than STAT counted, the
// error has the reason "list-incomplete"; what it names beyond both the count
// and the numbers in it came later and is left out.
func (p *POP3) Listing(ctx context.Context, count uint32) (msgs []POP3Message, uidl bool, err error) {
	end, err := p.begin(ctx)
	if err != nil {
		return nil, false, err
	}
	defer end()
	if count == 0 {
		// Some servers refuse to list nothing.
		offered, known := p.Offers("UIDL")
		return nil, offered || !known, nil
	}
	msgs, err = p.list(count)
	if err != nil {
		return nil, false, err
	}
	uidl, err = p.uidl(msgs)
	return msgs, uidl, err
}

func (p *POP3) list(count uint32) ([]POP3Message, error) {
	ok, words, bare, err := p.ask("LIST")
	if err != nil {
		return nil, p.kill(err)
	}
	if !ok {
		return nil, p.refusal(words, ClassRefused, "list-refused")
	}
	msgs := make([]POP3Message, 0, min(count, 1<<16))
	seen := make(map[uint32]bool, min(count, 1<<16))
	err = p.lines(bare, 2*int(count)+1000, func(line []byte) {
		num, rest, ok := messageNumber(line)
		if !ok || seen[num] {
			return
		}
		seen[num] = true
		size := int64(-1)
		if f := bytes.Fields(rest); len(f) > 0 {
			if n, err := strconv.ParseInt(string(f[0]), 10, 64); err == nil && n >= 0 {
				size = n
			}
		}
		msgs = append(msgs, POP3Message{Num: num, Size: size})
	})
	if err != nil {
		return nil, p.kill(err)
	}
	if len(msgs) > int(count) {
		// A message that came after STAT has a number of its own.
		kept := msgs[:0]
		for _, m := range msgs {
			if m.Num <= count {
				kept = append(kept, m)
			}
		}
		msgs = kept
	}
	if len(msgs) != int(count) {
		return nil, failure(ClassProtocol, "list-incomplete", nil)
	}
	return msgs, nil
}

// uidl fills in the unique-ids of msgs; false if the server has none to give.
func (p *POP3) uidl(msgs []POP3Message) (bool, error) {
	ok, _, bare, err := p.ask("UIDL")
	if err != nil {
		return false, p.kill(err)
	}
	if !ok {
		return false, nil
	}
	at := make(map[uint32]int, len(msgs))
	for i, m := range msgs {
		at[m.Num] = i
	}
	named := make(map[uint32]string, len(msgs))
	err = p.lines(bare, 2*len(msgs)+1000, func(line []byte) {
		num, rest, ok := messageNumber(line)
		i, listed := at[num]
		if !ok || !listed {
			return
		}
		uid := uniqueID(rest)
		if before, twice := named[num]; twice && before != uid {
			uid = "" // one message, two names: neither can be relied on
		}
		named[num] = uid
		msgs[i].UID = uid
	})
	if err != nil {
		return false, p.kill(err)
	}
	return true, nil
}

// messageNumber splits a scan line into its message number and what follows
// the space.
func messageNumber(line []byte) (num uint32, rest []byte, ok bool) {
	line = bytes.TrimLeft(line, " \t")
	digits, rest, _ := bytes.Cut(line, []byte(" "))
	n, err := strconv.ParseUint(string(digits), 10, 32)
	if err != nil || n == 0 {
		return 0, nil, false
	}
	return uint32(n), rest, true
}

// uniqueID returns the unique-id in what follows the message number of a UIDL
// line, or "" if it is not usable: none, too long, or with octets that cannot be
// kept as text. Spaces in it are part of it.
func uniqueID(rest []byte) string {
	rest = bytes.Trim(rest, " \t")
	if len(rest) > maxUniqueID || !utf8.Valid(rest) {
		return ""
	}
	for _, b := range rest {
		if b < ' ' || b == 0x7f {
			return ""
		}
	}
	return string(rest)
}

// lines calls fn with each line of a multi-line response, without its line end
// and its stuffing, cut to listLine octets. It ends as dotReader does. More than
// most lines are an *Error.
func (p *POP3) lines(bare bool, most int, fn func(line []byte)) error {
	start := true // the last line end was one that a line of its own begins after
	for n := 0; ; n++ {
		line, err := p.c.readLine(connBuffer)
		if err != nil {
			return err
		}
		crlf := bytes.HasSuffix(line, []byte("\r\n"))
		if start && line[0] == '.' {
			if string(line) == ".\r\n" && !bare || string(line) == ".\n" && bare {
				return nil
			}
			line = line[1:]
		}
		if crlf {
			bare = false
		}
		start = crlf || bare
		if n >= most {
			return failure(ClassProtocol, "list-too-long", nil)
		}
		line = bytes.TrimRight(line, "\r\n")
		fn(line[:min(len(line), listLine)])
	}
}

// Retr retrieves the messages want (RFC 1939 §5), several at once if the server
// has PIPELINING (RFC 2449 §6.8). It calls fn for each in order, with its index
// in want and either its octets or the server's refusal. body is valid only
// inside fn. If fn leaves some of it, the rest is skipped.
//
// If body fails, fn is not called again and Retr returns why, whatever fn
// returned; body's own error is io.ErrUnexpectedEOF where the line was cut. An
// error of fn cuts the session off and is returned as it is.
func (p *POP3) Retr(ctx context.Context, want []POP3Message, fn func(i int, body io.Reader, refused *Error) error) error {
	return p.stream(ctx, want, fn, func(b []byte, num uint32) []byte {
		return strconv.AppendUint(append(b, "RETR "...), uint64(num), 10)
	})
}

// Top retrieves the header of the messages want (RFC 1939 §7), as Retr does
// with whole messages.
func (p *POP3) Top(ctx context.Context, want []POP3Message, fn func(i int, body io.Reader, refused *Error) error) error {
	headers := make([]POP3Message, len(want))
	for i, m := range want {
		headers[i] = POP3Message{Num: m.Num, Size: 2 << 10}
	}
	return p.stream(ctx, headers, fn, func(b []byte, num uint32) []byte {
		b = strconv.AppendUint(append(b, "TOP "...), uint64(num), 10)
		return append(b, " 0"...)
	})
}

func (p *POP3) stream(ctx context.Context, want []POP3Message, fn func(int, io.Reader, *Error) error, command func([]byte, uint32) []byte) error {
	end, err := p.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	window := 1
	if piped, _ := p.Offers("PIPELINING"); piped {
		window = pipelineMessages
	}
	// Commands are written beside the reading: a server that waits until its
	// answers are taken before it reads on would stop us both otherwise.
	batches := make(chan []byte, window)
	written := make(chan struct{})
	go func() {
		defer close(written)
		p.writeBatches(batches)
	}()
	defer func() {
		close(batches)
		<-written
	}()
	sent, announced := 0, int64(0)
	for i := range want {
		if ctx.Err() != nil {
			return p.kill(ctx.Err()) // the buffer may hold more answers; they are not wanted any more
		}
		if sent-i <= window/2 {
			var batch []byte
			for sent < len(want) && sent-i < window && (sent == i || announced+hint(want[sent]) <= pipelineOctets) {
				batch = append(command(batch, want[sent].Num), "\r\n"...)
				announced += hint(want[sent])
				sent++
			}
			if len(batch) > 0 {
				batches <- batch
			}
		}
		if err := p.answer(i, fn); err != nil {
			return p.cutOff(err)
		}
		announced -= hint(want[i])
	}
	return nil
}

func hint(m POP3Message) int64 {
	if m.Size < 0 {
		return unknownSize
	}
	return m.Size
}

// writeBatches writes command lines until the channel is closed. A failure is
// not reported: the reader meets its consequence, after all answers that came.
func (p *POP3) writeBatches(batches <-chan []byte) {
	var failed error
	for b := range batches {
		if failed != nil {
			continue
		}
		if t := p.c.s.Trace; t != nil && t.Command != nil {
			for line := range bytes.Lines(b) {
				p.c.traceCommand(string(bytes.TrimRight(line, "\r\n")))
			}
		}
		_, failed = p.c.Write(b)
	}
}

// fnError marks an error that fn returned, and that is to be returned as it is.
type fnError struct{ error }

// answer reads one response and hands it to fn.
func (p *POP3) answer(i int, fn func(int, io.Reader, *Error) error) error {
	ok, words, bare, err := p.status()
	if err != nil {
		return err
	}
	if !ok {
		e := p.refusal(words, ClassRefused, "message-refused")
		e.Reach = ReachMessage
		if err := fn(i, nil, e); err != nil {
			return fnError{err}
		}
		return nil
	}
	body := newDotReader(p.c.br, bare)
	err = fn(i, body, nil)
	if err == nil {
		body.drain()
	}
	if p.c.tr != nil {
		p.c.tr.body(fromServer, body.raw)
	}
	switch {
	case body.err != nil && !body.complete():
		return body.err
	case err != nil:
		return fnError{err}
	}
	return nil
}

// cutOff is kill for an error that may be fn's.
func (p *POP3) cutOff(err error) error {
	var own fnError
	if errors.As(err, &own) {
		p.kill(failure(ClassLocal, "session-ended", nil))
		return own.error
	}
	return p.kill(err)
}
