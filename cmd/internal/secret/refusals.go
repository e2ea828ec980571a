package secret

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"github.com/fumibako-mail/fumibako/cmd/internal/safe"
)

const (
	refusalsName  = "refusals.json"
	refusalsLimit = 1 << 20 // octets
	keyOctets     = 32
	wordsLimit    = 300 // characters of a server's answer
)

// Refusals remembers, across runs, which login was refused with which secret,
// so that only a changed secret or a person tries again (servers lock accounts).
// Of the secret it keeps an HMAC-SHA256 under a random key; key and digests are
// in one file that only the user can read.
//
// Its methods may be called concurrently, and by several processes.
type Refusals struct {
	path string
	mu   sync.Mutex
}

// refusalsFile is the file. Key is made with the first refusal.
type refusalsFile struct {
	Version int                `json:"version"`
	Key     []byte             `json:"key"`
	Refused map[string]refusal `json:"refused"` // by login, as Account.ID names it
}

type refusal struct {
	Digest []byte    `json:"digest"`
	When   time.Time `json:"when"`
	Words  string    `json:"words"`
}

// OpenRefusals opens what is remembered in the folder dir, making the folder if
// need be. A damaged file counts as an empty one: the worst that follows is one
// more refused login. Failures are *Error with CodeRefusals. Nothing has to be
// closed.
func OpenRefusals(dir string) (*Refusals, error) {
	r := &Refusals{path: filepath.Join(dir, refusalsName)}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, r.unusable(err)
	}
	if _, err := r.read(); err != nil {
		return nil, r.unusable(err)
	}
	return r, nil
}

// Refused says whether the server refused this very secret for the login id the
// last time, when, and with which words (fit for a terminal).
func (r *Refusals) Refused(id, secret string) (when time.Time, serverWords string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f, err := r.read()
	if err != nil {
		return time.Time{}, "", false
	}
	was, ok := f.Refused[id]
	if !ok || !hmac.Equal(was.Digest, f.digest(id, secret)) {
		return time.Time{}, "", false
	}
	return was.When, safe.Text(was.Words, wordsLimit), true
}

// Remember notes that the server refused secret for the login id at now, with
// these words. It replaces what was noted for id before.
func (r *Refusals) Remember(id, secret, words string, now time.Time) error {
	return r.change(func(f *refusalsFile) bool {
		if secret != "" {
			// Some servers repeat the command they refuse.
			words = strings.ReplaceAll(words, secret, "…")
		}
		if f.Key == nil {
			f.Key = make([]byte, keyOctets)
			_, _ = rand.Read(f.Key) // never fails (crypto/rand)
		}
		f.Refused[id] = refusal{Digest: f.digest(id, secret), When: now.UTC().Truncate(time.Second), Words: safe.Text(words, wordsLimit)}
		return true
	})
}

// Clear forgets what is noted for the login id, as after a login that went well.
func (r *Refusals) Clear(id string) error {
	return r.change(func(f *refusalsFile) bool {
		if _, ok := f.Refused[id]; !ok {
			return false
		}
		delete(f.Refused, id)
		return true
	})
}

// digest binds the secret to the login, so that two accounts with one password
// are not seen to have it.
func (f *refusalsFile) digest(id, secret string) []byte {
	h := hmac.New(sha256.New, f.Key)
	h.Write([]byte(id))
	h.Write([]byte{0})
	h.Write([]byte(secret))
	return h.Sum(nil)
}

// change reads, edits and writes the file while no other process does. edit
// returns false if there is nothing to write.
func (r *Refusals) change(edit func(*refusalsFile) bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	lock := flock.New(r.path+".lock", flock.SetPermissions(0o600))
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := lock.TryLockContext(ctx, 20*time.Millisecond); err != nil {
		return r.unusable(err)
	}
	defer lock.Close()
	f, err := r.read()
	if err != nil {
		return r.unusable(err)
	}
	if !edit(f) {
		return nil
	}
	if err := r.write(f); err != nil {
		return r.unusable(err)
	}
	return nil
}

// read returns the file, or an empty one if it is absent or damaged.
func (r *Refusals) read() (*refusalsFile, error) {
	empty := func() *refusalsFile { return &refusalsFile{Version: 1, Refused: map[string]refusal{}} }
	file, err := openWithoutWaiting(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return empty(), nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if st, err := file.Stat(); err == nil && ownerOnly(st) == CodeFilePermissions {
		// With key and digests a password can be guessed at leisure.
		if err := file.Chmod(0o600); err != nil {
			return nil, err
		}
	}
	octets, err := io.ReadAll(io.LimitReader(file, refusalsLimit+1))
	if err != nil {
		return nil, err
	}
	f := empty()
	if len(octets) > refusalsLimit || json.Unmarshal(octets, f) != nil || len(f.Key) != keyOctets || f.Version != 1 {
		return empty(), nil
	}
	if f.Refused == nil {
		f.Refused = map[string]refusal{}
	}
	return f, nil
}

// write replaces the file by f: whole or not at all, also in a power cut.
func (r *Refusals) write(f *refusalsFile) error {
	octets, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	dir := filepath.Dir(r.path)
	tmp, err := os.CreateTemp(dir, refusalsName+".*.tmp") // with mode 0600
	if err != nil {
		return err
	}
	_, err = tmp.Write(append(octets, '\n'))
	if err == nil {
		err = tmp.Sync()
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = rename(tmp.Name(), r.path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name()) // the first error counts
		return err
	}
	return syncDir(dir)
}

// rename tries for a while: on Windows a file that another process has open
// just now cannot be replaced.
func rename(from, to string) error {
	var err error
	for range 25 {
		if err = os.Rename(from, to); err == nil || runtime.GOOS != "windows" {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}

func (r *Refusals) unusable(err error) *Error {
	return &Error{Code: CodeRefusals, Args: safe.Args("path", r.path), Err: err}
}
