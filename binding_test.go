package attestd_test

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/attestd/attestd"
)

// update rewrites the published vectors: go test . -run Binding -update
var update = flag.Bool("update", false, "rewrite the published binding vectors")

const bindingVectors = "testvectors/binding/vectors.json"

// bindingVector is one published vector of the binding construction: every part in hex or text, and
// the digest that an attester places in the freshness field.
type bindingVector struct {
	Name          string         `json:"name"`
	TrustDomain   string         `json:"trust_domain"`
	VerifierKeyID string         `json:"verifier_key_id"`
	Tenant        string         `json:"tenant"`
	Purpose       string         `json:"purpose"`
	Format        attestd.Format `json:"format"`
	Nonce         string         `json:"nonce_hex"`
	DevicePath    string         `json:"device_path"`
	SPKI          string         `json:"spki_hex"`
	ChannelType   string         `json:"channel_type"`
	Exporter      string         `json:"exporter_hex"`
	Digest        string         `json:"digest_hex"`
}

func (v bindingVector) binding(t *testing.T) attestd.Binding {
	t.Helper()
	raw := func(text string) []byte {
		out, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	return attestd.Binding{
		TrustDomain: v.TrustDomain, VerifierKeyID: v.VerifierKeyID, Tenant: v.Tenant,
		Purpose: v.Purpose, Format: v.Format, Nonce: raw(v.Nonce), DevicePath: v.DevicePath,
		SPKI: raw(v.SPKI), ChannelType: v.ChannelType, Exporter: raw(v.Exporter),
	}
}

func TestBindingMatchesThePublishedVectors(t *testing.T) {
	data, err := os.ReadFile(bindingVectors)
	if err != nil {
		t.Fatal(err)
	}
	var vectors []bindingVector
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) < 6 {
		t.Fatalf("%d vectors, want one per format at least", len(vectors))
	}
	seen := map[string]string{}
	for i, vector := range vectors {
		digest, err := vector.binding(t).Digest()
		if err != nil {
			t.Fatalf("%s: %v", vector.Name, err)
		}
		got := hex.EncodeToString(digest)
		if *update {
			vectors[i].Digest = got
		} else if got != vector.Digest {
			t.Errorf("%s: got %s, want %s", vector.Name, got, vector.Digest)
		}
		if other, double := seen[got]; double {
			t.Errorf("%s and %s share a digest", vector.Name, other)
		}
		seen[got] = vector.Name
	}
	if *update {
		out, err := json.MarshalIndent(vectors, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(bindingVectors, append(out, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBindingCoversEveryPart: evidence made for one tenant, key, format, purpose or channel must not
// serve another, and no two bindings may share an input by moving a byte from one part to the next.
// neg: 154, 160
func TestBindingCoversEveryPart(t *testing.T) {
	base := attestd.Binding{
		TrustDomain: "example.org", VerifierKeyID: "k1", Tenant: "default", Purpose: "verify",
		Format: attestd.FormatNitro, Nonce: make([]byte, 32), DevicePath: "gpu0",
		SPKI: []byte{1, 2}, ChannelType: "tls-exporter", Exporter: []byte{3},
	}
	changes := map[string]func(*attestd.Binding){
		"trust domain":    func(b *attestd.Binding) { b.TrustDomain = "example.com" },
		"verifier key":    func(b *attestd.Binding) { b.VerifierKeyID = "k2" },
		"tenant":          func(b *attestd.Binding) { b.Tenant = "other" },
		"purpose":         func(b *attestd.Binding) { b.Purpose = "issue" },
		"format":          func(b *attestd.Binding) { b.Format = attestd.FormatSEVSNP },
		"nonce":           func(b *attestd.Binding) { b.Nonce = append(make([]byte, 31), 1) },
		"longer nonce":    func(b *attestd.Binding) { b.Nonce = make([]byte, 33) },
		"device":          func(b *attestd.Binding) { b.DevicePath = "gpu1" },
		"key":             func(b *attestd.Binding) { b.SPKI = []byte{1} },
		"channel":         func(b *attestd.Binding) { b.ChannelType = "" },
		"exporter":        func(b *attestd.Binding) { b.Exporter = nil },
		"moved byte":      func(b *attestd.Binding) { b.TrustDomain, b.VerifierKeyID = "example.orgk", "1" },
		"key to exporter": func(b *attestd.Binding) { b.SPKI, b.Exporter = []byte{1}, []byte{2, 3} },
	}
	want, err := base.Digest()
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range changes {
		changed := base
		change(&changed)
		got, err := changed.Digest()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if string(got) == string(want) {
			t.Errorf("another %s gives the same digest", name)
		}
	}
	for _, length := range []int{0, 31, 65} {
		short := base
		short.Nonce = make([]byte, length)
		if _, err := short.Digest(); err == nil {
			t.Errorf("a nonce of %d bytes was taken", length)
		}
	}
}
