package archive

// An Error is a failure of the archive as a whole. It ends the run: exit code 3.
type Error struct {
	Code string // one of Codes
	Path string // the file or folder it is about
	Text string // more, for the reader of a sentence: who holds the lock, which version; may be ""
	Err  error  // the cause; may be nil
}

// The codes of Error.
const (
	CodeLocked       = "archive-locked"       // another process has it open; Text names it
	CodeNotFolder    = "archive-not-folder"   // the path is a file
	CodeReadOnly     = "archive-read-only"    // nothing can be written there
	CodeFull         = "archive-full"         // no space, or over a disk quota
	CodeAbsent       = "archive-absent"       // an archive was here before, or is expected, and is not
	CodeOtherArchive = "archive-other"        // another archive lies at this path than the one remembered; Text has its id
	CodeNewer        = "archive-newer"        // written by a newer version; Text has the lowest version that reads it
	CodeOtherFormat  = "archive-other-format" // configured format differs; Text has the archive's own
	CodeNoRename     = "archive-no-rename"    // the file system cannot rename: no archive can be kept there safely
	CodeDamaged      = "archive-damaged"      // something that must be readable is not; Text says what
	CodeIO           = "archive-io"           // reading or writing failed
)

// Codes lists every code, so that a test can demand a sentence for each.
var Codes = []string{CodeLocked, CodeNotFolder, CodeReadOnly, CodeFull, CodeAbsent, CodeOtherArchive, CodeNewer,
	CodeOtherFormat, CodeNoRename, CodeDamaged, CodeIO}

func (e *Error) Error() string {
	s := e.Code
	if e.Path != "" {
		s += " " + e.Path
	}
	if e.Text != "" {
		s += " (" + e.Text + ")"
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }
