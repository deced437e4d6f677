package imports_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/measurements"
	"github.com/attestd/attestd/measurements/imports"
)

var noon = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)

func digestOf(fill byte, size int) []byte { return bytes.Repeat([]byte{fill}, size) }

func encode(t testing.TB, value any) []byte {
	t.Helper()
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		t.Fatal(err)
	}
	out, err := mode.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

type (
	dict = map[any]any
	list = []any
)

// manifest is a CoRIM with one CoMID with the reference triples, changed.
func manifest(t testing.TB, triples list, change func(dict)) dict {
	t.Helper()
	comid := encode(t, dict{1: dict{0: "web guest"}, 4: dict{0: triples}})
	rim := dict{
		0: "example", 1: list{cbor.Tag{Number: 506, Content: comid}},
		3: cbor.Tag{Number: 32, Content: "tag:amd.com,2024:snp-corim-profile"},
	}
	if change != nil {
		change(rim)
	}
	return rim
}

func amdClass() dict {
	return dict{0: cbor.Tag{Number: 111, Content: []byte{0x2b, 6, 1, 4, 1, 0x9c, 0x78, 2, 1}}}
}

func launch(digest []byte) list {
	return list{dict{0: dict{0: amdClass()}}[0], list{dict{0: 641, 1: dict{2: list{list{7, digest}}}}}}
}

func tagged(t testing.TB, rim dict) []byte {
	return encode(t, cbor.Tag{Number: 501, Content: rim})
}

func pcrTriple(values dict) list { return list{dict{}, list{dict{1: dict{14: values}}}} }

func TestCoRIMsThatAreRead(t *testing.T) {
	noProfile := func(rim dict) { delete(rim, 3) }
	tpm := imports.Options{Name: "web", Format: attestd.FormatTPM, At: noon}
	snp := imports.Options{Name: "web", At: noon}
	a, b := digestOf(0xa1, 48), digestOf(0xb2, 48)
	for _, row := range []struct {
		name    string
		file    []byte
		options imports.Options
		values  int
		left    string
	}{
		{"launch measurements of SEV-SNP", tagged(t, manifest(t, list{launch(a), launch(b)}, nil)), snp, 2, ""},
		{"without the tag", encode(t, manifest(t, list{launch(a)}, nil)), snp, 1, ""},
		{"the profile in a list", tagged(t, manifest(t, list{launch(a)}, func(rim dict) {
			rim[3] = list{rim[3]}
		})), snp, 1, ""},
		{"the profile without its tag", tagged(t, manifest(t, list{launch(a)}, func(rim dict) {
			rim[3] = list{"http://amd.com/2024/snp-corim-profile"}
		})), snp, 1, ""},
		{"the tag of the CoMID inside its bytes", tagged(t, manifest(t, list{launch(a)}, func(rim dict) {
			tag, _ := rim[1].(list)[0].(cbor.Tag)
			inner, _ := tag.Content.([]byte)
			rim[1] = list{append([]byte{0xd9, 0x01, 0xfa}, inner...)}
		})), snp, 1, ""},
		{"the same measurement twice", tagged(t, manifest(t, list{launch(a), launch(a)}, nil)), snp, 1,
			"is the same as"},
		{"a measurement without a key, as a raw value", tagged(t, manifest(t, list{list{
			dict{}, list{dict{1: dict{4: cbor.Tag{Number: 560, Content: a}}}},
		}}, nil)), snp, 1, ""},
		{"valid at the time", tagged(t, manifest(t, list{launch(a)}, func(rim dict) {
			rim[4] = dict{0: cbor.Tag{Number: 1, Content: noon.Unix()},
				1: cbor.Tag{Number: 1, Content: noon.Unix() + 1}}
		})), snp, 1, ""},
		{"a CoSWID beside it", tagged(t, manifest(t, list{launch(a)}, func(rim dict) {
			rim[1] = append(rim[1].(list), cbor.Tag{Number: 505, Content: []byte{0xa0}}) //nolint:errcheck // a test
		})), snp, 1, "is a CoSWID"},
		{"registers of a TPM", tagged(t, manifest(t, list{pcrTriple(dict{
			4: list{list{1, digestOf(1, 32)}, list{7, digestOf(2, 48)}}, "PCR7": list{1, digestOf(3, 32)},
		})}, noProfile)), tpm, 1, ""},
		{"registers of an enclave", tagged(t, manifest(t, list{pcrTriple(dict{
			0: list{list{"sha-384", a}}, 1: list{list{7, b}}, 2: list{list{7, a}},
		})}, noProfile)), imports.Options{Name: "web", Format: attestd.FormatNitro, At: noon}, 1, ""},
		{"parts, with what is left", tagged(t, manifest(t, list{list{dict{1: "i-1"}, list{
			dict{0: 641, 1: dict{2: list{list{7, a}}}}, dict{0: 2, 1: dict{4: []byte{1}}},
		}}}, nil)), imports.Options{Name: "web", At: noon, Parts: true}, 1, "it demands value 4 of measurement 2"},
	} {
		t.Run(row.name, func(t *testing.T) {
			result, err := imports.CoRIM(row.file, row.options)
			if err != nil {
				t.Fatal(err)
			}
			if len(result.Set.Values) != row.values || result.Signed {
				t.Errorf("got %+v", result)
			}
			for _, value := range result.Set.Values {
				if value.State != measurements.StateProposed {
					t.Errorf("%s is %s", value.Name, value.State)
				}
			}
			var left strings.Builder
			for _, one := range result.Left {
				left.WriteString(one.Where + ": " + one.What + "\n")
			}
			if !strings.Contains(left.String(), row.left) || row.left == "" && left.Len() > 0 {
				t.Errorf("left:\n%s\nwant %q", left.String(), row.left)
			}
		})
	}
}

func TestCoRIMsThatAreRefused(t *testing.T) {
	snp := imports.Options{Name: "web", At: noon}
	tpm := imports.Options{Name: "web", Format: attestd.FormatTPM, At: noon}
	a := digestOf(0xa1, 48)
	with := func(change func(dict)) []byte { return tagged(t, manifest(t, list{launch(a)}, change)) }
	of := func(triple list) []byte { return tagged(t, manifest(t, list{triple}, nil)) }
	good := with(nil)
	measured := func(measurement dict) []byte { return of(list{dict{}, list{measurement}}) }
	pcrs := func(values dict) []byte {
		return tagged(t, manifest(t, list{pcrTriple(values)}, func(rim dict) { delete(rim, 3) }))
	}
	for _, row := range []struct {
		name    string
		file    []byte
		options imports.Options
		want    string
	}{
		{"nothing", nil, snp, "the end"},
		{"half of it", good[:len(good)/2], snp, "CoRIM"},
		{"something behind it", append(bytes.Clone(good), 0), snp, "behind the end"},
		{"a list", encode(t, list{1}), snp, "want a map"},
		{"no name", good, imports.Options{At: noon}, "no name"},
		{"an unknown profile", with(func(rim dict) {
			rim[3] = cbor.Tag{Number: 32, Content: "tag:example.org,2026:other"}
		}), snp, "profile of the CoRIM is not known"},
		{"two profiles", with(func(rim dict) { rim[3] = list{rim[3], rim[3]} }), snp, "is not known"},
		{"a profile for another format", good, tpm, "is for sev-snp, not for tpm"},
		{"no profile and no format", with(func(rim dict) { delete(rim, 3) }), snp, "no profile"},
		{"an unknown key", with(func(rim dict) { rim[9] = 1 }), snp, "key 9 is not understood"},
		{"no tags", with(func(rim dict) { rim[1] = list{} }), snp, "no tags"},
		{"it has ended", with(func(rim dict) {
			rim[4] = dict{1: cbor.Tag{Number: 1, Content: noon.Unix()}}
		}), snp, "was valid until 2026-12-01T12:00:00Z"},
		{"it has not begun", with(func(rim dict) {
			rim[4] = dict{0: cbor.Tag{Number: 1, Content: noon.Unix() + 1},
				1: cbor.Tag{Number: 1, Content: noon.Unix() + 2}}
		}), snp, "is valid from"},
		{"a validity without an end", with(func(rim dict) { rim[4] = dict{} }), snp, "has no end"},
		{"a key and no signature", good, imports.Options{Name: "web", At: noon,
			Key: ed25519.PublicKey(make([]byte, 32))}, "is not signed"},
		{"a measurement with another condition", measured(dict{0: 641, 1: dict{2: list{list{7, a}}, 1: 3}}), snp,
			"1 conditions that reference values cannot express, first: it demands value 1"},
		{"a measurement by another key", measured(dict{0: 640, 1: dict{2: list{list{7, a}}}}), snp,
			"it demands value 2 of measurement 640"},
		{"a measurement with an authority", measured(dict{0: 641, 1: dict{2: list{list{7, a}}}, 2: list{1}}),
			snp, "signed by a key that it names"},
		{"one instance", of(list{dict{1: cbor.Tag{Number: 560, Content: []byte("chip")}},
			list{dict{0: 641, 1: dict{2: list{list{7, a}}}}}}), snp, "it is for one instance"},
		{"one group", of(list{dict{2: "g"}, list{dict{0: 641, 1: dict{2: list{list{7, a}}}}}}), snp,
			"it is for one group"},
		{"a class of somebody else", of(list{dict{0: dict{0: cbor.Tag{Number: 111, Content: []byte{1}}}},
			list{dict{0: 641, 1: dict{2: list{list{7, a}}}}}}), snp, "none of AMD's"},
		{"a digest of another length", measured(dict{0: 641, 1: dict{2: list{list{7, a[:47]}}}}), snp,
			"digest of 47 bytes"},
		{"a digest of zeros", measured(dict{0: 641, 1: dict{2: list{list{7, make([]byte, 48)}}}}), snp,
			"all zero"},
		{"two digests of one algorithm", measured(dict{0: 641, 1: dict{2: list{list{7, a}, list{7, a}}}}), snp,
			"two SHA384 digests"},
		{"a digest of another algorithm only", measured(dict{0: 641, 1: dict{2: list{list{1, a[:32]}}}}), snp,
			"no SHA-384 digest"},
		{"two measurements that contradict", of(list{dict{}, list{
			dict{0: 641, 1: dict{2: list{list{7, a}}}}, dict{0: 641, 1: dict{4: digestOf(1, 48)}}}}), snp,
			"which none can meet"},
		{"no measurements", of(list{dict{}, list{}}), snp, "no measurements"},
		{"a register too few", pcrs(dict{7: list{list{1, digestOf(1, 32)}}}), tpm, "does not name PCR4"},
		{"a register in another bank", pcrs(dict{4: list{list{7, a}}}), tpm, "has no SHA256 digest"},
		{"a register that is none", pcrs(dict{4: list{list{1, digestOf(1, 32)}}, 99: list{list{1, digestOf(1, 32)}}}),
			tpm, "no register is called PCR99"},
		{"a register for everything", pcrs(dict{4: list{}}), tpm, "no digests"},
	} {
		t.Run(row.name, func(t *testing.T) {
			result, err := imports.CoRIM(row.file, row.options)
			var caller *attestd.CallerError
			if result != nil || !errors.As(err, &caller) || caller.Class != attestd.ClassConfig ||
				!strings.Contains(err.Error(), row.want) {
				t.Errorf("got %+v, %v; want a CONFIG error with %q", result, err, row.want)
			}
		})
	}
}

// sealed is a COSE_Sign1 over the payload.
func sealed(t testing.TB, payload []byte, key crypto.Signer, algorithm int, head, open dict) []byte {
	t.Helper()
	protected := dict{1: algorithm, 3: "application/rim+cbor", 15: dict{1: "example.org"}}
	for label, value := range head {
		if protected[label] = value; value == nil {
			delete(protected, label)
		}
	}
	header := encode(t, protected)
	signed := encode(t, list{"Signature1", header, []byte{}, payload})
	var signature []byte
	switch key := key.(type) {
	case ed25519.PrivateKey:
		signature = ed25519.Sign(key, signed)
	case *ecdsa.PrivateKey:
		sum := sha256.Sum256(signed)
		digest := sum[:]
		if algorithm == -35 {
			wide := sha512.Sum384(signed)
			digest = wide[:]
		}
		r, s, err := ecdsa.Sign(rand.Reader, key, digest)
		if err != nil {
			t.Fatal(err)
		}
		size := (key.Curve.Params().BitSize + 7) / 8
		signature = make([]byte, 2*size)
		r.FillBytes(signature[:size])
		s.FillBytes(signature[size:])
	}
	if open == nil {
		open = dict{}
	}
	return encode(t, cbor.Tag{Number: 18, Content: list{header, open, payload, signature}})
}

func TestSignedCoRIMs(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	payload := tagged(t, manifest(t, list{launch(digestOf(0xa1, 48))}, nil))
	good := sealed(t, payload, p256, -7, nil, nil)
	changed := bytes.Replace(good, digestOf(0xa1, 48), digestOf(0xa2, 48), 1)
	meta := func(from, to int64) []byte {
		return encode(t, dict{0: dict{0: "example.org"}, 1: dict{0: cbor.Tag{Number: 1, Content: from},
			1: cbor.Tag{Number: 1, Content: to}}})
	}
	now := noon.Unix()
	for _, row := range []struct {
		name string
		file []byte
		key  crypto.PublicKey
		want string // nothing where it is read
	}{
		{"ES256", good, &p256.PublicKey, ""},
		{"ES384", sealed(t, payload, p384, -35, nil, nil), &p384.PublicKey, ""},
		{"EdDSA", sealed(t, payload, private, -8, nil, nil), public, ""},
		{"with corim-meta", sealed(t, payload, p256, -7, dict{8: meta(now, now+1), 15: nil}, nil),
			&p256.PublicKey, ""},
		{"no key", good, nil, "no key to verify it"},
		{"another key", good, &mustKey(t).PublicKey, "does not hold"},
		{"a changed payload", changed, &p256.PublicKey, "does not hold"},
		{"a key of another curve", good, &p384.PublicKey, "the key is of another curve"},
		{"a key of another kind", good, public, "the key is Ed25519"},
		{"a key that signs no CoRIM", good, "a text", "no signature of a CoRIM is by a string"},
		{"another algorithm", sealed(t, payload, p256, -37, nil, nil), &p256.PublicKey, "COSE algorithm -37"},
		{"no algorithm", sealed(t, payload, p256, -7, dict{1: nil}, nil), &p256.PublicKey, "no algorithm"},
		{"an algorithm that nobody signed", sealed(t, payload, p256, -7, nil, dict{1: -7}), &p256.PublicKey,
			"where nobody signed it"},
		{"a critical header", sealed(t, payload, p256, -7, dict{2: list{99}}, nil), &p256.PublicKey,
			"a protected header is not understood: 2"},
		{"a hash in place of the payload", sealed(t, payload, p256, -7, dict{258: -16}, nil), &p256.PublicKey,
			"is not understood: 258"},
		{"another content", sealed(t, payload, p256, -7, dict{3: "text/plain"}, nil), &p256.PublicKey,
			"the content is not"},
		{"no signer", sealed(t, payload, p256, -7, dict{15: nil}, nil), &p256.PublicKey, "say who signed"},
		{"claims that ended", sealed(t, payload, p256, -7, dict{15: dict{1: "x", 4: now}}, nil),
			&p256.PublicKey, "the signature was valid until"},
		{"claims that have not begun", sealed(t, payload, p256, -7, dict{15: dict{1: "x", 5: now + 1}}, nil),
			&p256.PublicKey, "the signature is valid from"},
		{"a claim that is not understood", sealed(t, payload, p256, -7, dict{15: dict{1: "x", 7: 1}}, nil),
			&p256.PublicKey, "a CWT claim is not understood"},
		{"a meta that ended", sealed(t, payload, p256, -7, dict{8: meta(now-1, now)}, nil), &p256.PublicKey,
			"the signature was valid until"},
		{"a short signature", good[:len(good)-1], &p256.PublicKey, "CBOR"},
		{"no payload", encode(t, cbor.Tag{Number: 18, Content: list{[]byte{0xa0}, dict{}, nil, []byte{}}}),
			&p256.PublicKey, "not a COSE_Sign1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			result, err := imports.CoRIM(row.file, imports.Options{Name: "web", At: noon, Key: row.key})
			if row.want == "" {
				if err != nil || !result.Signed || len(result.Set.Values) != 1 {
					t.Errorf("got %+v, %v", result, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %+v, %v; want %q", result, err, row.want)
			}
		})
	}
	for at := range good {
		bad := bytes.Clone(good)
		bad[at] ^= 1
		if _, err := imports.CoRIM(bad, imports.Options{Name: "web", At: noon, Key: &p256.PublicKey}); err == nil {
			t.Fatalf("byte %d changed, and it was read", at)
		}
	}
}

func mustKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
