package workloadattestor

import (
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// identity is what a digest is remembered by: as long as it is the same, so is the content.
type identity struct {
	mount        uint64
	major, minor uint32
	inode        uint64
	ctime        unix.StatxTimestamp
	size         uint64
	// lasting says that the number of the mount is never given to another (Linux 6.8 and later).
	lasting bool
	mode    uint16
}

// identify looks at an open file, by its descriptor.
func identify(fd int) (identity, error) {
	var stat unix.Statx_t
	const mask = unix.STATX_BASIC_STATS | unix.STATX_MNT_ID_UNIQUE
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_SYNC_AS_STAT, mask, &stat)
	if err == nil && stat.Mask&(unix.STATX_MNT_ID_UNIQUE|unix.STATX_MNT_ID) == 0 {
		err = unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS|unix.STATX_MNT_ID, &stat)
	}
	if err != nil {
		return identity{}, fmt.Errorf("statx: %w", err)
	}
	if stat.Mask&unix.STATX_BASIC_STATS != unix.STATX_BASIC_STATS {
		return identity{}, fmt.Errorf("statx: got fields %#x, want at least %#x", stat.Mask,
			unix.STATX_BASIC_STATS)
	}
	return identity{
		mount: stat.Mnt_id, major: stat.Dev_major, minor: stat.Dev_minor, inode: stat.Ino,
		ctime: stat.Ctime, size: stat.Size, mode: stat.Mode,
		lasting: stat.Mask&unix.STATX_MNT_ID_UNIQUE != 0,
	}, nil
}

// sameFile reports whether both are one file, whatever became of its content.
func (i identity) sameFile(other identity) bool {
	return i.mount == other.mount && i.major == other.major && i.minor == other.minor &&
		i.inode == other.inode
}

// settled is how long ago a file must have changed for its digest to be remembered. Kernels write the
// time of a change as of their last tick, at most 10 ms ago: who changes a file twice within one, with
// the digest taken in between, leaves device, inode, ctime and size as they were. The rest is for
// clocks that are set.
const settled = 2 * time.Second

// remembers reports whether the digest of the file may be remembered, at the time of day now.
func (i identity) remembers(kind fileSystem, now time.Time) bool {
	changed := time.Unix(i.ctime.Sec, int64(i.ctime.Nsec))
	return now.Sub(changed) > settled && (i.lasting || !kind.image)
}

// fileSystem is what is known about a kind of file system.
type fileSystem struct {
	name string
	// image says that ctime comes from whoever made the image, as inodes do: another image on the same
	// device can have a file that looks the same. Its digests are remembered only by a mount's number
	// that is never given again.
	image bool
}

// fileSystems are those whose content is one for all who read it, and is kept by this kernel. What is
// not among them gets no digest. FUSE, 9p and network file systems have somebody else answer each read,
// who can show the attestor one program and the processor another. Numbers are those of statfs(2).
var fileSystems = map[int64]fileSystem{
	0xef53:     {name: "ext4"},
	0x58465342: {name: "xfs"},
	0x9123683e: {name: "btrfs"},
	0x01021994: {name: "tmpfs"},
	0x858458f6: {name: "ramfs"},
	0x794c7630: {name: "overlay", image: true}, // passes on what is below it
	0xf2f52010: {name: "f2fs"},
	0x2fc12fc1: {name: "zfs"},
	0xca451a4e: {name: "bcachefs"},
	0x24051905: {name: "ubifs"},
	0x73717368: {name: "squashfs", image: true},
	0xe0f5e1e2: {name: "erofs", image: true},
	0x9660:     {name: "iso9660", image: true},
	0x28cd3d45: {name: "cramfs", image: true},
}

// fileSystemOf returns the kind of file system that an open file is on.
func fileSystemOf(fd int) (fileSystem, error) {
	var stat unix.Statfs_t
	if err := unix.Fstatfs(fd, &stat); err != nil {
		return fileSystem{}, fmt.Errorf("statfs: %w", err)
	}
	kind, known := fileSystems[int64(stat.Type)] //nolint:unconvert // 32 bits on some architectures
	if !known {
		return fileSystem{}, fmt.Errorf("it is on a file system of kind 0x%s, which can show each reader "+
			"something else", strconv.FormatInt(int64(stat.Type), 16)) //nolint:unconvert // as above
	}
	return kind, nil
}
