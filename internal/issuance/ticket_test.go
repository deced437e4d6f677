package issuance_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/issuance"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
)

const enclave = "spiffe://example.org/enclave/blue/signer"

// TestWhatIsForEvidenceAloneNeedsATicket: an entry on the best of nodes is not enough, nor another
// spelling of the path. neg: 141
func TestWhatIsForEvidenceAloneNeedsATicket(t *testing.T) {
	w := newWorld(t, func(c *issuance.Config) { c.Unattested = issuance.Observe })
	w.publish(nil, 1)
	spelled := strings.Replace(enclave, "enclave", "Enclave", 1)
	must(t, w.office.SetMap(wire.Map{Entries: []wire.Entry{
		entry(enclave, string(node(1).ID)), entry(spelled, string(node(1).ID)),
	}}))
	for _, id := range []string{enclave, spelled} {
		w.refused(jwt(id), attestd.ClassPolicyDeny)
		w.refused(x509SVID(id), attestd.ClassPolicyDeny)
	}
	w.granted(jwt("spiffe://example.org/enclave")) // beside the path, not below it; nobody has an entry
	ask := x509SVID(enclave)
	other := sha256.Sum256([]byte("another key"))
	must(t, w.office.Ticket(node(1).ID, enclave, ask.KeySHA256, nil, nil))
	if info := w.said(w.granted(ask)); !info.Attested || info.Risk != attestd.Risk(20) {
		t.Errorf("the extension says %+v", info)
	}
	w.granted(ask)
	w.refused(jwt(enclave), attestd.ClassPolicyDeny)
	ask.KeySHA256 = other[:]
	w.refused(ask, attestd.ClassPolicyDeny)
	if w.outstanding(enclave) != 2 || w.outstanding(node(1).ID) != 2 {
		t.Error("the grants are not counted against the id and the node that gave the evidence")
	}
}

func TestATicketForAJWTIsUsedOnce(t *testing.T) {
	w := newWorld(t, nil)
	w.publish(nil, 1)
	ask := jwt(enclave)
	ask.Audience = []string{"b", "a"}
	must(t, w.office.Ticket(node(1).ID, enclave, nil, []string{"a", "b"}, map[string]any{
		"cnf": map[string]any{"jkt": "x"},
	}))
	for _, audience := range [][]string{{"a"}, {"a", "b", "c"}, {"a", "a"}} {
		wrong := ask
		wrong.Audience = audience
		w.refused(wrong, attestd.ClassPolicyDeny)
	}
	claims := w.granted(ask).Claims
	if fmt.Sprint(claims["cnf"]) != "map[jkt:x]" || claims["attested"] != true || claims["risk_score"] != 20 {
		t.Errorf("got claims %v", claims)
	}
	w.refused(ask, attestd.ClassPolicyDeny)
	const n = 5
	for range n {
		must(t, w.office.Ticket(node(1).ID, enclave, nil, []string{"a", "b"}, nil))
	}
	var given atomic.Int64
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if _, err := w.office.Grant(context.Background(), ask); err == nil {
				given.Add(1)
			}
		})
	}
	group.Wait()
	if given.Load() != n {
		t.Errorf("%d tickets were good for %d tokens", n, given.Load())
	}
	must(t, w.office.Ticket(node(1).ID, enclave, nil, []string{"a", "b"}, nil))
	w.wait(time.Minute)
	w.refused(ask, attestd.ClassPolicyDeny)
}

// TestATicketDoesNotOutliveTheStandingOfItsNode: neg: 197
func TestATicketDoesNotOutliveTheStandingOfItsNode(t *testing.T) {
	w := newWorld(t, nil)
	w.publish(nil, 1, 2)
	ask := x509SVID(enclave)
	must(t, w.office.Ticket(node(1).ID, enclave, ask.KeySHA256, nil, nil))
	w.hold(node(1).ID)
	w.refused(ask, attestd.ClassQuarantined)
	must(t, w.office.Ticket(node(2).ID, enclave, ask.KeySHA256, nil, nil))
	w.hold(enclave)
	w.refused(ask, attestd.ClassQuarantined)
	if w.outstanding(enclave) != 0 {
		t.Error("a grant is counted, and none was given")
	}
}

func TestTicketsThatAreRefused(t *testing.T) {
	key := make([]byte, sha256.Size)
	for name, row := range map[string]struct {
		node     subject.ID
		id       string
		key      []byte
		audience []string
		claims   map[string]any
		class    attestd.Class
	}{
		"for a workload of agents":    {node(1).ID, workload, key, nil, nil, attestd.ClassPolicyDeny},
		"for an agent":                {node(1).ID, string(node(2).ID), key, nil, nil, attestd.ClassPolicyDeny},
		"for the server":              {node(1).ID, server, key, nil, nil, attestd.ClassForbidden},
		"of nobody":                   {"", enclave, key, nil, nil, attestd.ClassMalformed},
		"without key and audience":    {node(1).ID, enclave, nil, nil, nil, attestd.ClassMalformed},
		"with both":                   {node(1).ID, enclave, key, []string{"a"}, nil, attestd.ClassMalformed},
		"with a short key":            {node(1).ID, enclave, key[1:], nil, nil, attestd.ClassMalformed},
		"with an audience of no name": {node(1).ID, enclave, nil, []string{""}, nil, attestd.ClassMalformed},
		// neg: 149
		"with a risk of its own": {node(1).ID, enclave, nil, []string{"a"},
			map[string]any{"risk_score": 0}, attestd.ClassMalformed},
		"with a longer life": {node(1).ID, enclave, nil, []string{"a"},
			map[string]any{"exp": 1}, attestd.ClassMalformed},
		"for somebody else": {node(1).ID, enclave, nil, []string{"a"},
			map[string]any{"sub": "x"}, attestd.ClassMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.publish(nil, 1)
			w.failed(w.office.Ticket(row.node, row.id, row.key, row.audience, row.claims), row.class)
			w.refused(x509SVID(enclave), attestd.ClassPolicyDeny)
		})
	}
}

// TestAnAgentsTicketIsNoneForAnEnclave: nor the other way round, though the key is the same.
func TestAnAgentsTicketIsNoneForAnEnclave(t *testing.T) {
	f := newFleet(t, func(c *issuance.Config) { c.AttestedOnly = []string{"/enclave/", "/spire/agent/"} })
	key, spki := newKey(t)
	f.attested(spki, key)
	f.granted(agentSVID(f.id, spki))
	digest := sha256.Sum256(spki)
	f.failed(f.office.Ticket(f.id, string(f.id), digest[:], nil, nil), attestd.ClassPolicyDeny)
}

// TestManyKeysOfOneNodeDoNotPileUp: an agent that is restarted makes a new one each time.
func TestManyKeysOfOneNodeDoNotPileUp(t *testing.T) {
	w := newWorld(t, nil)
	w.publish(nil, 1)
	for i := range 100 {
		digest := sha256.Sum256(fmt.Append(nil, i))
		must(t, w.office.Ticket(node(1).ID, enclave, digest[:], nil, nil))
	}
	ask := x509SVID(enclave)
	for i := range 100 {
		digest := sha256.Sum256(fmt.Append(nil, i))
		ask.KeySHA256 = digest[:]
		if i < 92 {
			w.refused(ask, attestd.ClassPolicyDeny)
		} else {
			w.granted(ask)
		}
	}
}
