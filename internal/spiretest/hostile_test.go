package spiretest_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	entryv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/entry/v1"
	svidv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/svid/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/plugins/spire/keysocket"
)

// hostile is root on a node: it asks SPIRE's server itself, with the agent's SVID and key. No agent of
// SPIRE's and no attestor of workloads stands between.
type hostile struct {
	node    *node
	svids   svidv1.SVIDClient
	entries entryv1.EntryClient
}

// subverted takes the node's agent over: it is stopped, and its key manager goes on signing.
func (n *node) subverted(t *testing.T) *hostile {
	t.Helper()
	document, err := os.ReadFile(filepath.Join(n.agent.folder, "agent-data.json"))
	if err != nil {
		t.Fatal(err)
	}
	var kept struct {
		SVID [][]byte `json:"svid"`
	}
	if err := json.Unmarshal(document, &kept); err != nil || len(kept.SVID) == 0 {
		t.Fatalf("the agent keeps no SVID: %v", err)
	}
	keys, err := keysocket.Dial(n.runtime)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = keys.Close() })
	signer, _, err := keys.Signer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	identity := tls.Certificate{PrivateKey: signer}
	for _, one := range kept.SVID {
		block, _ := pem.Decode(one)
		if block == nil {
			t.Fatal("the agent's SVID is not in PEM")
		}
		identity.Certificate = append(identity.Certificate, block.Bytes)
	}
	roots := x509.NewCertPool()
	bundle, err := n.house.spire.bundle(t.Context())
	if err != nil || !roots.AppendCertsFromPEM(bundle) {
		t.Fatalf("the trust bundle: %v", err)
	}
	conn, err := grpc.NewClient(fmt.Sprintf("127.0.0.1:%d", n.house.spire.port), grpc.WithTransportCredentials(
		credentials.NewTLS(&tls.Config{
			MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{identity},
			InsecureSkipVerify: true, //nolint:gosec // the chain is checked below; SVIDs have no host name
			VerifyConnection: func(state tls.ConnectionState) error {
				_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots})
				return err
			},
		})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	n.agent.signal(t, syscall.SIGSTOP)
	return &hostile{n, svidv1.NewSVIDClient(conn), entryv1.NewEntryClient(conn)}
}

// jwt asks for a JWT-SVID of the entry of the node's workload.
func (h *hostile) jwt(ctx context.Context) error {
	_, err := h.svids.NewJWTSVID(ctx, &svidv1.NewJWTSVIDRequest{
		EntryId: h.node.entryID(), Audience: []string{fmt.Sprint("hostile ", time.Now().UnixNano())},
	})
	return err
}

// list asks what the agent may ask for: a call that issues nothing, which no composer sees.
func (h *hostile) list(ctx context.Context) error {
	_, err := h.entries.GetAuthorizedEntries(ctx, &entryv1.GetAuthorizedEntriesRequest{})
	return err
}

// TestAHostileNodeGetsNothing: what the node itself would keep back it takes. From the acknowledgement
// on it has no JWT-SVID all the same, and SPIRE's server soon does not talk to it; with the gate it does
// not talk to it from the acknowledgement on.
//
// neg: 197
func TestAHostileNodeGetsNothing(t *testing.T) {
	for _, row := range []struct {
		name  string
		gated bool
	}{{"without the gate", false}, {"with the gate", true}} {
		t.Run(row.name, func(t *testing.T) {
			const rounds = 3
			h := open(t, houseConfig{profile: fast, gated: row.gated})
			n := h.measuredNode(t, "first", "memory")
			var barred []time.Duration
			for round := range rounds {
				if round > 0 {
					n.revive(t)
				}
				barred = append(barred, n.turned(t, row.gated))
			}
			slices.Sort(barred)
			t.Logf("%d times: no JWT-SVID after the acknowledgement; SPIRE's server answers nothing %s after it "+
				"in the middle, %s at most", rounds, barred[rounds/2], barred[rounds-1])
		})
	}
}

// turned takes the node over and quarantines it. It returns when SPIRE's server answered it nothing any
// more.
func (n *node) turned(t *testing.T, gated bool) time.Duration {
	t.Helper()
	h := n.house
	enemy := n.subverted(t)
	if err := errors.Join(enemy.jwt(t.Context()), enemy.list(t.Context())); err != nil {
		t.Fatalf("before it is held: %v", err)
	}
	if _, err := h.ann.Quarantine(t.Context(), wire.Order{Target: n.id, Reason: "drill"}); err != nil {
		t.Fatal(err)
	}
	acknowledged := time.Now()
	if gated && enemy.list(t.Context()) == nil {
		t.Error("the gate lets a call pass after the acknowledgement")
	}
	if err := enemy.jwt(t.Context()); err == nil {
		t.Error("a JWT-SVID after the acknowledgement")
	}
	if !until(fast.bound, func() bool { return enemy.list(t.Context()) != nil }) {
		t.Errorf("SPIRE's server still talks to the node %s after the acknowledgement", fast.bound)
	}
	barred := time.Since(acknowledged)
	if err := enemy.jwt(t.Context()); err == nil {
		t.Error("a JWT-SVID of a banned agent")
	}
	n.agent.stop(t)
	return barred
}
