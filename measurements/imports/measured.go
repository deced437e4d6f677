package imports

import (
	"fmt"
	"slices"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/measurements"
)

// Keys of a measurement-map and of its values (draft-ietf-rats-corim-11, sections 5.1.4.5.2 and
// 5.1.4.5.5 on).
const (
	measuredKey, measuredValues, measuredAuthority = 0, 1, 2

	valueDigests   = 2
	valueRaw       = 4
	valueName      = 11
	valueRegisters = 14

	// launchMeasurement is AMD's key for MEASUREMENT; before revision 02 it had none.
	launchMeasurement = 641
)

// hash is one algorithm.
type hash struct {
	number    int64
	text      string
	algorithm string
	size      int // of a digest, in bytes
}

// hashes are names of algorithms in CoRIM, by number or text (IANA, Named Information Hash Algorithm).
var hashes = []hash{
	{1, "sha-256", "SHA256", 32}, {7, "sha-384", "SHA384", 48}, {8, "sha-512", "SHA512", 64},
}

// measurement reads one measurement-map into the value, and what cannot be expressed into conditions.
func (r *reading) measurement(
	where string, measured item, value *measurements.Value, c *conditions,
) error {
	if foreign, ok := measured.only(measuredKey, measuredValues, measuredAuthority); !ok {
		c.add(where, "it has key %s", foreign)
	}
	if _, ok := measured.get(measuredAuthority); ok {
		c.add(where, "it holds only where evidence is signed by a key that it names")
	}
	values, ok := measured.get(measuredValues)
	if !ok || values.kind != kindMap {
		return malformed("CoRIM, %s: no values", where)
	}
	key, named := measured.get(measuredKey)
	for at := 0; at < len(values.items); at += 2 {
		what, ok := values.items[at].integer()
		if !ok {
			what = -1 << 62
		}
		content := values.items[at+1]
		switch {
		case what == valueName:
			// for people
		case r.result.Set.Format == attestd.FormatSEVSNP && isLaunch(key, named) &&
			(what == valueDigests || what == valueRaw):
			if err := r.launch(where, content, value); err != nil {
				return err
			}
		case r.result.Set.Format != attestd.FormatSEVSNP && what == valueRegisters:
			if named {
				c.add(where, "its registers are those of %s", key)
			}
			if err := r.registers(where, content, value); err != nil {
				return err
			}
		case named:
			c.add(where, "it demands value %s of measurement %s", values.items[at], key)
		default:
			c.add(where, "it demands value %s", values.items[at])
		}
	}
	return nil
}

func isLaunch(key item, named bool) bool {
	number, ok := key.integer()
	return !named || ok && number == launchMeasurement
}

// launch reads the launch measurement of SEV-SNP: one SHA-384 digest, or the bytes of the field.
func (r *reading) launch(where string, content item, value *measurements.Value) error {
	digest := content
	if content.kind == kindArray {
		found, err := r.digest(where, content, "SHA384")
		if err != nil {
			return err
		}
		if found == nil {
			return malformed("CoRIM, %s: no SHA-384 digest", where)
		}
		return r.set(where, value, "MEASUREMENT", "SHA384", found)
	}
	if inner, ok := content.tagged(tagBytes); ok {
		digest = inner
	}
	if digest.kind != kindBytes {
		return malformed("CoRIM, %s: a measurement that is no digest: %s", where, content)
	}
	return r.set(where, value, "MEASUREMENT", "SHA384", digest.text)
}

// registers reads integrity-registers: the numbers of PCRs, each with digests. Of a TPM the digest of
// the bank is taken, and a register that has none in it is refused: without, a value would match more.
func (r *reading) registers(where string, content item, value *measurements.Value) error {
	if content.kind != kindMap || len(content.items) == 0 {
		return malformed("CoRIM, %s: registers that are no map: %s", where, content)
	}
	algorithm := measurements.AlgorithmOf(r.result.Set.Format, r.result.Set.Bank)
	for at := 0; at < len(content.items); at += 2 {
		index := content.items[at]
		name := ""
		switch index.kind {
		case kindUint:
			name = fmt.Sprintf("PCR%d", index.number)
		case kindText:
			name = string(index.text)
		default:
			return malformed("CoRIM, %s: register %s has no name", where, index)
		}
		digest, err := r.digest(where, content.items[at+1], algorithm)
		if err != nil {
			return err
		}
		if digest == nil {
			return refuse("give --bank, of "+string(attestd.FormatTPM),
				"CoRIM, %s: register %s has no %s digest", where, attestd.Excerpt(name, 40), algorithm)
		}
		if err := r.set(where, value, name, algorithm, digest); err != nil {
			return err
		}
	}
	return nil
}

// digest returns the one digest of the algorithm, nil where there is none. Two of one algorithm are
// alternatives or a contradiction, which the file does not say.
func (r *reading) digest(where string, digests item, algorithm string) ([]byte, error) {
	if digests.kind != kindArray || len(digests.items) == 0 {
		return nil, malformed("CoRIM, %s: no digests", where)
	}
	// One pair stands alone in some revisions, a list of pairs in others.
	if digests.items[0].kind != kindArray {
		digests = item{kind: kindArray, items: []item{digests}}
	}
	var found []byte
	for _, pair := range digests.items {
		if pair.kind != kindArray || len(pair.items) != 2 || pair.items[1].kind != kindBytes {
			return nil, malformed("CoRIM, %s: a digest that is not [algorithm, bytes]", where)
		}
		number, whole := pair.items[0].integer()
		at := slices.IndexFunc(hashes, func(h hash) bool {
			return whole && number == h.number || pair.items[0].isText(h.text)
		})
		if at < 0 || hashes[at].algorithm != algorithm {
			continue // the same thing by another algorithm, which adds no condition
		}
		if len(pair.items[1].text) != hashes[at].size {
			return nil, malformed("CoRIM, %s: a %s digest of %d bytes", where, algorithm, len(pair.items[1].text))
		}
		if found != nil {
			return nil, malformed("CoRIM, %s: two %s digests in one place", where, algorithm)
		}
		found = slices.Clone(pair.items[1].text)
	}
	return found, nil
}

// set puts a register into the value. The same register twice must say the same.
func (r *reading) set(
	where string, value *measurements.Value, name, algorithm string, digest []byte,
) error {
	for _, register := range value.Registers {
		if register.Name != name {
			continue
		}
		if !slices.Equal(register.Digest, digest) {
			return malformed("CoRIM, %s: two values for %s, which none can meet", where, attestd.Excerpt(name, 40))
		}
		return nil
	}
	value.Registers = append(value.Registers, attestd.Register{
		Name: name, Algorithm: algorithm, Digest: slices.Clone(digest),
	})
	return nil
}
