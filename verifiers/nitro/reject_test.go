package nitro_test

import (
	"bytes"
	"crypto/elliptic"
	"encoding/asn1"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
)

// reject is a row: a document with something wrong, and the check that must say so.
type reject struct {
	name  string
	neg   string
	with  forge.Document
	at    time.Time      // zero for the authority's
	ask   attestd.Demand // zero for the nonce of the tests
	check attestd.CheckID
	class attestd.Class
}

// expect runs v on input and wants exactly that refusal, and no claims beside it (neg: 53).
func expect(
	t *testing.T, v interface {
		Verify(attestd.Input) (*attestd.Claims, error)
	}, input attestd.Input, check attestd.CheckID, class attestd.Class,
) {
	t.Helper()
	claims, err := v.Verify(input)
	if claims != nil {
		t.Error("claims beside an error, or without one")
	}
	var rejected *attestd.EvidenceError
	if !errors.As(err, &rejected) {
		t.Fatalf("got %v, want a rejection by %s", err, check)
	}
	if rejected.Check != check || rejected.Class != class {
		t.Errorf("got %s %s (%v), want %s %s", rejected.Check, rejected.Class, err, check, class)
	}
	last := rejected.Checks[len(rejected.Checks)-1]
	if last.ID != check || last.Result != attestd.ResultFail {
		t.Errorf("last check is %s %s", last.ID, last.Result)
	}
	if rejected.Spec == "" || rejected.Hint == "" {
		t.Error("a rejection without spec or hint")
	}
}

func runRejects(t *testing.T, a *forge.AWS, rows []reject) {
	t.Helper()
	v := verifier(t, a.Root())
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if row.with.Nonce == nil {
				row.with.Nonce = nonce
			}
			if row.at.IsZero() {
				row.at = a.At()
			}
			if row.ask.IsZero() {
				row.ask = fresh(t, nonce)
			}
			evidence := document(t, a, row.with)
			expect(t, v, attestd.Input{Evidence: evidence, At: row.at, Demand: row.ask}, row.check, row.class)
			if got := v.SignaturesVerified(); got > 8*uint64(len(rows)) {
				t.Errorf("%d signature verifications", got)
			}
		})
	}
}

func set(key string, value []byte) func([]forge.CBORField) []forge.CBORField {
	return func(f []forge.CBORField) []forge.CBORField { return forge.SetField(f, key, value) }
}

func drop(key string) func([]forge.CBORField) []forge.CBORField {
	return func(f []forge.CBORField) []forge.CBORField { return forge.DropField(f, key) }
}

func add(key, value []byte) func([]forge.CBORField) []forge.CBORField {
	return func(f []forge.CBORField) []forge.CBORField {
		return append(f, forge.CBORField{Key: key, Value: value})
	}
}

func whole(evidence ...[]byte) func(_, _, _, _ []byte) []byte {
	return func(_, _, _, _ []byte) []byte { return bytes.Join(evidence, nil) }
}

func tagged(tags ...uint64) func(_, _, _, _ []byte) []byte {
	return func(protected, unprotected, payload, signature []byte) []byte {
		out := forge.CBORArray(protected, unprotected, payload, signature)
		for _, tag := range tags {
			out = forge.CBORTag(tag, out)
		}
		return out
	}
}

func registers(fields ...forge.CBORField) func([]forge.CBORField) []forge.CBORField {
	return set("pcrs", forge.CBORMap(fields...))
}

func alg(value []byte) []byte { return forge.CBORMap(forge.CBORField{Key: []byte{1}, Value: value}) }

const (
	malformed   = attestd.ClassMalformed
	unsupported = attestd.ClassUnsupported
	tooLarge    = attestd.ClassTooLarge
)

func TestEncodingsThatAreRefused(t *testing.T) {
	t.Parallel()
	register := forge.CBORBytes(forge.AWSRegister(0))
	nested := bytes.Repeat([]byte{0x81}, 40)
	open := func(head byte, items ...[]byte) []byte {
		return append(append([]byte{head}, bytes.Join(items, nil)...), 0xff)
	}
	runRejects(t, authority(t, forge.AWSOptions{}), []reject{
		{name: "registers twice", neg: "neg: 1", check: "nitro/encoding", class: malformed,
			with: forge.Document{Fields: add(forge.CBORText("pcrs"),
				forge.CBORMap(forge.CBORField{Key: []byte{0}, Value: register}))}},
		{name: "one register twice", neg: "neg: 1", check: "nitro/encoding", class: malformed,
			with: forge.Document{Fields: registers(forge.CBORField{Key: []byte{0}, Value: register},
				forge.CBORField{Key: []byte{0}, Value: register})}},
		{name: "a key in another case", neg: "neg: 2", check: "nitro/encoding", class: malformed,
			with: forge.Document{Fields: add(forge.CBORText("PCRS"), register)}},
		{name: "registers of indefinite length", neg: "neg: 3", check: "nitro/encoding", class: malformed,
			with: forge.Document{Fields: set("pcrs", open(0xbf, []byte{0}, register))}},
		{name: "a bundle of indefinite length", neg: "neg: 3", check: "nitro/encoding", class: malformed,
			with: forge.Document{Fields: set("cabundle", open(0x9f, register))}},
		{name: "a byte string in chunks", neg: "neg: 3", check: "nitro/encoding", class: malformed,
			with: forge.Document{Fields: set("user_data", open(0x5f, register))}},
		{name: "an envelope of indefinite length", neg: "neg: 3", check: "nitro/envelope", class: malformed,
			with: forge.Document{Envelope: func(p, u, d, s []byte) []byte { return open(0x9f, p, u, d, s) }}},
		{name: "an open-ended document without its end", neg: "neg: 3", check: "nitro/encoding",
			class: malformed, with: forge.Document{Payload: []byte{0xbf}}},
		{name: "an integer that is not in its shortest form", neg: "neg: 4", check: "nitro/encoding",
			class: malformed, with: forge.Document{Fields: registers(
				forge.CBORField{Key: []byte{0x18, 1}, Value: register})}},
		{name: "a length that is not in its shortest form", neg: "neg: 4", check: "nitro/encoding",
			class: malformed, with: forge.Document{Fields: set("user_data", []byte{0x58, 1, 0})}},
		{name: "a tag inside the document", neg: "neg: 5", check: "nitro/encoding", class: malformed,
			with: forge.Document{Fields: set("user_data", forge.CBORTag(32, forge.CBORBytes(nil)))}},
		{name: "a bignum for the timestamp", neg: "neg: 5", check: "nitro/encoding", class: malformed,
			with: forge.Document{Fields: set("timestamp", forge.CBORTag(2, forge.CBORBytes([]byte{1})))}},
		{name: "a null timestamp", neg: "neg: 6", check: "nitro/encoding", class: malformed,
			with: forge.Document{Fields: set("timestamp", forge.CBORNull())}},
		{name: "a null module id", neg: "neg: 6", check: "nitro/encoding", class: malformed,
			with: forge.Document{Fields: set("module_id", forge.CBORNull())}},
		{name: "a null certificate", neg: "neg: 6,52", check: "nitro/encoding", class: malformed,
			with: forge.Document{Fields: set("certificate", forge.CBORNull())}},
		{name: "a key that nobody knows", neg: "neg: 7", check: "nitro/encoding", class: malformed,
			with: forge.Document{Fields: add(forge.CBORText("extra"), forge.CBORUint(1))}},
		{name: "a byte behind the envelope", neg: "neg: 8", check: "nitro/encoding", class: malformed,
			with: forge.Document{Envelope: func(p, u, d, s []byte) []byte {
				return append(forge.CBORArray(p, u, d, s), 0)
			}}},
		{name: "a byte behind the document", neg: "neg: 8", check: "nitro/encoding", class: malformed,
			with: forge.Document{Payload: []byte{0xa0, 0}}},
		{name: "an array of 2^28 items", neg: "neg: 9", check: "nitro/envelope", class: malformed,
			with: forge.Document{Envelope: whole([]byte{0x9a, 0x10, 0, 0, 0, 0, 0, 0})}},
		{name: "a payload of 2^30 bytes", neg: "neg: 9", check: "nitro/encoding", class: malformed,
			with: forge.Document{Envelope: func(p, u, _, _ []byte) []byte {
				return bytes.Join([][]byte{{0x84}, p, u, {0x5a, 0x40, 0, 0, 0, 1, 2, 3}}, nil)
			}}},
		{name: "a map of 131,071 pairs", neg: "neg: 10", check: "nitro/size", class: tooLarge,
			with: forge.Document{Payload: append(forge.CBORHead(5, 131071), make([]byte, 767<<10)...)}},
		{name: "a document one byte too long", neg: "neg: 10", check: "nitro/size", class: tooLarge,
			with: forge.Document{Payload: make([]byte, 16385)}},
		{name: "40 levels of arrays", neg: "neg: 11", check: "nitro/encoding", class: malformed,
			with: forge.Document{Fields: set("cabundle", append(nested, 0))}},
		{name: "a key in invalid UTF-8", neg: "neg: 12", check: "nitro/encoding", class: malformed,
			with: forge.Document{Fields: add([]byte{0x62, 0xff, 0xfe}, forge.CBORUint(1))}},
		{name: "a module id in invalid UTF-8", neg: "neg: 12", check: "nitro/encoding", class: malformed,
			with: forge.Document{Fields: set("module_id", []byte{0x62, 0xff, 0xfe})}},
		{name: "nothing at all", check: "nitro/envelope", class: malformed,
			with: forge.Document{Envelope: whole(nil)}},
	})
}

func TestEnvelopesThatAreRefused(t *testing.T) {
	t.Parallel()
	es256 := forge.CBORNegative(6)
	runRejects(t, authority(t, forge.AWSOptions{}), []reject{
		{name: "ES256 with a P-384 key", neg: "neg: 13", check: "nitro/cose-header", class: unsupported,
			with: forge.Document{Protected: alg(es256)}},
		{name: "the algorithm in the unprotected header alone", neg: "neg: 14",
			check: "nitro/cose-header", class: malformed,
			with: forge.Document{Protected: []byte{0xa0}, Unprotected: alg(forge.CBORNegative(34))}},
		{name: "another algorithm in the unprotected header", neg: "neg: 15",
			check: "nitro/cose-header", class: malformed, with: forge.Document{Unprotected: alg(es256)}},
		{name: "the algorithm twice", neg: "neg: 16", check: "nitro/cose-header", class: malformed,
			with: forge.Document{Protected: forge.CBORMap(
				forge.CBORField{Key: []byte{1}, Value: forge.CBORNegative(34)},
				forge.CBORField{Key: []byte{1}, Value: es256})}},
		{name: "a critical parameter that nobody knows", neg: "neg: 17", check: "nitro/cose-header",
			class: unsupported, with: forge.Document{Protected: forge.CBORMap(
				forge.CBORField{Key: []byte{1}, Value: forge.CBORNegative(34)},
				forge.CBORField{Key: []byte{2}, Value: forge.CBORArray(forge.CBORUint(99))})}},
		{name: "1 KiB in the unprotected header", neg: "neg: 18", check: "nitro/cose-header",
			class: malformed, with: forge.Document{Unprotected: forge.CBORMap(
				forge.CBORField{Key: []byte{9}, Value: forge.CBORBytes(make([]byte, 1024))})}},
		{name: "an unprotected header that is no map", neg: "neg: 18", check: "nitro/cose-header",
			class: malformed, with: forge.Document{Unprotected: forge.CBORNull()}},
		{name: "the algorithm as text", neg: "neg: 20", check: "nitro/cose-header", class: unsupported,
			with: forge.Document{Protected: alg(forge.CBORText("ES384"))}},
		{name: "the algorithm in more bytes than it needs", neg: "neg: 4", check: "nitro/cose-header",
			class: malformed, with: forge.Document{Protected: []byte{0xa1, 1, 0x39, 0, 34}}},
		{name: "tag 18", neg: "neg: 21", check: "nitro/envelope", class: malformed,
			with: forge.Document{Envelope: tagged(18)}},
		{name: "tag 17", neg: "neg: 21", check: "nitro/envelope", class: malformed,
			with: forge.Document{Envelope: tagged(17)}},
		{name: "tag 98", neg: "neg: 21", check: "nitro/envelope", class: malformed,
			with: forge.Document{Envelope: tagged(98)}},
		{name: "tag 55799", neg: "neg: 21", check: "nitro/envelope", class: malformed,
			with: forge.Document{Envelope: tagged(55799)}},
		{name: "tag 18 behind tag 55799", neg: "neg: 21", check: "nitro/envelope", class: malformed,
			with: forge.Document{Envelope: tagged(18, 55799)}},
		{name: "a detached payload", neg: "neg: 22", check: "nitro/encoding", class: malformed,
			with: forge.Document{Envelope: func(p, u, _, s []byte) []byte {
				return forge.CBORArray(p, u, forge.CBORNull(), s)
			}}},
		{name: "an empty protected header", neg: "neg: 23", check: "nitro/cose-header", class: malformed,
			with: forge.Document{Protected: []byte{}}},
		{name: "several signers", neg: "neg: 24", check: "nitro/encoding", class: unsupported,
			with: forge.Document{Envelope: func(p, u, d, s []byte) []byte {
				return forge.CBORArray(p, u, d, forge.CBORArray(forge.CBORArray(p, u, s)))
			}}},
		{name: "a MAC in place of a signature", neg: "neg: 24", check: "nitro/cose-header",
			class: unsupported, with: forge.Document{Protected: alg(forge.CBORUint(5))}},
		{name: "an array of three", neg: "neg: 24", check: "nitro/envelope", class: malformed,
			with: forge.Document{Envelope: func(p, u, d, _ []byte) []byte { return forge.CBORArray(p, u, d) }}},
	})
}

func TestSignaturesThatAreRefused(t *testing.T) {
	t.Parallel()
	order := elliptic.P384().Params().N
	replace := func(from int, value []byte) func([]byte) []byte {
		return func(s []byte) []byte {
			copy(s[from:from+48], value)
			return s
		}
	}
	above := new(big.Int).Add(order, big.NewInt(1)).Bytes()
	rows := []reject{
		{name: "r of zero", with: forge.Document{Signature: replace(0, make([]byte, 48))}},
		{name: "s of zero", with: forge.Document{Signature: replace(48, make([]byte, 48))}},
		{name: "r and s of zero", with: forge.Document{Signature: func([]byte) []byte { return make([]byte, 96) }}},
		{name: "r of n", with: forge.Document{Signature: replace(0, order.Bytes())}},
		{name: "s of n", with: forge.Document{Signature: replace(48, order.Bytes())}},
		{name: "r above n", with: forge.Document{Signature: replace(0, above)}},
		{name: "s above n", with: forge.Document{Signature: replace(48, above)}},
		{name: "95 bytes", with: forge.Document{Signature: func(s []byte) []byte { return s[:95] }}},
		{name: "97 bytes", with: forge.Document{Signature: func(s []byte) []byte { return append(s, 0) }}},
		{name: "no bytes", with: forge.Document{Signature: func([]byte) []byte { return nil }}},
		{name: "DER", with: forge.Document{Signature: func(s []byte) []byte {
			der, err := asn1.Marshal(struct{ R, S *big.Int }{
				new(big.Int).SetBytes(s[:48]), new(big.Int).SetBytes(s[48:])})
			if err != nil {
				t.Error(err)
			}
			return der
		}}},
		{name: "another signature of the same key", with: forge.Document{Signature: func(s []byte) []byte {
			s[95] ^= 1
			return s
		}}},
		{name: "a payload that was changed behind the signature", with: forge.Document{
			Envelope: func(p, u, d, s []byte) []byte {
				d = bytes.Replace(d, []byte("-enc0"), []byte("-enc1"), 1)
				return forge.CBORArray(p, u, d, s)
			}}},
	}
	for index := range rows {
		rows[index].neg = "neg: 25"
		rows[index].check, rows[index].class = "nitro/signature", attestd.ClassSignature
	}
	runRejects(t, authority(t, forge.AWSOptions{}), rows)
}

func TestFieldsThatAreRefused(t *testing.T) {
	t.Parallel()
	register := func(key []byte, length int) forge.CBORField {
		return forge.CBORField{Key: key, Value: forge.CBORBytes(make([]byte, length))}
	}
	long := make([]byte, 1025)
	runRejects(t, authority(t, forge.AWSOptions{}), []reject{
		{name: "user data of 1025 bytes", neg: "neg: 42", check: "nitro/fields", class: malformed,
			with: forge.Document{UserData: long}},
		{name: "a nonce of 1025 bytes", neg: "neg: 41,42", check: "nitro/fields", class: malformed,
			with: forge.Document{Nonce: long}},
		{name: "a key of 1025 bytes", neg: "neg: 42", check: "nitro/fields", class: malformed,
			with: forge.Document{PublicKey: long}},
		{name: "a module id of 257 bytes", check: "nitro/fields", class: malformed,
			with: forge.Document{Fields: set("module_id", forge.CBORText(string(long[:257])))}},
		{name: "an empty module id", check: "nitro/fields", class: malformed,
			with: forge.Document{Fields: set("module_id", forge.CBORText(""))}},
		{name: "register 5 alone", neg: "neg: 45", check: "nitro/measurements",
			class: attestd.ClassMeasurement, with: forge.Document{Fields: registers(register([]byte{5}, 48))}},
		{name: "no register 0", neg: "neg: 45", check: "nitro/measurements",
			class: attestd.ClassMeasurement, with: forge.Document{PCRs: map[uint64][]byte{0: nil}}},
		{name: "no register 1", neg: "neg: 45", check: "nitro/measurements",
			class: attestd.ClassMeasurement, with: forge.Document{PCRs: map[uint64][]byte{1: nil}}},
		{name: "no register 2", neg: "neg: 45", check: "nitro/measurements",
			class: attestd.ClassMeasurement, with: forge.Document{PCRs: map[uint64][]byte{2: nil}}},
		{name: "no registers", neg: "neg: 45", check: "nitro/fields", class: malformed,
			with: forge.Document{Fields: registers()}},
		{name: "registers of 32 bytes", neg: "neg: 46", check: "nitro/fields", class: malformed,
			with: forge.Document{Fields: registers(register([]byte{0}, 32))}},
		{name: "one register of 64 bytes", neg: "neg: 46", check: "nitro/fields", class: malformed,
			with: forge.Document{PCRs: map[uint64][]byte{7: make([]byte, 64)}}},
		{name: "an empty register", neg: "neg: 46", check: "nitro/fields", class: malformed,
			with: forge.Document{PCRs: map[uint64][]byte{7: {}}}},
		{name: "register 32", neg: "neg: 47", check: "nitro/fields", class: malformed,
			with: forge.Document{PCRs: map[uint64][]byte{32: make([]byte, 48)}}},
		{name: "register 2^32", neg: "neg: 47", check: "nitro/fields", class: malformed,
			with: forge.Document{PCRs: map[uint64][]byte{1 << 32: make([]byte, 48)}}},
		{name: "register -1", neg: "neg: 47", check: "nitro/encoding", class: malformed,
			with: forge.Document{Fields: registers(register(forge.CBORNegative(0), 48))}},
		{name: "a register named by text", neg: "neg: 47", check: "nitro/encoding", class: malformed,
			with: forge.Document{Fields: registers(register(forge.CBORText("0"), 48))}},
		{name: "digest SHA256", neg: "neg: 48", check: "nitro/digest", class: unsupported,
			with: forge.Document{Fields: set("digest", forge.CBORText("SHA256"))}},
		{name: "digest sha384", neg: "neg: 48", check: "nitro/digest", class: unsupported,
			with: forge.Document{Fields: set("digest", forge.CBORText("sha384"))}},
		{name: "an instance's document", neg: "neg: 51", check: "nitro/document-type", class: unsupported,
			with: forge.Document{NitroTPM: true}},
		{name: "the registers of both", neg: "neg: 51", check: "nitro/document-type", class: malformed,
			with: forge.Document{Fields: add(forge.CBORText("nitrotpm_pcrs"),
				forge.CBORMap(register([]byte{4}, 48)))}},
		{name: "the registers of neither", neg: "neg: 51", check: "nitro/document-type", class: malformed,
			with: forge.Document{Fields: drop("pcrs")}},
		{name: "no certificate", neg: "neg: 52", check: "nitro/fields", class: malformed,
			with: forge.Document{Fields: drop("certificate")}},
		{name: "no bundle", neg: "neg: 52", check: "nitro/fields", class: malformed,
			with: forge.Document{Fields: drop("cabundle")}},
		{name: "no module id", check: "nitro/fields", class: malformed,
			with: forge.Document{Fields: drop("module_id")}},
		{name: "no digest", check: "nitro/fields", class: malformed,
			with: forge.Document{Fields: drop("digest")}},
		{name: "no timestamp", neg: "neg: 39", check: "nitro/fields", class: malformed,
			with: forge.Document{Fields: drop("timestamp")}},
	})
}

func TestBindingsThatAreRefused(t *testing.T) {
	t.Parallel()
	a, key, other := authority(t, forge.AWSOptions{}), spki(t), spki(t)
	withKey, err := fresh(t, nonce).WithKey(key)
	if err != nil {
		t.Fatal(err)
	}
	known, err := attestd.Recorded().WithNonce(nonce)
	if err != nil {
		t.Fatal(err)
	}
	binding := attestd.ClassBinding
	rows := []reject{
		{name: "no nonce", neg: "neg: 41", check: "nitro/nonce",
			with: forge.Document{Fields: set("nonce", forge.CBORNull())}},
		{name: "no nonce field", neg: "neg: 41", check: "nitro/nonce",
			with: forge.Document{Fields: drop("nonce")}},
		{name: "an empty nonce", neg: "neg: 41", check: "nitro/nonce",
			with: forge.Document{Nonce: []byte{}}},
		{name: "another nonce", neg: "neg: 41", check: "nitro/nonce",
			with: forge.Document{Nonce: make([]byte, 32)}},
		{name: "the nonce and a byte", neg: "neg: 41", check: "nitro/nonce",
			with: forge.Document{Nonce: append(bytes.Clone(nonce), 0)}},
		{name: "the nonce but for its last byte", neg: "neg: 41", check: "nitro/nonce",
			with: forge.Document{Nonce: nonce[:31]}},
		{name: "a recorded document with another nonce", neg: "neg: 41", check: "nitro/nonce",
			ask: known, with: forge.Document{Nonce: make([]byte, 32)}},
		{name: "another key", neg: "neg: 43", check: "nitro/key-binding", ask: withKey,
			with: forge.Document{PublicKey: other}},
		{name: "no key", neg: "neg: 43", check: "nitro/key-binding", ask: withKey},
		{name: "an empty key", neg: "neg: 43", check: "nitro/key-binding", ask: withKey,
			with: forge.Document{PublicKey: []byte{}}},
		{name: "the key and a byte", neg: "neg: 43", check: "nitro/key-binding", ask: withKey,
			with: forge.Document{PublicKey: append(bytes.Clone(key), 0)}},
	}
	for index := range rows {
		rows[index].class = binding
	}
	runRejects(t, a, rows)
}

func TestTimesThatAreRefused(t *testing.T) {
	t.Parallel()
	a := authority(t, forge.AWSOptions{})
	signed := a.At()
	at := func(milliseconds uint64) forge.Document { return forge.Document{Milliseconds: &milliseconds} }
	moment := func(when time.Time) forge.Document { return at(uint64(when.UnixMilli())) }
	stale := attestd.ClassStale
	runRejects(t, a, []reject{
		{name: "ten years ahead", neg: "neg: 39", check: "nitro/timestamp", class: stale,
			with: moment(signed.AddDate(10, 0, 0))},
		{name: "2^64-1", neg: "neg: 39", check: "nitro/timestamp", class: stale, with: at(1<<64 - 1)},
		{name: "2^63", neg: "neg: 39", check: "nitro/timestamp", class: stale, with: at(1 << 63)},
		{name: "0", neg: "neg: 39", check: "nitro/fields", class: malformed, with: at(0)},
		{name: "seconds in place of milliseconds", neg: "neg: 39", check: "nitro/timestamp", class: stale,
			with: at(uint64(signed.Unix()))},
		{name: "seconds in place of milliseconds, recorded", neg: "neg: 39", check: "nitro/timestamp",
			class: stale, with: at(uint64(signed.Unix())), ask: attestd.Recorded()},
		{name: "61 s after the time judged", neg: "neg: 39", check: "nitro/timestamp", class: stale,
			with: moment(signed.Add(61 * time.Second))},
		{name: "61 s after the time judged, recorded", neg: "neg: 39", check: "nitro/timestamp",
			class: stale, with: moment(signed.Add(61 * time.Second)), ask: attestd.Recorded()},
		{name: "five minutes and a second old with a live leaf", neg: "neg: 40",
			check: "nitro/timestamp", class: stale, at: signed.Add(5*time.Minute + time.Second)},
		{name: "before the leaf was issued, recorded", check: "nitro/timestamp", class: stale,
			with: moment(signed.Add(-3 * time.Minute)), ask: attestd.Recorded()},
		{name: "a leaf that expired since the document was signed", neg: "neg: 37",
			check: "nitro/chain-validity", class: attestd.ClassCertTime, at: signed.Add(3 * time.Hour)},
		{name: "a leaf that expired, recorded", neg: "neg: 37", check: "nitro/chain-validity",
			class: attestd.ClassCertTime, at: signed.Add(3 * time.Hour), ask: attestd.Recorded()},
		{name: "a leaf that is not yet valid", neg: "neg: 38", check: "nitro/chain-validity",
			class: attestd.ClassCertTime, at: signed.Add(-2 * time.Minute)},
	})
}
