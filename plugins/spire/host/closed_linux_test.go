package host_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/plugins/spire/host"
)

// TestASocketThatAnybodyCouldMakeIsNotAttestds: who listens under the name that the composer knows
// grants what he likes, and a unix socket has no certificate.
func TestASocketThatAnybodyCouldMakeIsNotAttestds(t *testing.T) {
	t.Parallel()
	folder := func(mode os.FileMode, owner int, names ...string) string {
		base, err := os.MkdirTemp("", "c")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(base) })
		if err := os.Chmod(base, mode); err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			base = filepath.Join(base, name)
			if err := os.Mkdir(base, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(base, owner, -1); err != nil {
				t.Fatal(err)
			}
		}
		return base
	}
	type row struct {
		folder string
		ok     bool
	}
	rows := map[string]row{
		"a folder of its own":                       {folder(0o755, os.Getuid()), true},
		"one that is not there yet":                 {filepath.Join(folder(0o755, os.Getuid()), "attestd"), true},
		"a folder of its own in a shared one":       {folder(0o777|os.ModeSticky, os.Getuid(), "attestd"), true},
		"a shared folder":                           {folder(0o777|os.ModeSticky, os.Getuid()), false},
		"one not there yet in a shared one":         {filepath.Join(folder(0o777|os.ModeSticky, 0), "attestd"), false},
		"one in a folder whose names anybody moves": {folder(0o777, os.Getuid(), "attestd"), false},
		"one further below such a folder":           {folder(0o777, os.Getuid(), "a", "attestd"), false},
	}
	if os.Geteuid() == 0 {
		rows["a stranger's in a shared one"] = row{folder(0o777|os.ModeSticky, stranger, "attestd"), false}
	}
	// Kubernetes makes a volume that containers of one pod share open to all users, who are those of the pod.
	if volume := folder(0o755, os.Getuid()); mountedOpen(t, volume) {
		rows["a volume of its own"] = row{volume, true}
		rows["below a volume of its own"] = row{filepath.Join(volume, "attestd"), true}
	}
	for name, row := range rows {
		socket := filepath.Join(row.folder, "s")
		if listener, err := net.Listen("unix", socket); err == nil {
			t.Cleanup(func() { _ = listener.Close() })
		}
		uplink := host.DefaultUplink()
		uplink.Addresses = []string{"unix:" + socket}
		_, stop, err := uplink.Connect(host.Env{Logger: hclog.NewNullLogger(), Counts: &host.Counts{}})
		if err == nil {
			stop()
		}
		var refused *attestd.CallerError
		if (err == nil) != row.ok || err != nil && (!errors.As(err, &refused) || refused.Class != attestd.ClassConfig) {
			t.Errorf("%s: got %v, want that it is taken: %t", name, err, row.ok)
		}
	}
}

// TestASocketIsNotPutWhereItCanBeReplaced: SPIRE connects anew, by the path, to every child.
func TestASocketIsNotPutWhereItCanBeReplaced(t *testing.T) {
	t.Parallel()
	open, err := os.MkdirTemp("", "c")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(open) })
	if err := os.Chmod(open, 0o777); err != nil { //nolint:gosec // on purpose
		t.Fatal(err)
	}
	s, err := loadIn(t, open, probeName)
	if err == nil || !strings.Contains(s.log.String(), "no folder for the plugin's socket") {
		t.Errorf("got %v, want that it does not begin; log:\n%s", err, s.log)
	}
	if left, err := os.ReadDir(open); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// mountedOpen mounts a file system with mode 0777, as an emptyDir of Kubernetes has it, where that is let.
func mountedOpen(t *testing.T, path string) bool {
	t.Helper()
	if err := syscall.Mount("tmpfs", path, "tmpfs", 0, "mode=0777"); err != nil {
		t.Logf("no volume can be mounted: %v; runs where tests run as root, as in the container", err)
		return false
	}
	t.Cleanup(func() { _ = syscall.Unmount(path, 0) })
	return true
}
