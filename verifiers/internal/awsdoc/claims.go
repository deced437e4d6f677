package awsdoc

import (
	"crypto/sha256"
	"slices"
	"strconv"

	"github.com/attestd/attestd"
)

// Shape says which registers a format's policies name, and which are shown whatever they hold.
type Shape struct {
	// Named registers are facts in every document: not visible where absent or all zero, so that a
	// policy that names one fails on both.
	Named []int
	// Shown registers are facts wherever they are present, all zero or not.
	Shown []int
}

var registerNames, factNames = func() (registers, facts [32]string) {
	for index := range registers {
		registers[index] = "PCR" + strconv.Itoa(index)
		facts[index] = "pcr" + strconv.Itoa(index)
	}
	return registers, facts
}()

// Zero reports whether register index is present and all zero.
func (d *Document) Zero(index int) bool {
	var zero [digestSize]byte
	return d.PCRs[index] != nil && [digestSize]byte(d.PCRs[index]) == zero
}

// ModuleID returns module_id without characters that a terminal would act on.
func (v *Verified) ModuleID() string {
	for _, b := range v.Document.ModuleID {
		if b < 'a' && b != '-' && (b < '0' || b > '9') || b > 'z' {
			return attestd.Excerpt(string(v.Document.ModuleID), limits.moduleID)
		}
	}
	return string(v.Document.ModuleID) // as every published one: digits, small letters, hyphens
}

// Values returns what the document says, as copies. leading are facts that the format puts first.
// Registers are all that the document has; one that is all zero was never extended, and a reference
// value may demand that.
func (v *Verified) Values(
	format attestd.Format, evidence []byte, shape Shape, leading ...attestd.Fact,
) attestd.ClaimValues {
	d := v.Document
	moduleID := v.ModuleID()
	facts := append(make([]attestd.Fact, 0, 25), leading...)
	add := func(name string, value attestd.Value) {
		facts = append(facts, attestd.Fact{Name: name, Value: value})
	}
	addText := func(name, text string, visible bool) {
		if visible {
			add(name, attestd.Text(text))
		} else {
			add(name, attestd.NotVisible())
		}
	}
	add("module_id", attestd.Text(moduleID))
	instance, ok := InstanceOf(moduleID)
	addText("instance_id", instance, ok)
	region, ok := RegionOf(v.LeafName, moduleID)
	addText("region", region, ok)
	add("signed_at", attestd.Time(v.SignedAt))
	add("leaf_not_before", attestd.Time(v.LeafNotBefore))
	add("leaf_not_after", attestd.Time(v.LeafNotAfter))
	add("crl", attestd.Text(v.CRL))
	add("digest", attestd.Text("SHA384"))
	registers := d.registers()
	for index := range d.PCRs {
		present, zero := d.PCRs[index] != nil, d.Zero(index)
		switch {
		case present && (!zero || slices.Contains(shape.Shown, index)):
			add(factNames[index], attestd.Bytes(d.PCRs[index]))
		case slices.Contains(shape.Named, index):
			add(factNames[index], attestd.NotVisible())
		}
	}
	for _, field := range [...]struct {
		name  string
		value []byte
	}{{"public_key", d.PublicKey}, {"user_data", d.UserData}, {"nonce", d.Nonce}} {
		if field.value != nil {
			add(field.name, attestd.Bytes(field.value))
		}
	}
	return attestd.ClaimValues{
		Format: format, EvidenceDigest: sha256.Sum256(evidence), Facts: facts, Registers: registers,
		Handles: []attestd.Handle{{Kind: attestd.HandleInstance, Value: moduleID}},
		Checks:  v.Trail.Checks(), Freshness: v.Freshness, KeySPKI: v.KeySPKI,
		InsecureRoots: v.Insecure,
	}
}

// registers copies all registers into one array of their own.
func (d *Document) registers() []attestd.Register {
	registers := make([]attestd.Register, 0, d.pcrCount)
	own := make([]byte, 0, d.pcrCount*digestSize)
	for index, value := range d.PCRs {
		if value == nil {
			continue
		}
		own = append(own, value...)
		registers = append(registers, attestd.Register{
			Name: registerNames[index], Algorithm: "SHA384",
			Digest: own[len(own)-digestSize : len(own) : len(own)],
		})
	}
	return registers
}

// FactSpecs documents the facts that both kinds have, with spec as the document that defines the
// fields and meanings for the registers that have one.
func FactSpecs(spec string, meanings map[int]string) []attestd.FactSpec {
	leaf := "RFC 5280 section 4.1.2.5"
	specs := []attestd.FactSpec{
		{Name: "module_id", Kind: attestd.KindText, Spec: spec,
			Meaning: "the hypervisor's name for what was attested"},
		{Name: "instance_id", Kind: attestd.KindText, Spec: spec,
			Meaning: "the EC2 instance in module_id; not visible where it has another shape"},
		{Name: "region", Kind: attestd.KindText, Spec: "none: read in the leaf's common name",
			Meaning: "the AWS region in the leaf's name; not visible where it has another shape"},
		{Name: "signed_at", Kind: attestd.KindTime, Spec: spec,
			Meaning: "when the document was signed, by the hypervisor's clock"},
		{Name: "leaf_not_before", Kind: attestd.KindTime, Spec: leaf,
			Meaning: "when the signing certificate becomes valid"},
		{Name: "leaf_not_after", Kind: attestd.KindTime, Spec: leaf,
			Meaning: "when the signing certificate expires"},
		{Name: "crl", Kind: attestd.KindText, Spec: specCRL,
			Meaning: "revocation lists for the certificates that name one: fresh, stale or missing"},
		{Name: "digest", Kind: attestd.KindText, Spec: spec, Meaning: "the registers' hash: SHA384"},
	}
	for index := range factNames {
		meaning, ok := meanings[index]
		if !ok {
			meaning = "register " + strconv.Itoa(index) + "; left out where absent or all zero"
		}
		specs = append(specs, attestd.FactSpec{
			Name: factNames[index], Kind: attestd.KindBytes, Meaning: meaning, Spec: spec,
		})
	}
	return append(specs,
		attestd.FactSpec{Name: "public_key", Kind: attestd.KindBytes, Spec: spec,
			Meaning: "the key that the software asked to have in the document; left out where null"},
		attestd.FactSpec{Name: "user_data", Kind: attestd.KindBytes, Spec: spec,
			Meaning: "what the software asked to have in the document; left out where null"},
		attestd.FactSpec{Name: "nonce", Kind: attestd.KindBytes, Spec: spec,
			Meaning: "the nonce that the software asked to have in the document; left out where null"},
	)
}
