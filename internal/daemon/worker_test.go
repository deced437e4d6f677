package daemon_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/config"
	"github.com/attestd/attestd/testvectors/forge"
)

// build makes the program without cgo, which a worker must be: a thread that C made is one that no
// filter was put on.
func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "attestd")
	command := exec.Command("go", "build", "-o", path, "../../cmd/attestd")
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// neg: 171
func TestWorkersAndTheDaemonItselfGiveTheSameVerdict(t *testing.T) {
	authority, err := forge.NewAWS(forge.AWSOptions{})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := authority.Document(forge.Document{})
	if err != nil {
		t.Fatal(err)
	}
	settings := settingsIn(t)
	settings.Verify.Workers = 1
	apart := settings
	apart.StateDir, apart.Verify.Isolation = shortDir(t), config.IsolateProcess
	within, workers := start(t, settings), start(t, apart, build(t), "worker")
	for name, evidence := range map[string][]byte{
		"a chain of our own": signed, "cut short": signed[:len(signed)-1], "no evidence": []byte("nothing"),
		"a report of zeros": make([]byte, 1184),
	} {
		t.Run(name, func(t *testing.T) {
			path := "/v1/verify-recorded?at=2026-06-01T12:00:00Z"
			status, want := fetch(t, plainClient, "POST", within.URL+path, "application/cbor", string(evidence))
			gotStatus, got := fetch(t, plainClient, "POST", workers.URL+path, "application/cbor", string(evidence))
			if gotStatus != status || !bytes.Equal(got, want) {
				t.Errorf("workers: got %d %.300s, want %d %.300s", gotStatus, got, status, want)
			}
			var given attestd.Appraisal
			if status == 200 && (json.Unmarshal(want, &given) != nil || given.Verdict != attestd.VerdictRejected) {
				t.Errorf("got %.300s, want a rejection", want)
			}
		})
	}
	within.end()
	workers.end()
}
