package pcs_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/tdx/pcs"
)

func TestTheRootIsIntels(t *testing.T) {
	root := must(pcs.Root())(t)
	digest := sha256.Sum256(root.Raw)
	if hex.EncodeToString(digest[:]) != pcs.RootSHA256 || root.Subject.CommonName != pcs.NameRoot {
		t.Errorf("%x of %q", digest, root.Subject.CommonName)
	}
	if err := pcs.CheckRoot(root); err != nil {
		t.Error(err)
	}
	root.Raw[0] ^= 1
	if again := must(pcs.Root())(t); again.Raw[0] == root.Raw[0] {
		t.Error("one root for all who ask")
	}
}

func TestRootsAndCAsThatAreRefused(t *testing.T) {
	authority := must(intel())(t)
	if err := pcs.CheckRoot(authority.Root); err != nil {
		t.Fatal(err)
	}
	for _, ca := range []*x509.Certificate{authority.Processor, authority.Platform} {
		if err := pcs.CheckCA(ca, authority.Root); err != nil {
			t.Fatal(err)
		}
	}
	rooted := func(edit func(*x509.Certificate)) *x509.Certificate {
		return must(forge.NewIntel(forge.IntelConfig{EditRoot: edit}))(t).Root
	}
	for name, root := range map[string]*x509.Certificate{
		"a CA below it": authority.Platform,
		"another name":  rooted(func(c *x509.Certificate) { c.Subject = forge.IntelName("Intel SGX Root CA 2") }),
		"no CA":         rooted(func(c *x509.Certificate) { c.IsCA, c.MaxPathLen = false, -1 }),
		"room for none": rooted(func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true }),
		"may not sign":  rooted(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }),
		"another digest": rooted(func(c *x509.Certificate) {
			c.SignatureAlgorithm = x509.ECDSAWithSHA384
		}),
	} {
		if pcs.CheckRoot(root) == nil {
			t.Errorf("%s is a root", name)
		}
	}
	stranger := must(forge.NewIntel(forge.IntelConfig{}))(t)
	for name, ca := range map[string]*x509.Certificate{
		"another root's": stranger.Platform, "the signer": authority.Signing, "the root": authority.Root,
	} {
		if pcs.CheckCA(ca, authority.Root) == nil {
			t.Errorf("%s is a CA over PCKs", name)
		}
	}
}

func readPCK(t *testing.T, config forge.PCKConfig) (pcs.PCK, error) {
	t.Helper()
	pck := must(must(intel())(t).IssuePCK(config))(t)
	return pcs.ReadPCK(must(x509.ParseCertificate(pck.DER))(t))
}

func TestPCKsAreRead(t *testing.T) {
	config := forge.NewPCKConfig()
	config.CPUSVN[4], config.PCESVN, config.SGXType, config.Cached = 255, 0xabcd, 2, false
	config.PCEID = [2]byte{1, 2}
	pck := must(readPCK(t, config))(t)
	if pck.PPID != config.PPID || pck.CPUSVN != config.CPUSVN || pck.Components != config.CPUSVN ||
		pck.PCESVN != 0xabcd || pck.PCEID != config.PCEID || pck.FMSPC != config.FMSPC ||
		pck.Type != pcs.SGXScalableWithIntegrity || pck.CA != pcs.CAPlatform || pck.Platform == nil ||
		*pck.Platform != (pcs.Platform{PIID: config.PIID, Dynamic: true, SMT: true}) {
		t.Errorf("%+v %+v", pck, pck.Platform)
	}
	config.Processor = true
	if pck = must(readPCK(t, config))(t); pck.CA != pcs.CAProcessor || pck.Platform != nil {
		t.Errorf("%+v", pck)
	}
	der := must(must(intel())(t).IssuePCK(config))(t).DER
	if fmspc, found := pcs.FindFMSPC(der); !found || fmspc != config.FMSPC {
		t.Errorf("found %x, %t", fmspc, found)
	}
	if _, found := pcs.FindFMSPC(der[:200]); found {
		t.Error("found an FMSPC where there is none")
	}
}

func TestPCKsThatAreRefused(t *testing.T) {
	swap := func(old, with []byte) func([]byte) []byte {
		return func(value []byte) []byte {
			if !bytes.Contains(value, old) {
				t.Fatalf("no % x", old)
			}
			return bytes.Replace(value, old, with, 1)
		}
	}
	oid := func(arcs ...byte) []byte {
		arcs = append([]byte{0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 1, 13, 1}, arcs...)
		return append([]byte{6, byte(len(arcs))}, arcs...)
	}
	rewrite := func(old, with []byte) func(*forge.PCKConfig) {
		return func(c *forge.PCKConfig) { c.Rewrite = swap(old, with) }
	}
	for name, change := range map[string]func(*forge.PCKConfig){
		"no extension":     func(c *forge.PCKConfig) { c.Omit = -1 },
		"no PPID":          func(c *forge.PCKConfig) { c.Omit = 1 },
		"no TCB":           func(c *forge.PCKConfig) { c.Omit = 2 },
		"no PCEID":         func(c *forge.PCKConfig) { c.Omit = 3 },
		"no FMSPC":         func(c *forge.PCKConfig) { c.Omit = 4 },
		"no type":          func(c *forge.PCKConfig) { c.Omit = 5 },
		"no instance":      func(c *forge.PCKConfig) { c.Omit = 6 },
		"no configuration": func(c *forge.PCKConfig) { c.Omit = 7 },
		"a type of none":   func(c *forge.PCKConfig) { c.SGXType = 3 },
		"an unknown arc":   rewrite(oid(4), oid(9)),
		"PCEID for FMSPC":  rewrite(oid(3), oid(4)),
		"a component twice": rewrite(append(oid(2, 1), 2, 1, 3),
			append(oid(2, 2), 2, 1, 3)),
		"a component with a sign": rewrite(append(oid(2, 1), 2, 1, 3), append(oid(2, 1), 2, 1, 0x83)),
		"a component of another type": rewrite(append(oid(2, 1), 2, 1, 3),
			append(oid(2, 1), 10, 1, 3)),
		"a flag spelled in another way": rewrite(append(oid(7, 1), 1, 1, 0xff), append(oid(7, 1), 1, 1, 1)),
		"something behind": func(c *forge.PCKConfig) {
			c.Rewrite = func(value []byte) []byte { return append(value, 5, 0) }
		},
		"another name": func(c *forge.PCKConfig) {
			c.Edit = func(template *x509.Certificate) { template.Subject = forge.IntelName("Intel PCK") }
		},
		"a CA": func(c *forge.PCKConfig) {
			c.Edit = func(template *x509.Certificate) {
				template.IsCA, template.KeyUsage = true, template.KeyUsage|x509.KeyUsageCertSign
			}
		},
		"another curve": func(c *forge.PCKConfig) {
			c.Key = must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))(t)
		},
		"an FMSPC of five bytes": func(c *forge.PCKConfig) {
			short := swap(append([]byte{0x30, 20}, append(oid(4), 4, 6, 0xb0)...),
				append([]byte{0x30, 19}, append(oid(4), 4, 5)...))
			c.Rewrite = func(value []byte) []byte {
				value = short(value)
				value[3]-- // the length of the whole: 0x30 0x82 and two bytes
				return value
			}
		},
		"the name of another issuer": func(c *forge.PCKConfig) {
			c.Processor, c.IssuerName = true, pcs.NameRoot
		},
	} {
		config := forge.NewPCKConfig()
		change(&config)
		if pck, err := readPCK(t, config); err == nil || pck.Platform != nil || pck.PCESVN != 0 {
			t.Errorf("%s: %+v", name, pck)
		}
	}
	// A certificate of the CA over processors has no elements of a platform.
	config := forge.NewPCKConfig()
	var platform []byte
	config.Rewrite = func(value []byte) []byte { platform = bytes.Clone(value); return value }
	must(readPCK(t, config))(t)
	config.Processor, config.Rewrite = true, func([]byte) []byte { return platform }
	if _, err := readPCK(t, config); err == nil {
		t.Error("a processor's certificate with the elements of a platform is read")
	}
}

// TestChainsThatAreTooLong are not even decoded.
func TestChainsThatAreTooLong(t *testing.T) {
	pem := string(forge.PEMChain(must(intel())(t).Root.Raw))
	if _, err := pcs.ReadChain([]byte(pem + strings.Repeat("\n", pcs.MaxBytes))); err == nil {
		t.Error("a chain over the limit is read")
	}
}

func TestChainsAreRead(t *testing.T) {
	authority := must(intel())(t)
	pem := string(forge.PEMChain(authority.Signing.Raw, authority.Root.Raw))
	for name, chain := range map[string]string{
		"as it is": pem, "with blank lines": strings.ReplaceAll(pem, "-----\n-----", "-----\n\n-----"),
		"without the last line feed": strings.TrimSpace(pem), "with the zero of C": pem + "\x00",
	} {
		got, err := pcs.ReadChain([]byte(chain))
		if err != nil || len(got) != 2 || !bytes.Equal(got[1], authority.Root.Raw) {
			t.Errorf("%s: %d, %v", name, len(got), err)
		}
	}
	escaped := strings.NewReplacer("\n", "%0A", " ", "%20", "/", "%2F", "=", "%3D", "+", "%2B").Replace(pem)
	for _, header := range []string{escaped, strings.ReplaceAll(escaped, "%2B", "+")} {
		if got, err := pcs.ReadChainHeader(header); err != nil || len(got) != 2 {
			t.Errorf("%d, %v", len(got), err)
		}
	}
	for name, chain := range map[string]string{
		"nothing": "", "a key": strings.ReplaceAll(pem, "CERTIFICATE", "PRIVATE KEY"),
		"text between": strings.Replace(pem, "-----\n-----", "-----\nhello\n-----", 1),
		"text behind":  pem + "hello", "half a certificate": pem[:len(pem)-40],
		"headers": strings.Replace(pem, "-----\n", "-----\nA: b\n\n", 1),
		"nine":    strings.Repeat(pem, 4) + pem[:strings.Index(pem, "-----END")+26],
	} {
		if got, err := pcs.ReadChain([]byte(chain)); err == nil {
			t.Errorf("%s: %d certificates", name, len(got))
		}
	}
	if _, err := pcs.ReadChainHeader("%zz"); err == nil {
		t.Error("a broken encoding is read")
	}
}
