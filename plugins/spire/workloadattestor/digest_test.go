package workloadattestor_test

import (
	"bytes"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attestd/attestd/plugins/spire/workloadattestor"
)

// movable is the node's clock, moved on by a test.
type movable struct {
	steady, wall atomic.Int64
}

func (m *movable) clock() workloadattestor.Clock {
	system := workloadattestor.SystemClock()
	return workloadattestor.Clock{
		Steady: func() time.Duration { return system.Steady() + time.Duration(m.steady.Load()) },
		Wall:   func() time.Time { return system.Wall().Add(time.Duration(m.wall.Load())) },
	}
}

// pass lets time go by on both clocks.
func (m *movable) pass(by time.Duration) {
	m.steady.Add(int64(by))
	m.wall.Add(int64(by))
}

func limited(t *testing.T, m *movable, largest, perSecond int64) *workloadattestor.Inspector {
	t.Helper()
	inspector, err := workloadattestor.NewInspector(m.clock(), largest, perSecond, nil)
	must(t, err)
	return inspector
}

func TestAnExecutableIsReadOnceAndForgottenWhenItChanges(t *testing.T) {
	m := &movable{}
	m.pass(time.Minute) // the file was made long ago
	inspector := limited(t, m, 1<<30, 1<<30)
	path := program(t, "/bin/sleep", "one")
	command := start(t, path, "60")
	first := look(t, inspector, command.Process.Pid)
	for range 5 {
		look(t, inspector, command.Process.Pid)
	}
	second := start(t, path, "60")
	look(t, inspector, second.Process.Pid)
	if taken := inspector.Taken(); taken != 1 {
		t.Errorf("the file was read %d times, want once", taken)
	}
	stop(t, command, second)
	// The same file, in the same size, with other content: its ctime alone says so.
	content, err := os.ReadFile(path)
	must(t, err)
	copy(content[len(content)-3:], "two")
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	_, err = file.Write(content)
	must(t, err)
	must(t, file.Close())
	third := start(t, path, "60")
	if got := look(t, inspector, third.Process.Pid); got == first || got != digestOf(t, path) {
		t.Errorf("got %s, want that of the changed file", got)
	}
	if taken := inspector.Taken(); taken != 2 {
		t.Errorf("the file was read %d times, want twice", taken)
	}
}

// TestWhatChangedJustNowIsNotRemembered: within one tick of the kernel's clock a file can change again
// and look the same. The attack: write a good program, have it looked at, write a bad one over it.
func TestWhatChangedJustNowIsNotRemembered(t *testing.T) {
	inspector := limited(t, &movable{}, 1<<30, 1<<30)
	command := start(t, program(t, "/bin/sleep", "new"), "60")
	look(t, inspector, command.Process.Pid)
	look(t, inspector, command.Process.Pid)
	if taken := inspector.Taken(); taken != 2 {
		t.Errorf("the new file was read %d times, want each time", taken)
	}
	now := time.Now()
	rows := []struct {
		name           string
		changed        time.Time
		image, lasting bool
		want           bool
	}{
		{"changed long ago", now.Add(-time.Hour), false, false, true},
		{"changed a tick ago", now.Add(-10 * time.Millisecond), false, true, false},
		{"changes in the future, by a clock that was set back", now.Add(time.Hour), false, true, false},
		{"of an image, on a mount whose number comes again", now.Add(-time.Hour), true, false, false},
		{"of an image, on a mount whose number never comes again", now.Add(-time.Hour), true, true, true},
	}
	for _, row := range rows {
		if got := workloadattestor.Remembers(row.changed, now, row.image, row.lasting); got != row.want {
			t.Errorf("%s: remembered %t, want %t", row.name, got, row.want)
		}
	}
}

func TestWhatIsReadIsBounded(t *testing.T) {
	m := &movable{}
	path := program(t, "/bin/sleep", "bounded")
	info, err := os.Stat(path)
	must(t, err)
	command := start(t, path, "60")
	pid := command.Process.Pid
	without := func(inspector *workloadattestor.Inspector, want string) {
		t.Helper()
		digest, _, reasons, err := inspector.Look(t.Context(), pid)
		must(t, err)
		if digest != "" || !strings.Contains(strings.Join(reasons, "\n"), want) {
			t.Errorf("got %q, %q; want no digest and a reason with %q", digest, reasons, want)
		}
	}
	t.Run("an executable over the limit", func(t *testing.T) {
		without(limited(t, m, info.Size()-1, 1<<30), "want 1 to")
	})
	t.Run("an executable at the limit", func(t *testing.T) {
		if got := look(t, limited(t, m, info.Size(), 1<<30), pid); got != digestOf(t, path) {
			t.Errorf("got %s", got)
		}
	})
	t.Run("more than the rate lets through", func(t *testing.T) {
		inspector := limited(t, m, info.Size(), info.Size())
		look(t, inspector, pid) // new files are read each time, twice the limit is there at first
		look(t, inspector, pid)
		without(inspector, "bytes a second")
		m.steady.Add(int64(time.Second))
		look(t, inspector, pid)
		without(inspector, "bytes a second")
	})
}

func TestManyThatAskAtOnceHaveItReadOnce(t *testing.T) {
	m := &movable{}
	m.pass(time.Minute)
	inspector := limited(t, m, 1<<30, 1<<30)
	path := program(t, "/bin/sleep", string(bytes.Repeat([]byte{7}, 8<<20)))
	want := digestOf(t, path)
	command := start(t, path, "60")
	var work sync.WaitGroup
	for range 50 {
		work.Go(func() {
			digest, _, reasons, err := inspector.Look(t.Context(), command.Process.Pid)
			if err != nil || digest != want {
				t.Errorf("got %q, %v, %v", digest, reasons, err)
			}
		})
	}
	work.Wait()
	if taken := inspector.Taken(); taken != 1 {
		t.Errorf("the file was read %d times, want once", taken)
	}
}

// TestFileSystemsThatAnswerEachReaderDifferentlyGiveNoDigest: somebody else's process answers the reads
// of FUSE, 9p and network file systems.
func TestFileSystemsThatAnswerEachReaderDifferentlyGiveNoDigest(t *testing.T) {
	for name, number := range map[string]int64{
		"fuse": 0x65735546, "9p": 0x01021997, "nfs": 0x6969, "cifs": 0xff534d42, "smb2": 0xfe534d42,
		"ceph": 0x00c36400, "afs": 0x5346414f, "proc": 0x9fa0, "unknown": 0,
	} {
		if workloadattestor.KindOfFileSystem(number) {
			t.Errorf("%s gives a digest", name)
		}
	}
	for name, number := range map[string]int64{"ext4": 0xef53, "tmpfs": 0x01021994, "overlay": 0x794c7630} {
		if !workloadattestor.KindOfFileSystem(number) {
			t.Errorf("%s gives no digest", name)
		}
	}
}
