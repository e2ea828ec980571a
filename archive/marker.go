package archive

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/pelletier/go-toml/v2"
)

// marker is archive.toml: what a reader must know before it touches anything.
type marker struct {
	ID        string `toml:"id"`
	Version   int    `toml:"version"`       // of the format (FORMAT.md)
	Reader    int    `toml:"lowest_reader"` // the lowest version a reader must understand
	Format    Format `toml:"format"`
	Separator string `toml:"separator"` // Maildir: between a file's base name and its flags
}

// formatVersion is the version of the format this package writes and reads.
const formatVersion = 1

//go:embed readme_en.txt
var readmeEnglish []byte

//go:embed readme_ja.txt
var readmeJapanese []byte

// readMarker reads and checks archive.toml, if there is one.
func (a *Archive) readMarker(o Options) (found bool, err error) {
	octets, err := a.fs.read(markerFile)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, a.checkMarker(octets, o)
}

func (a *Archive) checkMarker(octets []byte, o Options) error {
	m := &a.marker
	if err := toml.Unmarshal(octets, m); err != nil {
		return &Error{Code: CodeDamaged, Path: markerFile, Err: err}
	}
	switch {
	case m.Reader > formatVersion:
		return &Error{Code: CodeNewer, Path: a.fs.path, Text: fmt.Sprint(m.Reader)}
	case m.ID == "" || m.Version < 1 || m.Format != Maildir && m.Format != Mbox || m.Format == Maildir && len(m.Separator) != 1:
		return &Error{Code: CodeDamaged, Path: markerFile, Text: "id, version, format, separator"}
	case o.Format != "" && o.Format != m.Format:
		return &Error{Code: CodeOtherFormat, Path: a.fs.path, Text: string(m.Format)}
	}
	if id := remembered(o.StateDir)[a.fs.path]; id != "" && id != m.ID {
		return &Error{Code: CodeOtherArchive, Path: a.fs.path, Text: m.ID}
	}
	return nil
}

// begin makes a new archive. The marker comes last of what a reader needs:
// a folder without it is no archive, and beginning again is harmless.
func (a *Archive) begin(o Options) error {
	if _, err := a.fs.stat(journalDir); err == nil {
		empty := errors.New("not empty")
		err := a.fs.entries(journalDir, func(fs.DirEntry) error { return empty })
		if errors.Is(err, empty) {
			return &Error{Code: CodeDamaged, Path: markerFile, Text: "missing, though journals are there"}
		}
	}
	if err := a.fs.mkdir(ownDir); err != nil {
		return err
	}
	if err := a.tryRename(); err != nil {
		return err
	}
	foreign := foreignFS(a.fs.root)
	a.marker = marker{ID: newID(), Version: formatVersion, Reader: formatVersion, Format: o.Format, Separator: ":"}
	if a.marker.Format == "" {
		a.marker.Format = Maildir
		if foreign {
			a.marker.Format = Mbox
		}
	}
	if foreign || !a.colonWorks() {
		a.marker.Separator = ";"
	}
	for name, octets := range map[string][]byte{"README.txt": readmeEnglish, "はじめにお読みください.txt": readmeJapanese} {
		if _, err := a.fs.stat(name); err == nil {
			continue // somebody's own
		}
		if err := a.fs.replace(name, octets); err != nil {
			return err
		}
	}
	octets, err := toml.Marshal(a.marker)
	if err != nil {
		return err
	}
	head := "# This folder is a fumibako mail archive. FORMAT.md of fumibako says how to read it.\n"
	return a.fs.replace(markerFile, append([]byte(head), octets...))
}

func (a *Archive) tryRename() error {
	from, to := ownDir+"/rename.trial", ownDir+"/rename.done"
	f, err := a.fs.openFile(from, os.O_CREATE|os.O_WRONLY)
	if err != nil {
		return err
	}
	f.Close()
	if err := a.fs.rename(from, to); err != nil {
		a.fs.remove(from)
		return &Error{Code: CodeNoRename, Path: a.fs.path, Err: err}
	}
	return a.fs.remove(to)
}

// colonWorks tries the usual Maildir separator. On Windows a colon would open
// an alternate data stream, so it is not even tried.
func (a *Archive) colonWorks() bool {
	if runtime.GOOS == "windows" {
		return false
	}
	name := ownDir + "/trial:2,"
	f, err := a.fs.openFile(name, os.O_CREATE|os.O_WRONLY)
	if err != nil {
		return false
	}
	f.Close()
	found := false
	a.fs.entries(ownDir, func(e fs.DirEntry) error {
		found = found || e.Name() == "trial:2,"
		return nil
	})
	a.fs.remove(name)
	return found
}

// remembered reads which archive (by id) this user's runs found at which path.
func remembered(stateDir string) map[string]string {
	known := map[string]string{}
	if stateDir == "" {
		return known
	}
	// A missing or broken file means that nothing is remembered.
	if octets, err := os.ReadFile(filepath.Join(stateDir, "archives.json")); err == nil {
		json.Unmarshal(octets, &known)
	}
	return known
}

// remember notes that this archive was found here. It is a safeguard, not a
// part of the archive: where it cannot be written, the run goes on.
func (a *Archive) remember() {
	known := remembered(a.stateDir)
	if a.stateDir == "" || known[a.fs.path] == a.marker.ID {
		return
	}
	known[a.fs.path] = a.marker.ID
	octets, err := json.MarshalIndent(known, "", "  ")
	if err != nil || os.MkdirAll(a.stateDir, 0o700) != nil {
		return
	}
	f, err := os.CreateTemp(a.stateDir, "archives-*.json")
	if err != nil {
		return
	}
	_, err = f.Write(octets)
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(a.stateDir, "archives.json"))
	}
	if err != nil {
		os.Remove(f.Name())
	}
}
