package admin_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/config"
	"github.com/attestd/attestd/internal/operator"
)

// unpack returns the files of a bundle.
func (w *world) unpack(got said) map[string]string {
	w.Helper()
	if got.status != http.StatusOK || got.header.Get("Content-Type") != "application/gzip" ||
		!strings.HasSuffix(got.header.Get("Content-Disposition"), `.tar.gz"`) {
		w.Fatalf("got %d %v %.200s", got.status, got.header, got.body)
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(got.body))
	must(w, err)
	archive, files := tar.NewReader(unzipped), map[string]string{}
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		must(w, err)
		content, err := io.ReadAll(archive)
		must(w, err)
		if header.Mode != 0o600 || header.Typeflag != tar.TypeReg {
			w.Errorf("%s has mode %o", header.Name, header.Mode)
		}
		files[strings.TrimPrefix(header.Name, "attestd-support/")] = string(content)
	}
}

// neg: 166
func TestTheSupportBundleHasNoSecrets(t *testing.T) {
	w := newWorld(t)
	runner, guard := w.named("olga", "*", operator.Operator), w.named("sina", "*", operator.Security)
	// Everything that could leave a trace in memory or metrics has been through here.
	w.post(runner, "enrolments/tokens", `{"tenant":"blue","formats":["tpm"],"seconds":60}`)
	w.post(guard, "quarantine", `{"target":"aaaaaa11","reason":"reason-canary","ticket":"ticket-canary"}`)
	w.get(guard, "subject?id=aaaaaa11")
	added := w.post(w.root(), "operators", `{"name":"zoe","roles":["viewer"],"tenants":["blue"]}`)
	_, rest, _ := strings.Cut(string(added.body), `"token":"`)
	login, _, _ := strings.Cut(rest, `"`)
	if !strings.HasPrefix(login, "attestd-login~zoe~") {
		t.Fatalf("got %s", added.body)
	}
	files := w.unpack(w.get(runner, "support-bundle"))
	names := []string{"README.txt", "conditions.json", "config.json", "goroutines.txt", "log-level.json", "metrics.txt",
		"status.json", "version.json"}
	for _, name := range names {
		if len(files[name]) < 20 {
			t.Errorf("%s holds %q", name, files[name])
		}
	}
	if len(files) != len(names) {
		t.Errorf("the bundle has %d files, want %d", len(files), len(names))
	}
	for name, content := range files {
		for what, secret := range map[string]string{
			"the bootstrap token": w.token(), "a login token": login, "a login token's secret": strings.Split(login, "~")[2],
			"an enrolment token": canaryToken, "the DSN": canaryDSN, "a password": "hunter2", "a host": "db.internal",
			"a path": w.folder, "a subject": "spiffe://", "an instance": "aaaaaa11", "a host handle": "shared-host",
			"a reason": "reason-canary", "a ticket": "ticket-canary", "an operator": "zoe", "a key": "PRIVATE KEY",
		} {
			if strings.Contains(content, secret) {
				t.Errorf("%s shows %s", name, what)
			}
		}
	}
	if !strings.Contains(files["metrics.txt"], "attestd_admin_requests_total") ||
		!strings.Contains(files["goroutines.txt"], "internal/admin") ||
		!strings.Contains(files["config.json"], `"limit": 7`) || !strings.Contains(files["config.json"], `"1m0s"`) {
		t.Error("the bundle does not say how attestd is")
	}
}

func TestABundleIsGivenWhileTheStoreIsDown(t *testing.T) {
	w := newWorld(t)
	runner := w.named("olga", "*", operator.Operator)
	w.parts.broken = &attestd.UndecidedError{Class: attestd.ClassStoreUnavailable}
	files := w.unpack(w.get(runner, "support-bundle"))
	if !strings.Contains(files["status.json"], "failure") || files["goroutines.txt"] == "" {
		t.Errorf("the bundle has %v", files)
	}
}

// neg: 166
func TestSettingsAreShownByWhatIsKnownToBeHarmless(t *testing.T) {
	type inner struct {
		Password string `key:"password"`
		Plain    string `key:"plain"`
	}
	type outer struct {
		Word    string            `key:"word"`
		Path    string            `key:"path"`
		Address string            `key:"address"`
		Long    string            `key:"long"`
		Secret  string            `key:"secret_word"`
		Group   inner             `key:"credentials"`
		Other   *inner            `key:"other"`
		Raw     []byte            `key:"raw"`
		Map     map[string]string `key:"map"`
		List    []string          `key:"list"`
		Number  int               `key:"number"`
		Switch  bool              `key:"switch"`
		Func    func()            `key:"func"`
		hidden  string
	}
	settings := outer{
		Word: "production", Path: "/etc/x", Address: "10.0.0.1:80", Long: strings.Repeat("a", 32), Secret: "word",
		Group: inner{Password: "p", Plain: "word"}, Other: &inner{Password: "p", Plain: "word"}, Raw: []byte("canary"),
		Map: map[string]string{"canary": "canary"}, List: []string{"default", "/x"}, Number: 3, Switch: true,
		hidden: "canary",
	}
	document, err := json.Marshal(admin.Redacted(settings))
	must(t, err)
	want := `{"address":"(set)","credentials":{"password":"(set)","plain":"(set)"},"func":"(left out)",` +
		`"list":["default","(set)"],` +
		`"long":"(set)","map":"(1 entries)","number":3,"other":{"password":"(set)","plain":"word"},"path":"(set)",` +
		`"raw":"(6 bytes)","secret_word":"(set)","switch":true,"word":"production"}`
	if string(document) != want || settings.hidden == "" {
		t.Errorf("got  %s\nwant %s", document, want)
	}
	whole, err := json.Marshal(admin.Redacted(config.Default()))
	must(t, err)
	for _, secret := range []string{"/var", "127.0.0.1", "8421"} {
		if bytes.Contains(whole, []byte(secret)) {
			t.Errorf("the default configuration is shown with %q: %s", secret, whole)
		}
	}
	if !bytes.Contains(whole, []byte(`"policy":"production"`)) {
		t.Errorf("the default configuration is shown as %s", whole)
	}
}

func TestTheLogLevelFallsBack(t *testing.T) {
	w := newWorld(t)
	runner := w.named("olga", "*", operator.Operator)
	var level wire.LogLevel
	w.read(w.post(runner, "log-level", `{"level":"error"}`), &level)
	if w.config.Level.Level() != slog.LevelError || level.Level != "error" || !level.Until.IsZero() {
		t.Fatalf("the level is %s, told as %+v", w.config.Level.Level(), level)
	}
	// The time until then is counted by the process; what it is called by, by the store.
	until := w.clock().Add(time.Second)
	body := fmt.Sprintf(`{"schema":"attestd.log-level.v1","level":"warn","until":%q}`, until.Format(time.RFC3339))
	w.read(w.post(runner, "log-level", body), &level)
	if level.Level != "warn" || !level.Until.Equal(until) {
		t.Fatalf("told as %+v", level)
	}
	deadline := time.Now().Add(10 * time.Second)
	for w.config.Level.Level() != slog.LevelDebug {
		if time.Now().After(deadline) {
			t.Fatal("the level did not fall back")
		}
		time.Sleep(10 * time.Millisecond)
	}
	level = wire.LogLevel{}
	w.read(w.get(runner, "log-level"), &level)
	if level.Level != "debug" || !level.Until.IsZero() {
		t.Errorf("told as %+v", level)
	}
	actions := []string{}
	for _, record := range w.parts.entries() {
		actions = append(actions, record.Action)
	}
	if !slices.Contains(actions, "log-level.set") {
		t.Errorf("written down: %v", actions)
	}
}
