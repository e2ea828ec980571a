// Package archive keeps messages as ordinary files, Maildir or mboxrd, with a
// journal beside them, and proves what it holds.
//
// Vocabulary: an archive is one folder on one file system. In it each account
// has mailboxes, and each mailbox a journal, an append-only log of what a mail
// file cannot say. Files and journals are the truth; the index is derived from
// them. A batch is a bounded number of changes that are made durable together.
//
// Promises: a message counts as held only after its octets, its journal record
// and its place are on the disk; a crash at any moment leaves every message
// either held or not there; nothing is removed that is not provably a second
// copy. Octets that belong to nothing are kept in .fumibako/recovered.
//
// An Archive may be used by several goroutines. A Mailbox is used by one at a
// time. The package never opens a network connection and prints nothing.
// FORMAT.md specifies what it writes.
package archive

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/fumibako-mail/fumibako/dedupe"
)

// Format is how an archive keeps its mailboxes.
type Format string

const (
	Maildir Format = "maildir"
	Mbox    Format = "mbox" // mboxrd
)

// Options say how an archive is opened.
type Options struct {
	Format   Format // the configured format; "" takes the archive's own, or chooses for a new one (DESIGN §10)
	Create   bool   // begin an archive where there is none
	StateDir string // the user's state folder: remembers archives, and holds the index where the archive's file system cannot; "" for neither
	Command  string // what the lock tells others, e.g. "pull"

	steps func(string) error // tests: see disk.step
}

// Archive is an open archive; this process holds its lock.
type Archive struct {
	fs         *disk
	marker     marker
	lock       *lock
	index      *dedupe.Index
	freshIndex bool    // the index has not followed the journals to their ends yet
	forgot     bool    // nor, by now, that of some mailbox
	spool      *folder // what prepare writes into
	linksTried sync.Once
	hasLinks   bool
	stateDir   string
	serial     atomic.Int64

	mu        sync.Mutex
	notes     []Note
	accounts  []enrolment
	mailboxes map[string]*Mailbox // by account, NUL, name
	byID      map[uint32]*Mailbox
	folded    map[string]uint32 // folded path -> mailbox
	nextID    uint32
	committer *committer
	mboxBuf   []byte // of the committer: entries of the batch it is at
}

// A Note is something Open or a commit found and dealt with that a person may
// want to know.
type Note struct {
	Code string // one of NoteCodes
	Path string
	N    int
}

// The codes of Note.
const (
	NoteTornJournal    = "torn-journal"    // the unfinished end of a log was set aside, or a log that does not say whose it is
	NoteDamagedJournal = "damaged-journal" // N lines inside a log cannot be read, or a log with N messages is gone
	NoteTornMessage    = "torn-message"    // N unfinished messages were set aside; they were never reported as held
	NoteIndexRebuilt   = "index-rebuilt"   // the index was missing or damaged and was built anew from files and journals
	NoteIndexElsewhere = "index-elsewhere" // this file system cannot hold the index; it lies at Path
	NoteRewritten      = "mbox-rewritten"  // another program rewrote an mbox file; N messages were found again in it
	NoteLocked         = "mbox-locked"     // another program holds the lock of an mbox file
)

// NoteCodes lists every code of Note.
var NoteCodes = []string{NoteTornJournal, NoteDamagedJournal, NoteTornMessage, NoteIndexRebuilt, NoteIndexElsewhere, NoteRewritten, NoteLocked}

// Open opens the archive in the folder path and brings it to the state of its
// last commit, whatever happened since. Errors are *Error.
func Open(path string, o Options) (*Archive, error) {
	a, err := open(path, o)
	if err != nil {
		return nil, failure(path, err)
	}
	return a, nil
}

func open(path string, o Options) (_ *Archive, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := atPlace(path, o); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	steps := o.steps
	if steps == nil {
		steps = func(string) error { return nil }
	}
	d := &disk{root: root, path: path, steps: o.steps}
	d.sync = &syncer{whole: openWhole(root), root: root, step: steps}
	a := &Archive{
		fs: d, stateDir: o.StateDir,
		mailboxes: map[string]*Mailbox{}, byID: map[uint32]*Mailbox{}, folded: map[string]uint32{}, nextID: 1,
	}
	defer func() {
		if err != nil {
			a.release()
		}
	}()
	// What must not be touched is found out before the first write; what is to
	// be begun is begun by whoever has the lock.
	found, err := a.readMarker(o)
	if err != nil {
		return nil, err
	}
	if a.lock, err = acquire(d, o.Command); err != nil {
		return nil, err
	}
	if !found {
		if found, err = a.readMarker(o); err == nil && !found {
			err = a.begin(o)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := a.prepareFolders(); err != nil {
		return nil, err
	}
	if err := a.loadAccounts(); err != nil {
		return nil, err
	}
	if err := a.loadMailboxes(); err != nil {
		return nil, err
	}
	if err := a.openRecovered(); err != nil {
		return nil, err
	}
	a.remember()
	a.committer = newCommitter(a)
	return a, nil
}

// atPlace looks whether path may hold the archive before anything is made.
func atPlace(path string, o Options) error {
	fi, err := os.Stat(path)
	if err == nil && !fi.IsDir() || errors.Is(err, syscall.ENOTDIR) {
		return &Error{Code: CodeNotFolder, Path: path}
	}
	if err == nil {
		if _, err := os.Stat(filepath.Join(path, filepath.FromSlash(markerFile))); err == nil {
			return nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// No archive here. If there was one, its disk is not there, and what is
	// written now would land in an empty mount point.
	if id := remembered(o.StateDir)[path]; id != "" {
		return &Error{Code: CodeAbsent, Path: path, Text: id}
	}
	if !o.Create {
		return &Error{Code: CodeAbsent, Path: path}
	}
	return os.MkdirAll(path, 0o700)
}

// prepareFolders makes the archive's own folders and removes what a crash
// left in the spool: it was never recorded.
func (a *Archive) prepareFolders() error {
	for _, dir := range []string{journalDir, spoolDir} {
		if err := a.fs.mkdir(dir); err != nil {
			return err
		}
	}
	err := a.fs.entries(spoolDir, func(e fs.DirEntry) error { return a.fs.remove(spoolDir + "/" + e.Name()) })
	if err == nil {
		a.spool, err = a.fs.folder(spoolDir)
	}
	return err
}

// links reports whether the file system has hard links, found out by making one.
func (a *Archive) links() bool {
	a.linksTried.Do(a.tryLinks)
	return a.hasLinks
}

func (a *Archive) tryLinks() {
	f, name, err := a.spoolFile()
	if err != nil {
		return
	}
	f.Close()
	from, to := spoolDir+"/"+name, spoolDir+"/"+name+".link"
	a.hasLinks = a.fs.root.Link(filepath.FromSlash(from), filepath.FromSlash(to)) == nil
	if a.hasLinks {
		a.fs.remove(to)
	}
	a.fs.remove(from)
}

// Close commits what is pending and gives the lock back.
func (a *Archive) Close() error {
	err := a.Flush()
	a.committer.stop()
	a.release()
	return err
}

func (a *Archive) release() {
	if a.index != nil {
		where := a.index.Path()
		a.index.Close()
		if a.index.Damaged() {
			setAside(where) // if it fails, the next Open meets the damage again
		}
	}
	a.fs.sync.close()
	if a.spool != nil {
		a.spool.close()
	}
	if a.lock != nil {
		a.lock.release()
	}
	a.fs.root.Close()
}

// ID is the identity written in the archive when it began.
func (a *Archive) ID() string { return a.marker.ID }

// Path is the archive's folder, absolute.
func (a *Archive) Path() string { return a.fs.path }

// Format is how this archive keeps its mailboxes.
func (a *Archive) Format() Format { return a.marker.Format }

// Notes lists what was found and dealt with since Open.
func (a *Archive) Notes() []Note {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]Note(nil), a.notes...)
}

func (a *Archive) note(code, path string, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.notes {
		if a.notes[i].Code == code && a.notes[i].Path == path {
			a.notes[i].N += n
			return
		}
	}
	a.notes = append(a.notes, Note{code, path, n})
}

func (a *Archive) unique() int64 { return a.serial.Add(1) }

// spoolFile makes a new file in the spool.
func (a *Archive) spoolFile() (*os.File, string, error) {
	for {
		name := fmt.Sprintf("%d", a.unique())
		f, err := a.fs.openFile(spoolDir+"/"+name, os.O_CREATE|os.O_EXCL|os.O_RDWR)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		return f, name, err
	}
}

// SaveStatus replaces the archive's status file atomically.
func (a *Archive) SaveStatus(octets []byte) error {
	return failure(statusFile, a.fs.replace(statusFile, octets))
}

// ReadStatus reads the status file of the archive at path without locking it.
// The error is fs.ErrNotExist where no run has ended yet, and *Error where
// there is no archive.
func ReadStatus(path string) ([]byte, error) {
	if _, err := os.Stat(filepath.Join(path, filepath.FromSlash(markerFile))); err != nil {
		return nil, &Error{Code: CodeAbsent, Path: path, Err: err}
	}
	return os.ReadFile(filepath.Join(path, filepath.FromSlash(statusFile)))
}

func newID() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// sortedMailboxes lists the mailboxes in the order in which they were first seen.
func (a *Archive) sortedMailboxes() []*Mailbox {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := make([]*Mailbox, 0, len(a.byID))
	for _, m := range a.byID {
		list = append(list, m)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].id < list[j].id })
	return list
}
