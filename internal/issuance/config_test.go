package issuance_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/issuance"
)

// TestNothingIsLeftToAGuess: each row is a good configuration with one thing changed.
func TestNothingIsLeftToAGuess(t *testing.T) {
	for name, change := range map[string]func(*issuance.Config){
		"no trust domain":             func(c *issuance.Config) { c.TrustDomain = "" },
		"a trust domain with a path":  func(c *issuance.Config) { c.TrustDomain = "example.org/x" },
		"an upper-case trust domain":  func(c *issuance.Config) { c.TrustDomain = "Example.org" },
		"no index":                    func(c *issuance.Config) { c.Index = nil },
		"no verifier":                 func(c *issuance.Config) { c.Verifier = nil },
		"no keys":                     func(c *issuance.Config) { c.Keys = nil },
		"keys that are no document":   func(c *issuance.Config) { c.Keys = json.RawMessage("{") },
		"no clock":                    func(c *issuance.Config) { c.Now = nil },
		"no word on what is unknown":  func(c *issuance.Config) { c.Unattested = "" },
		"another word on it":          func(c *issuance.Config) { c.Unattested = "allow" },
		"no word on unbound keys":     func(c *issuance.Config) { c.Unbound = "" },
		"no memory of bound keys":     func(c *issuance.Config) { c.Bound = nil },
		"a path that is none":         func(c *issuance.Config) { c.AttestedOnly = []string{"enclave"} },
		"every path":                  func(c *issuance.Config) { c.AttestedOnly = []string{"/"} },
		"an audience of no name":      func(c *issuance.Config) { c.Audiences = []string{""} },
		"no OID":                      func(c *issuance.Config) { c.ExtensionOID = "" },
		"no snapshot key":             func(c *issuance.Config) { c.SnapshotKey = nil },
		"no node CA":                  func(c *issuance.Config) { c.NodeCA = nil },
		"no workloads":                func(c *issuance.Config) { c.Workloads = nil },
		"addresses without a CA":      func(c *issuance.Config) { c.ServerCA = nil },
		"a CA without addresses":      func(c *issuance.Config) { c.Addresses = nil },
		"no controller":               func(c *issuance.Config) { c.Refresh = nil },
		"no notes":                    func(c *issuance.Config) { c.Notes = nil },
		"no logger":                   func(c *issuance.Config) { c.Logger = nil },
		"no agent_ttl":                func(c *issuance.Config) { c.Lifetimes.Agent = 0 },
		"two days":                    func(c *issuance.Config) { c.Lifetimes.MaxX509 = 48 * time.Hour },
		"a default beyond the most":   func(c *issuance.Config) { c.Lifetimes.MaxX509 = time.Minute },
		"no JWT of a tier":            func(c *issuance.Config) { delete(c.Lifetimes.JWT, attestd.TierUnknown) },
		"a grace below nothing":       func(c *issuance.Config) { c.Lifetimes.Grace = -1 },
		"snapshots that hold an hour": func(c *issuance.Config) { c.Lifetimes.Snapshot = time.Hour },
		"a map that holds for ever":   func(c *issuance.Config) { c.Lifetimes.Map = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			config := newWorld(t, nil).config()
			change(&config)
			var caller *attestd.CallerError
			if _, err := issuance.New(config); !errors.As(err, &caller) || caller.Class != attestd.ClassConfig {
				t.Errorf("got %v, want CONFIG", err)
			}
		})
	}
}

// TestWhatEvidenceShowedIsRecalledAfterARestart: and gives way to what comes.
func TestWhatEvidenceShowedIsRecalledAfterARestart(t *testing.T) {
	w := newWorld(t, nil)
	w.publish(nil, 1)
	w.on(1)
	given := attestd.Appraisal{
		Verdict: attestd.VerdictAccepted, At: start,
		Claims: json.RawMessage(`{"ak_residency":"activated"}`),
		Checks: []attestd.Check{{ID: "measurement/known", Result: attestd.ResultPass, Got: "web / v1 (retiring)"}},
	}
	w.office.Recall(node(1).ID, [32]byte{1}, given)
	claims := w.granted(jwt(workload)).Claims
	if claims["key_grade"] != "bound" || claims["measurement"] != "web" {
		t.Errorf("got %v, want what the evidence showed", claims)
	}
	given.Checks[0].Got = "other / v1"
	w.office.Recall(node(1).ID, [32]byte{}, given)
	if claims = w.granted(jwt(workload)).Claims; claims["measurement"] != "web" {
		t.Errorf("got %v: what is older took the place of what is there", claims)
	}
	w.publish(nil, 2)
	given.Verdict = attestd.VerdictRejected
	w.office.Recall(node(2).ID, [32]byte{1}, given)
	w.on(2)
	if claims = w.granted(jwt(workload)).Claims; claims["key_grade"] != "none" || claims["measurement"] != nil {
		t.Errorf("got %v of evidence that was rejected", claims)
	}
}
