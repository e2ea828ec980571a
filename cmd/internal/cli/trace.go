package cli

import (
	"bytes"
	"os"
	"sync"
)

// traceFile is the transcript of a run: the lines of all its sessions, each
// marked with its account. Sessions mask secrets before they write.
type traceFile struct {
	mu sync.Mutex
	f  *os.File
}

// openTrace opens the file for a transcript, readable by its owner only; nil
// without a path.
func openTrace(path string) (*traceFile, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	// The file may have been there, open to others.
	if err := f.Chmod(0o600); err != nil {
		_ = f.Close()
		return nil, err
	}
	return &traceFile{f: f}, nil
}

func (t *traceFile) Close() error {
	if t == nil {
		return nil
	}
	return t.f.Close()
}

// maxTraceLine bounds what is kept of an unfinished line.
const maxTraceLine = 64 << 10

// traceWriter writes the whole lines of one session.
type traceWriter struct {
	file   *traceFile
	prefix string

	mu   sync.Mutex
	rest []byte
}

func (t *traceWriter) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rest = append(t.rest, b...)
	for {
		i := bytes.IndexByte(t.rest, '\n')
		if i < 0 && len(t.rest) < maxTraceLine {
			return len(b), nil
		}
		if i < 0 {
			i = len(t.rest) - 1
		}
		line := append([]byte(t.prefix), bytes.TrimRight(t.rest[:i+1], "\r\n")...)
		t.rest = append(t.rest[:0], t.rest[i+1:]...)
		t.file.mu.Lock()
		_, err := t.file.f.Write(append(line, '\n'))
		t.file.mu.Unlock()
		if err != nil {
			// A transcript that cannot be written must not end a pull.
			return len(b), nil
		}
	}
}
