package local_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/plugins/spire/keysocket/local"
)

// base is a folder that others may look into, as /run is; those of t.TempDir may be too long for a
// plain client's socket path.
func base(t *testing.T) string {
	t.Helper()
	path, err := os.MkdirTemp("", "local")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(path) })
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func closeAfter(t *testing.T, closer io.Closer) {
	t.Helper()
	t.Cleanup(func() { _ = closer.Close() })
}

func made(t *testing.T) *local.Folder {
	t.Helper()
	folder, err := local.Make(filepath.Join(base(t), "run"))
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, folder)
	return folder
}

// greet listens and says "hello" to everybody who is let in.
func greet(t *testing.T, folder *local.Folder, root bool) (refused *atomic.Int32) {
	t.Helper()
	refused = new(atomic.Int32)
	listener, err := folder.Listen(t.Context(), "s", root, func(local.Peer) { refused.Add(1) })
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, listener)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("hello"))
			_ = conn.Close()
		}
	}()
	return refused
}

func TestAFolderThatOthersCouldReachOrReplaceIsRefused(t *testing.T) {
	for name, row := range map[string]struct {
		make func(t *testing.T, base string) string
		want string
	}{
		"relative": {func(*testing.T, string) string { return "run" }, "not the whole path"},
		"missing":  {func(_ *testing.T, base string) string { return filepath.Join(base, "none") }, "no such file"},
		"a file": {func(t *testing.T, base string) string {
			path := filepath.Join(base, "file")
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}, "is no folder, or a symbolic link"},
		"a symbolic link": {func(t *testing.T, base string) string {
			return link(t, base)
		}, "is no folder, or a symbolic link"},
		"a symbolic link with a slash behind it": {func(t *testing.T, base string) string {
			return link(t, base) + "/"
		}, "is no folder, or a symbolic link"},
		"the group may enter":       {withMode(0o710), "has mode 0710"},
		"the group may write":       {withMode(0o770), "has mode 0770"},
		"others may read":           {withMode(0o704), "has mode 0704"},
		"everybody may write":       {withMode(0o777 | os.ModeSticky), "has mode 1777"},
		"below the group's":         {below(0o775), "others can put another folder in its place"},
		"below everybody's":         {below(0o777), "others can put another folder in its place"},
		"below everybody's, sticky": {below(0o777 | os.ModeSticky), ""},
	} {
		t.Run(name, func(t *testing.T) {
			folder, err := local.Open(row.make(t, base(t)))
			if row.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				closeAfter(t, folder)
				return
			}
			var caller *attestd.CallerError
			if !errors.As(err, &caller) || caller.Class != attestd.ClassConfig || caller.Hint == "" ||
				!strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want a CONFIG error with a hint: %s", err, row.want)
			}
		})
	}
}

func link(t *testing.T, base string) string {
	t.Helper()
	target, path := filepath.Join(base, "target"), filepath.Join(base, "link")
	if err := errors.Join(os.Mkdir(target, 0o700), os.Symlink(target, path)); err != nil {
		t.Fatal(err)
	}
	return path
}

func withMode(mode os.FileMode) func(*testing.T, string) string {
	return func(t *testing.T, base string) string {
		path := filepath.Join(base, "run")
		if err := errors.Join(os.Mkdir(path, 0o700), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
}

func below(mode os.FileMode) func(*testing.T, string) string {
	return func(t *testing.T, base string) string {
		path := filepath.Join(base, "run")
		if err := errors.Join(os.Mkdir(path, 0o700), os.Chmod(base, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
}

func TestAFolderOfAnotherUserIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		if _, err := local.Open("/root"); err == nil {
			t.Error("root's folder was taken")
		}
		return
	}
	path := withMode(0o700)(t, base(t))
	if err := os.Chown(path, stranger, stranger); err != nil {
		t.Fatal(err)
	}
	if _, err := local.Open(path); err == nil || !strings.Contains(err.Error(), "belongs to user 65534") {
		t.Errorf("got %v", err)
	}
	if err := os.Chown(path, 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(filepath.Dir(path), stranger, stranger); err != nil {
		t.Fatal(err)
	}
	if _, err := local.Open(path); err == nil || !strings.Contains(err.Error(), "the folder above") {
		t.Errorf("below another user's folder: %v", err)
	}
}

func TestTheFoldersOwnUserIsLetIn(t *testing.T) {
	folder := made(t)
	refused := greet(t, folder, false)
	conn, err := folder.Dial(t.Context(), "s")
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, conn)
	if said, err := io.ReadAll(conn); err != nil || string(said) != "hello" {
		t.Errorf("heard %q, %v", said, err)
	}
	if conn.Peer.PID != int32(os.Getpid()) || conn.Peer.UID != folder.Owner() { //nolint:gosec // small
		t.Errorf("the peer is %+v", conn.Peer)
	}
	if refused.Load() != 0 {
		t.Error("somebody was turned away")
	}
}

// The folder's mode keeps others out. Where somebody opened it up, the kernel's word about the peer
// does.
func TestAnotherUserIsTurnedAway(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("another user's process takes root to start; runs where tests run as root, as in the container")
		return
	}
	folder := made(t)
	refused := greet(t, folder, true)
	socket := filepath.Join(folder.Path(), "s")
	if said := asStranger(t, socket); !strings.Contains(said, "permission denied") {
		t.Errorf("a stranger at the closed folder: %q", said)
	}
	if err := errors.Join(os.Chmod(folder.Path(), 0o755), os.Chmod(socket, 0o777)); err != nil { //nolint:gosec // on purpose
		t.Fatal(err)
	}
	if said := asStranger(t, socket); strings.Contains(said, "hello") {
		t.Errorf("a stranger at the open folder: %q", said)
	}
	if refused.Load() != 1 {
		t.Errorf("%d were turned away, want 1", refused.Load())
	}
}

func TestRootIsLetInWhereTheListenerTakesRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("this run is not root's")
		return
	}
	for _, takes := range []bool{true, false} {
		folder := made(t)
		// The folder is a stranger's from the listener's point of view; only root can set this up.
		if err := os.Chown(folder.Path(), stranger, stranger); err != nil {
			t.Fatal(err)
		}
		visited, err := local.Visit(folder.Path())
		if err != nil {
			t.Fatal(err)
		}
		closeAfter(t, visited)
		refused := greet(t, visited, takes)
		said := knock(filepath.Join(folder.Path(), "s"))
		if got := said == "hello"; got != takes || refused.Load() == 0 != takes {
			t.Errorf("takes root %v: heard %q, %d turned away", takes, said, refused.Load())
		}
		// And whoever asks does not take root for the folder's user.
		if _, err := visited.Dial(t.Context(), "s"); err == nil || !strings.Contains(err.Error(), "user 0 listens") {
			t.Errorf("takes root %v: dialled: %v", takes, err)
		}
	}
}

func TestADeadListenersSocketIsTakenOver(t *testing.T) {
	folder := made(t)
	path := filepath.Join(folder.Path(), "s")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	greet(t, folder, false)
	if said := knock(path); said != "hello" {
		t.Errorf("heard %q", said)
	}
}

func TestALivingListenerIsNotReplacedAndAGoneOneIsFollowedAtOnce(t *testing.T) {
	folder := made(t)
	first, err := folder.Listen(t.Context(), "s", false, func(local.Peer) {})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := folder.Listen(ctx, "s", false, func(local.Peer) {}); err == nil ||
		!strings.Contains(err.Error(), "another process uses") {
		t.Errorf("a second listener: %v", err)
	}
	if _, err := os.Stat(filepath.Join(folder.Path(), "s")); err != nil {
		t.Errorf("the first one's socket: %v", err)
	}
	closed := make(chan error)
	time.AfterFunc(100*time.Millisecond, func() { closed <- first.Close() })
	began := time.Now()
	second, err := folder.Listen(t.Context(), "s", false, func(local.Peer) {})
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, second)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if waited := time.Since(began); waited > 2*time.Second {
		t.Errorf("waited %s", waited)
	}
}

func TestWhatIsNoSocketIsNotRemoved(t *testing.T) {
	folder := made(t)
	path := filepath.Join(folder.Path(), "s")
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := folder.Listen(t.Context(), "s", false, func(local.Peer) {}); err == nil ||
		!strings.Contains(err.Error(), "is no socket") {
		t.Errorf("got %v", err)
	}
	if content, err := os.ReadFile(path); err != nil || string(content) != "mine" {
		t.Errorf("the file is %q, %v", content, err)
	}
}

// Who holds the folder open stays with it: a folder put in its place is another one.
func TestAFolderPutInItsPlaceIsNotFollowed(t *testing.T) {
	folder := made(t)
	aside := folder.Path() + ".aside"
	if err := errors.Join(os.Rename(folder.Path(), aside), os.Mkdir(folder.Path(), 0o700)); err != nil {
		t.Fatal(err)
	}
	greet(t, folder, false)
	if _, err := os.Stat(filepath.Join(aside, "s")); err != nil {
		t.Errorf("the socket is not in the folder that was checked: %v", err)
	}
}

func TestAFileIsWrittenWholeAndReadWithinALimit(t *testing.T) {
	folder := made(t)
	if content, err := folder.ReadFile("f", 10); content != nil || err != nil {
		t.Errorf("no file: %q, %v", content, err)
	}
	for _, content := range []string{"one", "another"} {
		if err := folder.WriteFile("f", []byte(content)); err != nil {
			t.Fatal(err)
		}
		if got, err := folder.ReadFile("f", 7); err != nil || !bytes.Equal(got, []byte(content)) {
			t.Errorf("read %q, %v", got, err)
		}
	}
	if _, err := folder.ReadFile("f", 6); err == nil {
		t.Error("a file over the limit was read")
	}
	info, err := os.Stat(filepath.Join(folder.Path(), "f"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if entries, err := os.ReadDir(folder.Path()); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if err := os.Symlink("f", filepath.Join(folder.Path(), "l")); err != nil {
		t.Fatal(err)
	}
	if _, err := folder.ReadFile("l", 100); err == nil {
		t.Error("a link was followed")
	}
}
