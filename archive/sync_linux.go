package archive

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncfsTrusted lists the file systems whose syncfs waits for data and
// reports write errors (with Linux 5.8 or later, by errseq on the descriptor).
// Others, FUSE and the network ones above all, are synced file by file.
var syncfsTrusted = map[uint32]bool{
	0xEF53:     true, // ext4
	0x58465342: true, // XFS
	0x9123683E: true, // btrfs
	0xF2F52010: true, // f2fs
	0x4d44:     true, // vfat
	0x2011BAB0: true, // exfat
}

// openWhole returns a descriptor for syncFS, opened before the run's first
// write so that no write error escapes it, or nil.
func openWhole(root *os.Root) *os.File {
	var u unix.Utsname
	if unix.Uname(&u) != nil || !atLeast(unix.ByteSliceToString(u.Release[:]), 5, 8) {
		return nil
	}
	f, err := root.Open(".")
	if err != nil {
		return nil
	}
	var st unix.Statfs_t
	if unix.Fstatfs(int(f.Fd()), &st) != nil || !syncfsTrusted[uint32(st.Type)] {
		f.Close()
		return nil
	}
	return f
}

func atLeast(release string, major, minor int) bool {
	n := [2]int{}
	i := 0
	for _, c := range release {
		if c >= '0' && c <= '9' {
			n[i] = n[i]*10 + int(c-'0')
			continue
		}
		if i++; i == 2 || c != '.' {
			break
		}
	}
	return n[0] > major || n[0] == major && n[1] >= minor
}

func syncFS(f *os.File) error { return os.NewSyscallError("syncfs", unix.Syncfs(int(f.Fd()))) }

// foreignFS reports a file system of another world (FAT, exFAT, NTFS, SMB),
// where mbox is the better format and a colon is no part of a name.
func foreignFS(root *os.Root) bool {
	f, err := root.Open(".")
	if err != nil {
		return false
	}
	defer f.Close()
	var st unix.Statfs_t
	if unix.Fstatfs(int(f.Fd()), &st) != nil {
		return false
	}
	switch uint32(st.Type) {
	case 0x4d44, 0x2011BAB0, // vfat, exfat
		0x5346544e, 0x7366746e, 0x65735546, // NTFS, ntfs3, fuseblk (ntfs-3g, exfat-fuse)
		0x517B, 0xFF534D42, 0xFE534D42: // SMB, CIFS, SMB2
		return true
	}
	return false
}
