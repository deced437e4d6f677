package awsdoc_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/internal/awsdoc"
)

func engine(t testing.TB, profile awsdoc.Profile) *awsdoc.Engine {
	t.Helper()
	made, err := awsdoc.New(awsdoc.Config{Profile: profile})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func enclaves() awsdoc.Profile {
	return awsdoc.Profile{
		Format: attestd.FormatNitro, RegisterField: "pcrs",
		Checks: awsdoc.VerifyChecks(attestd.FormatNitro),
	}
}

func instances() awsdoc.Profile {
	return awsdoc.Profile{
		Format: attestd.FormatNitroTPM, RegisterField: "nitrotpm_pcrs",
		Checks: awsdoc.VerifyChecks(attestd.FormatNitroTPM),
	}
}

func document(t testing.TB, d forge.Document) []byte {
	t.Helper()
	a, err := forge.NewAWS(forge.AWSOptions{})
	if err != nil {
		t.Fatal(err)
	}
	made, err := a.Document(d)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestTheEmbeddedRootIsTheOneThatAWSPublishes(t *testing.T) {
	t.Parallel()
	der, err := os.ReadFile("AWS_NitroEnclaves_Root-G1.der")
	if err != nil {
		t.Fatal(err)
	}
	if digest := sha256.Sum256(der); hex.EncodeToString(digest[:]) != awsdoc.RootG1SHA256 {
		t.Errorf("SHA-256 %x", digest)
	}
	root, err := awsdoc.ParsePinnedRoot(der, awsdoc.RootG1SHA256)
	if err != nil || root.Subject.CommonName != "aws.nitro-enclaves" {
		t.Errorf("got %v, %v", root, err)
	}
}

func TestAnAlteredRootIsAnErrorOfConfiguration(t *testing.T) {
	t.Parallel()
	// neg: 31
	der, err := os.ReadFile("AWS_NitroEnclaves_Root-G1.der")
	if err != nil {
		t.Fatal(err)
	}
	short := sha256.Sum256(der[:100])
	changed := bytes.Clone(der)
	changed[len(changed)-1] ^= 1
	for name, row := range map[string]struct {
		der         []byte
		fingerprint string
	}{
		"one bit changed":                       {changed, awsdoc.RootG1SHA256},
		"cut short":                             {der[:100], awsdoc.RootG1SHA256},
		"nothing":                               {nil, awsdoc.RootG1SHA256},
		"no certificate, under its fingerprint": {der[:100], hex.EncodeToString(short[:])},
	} {
		root, err := awsdoc.ParsePinnedRoot(row.der, row.fingerprint)
		var caller *attestd.CallerError
		if root != nil || !errors.As(err, &caller) || caller.Class != attestd.ClassConfig {
			t.Errorf("%s: got %v, want class CONFIG", name, err)
		}
	}
}

func TestDetection(t *testing.T) {
	t.Parallel()
	enclave, instance := engine(t, enclaves()), engine(t, instances())
	whole := document(t, forge.Document{})
	wrap := func(tags ...uint64) []byte {
		out := bytes.Clone(whole)
		for _, tag := range tags {
			out = forge.CBORTag(tag, out)
		}
		return out
	}
	cut := func(name string) []byte { return bytes.ReplaceAll(whole, []byte(name), []byte("xxxx")) }
	for _, row := range []struct {
		name              string
		evidence          []byte
		enclave, instance bool
	}{
		{"an enclave's document", whole, true, false},
		{"an instance's document", document(t, forge.Document{NitroTPM: true}), false, true},
		{"an open-ended one", document(t, forge.Document{Open: true}), true, false},
		{"one behind tag 18", wrap(18), true, false},
		{"one behind tags 18 and 55799", wrap(18, 55799), true, false},
		{"one behind tag 98", wrap(98), true, false},
		{"one whose register field was renamed", cut("pcrs"), true, false},
		{"one whose header was changed", append([]byte{0x84, 0x43}, whole[2:]...), true, false},
		{"the first 40 bytes of one", whole[:40], true, false},
		{"nothing", nil, false, false},
		{"a tag and nothing", []byte{0xd9}, false, false},
		{"tags and nothing", bytes.Repeat([]byte{0xc1}, 100), false, false},
		{"text", []byte("module_id pcrs"), false, false},
		{"an array of four numbers", []byte{0x84, 1, 2, 3, 4}, false, false},
		{"zeros", make([]byte, 1184), false, false},
	} {
		if got := enclave.Detect(row.evidence); got != row.enclave {
			t.Errorf("%s: as an enclave's %v, want %v", row.name, got, row.enclave)
		}
		if got := instance.Detect(row.evidence); got != row.instance {
			t.Errorf("%s: as an instance's %v, want %v", row.name, got, row.instance)
		}
	}
}

func TestInspectionShowsEveryField(t *testing.T) {
	t.Parallel()
	got, err := engine(t, enclaves()).Inspect(document(t, forge.Document{
		Debug: true, Nonce: []byte{1, 2}, UserData: []byte{},
	}))
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]attestd.InspectedField{}
	for _, field := range got.Fields {
		if _, double := fields[field.Name]; double {
			t.Errorf("field %q twice", field.Name)
		}
		fields[field.Name] = field
	}
	for name, want := range map[string][2]string{
		"module_id":             {forge.AWSModuleID, ""},
		"timestamp":             {"1780315200000", "2026-06-01T12:00:00Z"},
		"pcrs.0":                {strings.Repeat("00", 48), "all zero"},
		"nonce":                 {"0102", "2 bytes"},
		"user_data":             {"", "empty"},
		"public_key":            {"", "absent or null"},
		"cabundle.0":            {"CN=aws.nitro-enclaves,OU=AWS,O=Amazon,C=US", "*"},
		"certificate":           {"CN=" + forge.AWSModuleID + ".us-east-2.aws,OU=AWS,O=Amazon,C=US", "*"},
		"certificate.not_after": {"2026-06-01T14:59:00Z", ""},
		"signature":             {"*", "96 bytes"},
	} {
		field, ok := fields[name]
		if !ok || (want[0] != "*" && field.Value != want[0]) || (want[1] != "*" && field.Note != want[1]) {
			t.Errorf("%s: got %q (%q), want %q (%q)", name, field.Value, field.Note, want[0], want[1])
		}
	}
}

func TestInspectionShowsWhatVerificationRefuses(t *testing.T) {
	t.Parallel()
	latest := uint64(1<<64 - 1)
	got, err := engine(t, enclaves()).Inspect(document(t, forge.Document{
		Milliseconds: &latest, Certificate: []byte{0x30, 0},
	}))
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range got.Fields {
		if field.Name == "certificate" && !strings.Contains(field.Note, "not readable") {
			t.Errorf("a certificate that is none is shown as %q", field.Note)
		}
		if field.Name == "timestamp" && field.Note != "beyond the year 9999" {
			t.Errorf("timestamp 2^64-1 is shown as %q", field.Note)
		}
	}
}

func TestNamesInModuleIDs(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ moduleID, instance, leaf, region string }{
		{"i-078824548edcf6519-enc01784234ec227b58", "i-078824548edcf6519",
			"i-078824548edcf6519-enc01784234ec227b58.us-east-2.aws", "us-east-2"},
		{"i-0123-tpm0000000000000000", "i-0123", "i-0123-tpm0000000000000000.ap-south-1.aws", "ap-south-1"},
		{"i-0123", "", "i-0123.us-east-2.aws-cn", ""},
		{"i--enc", "", "other.us-east-2.aws", ""},
		{"i-0123-", "", "i-0123-..aws", ""},
		{"i-XYZ-enc1", "", "i-XYZ-enc1.us-east-2", ""},
		{"0123-enc1", "", "", ""},
	} {
		if got, ok := awsdoc.InstanceOf(row.moduleID); got != row.instance || ok != (row.instance != "") {
			t.Errorf("instance of %q is %q", row.moduleID, got)
		}
		if got, ok := awsdoc.RegionOf(row.leaf, row.moduleID); got != row.region || ok != (row.region != "") {
			t.Errorf("region of %q is %q", row.leaf, got)
		}
	}
}

// TestEveryCheckIsDocumented: explain, the tables and every error message are made of these.
func TestEveryCheckIsDocumented(t *testing.T) {
	t.Parallel()
	for _, spec := range append(enclaves().Checks, instances().Checks...) {
		if spec.Proves == "" || spec.Why == "" || spec.Spec == "" || spec.Hint == "" ||
			spec.Class == "" || spec.Group == "" || spec.Stage != attestd.StageVerify {
			t.Errorf("%s is not documented", spec.ID)
		}
		if strings.HasSuffix(spec.Proves, ".") || strings.HasSuffix(spec.Why, ".") {
			t.Errorf("%s ends in a full stop", spec.ID)
		}
	}
}
