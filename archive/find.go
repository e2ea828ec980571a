package archive

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/fumibako-mail/fumibako/archive/maildir"
	"github.com/fumibako-mail/fumibako/dedupe"
)

// A Place is where a message is held.
type Place struct {
	Account, Mailbox string
	Path             string    // of the file, relative to the archive
	Offset           int64     // mbox: where its entry begins
	Stored           time.Time // when this archive first held it
	Date             time.Time // INTERNALDATE, or the message's own date
	Present          bool      // the file is there with the recorded size
}

// FindMessageID looks a Message-ID up in the journals of the archive at path,
// without locking it. It may miss what a run is committing at this moment.
func FindMessageID(archivePath, messageID string) ([]Place, error) {
	root, err := os.OpenRoot(archivePath)
	if err != nil {
		return nil, &Error{Code: CodeAbsent, Path: archivePath, Err: err}
	}
	defer root.Close()
	d := &disk{root: root, path: archivePath}
	if _, err := d.stat(markerFile); err != nil {
		return nil, &Error{Code: CodeAbsent, Path: archivePath, Err: err}
	}
	want := dedupe.NormalizeMessageID(messageID)
	var places []Place
	err = d.entries(journalDir, func(e fs.DirEntry) error {
		if !strings.HasSuffix(e.Name(), ".log") {
			return nil
		}
		found, err := d.findIn(journalDir+"/"+e.Name(), want)
		places = append(places, found...)
		return err
	})
	sort.Slice(places, func(i, j int) bool { return places[i].Stored.Before(places[j].Stored) })
	return places, failure(archivePath, err)
}

func (d *disk) findIn(journal, messageID string) ([]Place, error) {
	f, err := d.open(journal)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head, err := readHead(f)
	if err != nil || head == nil {
		return nil, err
	}
	if _, err := f.Seek(0, 0); err != nil {
		return nil, err
	}
	records, err := currentRecords(f, func(_ uint32, r *record) bool { return messageID != "" && string(r.MessageID) == messageID })
	if err != nil {
		return nil, err
	}
	var places []Place
	for _, r := range records {
		p := Place{
			Account: string(head.Account), Mailbox: string(head.Mailbox), Path: string(head.Path), Offset: r.Offset,
			Stored: time.Unix(r.At, 0), Date: parseTimeText(r.Internal),
		}
		if p.Date.IsZero() {
			p.Date = parseTimeText(r.Date)
		}
		d.locate(&p, r)
		places = append(places, p)
	}
	return places, nil
}

// locate finds the file of a record as it is named now.
func (d *disk) locate(p *Place, r *record) {
	if r.File == "" {
		fi, err := d.stat(p.Path)
		p.Present = err == nil && r.Offset >= 0 && r.Offset+r.Length <= fi.Size()
		return
	}
	for _, sub := range []string{"cur", "new"} {
		dir := path.Join(p.Path, sub)
		err := d.entries(dir, func(e fs.DirEntry) error {
			base, _ := maildir.Split(e.Name())
			if base != string(r.File) {
				return nil
			}
			if fi, err := d.root.Lstat(filepath.Join(filepath.FromSlash(dir), e.Name())); err == nil {
				p.Path, p.Present = path.Join(dir, e.Name()), fi.Size() == r.Length
			}
			return fs.SkipAll
		})
		if err == fs.SkipAll {
			return
		}
	}
	p.Path = path.Join(p.Path, "cur", string(r.File))
}
