package workloadattestor_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd/plugins/spire/workloadattestor"
)

const (
	hashA = "1111111111111111111111111111111111111111111111111111111111111111"
	hashB = "2222222222222222222222222222222222222222222222222222222222222222"
	entry = "10 91f34b5c671d73504b274a919661cf80dab1e127 "
)

func TestTheKernelsListHoldsFilesBySHA256Alone(t *testing.T) {
	rows := []struct {
		name, line string
		want       bool
	}{
		{"ima-ng", entry + "ima-ng sha256:" + hashA + " /usr/bin/a b c", true},
		{"ima-sig", entry + "ima-sig sha256:" + hashA + " /usr/bin/a 0302046e6c10", true},
		{"ima-ngv2", entry + "ima-ngv2 ima:sha256:" + hashA + " /usr/bin/a", true},
		{"ima-sigv2", entry + "ima-sigv2 ima:sha256:" + hashA + " /usr/bin/a 03", true},
		{"a digest of fs-verity", entry + "ima-ngv2 verity:sha256:" + hashA + " /usr/bin/a", false},
		{"a digest by another algorithm", entry + "ima-ng sha1:" + hashA[:40] + " /usr/bin/a", false},
		{"a buffer of the kernel", entry + "ima-buf sha256:" + hashA + " kexec-cmdline 00", false},
		{"the old template", entry + "ima " + hashA[:40] + " /usr/bin/a", false},
		{"a violation", entry + "ima-ng sha256:" + strings.Repeat("0", 64) + " /usr/bin/a", false},
		{"a digest that is too short", entry + "ima-ng sha256:" + hashA[2:] + " /usr/bin/a", false},
		{"a digest that is none", entry + "ima-ng sha256:" + strings.Repeat("z", 64) + " /usr/bin/a", false},
		// neg: 199: a path may read like an entry.
		{"a path that reads like an entry", entry + "ima-ng sha1:" + hashB[:40] + " /tmp/x ima-ng sha256:" + hashA, false},
		{"no path", entry + "ima-ng sha256:" + hashA, false},
		{"nothing", "", false},
	}
	for _, row := range rows {
		if _, ok := workloadattestor.Measured([]byte(row.line)); ok != row.want {
			t.Errorf("%s: got %t, want %t", row.name, ok, row.want)
		}
	}
}

func TestTheKernelsListIsFollowed(t *testing.T) {
	m := &movable{}
	path := filepath.Join(t.TempDir(), "list")
	list := workloadattestor.NewMeasurementList(path, m.clock())
	if list.Holds(hashA) {
		t.Fatal("a list that is not there holds a digest")
	}
	file, err := os.Create(path)
	must(t, err)
	defer file.Close()
	add := func(text string) {
		t.Helper()
		_, err := file.WriteString(text)
		must(t, err)
		m.pass(time.Second)
	}
	add(entry + "ima-ng sha256:" + hashA + " /usr/bin/a\n" + entry + "ima-ng sha256:" + hashB[:20])
	if !list.Holds(hashA) || list.Holds(hashB) {
		t.Error("want the first entry, and not the second, of which half is there")
	}
	add(hashB[20:] + " /usr/bin/b\n")
	if !list.Holds(hashB) {
		t.Error("the second entry was not put together")
	}
	long := strings.Repeat("3", 64)
	add(entry + "ima-ng sha256:" + long + " /" + strings.Repeat("x", 200<<10) + "\n" +
		entry + "ima-ng sha256:" + strings.Repeat("4", 64) + " /usr/bin/d\n")
	if list.Holds(long) || !list.Holds(strings.Repeat("4", 64)) {
		t.Error("want the entry behind one that is too long, and not that one")
	}
	for _, digest := range []string{"", "11", strings.Repeat("0", 64), strings.ToUpper("ab") + hashA[2:]} {
		if list.Holds(digest) {
			t.Errorf("the list holds %q", digest)
		}
	}
}
