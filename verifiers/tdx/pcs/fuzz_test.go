package pcs_test

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"slices"
	"testing"

	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/tdx/pcs"
)

func parse(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	return must(x509.ParseCertificate(der))(t)
}

// FuzzTCBInfo: what is read is JSON to the standard library as well, its levels fall, every status is
// one of Intel's, and no input is written to.
func FuzzTCBInfo(f *testing.F) {
	authority := must(intel())(f)
	f.Add(must(authority.TCBInfo(forge.NewTCBInfoConfig()))(f))
	config := forge.NewTCBInfoConfig()
	config.Modules = nil
	f.Add(must(authority.TCBInfo(config))(f))
	f.Fuzz(func(t *testing.T, document []byte) {
		before := bytes.Clone(document)
		info, err := pcs.ParseTCBInfo(document)
		if !bytes.Equal(before, document) {
			t.Fatal("the input was written to")
		}
		if err != nil {
			return
		}
		if !json.Valid(document) || pcs.KindOf(document) == pcs.KindIdentity {
			t.Fatal("read what is no document")
		}
		for _, level := range info.Levels {
			if level.Status == pcs.StatusNone || level.Status > pcs.Revoked || level.Date.IsZero() {
				t.Fatalf("level %+v", level)
			}
		}
		if len(info.Levels) == 0 || info.Subject != pcs.SubjectOfTCBInfo(info.FMSPC) {
			t.Fatalf("header %+v", info.Header)
		}
	})
}

// FuzzIdentity is the same for identities.
func FuzzIdentity(f *testing.F) {
	f.Add(must(must(intel())(f).Identity(forge.NewIdentityConfig()))(f))
	f.Fuzz(func(t *testing.T, document []byte) {
		identity, err := pcs.ParseIdentity(document)
		if err != nil {
			return
		}
		if !json.Valid(document) || len(identity.Levels) == 0 {
			t.Fatal("read what is no document")
		}
		for i, level := range identity.Levels {
			if level.Status == pcs.StatusNone || i > 0 && level.ISVSVN >= identity.Levels[i-1].ISVSVN {
				t.Fatalf("levels %+v", identity.Levels)
			}
		}
	})
}

// FuzzCombined: what was taken apart can be read by itself.
func FuzzCombined(f *testing.F) {
	f.Add(combined(f, nil))
	f.Fuzz(func(t *testing.T, file []byte) {
		out, err := pcs.SplitCombined(file)
		if err != nil {
			return
		}
		if len(out.Documents) != 2 || len(out.CRLs) != 2 || len(out.Certificates) == 0 {
			t.Fatalf("%+v", out)
		}
		for _, document := range out.Documents {
			if _, err := pcs.Parse(document); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// FuzzPCK: extensions that are read have one encoding.
func FuzzPCK(f *testing.F) {
	config := forge.NewPCKConfig()
	config.Rewrite = func(value []byte) []byte { f.Add(value); return value }
	must(must(intel())(f).IssuePCK(config))(f)
	template := must(x509.ParseCertificate(must(must(intel())(f).IssuePCK(forge.NewPCKConfig()))(f).DER))(f)
	f.Fuzz(func(t *testing.T, extension []byte) {
		cert := *template
		cert.Extensions = bytesExtension(template, extension)
		pck, err := pcs.ReadPCK(&cert)
		if err != nil {
			return
		}
		again := forge.NewPCKConfig()
		again.PPID, again.CPUSVN, again.PCESVN = pck.PPID, pck.CPUSVN, pck.PCESVN
		again.PCEID, again.FMSPC, again.SGXType = pck.PCEID, pck.FMSPC, int(pck.Type)
		again.PIID, again.Dynamic = pck.Platform.PIID, pck.Platform.Dynamic
		again.Cached, again.SMT = pck.Platform.Cached, pck.Platform.SMT
		var written []byte
		again.Rewrite = func(value []byte) []byte { written = value; return value }
		must(must(intel())(t).IssuePCK(again))(t)
		if pck.Components == pck.CPUSVN && !bytes.Equal(written, extension) {
			t.Fatalf("a second encoding: % x", extension)
		}
	})
}

func bytesExtension(template *x509.Certificate, value []byte) []pkix.Extension {
	out := slices.Clone(template.Extensions)
	for i := range out {
		if out[i].Id.String() == "1.2.840.113741.1.13.1" {
			out[i].Value = value
		}
	}
	return out
}
