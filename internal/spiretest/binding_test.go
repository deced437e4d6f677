package spiretest_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// TestEvidenceOfAMachineWithTheKeyOfAnother: whoever is root on both has the one machine's TPM and key
// manager answer for the other's agent. The evidence is good; the key that SPIRE would certify is not
// the one that it names.
//
// neg: 141
func TestEvidenceOfAMachineWithTheKeyOfAnother(t *testing.T) {
	h := open(t, houseConfig{profile: fast})
	victim := h.measuredNode(t, "first", "memory")
	before := h.spire.spireAgentOf(t, victim.id)

	thief := h.spire.prepare(t, agentConfig{
		plugins: memoryKeys + victim.nodeAttestor(t) + plainWorkloads,
	})
	thief.run(t)
	if !until(startLimit, func() bool {
		return strings.Contains(thief.said.String(), "no identity is issued now")
	}) {
		t.Error("the thief's agent was not refused by the composer")
	}
	after := h.spire.spireAgentOf(t, victim.id)
	if after.GetX509SvidSerialNumber() != before.GetX509SvidSerialNumber() {
		t.Error("SPIRE has certified another key for the victim's agent")
	}
	victim.workload.awaitJWT(t, "after the theft")
}

// TestAMintByHandIsRefusedWhereEvidenceAloneCounts: an administrator of SPIRE cannot make up what only
// evidence gives; elsewhere SPIRE mints as it always did, and the SVID says that nothing was attested.
func TestAMintByHandIsRefusedWhereEvidenceAloneCounts(t *testing.T) {
	h := open(t, houseConfig{profile: fast, unattested: "observe"})
	for _, kind := range []string{"x509", "jwt"} {
		words := []string{kind, "mint", "-spiffeID", id("/enclave/" + tenant + "/vault")}
		free := []string{kind, "mint", "-spiffeID", id("/by-hand")}
		if kind == "jwt" {
			words, free = append(words, "-audience", "shop"), append(free, "-audience", "shop")
		}
		if said, err := h.spire.command(t, words...); err == nil {
			t.Errorf("%v: SPIRE mints %s", words, said)
		} else if !strings.Contains(err.Error(), "attestd") {
			t.Errorf("%v is refused for another reason: %v", words, err)
		}
		var said string
		var err error
		until(10*time.Second, func() bool { // attestd knows which entries there are, and can decide
			said, err = h.spire.command(t, free...)
			return err == nil
		})
		if err != nil {
			t.Errorf("%v: %v", free, err)
		} else if kind == "jwt" {
			claims := payload(t, strings.TrimSpace(said))
			if claims["attested"] != false || claims["risk_score"] != 100.0 {
				t.Errorf("a JWT-SVID by hand says %v", claims)
			}
		}
	}
}

// payload is what a JWT says, whoever signed it.
func payload(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no JWT", token)
	}
	document, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(document, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// TestWhatWasNotAttestedIsDenied where attestd is told so.
func TestWhatWasNotAttestedIsDenied(t *testing.T) {
	h := open(t, houseConfig{profile: fast})
	if said, err := h.spire.command(t, "jwt", "mint", "-spiffeID", id("/by-hand"), "-audience", "a"); err == nil {
		t.Errorf("SPIRE mints %s", said)
	}
}
