package measurements_test

import (
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/claims"
	"github.com/attestd/attestd/measurements"
)

// refused demands an error that says the words: most of what is refused here, something behind it
// would refuse for a reason that helps nobody.
func refused(t *testing.T, what string, err error, words string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("%s: got %v, want %q", what, err, words)
	}
}

func claimsOf(format attestd.Format) *attestd.Claims {
	return attestd.NewClaims(claims.Grant(), attestd.ClaimValues{
		Format: format, EvidenceDigest: [32]byte{1},
		Registers: []attestd.Register{{Name: "MEASUREMENT", Algorithm: "SHA384",
			Digest: []byte(strings.Repeat("m", 48))}},
	})
}

func TestMeasureSaysWhichFormatsItCanWrite(t *testing.T) {
	_, err := measurements.Measure("host", claimsOf("azure-vtpm"), measurements.Options{})
	refused(t, "a format without reference values", err, `no reference values for format "azure-vtpm"`)
	_, err = measurements.Measure("host", claimsOf(attestd.FormatSEVSNP), measurements.Options{Rules: true})
	refused(t, "rules without events", err, `format "sev-snp" has no rules over events`)
}

func TestProposeSaysWhatIsInTheWay(t *testing.T) {
	fresh := strings.Replace(strings.Replace(smallDoc, "3f9a61", "aaaa61", 1), "4-vcpu", "8-vcpu", 1)
	good, err := measurements.Parse("new", []byte(fresh))
	if err != nil {
		t.Fatal(err)
	}
	changed := func(change func(*measurements.Set)) *measurements.Set {
		set := *good
		set.Values = []measurements.Value{good.Values[0]}
		change(&set)
		return &set
	}
	for _, row := range []struct {
		name, doc string
		from      *measurements.Set
		want      string
	}{
		{"no document", "name: x\n", good, "is missing"},
		{"another format", smallDoc, changed(func(s *measurements.Set) { s.Format = attestd.FormatNitro }),
			"is for sev-snp, what is proposed for nitro"},
		{"another bank", tpmValue("    registers: {PCR4: \"" + hex32("a4") + "\"}\n"),
			changed(func(s *measurements.Set) { s.Format, s.Bank = attestd.FormatTPM, "sha384" }),
			"is for tpm sha256, what is proposed for tpm sha384"},
		{"a name that another has", smallDoc,
			changed(func(s *measurements.Set) { s.Values[0].Name = "4-vcpu" }), "is the name of another value"},
		{"a name that will not do", smallDoc,
			changed(func(s *measurements.Set) { s.Values[0].Name = "4 vcpu" }), "values[1].name"},
		{"a block that is none", smallDoc + "# attestd:signatures\n", good, "cannot be read"},
	} {
		changed, after, _, err := measurements.Propose("test", []byte(row.doc), row.from)
		refused(t, row.name, err, row.want)
		if changed != nil || after != nil {
			t.Errorf("%s: got a document beside the error", row.name)
		}
	}
}

func TestASetOfNoKnownBankIsNotLoaded(t *testing.T) {
	set, err := measurements.Parse("test", []byte(smallDoc))
	if err != nil {
		t.Fatal(err)
	}
	set.Bank = "sha256"
	_, err = measurements.NewIndex(set)
	refused(t, "a bank of a format that has none", err, "is of no known bank")
}

func TestOpeningAndSigningNameTheirReasons(t *testing.T) {
	ours := newSigner(t, "example.org/references")
	local := measurements.Trust{Local: true}
	set, err := measurements.Open("test", []byte("name: x\n"), local)
	if refused(t, "a local file that is no document", err, "is missing"); set != nil {
		t.Error("got a set beside the error")
	}
	_, err = measurements.ReadKeys("test", []byte(ours.private))
	refused(t, "a private key", err, "line 1 is a private key")
	_, err = measurements.Sign("test", []byte(smallDoc+"# attestd:signatures\n"), ours.private, nil)
	refused(t, "a block that is none", err, "cannot be read")
	full := smallDoc + strings.Repeat("#", measurements.MaxDocument-len(smallDoc)-1) + "\n"
	if _, err := measurements.Parse("test", []byte(full)); err != nil {
		t.Fatal(err)
	}
	_, err = measurements.Sign("test", []byte(full), ours.private, nil)
	refused(t, "a document without room for a signature", err, "bytes once it is signed")
}

// TestASignatureHasOneText changes a bit of the last digit that Base64 has no use for.
func TestASignatureHasOneText(t *testing.T) {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	ours := newSigner(t, "example.org/references")
	signed := ours.sign(t, smallDoc)
	end := strings.LastIndex(signed, "=") - 1
	other := digits[strings.IndexByte(digits, signed[end])+1]
	_, err := measurements.Open("test", []byte(signed[:end]+string(other)+signed[end+1:]),
		measurements.Trust{Keys: ours.public})
	refused(t, "another text of the same bytes", err, "cannot be read")
}
