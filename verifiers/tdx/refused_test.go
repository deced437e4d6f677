package tdx_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
)

type row struct {
	name    string
	version uint16 // 4 where zero
	change  func(*scene)
	at      time.Time
	check   attestd.CheckID
	class   attestd.Class
}

func edited(change func(parts *forge.TDParts, key forge.PCK)) func(*scene) {
	return func(s *scene) { s.edit = change }
}

func parts(change func(*forge.TDParts)) func(*scene) {
	return edited(func(p *forge.TDParts, _ forge.PCK) { change(p) })
}

func quoted(change func(*forge.TDQuote)) func(*scene) {
	return func(s *scene) { change(&s.quote) }
}

func sent(change func([]byte) []byte) func(*scene) {
	return func(s *scene) { s.sent = change }
}

func ptr[T any](value T) *T { return &value }

func run(t *testing.T, rows []row) {
	t.Helper()
	v := forgedVerifier(t)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s := newScene(t, max(4, row.version))
			row.change(s)
			input := s.input(t)
			if !row.at.IsZero() {
				input.At = row.at
			}
			before := v.SignaturesVerified()
			mustReject(t, v, input, row.check, row.class)
			if spent := v.SignaturesVerified() - before; spent > 8 {
				t.Errorf("%d signatures for a refusal", spent)
			}
		})
	}
}

func TestLengthsThatLie(t *testing.T) { // neg: 117, 118
	const check, class = attestd.CheckID("tdx/layout"), attestd.ClassMalformed
	layout := func(name string, change func(*scene)) row {
		return row{name: name, change: change, check: check, class: class}
	}
	rows := []row{
		layout("a certificate chain that is one byte longer", parts(func(p *forge.TDParts) {
			p.ChainSize = ptr(uint32(len(p.Chain) + 1))
		})),
		layout("a certificate chain that is one byte shorter", parts(func(p *forge.TDParts) {
			p.ChainSize = ptr(uint32(len(p.Chain) - 1))
		})),
		layout("certification data of 0xffffffff bytes", parts(func(p *forge.TDParts) {
			p.CertSize = ptr(uint32(0xffffffff))
		})),
		layout("certification data that is one byte shorter", parts(func(p *forge.TDParts) {
			p.CertSize = ptr(uint32(len(p.Chain) + len(p.Auth) + 384 + 64 + 2 + 6 - 1))
		})),
		layout("authentication data of 0xffff bytes", parts(func(p *forge.TDParts) {
			p.AuthSize = ptr(uint16(0xffff))
		})),
		layout("authentication data that ends in front of the certificates' head", parts(
			func(p *forge.TDParts) { p.AuthSize = ptr(uint16(len(p.Auth) + 6 + len(p.Chain) - 3)) })),
		{name: "authentication data of 2 KiB", check: check, class: attestd.ClassTooLarge,
			change: quoted(func(q *forge.TDQuote) { q.Auth = make([]byte, 2<<10) })},
		{name: "certificates of 9 KiB", check: "tdx/chain-form", class: attestd.ClassTooLarge,
			change: parts(func(p *forge.TDParts) { p.Chain = append(p.Chain, make([]byte, 9<<10)...) })},
		layout("39 bytes behind the quote", parts(func(p *forge.TDParts) {
			p.Trailing = bytes.Repeat([]byte{'a'}, 39)
		})),
		layout("zeros and one bit behind the quote", parts(func(p *forge.TDParts) {
			p.Trailing = append(make([]byte, 39), 1)
		})),
		layout("zeros behind a quote in a container", func(s *scene) {
			s.box = true
			s.sent = func(b []byte) []byte { return append(b, 0) }
		}),
		{name: "a certificate of 2 KiB", check: "tdx/chain-form", class: attestd.ClassTooLarge,
			change: func(s *scene) {
				s.pck.Edit = func(c *x509.Certificate) {
					c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{
						Id: asn1.ObjectIdentifier{1, 2, 3}, Value: make([]byte, 2<<10)})
				}
			}},
		{name: "40 KiB of zeros", check: "tdx/size", class: attestd.ClassTooLarge,
			change: parts(func(p *forge.TDParts) { p.Trailing = make([]byte, 40<<10) })},
		{name: "no bytes at all", check: "tdx/size", class: attestd.ClassMalformed,
			change: sent(func([]byte) []byte { return nil })},
	}
	const body = 48 + 584 + 4
	for _, size := range []int{0, 1, 63, 64, 127, 128, 130, 133} {
		rows = append(rows, layout(fmt.Sprintf("nothing but %d bytes of signature data", size),
			sent(func(b []byte) []byte {
				binary.LittleEndian.PutUint32(b[body-4:], uint32(size)) //nolint:gosec // small
				return b[:body+size]
			})))
	}
	for _, size := range []int{0, 1, 383, 384, 447, 448, 449, 450, 455} {
		rows = append(rows, layout(fmt.Sprintf("nothing but %d bytes about the enclave", size),
			sent(func(b []byte) []byte {
				binary.LittleEndian.PutUint32(b[body-4:], uint32(134+size)) //nolint:gosec // small
				binary.LittleEndian.PutUint32(b[body+130:], uint32(size))   //nolint:gosec // small
				if size >= 450 {
					b[body+134+448], b[body+134+449] = 0, 0 // no authentication data
				}
				return b[:body+134+size]
			})))
	}
	for _, size := range []uint32{0, 1, 64, 127, 128, 130, 133, 0xffffffff} {
		rows = append(rows, layout(fmt.Sprintf("signature data of %d bytes", size),
			parts(func(p *forge.TDParts) { p.SignedDataSize = ptr(size) })))
	}
	run(t, rows)
}

// TestEveryCutIsRefused cuts quotes of both versions at every byte. neg: 117
func TestEveryCutIsRefused(t *testing.T) {
	v := forgedVerifier(t)
	for _, version := range []uint16{4, 5} {
		input := newScene(t, version).input(t)
		mustVerify(t, v, input)
		whole := input.Evidence
		for size := range whole {
			input.Evidence = whole[:size:size]
			claims, err := v.Verify(input)
			rejected, ok := err.(*attestd.EvidenceError) //nolint:errorlint // the type itself is wanted
			if claims != nil || !ok || rejected.Class != attestd.ClassMalformed {
				t.Fatalf("version %d cut to %d bytes: %v", version, size, err)
			}
		}
	}
}

func TestOtherQuotesAreRefused(t *testing.T) { // neg: 119, 120, 121
	unsupported := attestd.ClassUnsupported
	rows := []row{
		{name: "version 3, of SGX enclaves", check: "tdx/quote-version", class: unsupported,
			change: quoted(func(q *forge.TDQuote) { q.Version = 3 })},
		{name: "version 6", check: "tdx/quote-version", class: unsupported,
			change: quoted(func(q *forge.TDQuote) { q.Version = 6 })},
		{name: "TEE type 0, SGX", check: "tdx/tee-type", class: unsupported,
			change: quoted(func(q *forge.TDQuote) { q.TEE = 0 })},
		{name: "TEE type 0x181", check: "tdx/tee-type", class: unsupported,
			change: quoted(func(q *forge.TDQuote) { q.TEE = 0x181 })},
		{name: "attestation key type 3, P-384", check: "tdx/key-type", class: unsupported,
			change: quoted(func(q *forge.TDQuote) { q.KeyType = 3 })},
		{name: "another vendor's enclave", check: "tdx/qe-vendor", class: unsupported,
			change: quoted(func(q *forge.TDQuote) { q.Vendor[0] ^= 1 })},
		{name: "a TDREPORT", check: "tdx/size", class: attestd.ClassMalformed,
			change: sent(func([]byte) []byte {
				report := make([]byte, 1024)
				report[0] = 0x81
				return report
			})},
		{name: "the report of an SGX enclave as the body", version: 5, check: "tdx/body", class: unsupported,
			change: quoted(func(q *forge.TDQuote) { q.BodyType = 1 })},
		{name: "a body of type 4", version: 5, check: "tdx/body", class: unsupported,
			change: quoted(func(q *forge.TDQuote) { q.BodyType = 4 })},
		{name: "a body of TDX 1.5 with the size of 1.0", version: 5, check: "tdx/body",
			class: attestd.ClassMalformed, change: sent(func(b []byte) []byte {
				b[50], b[51] = 0x48, 0x02
				return b
			})},
		{name: "a body of TDX 1.0 with the size of 1.5", version: 5, check: "tdx/body",
			class: attestd.ClassMalformed, change: sent(func(b []byte) []byte { b[48] = 2; return b })},
		{name: "the head of version 4 on a body of version 5", version: 5, check: "tdx/layout",
			class: attestd.ClassMalformed, change: sent(func(b []byte) []byte { b[0] = 4; return b })},
		{name: "the head of version 5 on a body of version 4", check: "tdx/body", class: unsupported,
			change: sent(func(b []byte) []byte { b[0] = 5; return b })},
	}
	for _, kind := range []uint16{1, 2, 3, 4, 5, 7} {
		rows = append(rows, row{name: fmt.Sprintf("outer certification data of type %d", kind),
			change: parts(func(p *forge.TDParts) { p.CertType = kind }), check: "tdx/layout",
			class: unsupported})
	}
	for _, kind := range []uint16{1, 3, 4, 6, 7} {
		rows = append(rows, row{name: fmt.Sprintf("inner certification data of type %d", kind),
			change: parts(func(p *forge.TDParts) { p.ChainType = kind }), check: "tdx/layout",
			class: unsupported})
	}
	run(t, rows)
}

func TestKeysAndSignaturesThatAreRefused(t *testing.T) { // neg: 135, 136
	order := elliptic.P256().Params().N
	scalar := func(at int, value *big.Int, quote bool) func(*scene) {
		return parts(func(p *forge.TDParts) {
			raw := p.QESignature[:]
			if quote {
				raw = p.Signature[:]
			}
			value.FillBytes(raw[at : at+32])
		})
	}
	var rows []row
	for name, value := range map[string]*big.Int{
		"zero": new(big.Int), "the order": order,
		"all ones": new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1)),
	} {
		for at, letter := range map[int]string{0: "R", 32: "S"} {
			for quote, whose := range map[bool]string{true: "quote", false: "enclave"} {
				rows = append(rows, row{name: letter + " of the " + whose + "'s signature is " + name,
					change: scalar(at, value, quote), check: "tdx/signature-format",
					class: attestd.ClassSignature})
			}
		}
	}
	key := func(name string, change func(*forge.TDParts)) row {
		return row{name: name, check: "tdx/attestation-key", class: attestd.ClassMalformed,
			change: edited(func(p *forge.TDParts, pck forge.PCK) {
				change(p)
				if err := p.Rebind(pck.Key); err != nil { // the enclave vouches for it all the same
					panic(err)
				}
			})}
	}
	rows = append(rows,
		key("an attestation key at (0, 0)", func(p *forge.TDParts) { p.Key = [64]byte{} }),
		key("an attestation key off the curve", func(p *forge.TDParts) { p.Key[63] ^= 1 }),
		key("a coordinate of p or more", func(p *forge.TDParts) {
			for i := range 32 {
				p.Key[i] = 0xff
			}
		}),
		row{name: "another attestation key", check: "tdx/qe-binding", class: attestd.ClassBinding,
			change: parts(func(p *forge.TDParts) {
				strange, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
				encoded, _ := strange.PublicKey.Bytes()
				copy(p.Key[:], encoded[1:])
			})},
		row{name: "other authentication data", check: "tdx/qe-binding", class: attestd.ClassBinding,
			change: parts(func(p *forge.TDParts) { p.Auth[0] ^= 1 })},
		row{name: "a byte behind the hash of the key", check: "tdx/qe-binding", class: attestd.ClassBinding,
			change: edited(func(p *forge.TDParts, pck forge.PCK) {
				p.QEReport[383] = 1
				if err := p.SignQE(pck.Key); err != nil {
					panic(err)
				}
			})},
		row{name: "an enclave's report that was changed", check: "tdx/qe-signature",
			class: attestd.ClassSignature, change: parts(func(p *forge.TDParts) { p.QEReport[258]++ })},
		row{name: "a body that was changed", check: "tdx/signature", class: attestd.ClassSignature,
			change: parts(func(p *forge.TDParts) { p.Signed[48+136] ^= 1 })},
		row{name: "a head that was changed", check: "tdx/signature", class: attestd.ClassSignature,
			change: parts(func(p *forge.TDParts) { p.Signed[30] ^= 1 })},
	)
	run(t, rows)
}

func TestModulesThatAreRefused(t *testing.T) { // neg: 124
	run(t, []row{
		{name: "a module that somebody else signed", check: "tdx/module", class: attestd.ClassPlatform,
			change: quoted(func(q *forge.TDQuote) { q.MRSignerSEAM[47] = 1 })},
		{name: "a debug module", check: "tdx/module", class: attestd.ClassPlatform,
			change: quoted(func(q *forge.TDQuote) { q.SEAMAttributes = 1 })},
		{name: "an unknown attribute of the module", check: "tdx/module", class: attestd.ClassPlatform,
			version: 5, change: quoted(func(q *forge.TDQuote) { q.SEAMAttributes = 1 << 63 })},
	})
}

// chain returns a change that puts other text where the certificates stand.
func chain(text func(pck forge.PCK) []byte) func(*scene) {
	return edited(func(p *forge.TDParts, pck forge.PCK) { p.Chain = text(pck) })
}

func TestChainsOfAnotherForm(t *testing.T) { // neg: 137
	form := func(name string, text func(forge.PCK) []byte) row {
		return row{name: name, change: chain(text), check: "tdx/chain-form", class: attestd.ClassChain}
	}
	run(t, []row{
		form("no certificate", func(forge.PCK) []byte { return nil }),
		form("two certificates", func(k forge.PCK) []byte { return forge.PEMChain(k.DER, k.Issuer.Raw) }),
		form("four certificates", func(k forge.PCK) []byte {
			return append(k.PEM(), forge.PEMChain(k.Root.Raw)...)
		}),
		form("DER", func(k forge.PCK) []byte {
			return slices.Concat(k.DER, k.Issuer.Raw, k.Root.Raw)
		}),
		form("two zeros behind the text", func(k forge.PCK) []byte { return append(k.PEM(), 0, 0) }),
		form("a zero in front of the text", func(k forge.PCK) []byte {
			return append([]byte{0}, k.PEM()...)
		}),
		form("a line feed less", func(k forge.PCK) []byte { return bytes.TrimSuffix(k.PEM(), []byte("\n")) }),
		form("a line feed more", func(k forge.PCK) []byte { return append(k.PEM(), '\n') }),
		form("carriage returns", func(k forge.PCK) []byte {
			return bytes.ReplaceAll(k.PEM(), []byte("\n"), []byte("\r\n"))
		}),
		form("words between", func(k forge.PCK) []byte {
			return slices.Concat(forge.PEMChain(k.DER), []byte("CA:\n"),
				forge.PEMChain(k.Issuer.Raw, k.Root.Raw))
		}),
		form("longer lines", func(k forge.PCK) []byte {
			return fmt.Appendf(nil, "-----BEGIN CERTIFICATE-----\n%s\n-----END CERTIFICATE-----\n%s",
				base64.StdEncoding.EncodeToString(k.DER), forge.PEMChain(k.Issuer.Raw, k.Root.Raw))
		}),
		form("a head inside the text", func(k forge.PCK) []byte {
			return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: k.DER,
				Headers: map[string]string{"Proc-Type": "4"}}), forge.PEMChain(k.Issuer.Raw, k.Root.Raw)...)
		}),
		form("another type", func(k forge.PCK) []byte {
			return bytes.ReplaceAll(k.PEM(), []byte("CERTIFICATE"), []byte("X509 CERTIFICATE"))
		}),
		form("not a certificate", func(k forge.PCK) []byte {
			return forge.PEMChain([]byte("x"), k.Issuer.Raw, k.Root.Raw)
		}),
		form("a byte behind a certificate", func(k forge.PCK) []byte {
			return forge.PEMChain(append(bytes.Clone(k.DER), 0), k.Issuer.Raw, k.Root.Raw)
		}),
	})
}

func TestChainsThatAreRefused(t *testing.T) { // neg: 132, 137
	strange := must(other())(t)
	link := func(name string, change func(*scene)) row {
		return row{name: name, change: change, check: "tdx/chain", class: attestd.ClassChain}
	}
	profile := func(name string, change func(*forge.PCKConfig)) row {
		return row{name: name, change: func(s *scene) { change(&s.pck) }, check: "tdx/pck-profile",
			class: attestd.ClassChain}
	}
	rows := []row{
		link("an authority that carries Intel's names", func(s *scene) { s.authority = strange }),
		link("a CA of that authority below the known root", chain(func(k forge.PCK) []byte {
			return forge.PEMChain(k.DER, strange.Platform.Raw, k.Root.Raw)
		})),
		link("a PCK of that authority below the known CA", func(s *scene) {
			known := s.authority
			s.authority = strange
			s.edit = func(p *forge.TDParts, k forge.PCK) {
				p.Chain = forge.PEMChain(k.DER, known.Platform.Raw, known.Root.Raw)
			}
		}),
		link("a PCK and a CA of that authority below the known root", func(s *scene) {
			known := s.authority
			s.authority = strange
			s.edit = func(p *forge.TDParts, k forge.PCK) {
				p.Chain = forge.PEMChain(k.DER, k.Issuer.Raw, known.Root.Raw)
			}
		}),
		link("another root of that name above good certificates", chain(func(k forge.PCK) []byte {
			return forge.PEMChain(k.DER, k.Issuer.Raw, strange.Root.Raw)
		})),
		// Its lists would be looked for under the name of the other CA. neg: 133
		link("a platform's PCK that names the CA over processors", func(s *scene) {
			s.pck.IssuerName, s.pck.Processor = forge.IntelProcessorName, false
		}),
		link("certificates in the order root, CA, PCK", chain(func(k forge.PCK) []byte {
			return forge.PEMChain(k.Root.Raw, k.Issuer.Raw, k.DER)
		})),
		link("certificates in the order CA, PCK, root", chain(func(k forge.PCK) []byte {
			return forge.PEMChain(k.Issuer.Raw, k.DER, k.Root.Raw)
		})),
		link("the PCK as its own CA", chain(func(k forge.PCK) []byte {
			return forge.PEMChain(k.DER, k.DER, k.Root.Raw)
		})),
		link("the root as the CA", chain(func(k forge.PCK) []byte {
			return forge.PEMChain(k.DER, k.Root.Raw, k.Root.Raw)
		})),
		link("the CA over processors above a platform's PCK", chain(func(k forge.PCK) []byte {
			return forge.PEMChain(k.DER, must(intel())(t).Processor.Raw, k.Root.Raw)
		})),
		link("the key that signs TCB information as the CA", chain(func(k forge.PCK) []byte {
			return forge.PEMChain(k.DER, must(intel())(t).Signing.Raw, k.Root.Raw)
		})),
		profile("a PCK that is a CA", func(c *forge.PCKConfig) {
			c.Edit = func(x *x509.Certificate) {
				x.IsCA, x.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature
			}
		}),
		profile("a PCK of another name", func(c *forge.PCKConfig) {
			c.Edit = func(x *x509.Certificate) { x.Subject = forge.IntelName("Intel SGX TCB Signing") }
		}),
		profile("a PCK without the extension", func(c *forge.PCKConfig) { c.Omit = -1 }),
		profile("a PCK without FMSPC", func(c *forge.PCKConfig) { c.Omit = 4 }),
		profile("a platform's PCK without PIID", func(c *forge.PCKConfig) { c.Omit = 6 }),
		profile("an extension with a byte behind it", func(c *forge.PCKConfig) {
			c.Rewrite = func(b []byte) []byte { return append(b, 0) }
		}),
	}
	for name, at := range map[string]time.Time{
		"a day before the certificates": forge.IntelTime.AddDate(-3, 0, -1),
		"a day after the certificates":  forge.IntelTime.AddDate(4, 0, 1),
	} {
		rows = append(rows, row{name: name, change: func(*scene) {}, at: at,
			check: "tdx/chain-validity", class: attestd.ClassCertTime})
	}
	run(t, rows)
}

// TestEachCertificateIsHeldToItsTime ends one certificate of the three before the others, and asks
// again with the enclave known. neg: 11
func TestEachCertificateIsHeldToItsTime(t *testing.T) {
	early := func(c *x509.Certificate) { c.NotAfter = forge.IntelTime.AddDate(1, 0, 0) }
	for name, change := range map[string]func(*forge.IntelConfig, *scene){
		"PCK certificate": func(_ *forge.IntelConfig, s *scene) { s.pck.Edit = early },
		"CA":              func(c *forge.IntelConfig, _ *scene) { c.EditPlatform = early },
		"root":            func(c *forge.IntelConfig, _ *scene) { c.EditRoot = early },
	} {
		s, config := newScene(t, 4), forge.IntelConfig{}
		change(&config, s)
		s.authority = must(forge.NewIntel(config))(t)
		v := newVerifier(t, s.authority.Root)
		input := s.input(t)
		mustVerify(t, v, input)
		input.At = forge.IntelTime.AddDate(1, 0, 1)
		got := mustReject(t, v, input, "tdx/chain-validity", attestd.ClassCertTime)
		if !strings.HasPrefix(got.Got, name) {
			t.Errorf("%s: got %q", name, got.Got)
		}
	}
}

// TestOnlyThePinnedRootIsTrusted shows that a production verifier takes none of these quotes. neg: 132
func TestOnlyThePinnedRootIsTrusted(t *testing.T) {
	mustReject(t, newVerifier(t), newScene(t, 5).input(t), "tdx/chain", attestd.ClassChain)
}

// TestRootsThatCannotBeOne: what is loaded by hand must be made like Intel's.
func TestRootsThatCannotBeOne(t *testing.T) {
	authority := must(intel())(t)
	for name, root := range map[string]*x509.Certificate{
		"nothing": nil, "a CA": authority.Platform, "a signer": authority.Signing,
	} {
		if _, err := newRoot(root); err == nil || err.Class != attestd.ClassConfig || err.Hint == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}
