package imports

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/measurements"
)

// Tags and keys of CoRIM (draft-ietf-rats-corim-11, sections 4.1 and 5.1).
const (
	tagCoRIM  = 501
	tagCoSWID = 505
	tagCoMID  = 506
	tagURI    = 32
	tagOID    = 111
	tagBytes  = 560

	rimID, rimTags, rimDependent, rimProfile, rimValidity, rimEntities = 0, 1, 2, 3, 4, 5

	comidLanguage, comidIdentity, comidEntities, comidLinked, comidTriples = 0, 1, 2, 3, 4

	tripleReference = 0
)

// profiles that are understood. AMD's is draft-deeglaze-amd-sev-snp-corim-profile; its name changed
// between revisions, what it says of the launch measurement did not.
var profiles = map[string]attestd.Format{
	"tag:amd.com,2024:snp-corim-profile":    attestd.FormatSEVSNP,
	"tag:amd.com,2025:snp-corim-profile":    attestd.FormatSEVSNP,
	"http://amd.com/2024/snp-corim-profile": attestd.FormatSEVSNP,
	"http://amd.com/please-permalink-me":    attestd.FormatSEVSNP,
}

// CoRIM reads reference values from a concise reference integrity manifest: unsigned, with or without
// its tag 501, or in a COSE_Sign1.
//
// Each reference triple becomes one value: its measurements are conditions that hold together. Of a
// TPM, an enclave and an instance these are integrity-registers; of SEV-SNP, the launch measurement of
// AMD's profile.
//
// Errors: a [*attestd.CallerError] of class CONFIG where the file is not what it should be, its
// signature does not hold, it is not valid at the time, its profile is not known, or no value can be
// taken.
func CoRIM(file []byte, options Options) (*Result, error) {
	r, err := read(options)
	if err != nil {
		return nil, err
	}
	if len(file) > MaxFile {
		return nil, refuse("split it", "CoRIM: %w: %d bytes, want at most %d", errTooLarge, len(file), MaxFile)
	}
	whole, err := decode(file)
	if err != nil {
		return nil, malformed("CoRIM: %w", err)
	}
	if message, ok := whole.tagged(tagSign1); ok {
		payload, err := openSign1(message, options.Key, options.At)
		if err != nil {
			return nil, err
		}
		if whole, err = decode(payload); err != nil {
			return nil, malformed("signed CoRIM: %w", err)
		}
		r.result.Signed = true
	} else if options.Key != nil {
		return nil, refuse("drop --key, if you trust the file for another reason",
			"there is a key, and the CoRIM is not signed")
	}
	if inner, ok := whole.tagged(tagCoRIM); ok {
		whole = inner
	}
	if whole.kind != kindMap {
		return nil, malformed("CoRIM: want a map, got %s", whole)
	}
	if foreign, ok := whole.only(rimID, rimTags, rimDependent, rimProfile, rimValidity, rimEntities); !ok {
		return nil, malformed("CoRIM: key %s is not understood", foreign)
	}
	if err := r.profile(whole); err != nil {
		return nil, err
	}
	if validity, ok := whole.get(rimValidity); ok {
		if err := valid("CoRIM", validity, options.At); err != nil {
			return nil, err
		}
	}
	if dependent, ok := whole.get(rimDependent); ok {
		r.left("the CoRIM", "depends on %s other manifests, which are not read", dependent)
	}
	tags, ok := whole.get(rimTags)
	if !ok || tags.kind != kindArray || len(tags.items) == 0 {
		return nil, malformed("CoRIM: no tags")
	}
	for number, tag := range tags.items {
		if err := r.tag(fmt.Sprintf("tag %d", number+1), tag); err != nil {
			return nil, err
		}
	}
	return r.done()
}

// profile sets the format that the file's profile is for. A profile that is not known can change what
// every other key means: the draft has the whole file refused.
func (r *reading) profile(whole item) error {
	r.result.Set.Format = r.options.Format
	named, ok := whole.get(rimProfile)
	if !ok {
		if r.options.Format == "" || r.options.Format == attestd.FormatSEVSNP {
			return refuse("give --format tpm, nitro or nitrotpm; of sev-snp, only AMD's profile says what is what",
				"the CoRIM has no profile, which would say what it is for")
		}
	} else {
		if named.kind == kindArray && len(named.items) == 1 {
			named = named.items[0] // a list, in revisions before -03
		}
		text, isURI := named.tagged(tagURI)
		if !isURI {
			text = named // without the tag, as tools write it that take it for EAT's profile
		}
		format, known := profiles[string(text.text)]
		if text.kind != kindText || !known {
			return refuse("attestd reads AMD's profile, and files without one",
				"the profile of the CoRIM is not known: %s", attestd.Excerpt(named.String(), 120))
		}
		if r.options.Format != "" && r.options.Format != format {
			return refuse("drop --format", "the profile of the CoRIM is for %s, not for %s", format, r.options.Format)
		}
		r.result.Set.Format = format
	}
	if r.result.Set.Format == attestd.FormatTPM {
		r.result.Set.Bank = r.options.Bank
	}
	return nil
}

// tag reads one of the manifest's tags: CBOR in a byte string, whose tag stands around or inside it.
func (r *reading) tag(where string, tag item) error {
	outer, number := tag, uint64(0)
	if tag.kind == kindTag {
		number, outer = tag.number, tag.items[0]
	}
	if outer.kind != kindBytes {
		return malformed("CoRIM, %s: want CBOR in a byte string, got %s", where, tag)
	}
	inner, err := decode(outer.text)
	if err != nil {
		return malformed("CoRIM, %s: %w", where, err)
	}
	if number == 0 && inner.kind == kindTag {
		number, inner = inner.number, inner.items[0]
	}
	switch number {
	case tagCoMID:
		return r.comid(where, inner)
	case tagCoSWID:
		r.left(where, "is a CoSWID, which names software and no registers")
	default:
		r.left(where, "is of a kind that is not understood: %d", number)
	}
	return nil
}

func (r *reading) comid(where string, comid item) error {
	if comid.kind != kindMap {
		return malformed("CoRIM, %s: want a CoMID, got %s", where, comid)
	}
	foreign, ok := comid.only(comidLanguage, comidIdentity, comidEntities, comidLinked, comidTriples)
	if !ok {
		return malformed("CoRIM, %s: key %s is not understood", where, foreign)
	}
	if linked, ok := comid.get(comidLinked); ok {
		// A linked tag can replace this one, or be replaced by it; which of them is in force, a file alone
		// does not say.
		r.left(where, "is linked with other tags, which are not followed: %s", linked)
	}
	triples, ok := comid.get(comidTriples)
	if !ok || triples.kind != kindMap {
		return malformed("CoRIM, %s: no triples", where)
	}
	for at := 0; at < len(triples.items); at += 2 {
		if n, ok := triples.items[at].integer(); !ok || n != tripleReference {
			r.left(where, "has triples of kind %s, which are no reference values", triples.items[at])
		}
	}
	references, ok := triples.get(tripleReference)
	if !ok {
		return nil
	}
	if references.kind != kindArray {
		return malformed("CoRIM, %s: the reference triples are no list", where)
	}
	wish := "comid"
	if identity, ok := comid.get(comidIdentity); ok {
		if id, ok := identity.get(0); ok && (id.kind == kindText || id.kind == kindBytes) {
			wish = tagName(id)
		}
	}
	for number, triple := range references.items {
		here := fmt.Sprintf("%s, reference triple %d", where, number+1)
		if triple.kind != kindArray || len(triple.items) != 2 || triple.items[0].kind != kindMap ||
			triple.items[1].kind != kindArray {
			return malformed("CoRIM, %s: want environment and measurements", here)
		}
		if err := r.triple(here, wish, triple.items[0], triple.items[1].items); err != nil {
			return err
		}
	}
	return nil
}

// tagName writes the id of a tag: text as it is, the 16 bytes of a UUID in hex.
func tagName(id item) string {
	if id.kind == kindText {
		return string(id.text)
	}
	return fmt.Sprintf("%x", id.text[:min(len(id.text), 16)])
}

// triple takes the measurements of one environment as one value.
func (r *reading) triple(where, wish string, environment item, measured []item) error {
	conditions := &conditions{where: where}
	var value measurements.Value
	if len(measured) == 0 {
		return malformed("CoRIM, %s: no measurements", where)
	}
	for number, one := range measured {
		here := fmt.Sprintf("%s, measurement %d", where, number+1)
		if one.kind != kindMap {
			return malformed("CoRIM, %s: want a map, got %s", here, one)
		}
		if err := r.measurement(here, one, &value, conditions); err != nil {
			return err
		}
	}
	r.environment(environment, value, conditions)
	switch {
	case len(conditions.unmet) > 0 && !r.options.Parts:
		r.left(where, "has %d conditions that reference values cannot express, first: %s",
			len(conditions.unmet), conditions.unmet[0].What)
		return nil
	case len(value.Registers) == 0:
		r.left(where, "names no register of %s", r.result.Set.Format)
		return nil
	}
	if problem := measurements.ProblemOf(r.result.Set.Format, r.result.Set.Bank, value); problem != "" {
		r.left(where, "%s", problem)
		return nil
	}
	for _, one := range conditions.unmet {
		if len(r.result.Left) < maxLeft {
			r.result.Left = append(r.result.Left, one)
		} else {
			r.dropped++
		}
	}
	r.add(where, wish, value)
	return nil
}

// conditions are those of a triple that cannot be expressed.
type conditions struct {
	where string
	unmet []Left
}

func (c *conditions) add(where, format string, args ...any) {
	if len(c.unmet) < maxLeft {
		c.unmet = append(c.unmet, Left{
			Where: where, What: attestd.Excerpt(fmt.Sprintf(format, args...), 200), Condition: true,
		})
	}
}

// amdOID is what the class of an environment of AMD's begins with: 1.3.6.1.4.1.3704, in BER.
var amdOID = []byte{0x2b, 0x06, 0x01, 0x04, 0x01, 0x9c, 0x78}

// environment says what of an environment is a condition on the evidence.
func (r *reading) environment(environment item, value measurements.Value, c *conditions) {
	for at := 0; at < len(environment.items); at += 2 {
		key, _ := environment.items[at].integer()
		content := environment.items[at+1]
		switch {
		case environment.items[at].kind == kindUint && key == 0:
			r.class(content, c)
		case environment.items[at].kind == kindUint && key == 1 && isMeasurement(content, value):
			// Some write the launch measurement as the instance; that condition is the value itself.
		case environment.items[at].kind == kindUint && key == 1:
			c.add(c.where, "it is for one instance: %s", content)
		case environment.items[at].kind == kindUint && key == 2:
			c.add(c.where, "it is for one group: %s", content)
		default:
			c.add(c.where, "its environment has key %s", environment.items[at])
		}
	}
}

// class compares what a class says with the format; vendor, model, layer and index are words for
// people, which no evidence has.
func (r *reading) class(class item, c *conditions) {
	id, ok := class.get(0)
	if !ok {
		return
	}
	if r.result.Set.Format == attestd.FormatSEVSNP {
		oid, isOID := id.tagged(tagOID)
		if isOID && oid.kind == kindBytes && bytes.HasPrefix(oid.text, amdOID) {
			return
		}
		c.add(c.where, "its class is none of AMD's: %s", id)
		return
	}
	r.left(c.where, "is of the class %s, which no evidence says; it holds for all of format %s",
		id, r.result.Set.Format)
}

func isMeasurement(instance item, value measurements.Value) bool {
	id, ok := instance.tagged(tagBytes)
	return ok && id.kind == kindBytes && slices.ContainsFunc(value.Registers, func(g attestd.Register) bool {
		return g.Name == "MEASUREMENT" && bytes.Equal(g.Digest, id.text)
	})
}
