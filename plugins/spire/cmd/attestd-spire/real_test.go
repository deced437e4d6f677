package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/link"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/plugins/spire/svidext"
)

// open starts a server with the composer, and attestd's stand-in.
func open(t *testing.T) (*spireServer, *fakeAttestd, string) {
	t.Helper()
	binary, plugin := theBinaries(t)
	folder, err := os.MkdirTemp("", "s") // short: sun_path of unix(7) has 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	fake := &fakeAttestd{socket: filepath.Join(folder, "attestd.sock")}
	fake.set(yes(t))
	server := &spireServer{t: t, binary: binary, folder: folder}
	server.configure(plugin, fmt.Sprintf("addresses = [%q]\ntimeout = \"1s\"\n", "unix:"+fake.socket))
	return server, fake, plugin
}

// TestARealServerMintsByGrantAlone: claims, extension, refusals, and attestd gone and back.
func TestARealServerMintsByGrantAlone(t *testing.T) {
	server, fake, _ := open(t)
	// attestd is not there yet: the server's own credentials and its health check need nobody.
	server.start()
	if _, err := server.mintJWT(); err == nil || !strings.Contains(err.Error(), "no identity is issued now") {
		t.Fatalf("without attestd: got %v, want a refusal", err)
	}
	fake.listen(t)
	var claims map[string]any
	server.within(5*time.Second, "attestd is there and a token is minted", func() (ok bool) {
		var err error
		claims, err = server.mintJWT()
		return err == nil
	})
	if claims["attested"] != true || claims["risk_score"] != 12.0 || claims["risk_tier"] != "low" {
		t.Errorf("claims are %v", claims)
	}
	// SPIRE was asked for five minutes, attestd gave 20 s.
	if left := claims["exp"].(float64) - float64(time.Now().Unix()); left < 10 || left > 21 { // neg: 150
		t.Errorf("the token is good for %v s", left)
	}
	certificate := server.mintX509(t)
	info, found, err := svidext.Of(certificate, extensionOID)
	if err != nil || !found || info.Risk.Int() != 12 || !info.Attested {
		t.Errorf("the extension says %+v, %v, %v", info, found, err)
	}
	fake.mu.Lock()
	last := fake.asked[len(fake.asked)-1]
	fake.mu.Unlock()
	if last.Kind != wire.GrantWorkloadX509 || last.ID != workload || len(last.KeySHA256) != 32 {
		t.Errorf("attestd was asked %+v", last)
	}

	for _, row := range []struct {
		name  string
		grant func(wire.GrantRequest) (any, error)
		code  string
	}{
		{"a held subject", func(wire.GrantRequest) (any, error) {
			return nil, &link.Error{Class: attestd.ClassQuarantined, Message: "secret reason"}
		}, "PermissionDenied"},
		{"what cannot be decided", func(wire.GrantRequest) (any, error) {
			return nil, &link.Error{Class: attestd.ClassStoreUnavailable, Message: "secret reason"}
		}, "Unavailable"},
		{"an error without a class", func(wire.GrantRequest) (any, error) {
			return nil, errors.New("secret reason")
		}, "Internal"},
		{"an empty grant", func(wire.GrantRequest) (any, error) { return wire.Empty{}, nil }, "Internal"},
		{"garbage", func(wire.GrantRequest) (any, error) { return []string{"secret reason"}, nil }, "Unavailable"},
		{"a claim of SPIRE's", func(request wire.GrantRequest) (any, error) {
			return wire.Granted{ExpiresAt: request.ExpiresAt, Claims: map[string]any{"sub": "spiffe://attestd.test/root"}}, nil
		}, "Internal"},
	} {
		fake.set(row.grant)
		_, err := server.mintJWT()
		if err == nil || !strings.Contains(err.Error(), "no identity is issued now; ask: attestd why "+workload) ||
			strings.Contains(err.Error(), "secret reason") || !server.logHas("code = "+row.code) {
			t.Errorf("%s: got %v, want %s in neutral words", row.name, err, row.code)
		}
		if !server.logHas("secret reason") && row.name == "a held subject" {
			t.Errorf("%s: SPIRE's log has no reason", row.name)
		}
	}
	fake.set(yes(t))
	if _, err := server.mintJWT(); err != nil {
		t.Errorf("after refusals: %v", err)
	}
}

func (s *spireServer) mintX509(t *testing.T) *x509.Certificate {
	t.Helper()
	out, err := s.cli("x509", "mint", "-spiffeID", workload)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(out[max(strings.Index(out, "-----BEGIN CERTIFICATE"), 0):]))
	if block == nil {
		t.Fatalf("no certificate: %s", out)
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

// TestARealServerGoesOnWhenItsPluginIsKilled: SPIRE is not restarted, and does not restart its plugin.
//
// neg: 191
func TestARealServerGoesOnWhenItsPluginIsKilled(t *testing.T) {
	server, fake, _ := open(t)
	fake.listen(t)
	server.start()
	const rounds = 20
	var took []time.Duration
	lost := 0
	for round := 1; round <= rounds; round++ {
		server.within(5*time.Second, "the child has reported", func() bool { return fake.lastReport().Starts == round })
		child := fake.lastReport().PID
		if err := syscall.Kill(child, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		claims, err := server.mintJWT()
		if err != nil {
			// SPIRE wrote on the connection in the moment in which it died. The next one counts.
			lost++
			claims, err = server.mintJWT()
		}
		if err != nil || claims["risk_score"] != 12.0 {
			t.Fatalf("round %d: %v, %v", round, claims, err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	t.Logf("kill -9 of the plugin, then a JWT-SVID: median %s, slowest %s, %d of %d at the second try",
		took[rounds/2].Round(time.Millisecond), took[rounds-1].Round(time.Millisecond), lost, rounds)
	if lost > rounds/4 {
		t.Errorf("%d of %d mints were lost with the child", lost, rounds)
	}
	if certificate := server.mintX509(t); certificate.URIs[0].String() != workload {
		t.Errorf("an X509-SVID for %s", certificate.URIs[0])
	}
}

// TestARealServerConfiguresThePluginAgain: SIGUSR1, a wrong configuration, a good one, and a kill after
// each; problems are named all at once and with their lines.
func TestARealServerConfiguresThePluginAgain(t *testing.T) {
	server, fake, _ := open(t)
	fake.listen(t)
	server.start()
	good, err := os.ReadFile(server.path("composer.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	again := func(data string, says ...string) {
		t.Helper()
		server.write("composer.hcl", data)
		if err := server.command.Process.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		for _, text := range says {
			server.within(5*time.Second, "the log says "+text, func() bool { return server.logHas(text) })
		}
	}
	// neg: 196
	again("addresses = [\"\"]\ntimeouts = \"2s\"\ntimeout = \"1h\"\n", "Failed to reconfigure plugin",
		"line 1: addresses[0]: is empty", "line 2: timeouts: there is no such key", "timeout: got 1h0m0s, want 10ms to 30s")
	if _, err := server.mintJWT(); err != nil {
		t.Errorf("with the configuration before: %v", err)
	}
	second := &fakeAttestd{socket: filepath.Join(server.folder, "second.sock")}
	second.set(yes(t))
	second.listen(t)
	again(strings.Replace(string(good), fake.socket, second.socket, 1), "Plugin reconfigured")
	server.within(5*time.Second, "the plugin reports to the second", func() bool { return second.lastReport().Starts == 1 })
	fake.stop()
	if _, err := server.mintJWT(); err != nil {
		t.Errorf("with the second configuration: %v", err)
	}
	if err := syscall.Kill(second.lastReport().PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	server.within(5*time.Second, "the next child reports to the second", func() bool { return second.lastReport().Starts == 2 })
	if _, err := server.mintJWT(); err != nil {
		t.Errorf("the next child has another configuration: %v", err)
	}

	server.write("composer.hcl", "addresses = [\"unix:relative\"]\nunknown = 1\n")
	out, err := server.validate()
	if err == nil {
		t.Error("spire-server validate accepts a wrong configuration")
	}
	for _, want := range []string{"line 2: unknown: there is no such key", "not an absolute path"} {
		if !strings.Contains(out, want) {
			t.Errorf("spire-server validate does not say %q:\n%s", want, out)
		}
	}
}

// TestARealServerTakesItsPluginAlong: ended in order or killed, it leaves no process and, in order, no
// file.
func TestARealServerTakesItsPluginAlong(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(signal.String(), func(t *testing.T) {
			server, fake, plugin := open(t)
			fake.listen(t)
			server.start()
			if got := len(running(t, plugin)); got != 2 {
				t.Fatalf("%d processes of the plugin, want supervisor and child", got)
			}
			if err := server.command.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			select {
			case <-server.exited:
			case <-time.After(10 * time.Second):
				t.Fatal("the server does not end")
			}
			server.within(3*time.Second, "no process of the plugin is left", func() bool {
				return len(running(t, plugin)) == 0
			})
			left, _ := filepath.Glob(server.path("attestd-spire-*"))
			if signal == syscall.SIGTERM && (len(left) != 0 || server.logHas("failed to exit gracefully")) {
				t.Errorf("left behind: %s", left)
			}
		})
	}
}
