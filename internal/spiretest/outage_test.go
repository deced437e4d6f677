package spiretest_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestWithoutAttestdNothingIsIssued: SPIRE's server starts, has its own certificates and is healthy; it
// mints nothing for anybody else, before and after its composer was killed.
//
// neg: 191, 195
func TestWithoutAttestdNothingIsIssued(t *testing.T) {
	addresses := `addresses = ["unix:` + filepath.Join(made.folder, "nobody") + `"]
			timeout = "500ms"`
	server := serve(t, serverConfig{
		profile: fast,
		plugins: pluginBlock(t, "NodeAttestor", "nodeattestor-server", addresses) +
			pluginBlock(t, "CredentialComposer", "composer", addresses),
	})
	refused := func() {
		t.Helper()
		for _, words := range [][]string{
			{"x509", "mint", "-spiffeID", id("/by-hand")},
			{"jwt", "mint", "-spiffeID", id("/by-hand"), "-audience", "shop"},
		} {
			said, err := server.command(t, words...)
			if err == nil {
				t.Errorf("%v: SPIRE mints %s", words, said)
			} else if !strings.Contains(err.Error(), "attestd") {
				t.Errorf("%v is refused for another reason: %v", words, err)
			}
		}
	}
	refused()
	composer := server.children(pluginProgram.file(t), "composer")
	if len(composer) != 2 {
		t.Fatalf("the composer's processes are %v, want a supervisor and its child", composer)
	}
	killChild(t, server.process, "composer")
	if !until(5*time.Second, func() bool {
		again := server.children(pluginProgram.file(t), "composer")
		return len(again) == 2 && again[1] != composer[1]
	}) {
		t.Fatal("the composer was not started again")
	}
	refused()
	if !server.running() {
		t.Error("the server has ended")
	}
}
