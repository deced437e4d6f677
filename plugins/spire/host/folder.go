package host

import (
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	folderPrefix = "attestd-spire-"
	// A younger folder may be one whose owner is about to lock it.
	folderYoung = time.Minute
)

// makeFolder makes the folder (mode 0700) for the socket, and holds a lock on it while this process is
// there. It removes those that killed supervisors of the same user have left.
func makeFolder() (path string, remove func(), err error) {
	// go-plugin's variable for another place than that of temporary files.
	parent := os.Getenv("PLUGIN_UNIX_SOCKET_DIR")
	if parent == "" {
		parent = os.TempDir()
	}
	sweep(parent, time.Now())
	path, err = os.MkdirTemp(parent, folderPrefix)
	if err != nil {
		return "", nil, err
	}
	var lock *os.File
	// Whoever puts another folder in this one's place is whom SPIRE connects with after a child's death.
	if err = DemandClosed(path); err == nil {
		lock, err = lockFolder(path)
	}
	if err != nil {
		_ = os.RemoveAll(path)
		return "", nil, err
	}
	return path, func() { _ = os.RemoveAll(path); _ = lock.Close() }, nil
}

// lockFolder takes the lock, or fails where somebody has it or the folder is not this user's.
func lockFolder(path string) (*os.File, error) {
	folder, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	info, err := folder.Stat()
	if err == nil {
		if stat, ok := info.Sys().(*syscall.Stat_t); !ok || int(stat.Uid) != os.Getuid() {
			err = os.ErrPermission
		}
	}
	if err == nil {
		err = syscall.Flock(int(folder.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err != nil {
		_ = folder.Close()
		return nil, err
	}
	return folder, nil
}

func sweep(parent string, now time.Time) {
	left, err := filepath.Glob(filepath.Join(parent, folderPrefix+"*"))
	if err != nil {
		return
	}
	for _, path := range left {
		info, err := os.Lstat(path)
		if err != nil || !info.IsDir() || now.Sub(info.ModTime()) < folderYoung {
			continue
		}
		if lock, err := lockFolder(path); err == nil {
			_ = os.RemoveAll(path)
			_ = lock.Close()
		}
	}
}
