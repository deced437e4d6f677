package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/attestd/attestd"
)

// DemandClosed refuses a path that others can put something else under: in a folder to which everybody
// may write, or below one in which everybody may move what is not theirs. A folder that is not there yet
// is as safe as the one it will be made in.
//
// Errors: a [*attestd.CallerError] of class CONFIG.
func DemandClosed(path string) error {
	var below fs.FileInfo
	for {
		real, err := filepath.EvalSymlinks(path)
		var info fs.FileInfo
		if err == nil {
			path = real
			info, err = os.Stat(path)
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return open(path, err.Error())
		case info.Mode().Perm()&0o002 == 0:
		case info.Mode()&fs.ModeSticky == 0 && isMount(path):
			// A volume for this one purpose: Kubernetes opens those that it makes to every user, and gives
			// them to no other pod.
		case below == nil, info.Mode()&fs.ModeSticky == 0, !trusted(below):
			return open(path, "everybody can make or replace what is in it")
		}
		if err == nil {
			below = info
		}
		above := filepath.Dir(path)
		if above == path {
			return nil
		}
		path = above
	}
}

// trusted reports whether a file is root's or this user's.
func trusted(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && (stat.Uid == 0 || int(stat.Uid) == os.Geteuid())
}

func open(path, why string) error {
	return &attestd.CallerError{
		Class: attestd.ClassConfig,
		Hint:  "name a place below folders to which their owners alone can write, as in /run",
		Err:   fmt.Errorf("folder %q: %s", attestd.Excerpt(path, 200), why),
	}
}
