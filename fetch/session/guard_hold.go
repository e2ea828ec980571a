package session

import (
	"io"
	"os"
)

// heldPart is a body that waits for what has to be handed on before it.
type heldPart struct {
	item []byte // "BODY[] {n}\r\n" or "BODY[] NIL"
	mem  []byte
	file *os.File // octets beyond mem; nil: none
	size int64    // octets left to hand on
	out  bool     // item was handed on
}

// mustHold reports whether a body has to wait because the library, which hands
// it out as it comes, would not know yet whose it is or of when.
func (g *guard) mustHold() bool {
	f := &g.fetch
	if f.head {
		return false
	}
	if len(f.parts) > 0 || f.uid == 0 && !f.w.seqFetches {
		return true
	}
	return f.w.dates && !f.dateSeen && g.dates[f.uid] == nil
}

// bodyInMemory hands on a body item that is not a literal, or holds it.
func (g *guard) bodyInMemory(item string, text []byte) {
	f := &g.fetch
	switch {
	case f.skip:
	case g.mustHold():
		f.parts = append(f.parts, heldPart{item: []byte(item), mem: text, size: int64(len(text))})
	default:
		g.fetchHead()
		g.itemSpace()
		g.out = append(g.out, item...)
		g.out = append(g.out, text...)
	}
}

// hold keeps a body literal until the rest of the response was read.
//
// QUIRK(several): items come in an order of the server's own, BODY[] before UID.
func (g *guard) hold(item string, n int64) error {
	p := heldPart{item: []byte(item), size: n}
	room := int64(guardHoldMax)
	for _, other := range g.fetch.parts {
		room -= int64(len(other.mem))
	}
	var err error
	if n <= room {
		p.mem = make([]byte, n)
		_, err = io.ReadFull(g.br, p.mem)
		g.see(p.mem)
	} else {
		p.file, err = os.CreateTemp("", "fumibako-*")
		if err != nil {
			return failure(ClassLocal, "spool-failed", err)
		}
		// Where an open file can be unlinked, a crash leaves nothing behind.
		os.Remove(p.file.Name())
		err = g.spool(p.file, n)
	}
	g.fetch.parts = append(g.fetch.parts, p)
	if err != nil {
		return cutLiteral(err)
	}
	return nil
}

func (g *guard) spool(f *os.File, n int64) error {
	buf := make([]byte, 64<<10)
	for left := n; left > 0; {
		k, err := g.br.Read(buf[:min(left, int64(len(buf)))])
		g.see(buf[:k])
		left -= int64(k)
		if _, werr := f.Write(buf[:k]); werr != nil {
			return failure(ClassLocal, "spool-failed", werr)
		}
		if err != nil {
			return err
		}
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return failure(ClassLocal, "spool-failed", err)
	}
	return nil
}

// readHeld hands on held bodies. It returns 0, nil when g.out has something.
func (g *guard) readHeld(p []byte) (int, error) {
	h := &g.held[0]
	if !h.out {
		h.out = true
		g.out = append(g.out, h.item...)
		return 0, nil
	}
	if h.size == 0 {
		h.close()
		g.held = g.held[1:]
		if len(g.held) == 0 {
			g.out = append(g.out, ")\r\n"...)
		} else {
			g.out = append(g.out, ' ')
		}
		return 0, nil
	}
	var n int
	if h.file == nil {
		n = copy(p, h.mem)
		h.mem = h.mem[n:]
	} else {
		var err error
		n, err = h.file.Read(p[:min(int64(len(p)), h.size)])
		if n == 0 && err != nil {
			g.fail(failure(ClassLocal, "spool-failed", err))
			return 0, g.failed
		}
	}
	h.size -= int64(n)
	return n, nil
}

func (h *heldPart) close() {
	if h.file != nil {
		h.file.Close()
		os.Remove(h.file.Name()) // where an open file cannot be removed
		h.file = nil
	}
}

func (g *guard) dropHeld() {
	for i := range g.held {
		g.held[i].close()
	}
	for i := range g.fetch.parts {
		g.fetch.parts[i].close()
	}
	g.held, g.fetch.parts = nil, nil
}
