package tpm_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester"
	"github.com/attestd/attestd/attester/tpm"
)

var _ attester.Attester = (*tpm.Device)(nil).With(tpm.Request{})

func TestLogsGoAlong(t *testing.T) {
	chip, _ := manufacture(t)
	folder := t.TempDir()
	write := func(name string, size int) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, bytes.Repeat([]byte("log."), size/4), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	boot, ima := write("boot", 400), write("ima", 800)
	for _, row := range []struct {
		name      string
		boot, ima string
		offset    uint64
		wantBoot  int
		wantIMA   int // -1 for none
		want      string
	}{
		{"none are named: a software TPM's are nowhere", "", "", 0, 0, -1, ""},
		{"both are off", tpm.Off, tpm.Off, 0, 0, -1, ""},
		{"both", boot, ima, 0, 400, 800, ""},
		{"IMA from an offset on", tpm.Off, ima, 300, 0, 500, ""},
		{"nothing new in IMA", tpm.Off, ima, 800, 0, 0, ""},
		{"IMA of another boot", tpm.Off, ima, 801, 0, -1, "800 bytes, and 801 are to be left out"},
		{"a file that is named and missing", filepath.Join(folder, "none"), tpm.Off, 0, 0, -1, "boot log: open"},
		{"a boot log that is too large", write("large", 512<<10+4), tpm.Off, 0, 0, -1, "more than 524288 bytes"},
		{"an IMA log that is too large", tpm.Off, write("larger", 1<<20), 4, 0, -1, "more than 983040 bytes from 4 on"},
		{"an IMA log that is too large beside a boot log", boot, write("large-too", 983040), 0, 0, -1,
			"more than 982640 bytes from 0 on"},
	} {
		t.Run(row.name, func(t *testing.T) {
			device := open(t, chip, tpm.Options{BootLog: row.boot, IMALog: row.ima})
			request := tpm.Request{Freshness: freshness(1), IMAOffset: row.offset}
			if row.want != "" {
				_, err := device.Collect(t.Context(), request)
				var caller *attestd.CallerError
				if !errors.As(err, &caller) || caller.Hint == "" || !strings.Contains(err.Error(), row.want) {
					t.Errorf("got %v, want %q", err, row.want)
				}
				return
			}
			parts := collect(t, device, request)
			if len(parts.EventLog) != row.wantBoot {
				t.Errorf("boot log of %d bytes, want %d", len(parts.EventLog), row.wantBoot)
			}
			switch {
			case row.wantIMA < 0 && parts.IMA != nil, row.wantIMA >= 0 && parts.IMA == nil:
				t.Errorf("IMA log is %v", parts.IMA)
			case parts.IMA != nil && (parts.IMA.Offset != row.offset || len(parts.IMA.Log) != row.wantIMA):
				t.Errorf("IMA log from %d on has %d bytes, want %d, %d", parts.IMA.Offset, len(parts.IMA.Log),
					row.offset, row.wantIMA)
			}
		})
	}
}

func TestALogThatTheKernelDoesNotKeepIsSaid(t *testing.T) {
	notes := tpm.NotesOfLogs(t, "/dev/tpmrm99")
	if len(notes) != 2 || !strings.Contains(notes[0], "no boot log: /sys/kernel/security/tpm99/binary_bios_measurements") ||
		!strings.Contains(notes[1], "no IMA log: /sys/kernel/security/ima/binary_runtime_measurements") {
		t.Errorf("notes are %q", notes)
	}
}

func TestTheAttesterCollectsForItsOwnKeyAlone(t *testing.T) {
	chip, _ := manufacture(t)
	device := open(t, chip, tpm.Options{StateDir: t.TempDir()})
	key, err := device.Key(t.Context(), "agent")
	if err != nil {
		t.Fatal(err)
	}
	collector := device.With(tpm.Request{Key: key})
	if collector.Format() != attestd.FormatTPM {
		t.Errorf("format %q", collector.Format())
	}
	if _, err := collector.Collect(t.Context(), attester.Request{Freshness: freshness(1), Key: key.SPKI()}); err != nil {
		t.Error(err)
	}
	other := bytes.Clone(key.SPKI())
	other[40] ^= 1
	for _, with := range []attester.Attester{collector, device.With(tpm.Request{})} {
		if _, err := with.Collect(t.Context(), attester.Request{Freshness: freshness(1), Key: other}); err == nil {
			t.Error("evidence was made for a key that is not there")
		}
	}
}

func TestPlacesThatAreNoTPMAreRefused(t *testing.T) {
	for _, row := range []struct {
		name, spec string
		options    tpm.Options
		want       string
	}{
		{"nothing", "", tpm.Options{}, "names no TPM"},
		{"a socket without a path", "swtpm:", tpm.Options{}, "names no TPM"},
		{"a name", "tpm0", tpm.Options{}, "not the path of a device file"},
		{"a socket's path that is too long", "swtpm:/" + strings.Repeat("x", 107), tpm.Options{}, "108 bytes"},
		{"a platform's handle", "/dev/tpmrm0", tpm.Options{AKHandle: 0x81800000}, "0x81800000"},
		{"a transient handle", "/dev/tpmrm0", tpm.Options{AKHandle: 0x80000000}, "0x80000000"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := tpm.Open(row.spec, row.options)
			var caller *attestd.CallerError
			if !errors.As(err, &caller) || caller.Hint == "" || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
	missing, err := tpm.Open("/dev/tpmrm99", tpm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var caller *attestd.CallerError
	if _, err := missing.Identity(t.Context()); !errors.As(err, &caller) || !strings.Contains(err.Error(), "no TPM at") {
		t.Errorf("a device that is not there: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	plain, err := tpm.Open(file, tpm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plain.Identity(t.Context()); err == nil {
		t.Error("a plain file has an identity")
	}
}
