package daemon_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/config"
	"github.com/attestd/attestd/internal/spire/link"
	"github.com/attestd/attestd/internal/spire/wire"
)

// withSPIRE is a daemon that answers plugins on a socket.
func withSPIRE(t *testing.T) config.Config {
	t.Helper()
	settings := settingsIn(t)
	settings.TrustDomain = "example.org"
	settings.SPIRE.Unix = "spire.sock"
	settings.SPIRE.Unattested = config.UnattestedDeny
	return settings
}

func plugin(t *testing.T, settings config.Config) *link.Client {
	t.Helper()
	client := link.NewClient(link.ClientConfig{Addresses: []string{"unix:" + settings.SPIRESocketPath()}})
	t.Cleanup(client.Close)
	return client
}

func TestPluginsAreAnsweredAndCounted(t *testing.T) {
	settings := withSPIRE(t)
	r := start(t, settings)
	client := plugin(t, settings)
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	err := client.Call(ctx, wire.MethodReport, wire.PluginReport{
		Plugin: "composer", PID: 4711, Version: "1", Started: time.Now().UTC(), Starts: 2,
		Counts: map[string]uint64{"granted_jwt-svid": 5},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var challenge wire.NodeChallenge
	if err := client.Call(ctx, wire.MethodNodeBegin, wire.NodeBegin{
		Format: attestd.FormatTPM, Tenant: "default",
	}, &challenge); err != nil || len(challenge.Challenge) == 0 {
		t.Errorf("a challenge for a node: %v", err)
	}
	// Nobody was attested, and what was not attested is denied.
	err = client.Call(ctx, wire.MethodGrant, wire.GrantRequest{
		Kind: wire.GrantWorkloadJWT, ID: "spiffe://example.org/web", Audience: []string{"gateway"},
		ExpiresAt: time.Now().Add(time.Hour).Unix(),
	}, nil)
	var refused *link.Error
	if !errors.As(err, &refused) || refused.Class == "" {
		t.Errorf("an identity that nobody attested: got %v", err)
	}
	// There is no controller yet, so nobody knows which entries there are: undecided, never a no.
	if !refused.Class.Undecided() {
		t.Errorf("without a map: got class %s, want an undecided one", refused.Class)
	}
	_, page := fetch(t, http.DefaultClient, http.MethodGet, r.URL+"/metrics", "", "")
	for _, want := range []string{
		`attestd_spire_plugin_events_total{event="granted_jwt-svid",plugin="composer"} 5`,
		`attestd_spire_plugin_starts{plugin="composer"} 2`, `attestd_spire_controller_connected 0`,
	} {
		if !strings.Contains(string(page), want) {
			t.Errorf("/metrics has no %s", want)
		}
	}
	r.end()
}

// Keys of their own, that nobody else can read, which outlive a restart: nodes have pinned them.
func TestTheKeysOfSPIRELieApart(t *testing.T) {
	settings := withSPIRE(t)
	start(t, settings).end()
	keys := map[string][]byte{}
	for _, name := range []string{"snapshot.key", "challenge.key", "pki/ca.key"} {
		content, err := os.ReadFile(filepath.Join(settings.StateDir, name))
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(settings.StateDir, name))
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
		for other, known := range keys {
			if string(known) == string(content) {
				t.Errorf("%s is %s", name, other)
			}
		}
		keys[name] = content
	}
	start(t, settings).end()
	again, err := os.ReadFile(filepath.Join(settings.StateDir, "snapshot.key"))
	if err != nil || string(again) != string(keys["snapshot.key"]) {
		t.Errorf("the key of snapshots changed with a restart: %v", err)
	}
}

// A user that is not there, a file of names that cannot be read: said when it starts, by its key.
func TestADaemonDoesNotStartOnHalfASPIRE(t *testing.T) {
	for name, change := range map[string]func(*config.Config){
		"spire.users":     func(c *config.Config) { c.SPIRE.Users = []string{"no-such-user-here"} },
		"spire.workloads": func(c *config.Config) { c.SPIRE.Workloads = []string{"/nowhere/workloads.yaml"} },
		"spire.unattested": func(c *config.Config) {
			c.SPIRE.Unattested = ""
		},
	} {
		t.Run(name, func(t *testing.T) {
			settings := withSPIRE(t)
			change(&settings)
			err := runBriefly(t, settings)
			document, _ := json.Marshal(hintOf(err))
			if err == nil || !strings.Contains(err.Error()+string(document), name) {
				t.Errorf("got %v (%s), want it to name %s", err, document, name)
			}
		})
	}
}

func hintOf(err error) string {
	var caller *attestd.CallerError
	if errors.As(err, &caller) {
		return caller.Hint
	}
	return ""
}
