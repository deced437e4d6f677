package pcs_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/tdx/pcs"
)

// combined writes collateral in the form that dcap-qvl exchanges.
func combined(t testing.TB, change func(map[string]string)) []byte {
	t.Helper()
	authority := must(intel())(t)
	parts := must(authority.Collateral(forge.NewTCBInfoConfig(), forge.NewIdentityConfig()))(t)
	object := func(document []byte, key string) (string, string) {
		text := strings.TrimPrefix(string(document), `{"`+key+`":`)
		body, signature, _ := strings.Cut(text, `,"signature":"`)
		return body, strings.TrimSuffix(signature, `"}`)
	}
	info, infoSignature := object(parts.Documents[0], "tcbInfo")
	identity, identitySignature := object(parts.Documents[1], "enclaveIdentity")
	signer := string(forge.PEMChain(authority.Signing.Raw, authority.Root.Raw))
	members := map[string]string{
		"pck_crl_issuer_chain": string(forge.PEMChain(authority.Platform.Raw, authority.Root.Raw)),
		"root_ca_crl":          hex.EncodeToString(parts.CRLs[0]), "pck_crl": hex.EncodeToString(parts.CRLs[2]),
		"tcb_info_issuer_chain": signer, "tcb_info": info, "tcb_info_signature": infoSignature,
		"qe_identity_issuer_chain": signer, "qe_identity": identity,
		"qe_identity_signature": identitySignature,
	}
	if change != nil {
		change(members)
	}
	return must(json.Marshal(members))(t)
}

func TestCombinedCollateralIsTakenApart(t *testing.T) {
	authority := must(intel())(t)
	file := combined(t, nil)
	if !pcs.IsCombined(file) {
		t.Error("not recognized")
	}
	out := must(pcs.SplitCombined(file))(t)
	if len(out.Documents) != 2 || len(out.CRLs) != 2 || len(out.Certificates) != 3 ||
		!bytes.Equal(out.Certificates[1], authority.Root.Raw) {
		t.Fatalf("%d documents, %d lists, %d certificates", len(out.Documents), len(out.CRLs),
			len(out.Certificates))
	}
	for _, raw := range out.Documents {
		if err := must(pcs.Parse(raw))(t).SignedBy(signer(t)); err != nil {
			t.Error(err)
		}
	}
	with := combined(t, func(m map[string]string) {
		m["pck_certificate_chain"] = string(forge.PEMChain(authority.Processor.Raw))
	})
	if out := must(pcs.SplitCombined(with))(t); len(out.Certificates) != 4 {
		t.Errorf("%d certificates", len(out.Certificates))
	}
}

func TestCombinedCollateralThatIsRefused(t *testing.T) {
	for name, row := range map[string]struct {
		change func(map[string]string)
		want   string
	}{
		"no list":            {func(m map[string]string) { m["pck_crl"] = "" }, "pck_crl"},
		"a list in base64":   {func(m map[string]string) { m["root_ca_crl"] = "MIIBIDCB" }, "root_ca_crl"},
		"a member left out":  {func(m map[string]string) { delete(m, "qe_identity") }, "qe_identity: missing"},
		"a member of others": {func(m map[string]string) { m["tcb_info2"] = "" }, "unknown member"},
		"no chain":           {func(m map[string]string) { m["tcb_info_issuer_chain"] = "x" }, "tcb_info_issuer_chain"},
		"a short signature":  {func(m map[string]string) { m["tcb_info_signature"] = "00" }, "tcb_info_signature"},
		"a document that is none": {func(m map[string]string) { m["tcb_info"] = `{"id":"SGX"}` },
			"collateral.tcb_info"},
		"a document that closes early": {func(m map[string]string) { m["tcb_info"] += `,"x":1` },
			"collateral.tcb_info"},
	} {
		if _, err := pcs.SplitCombined(combined(t, row.change)); err == nil ||
			!strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v, want %q", name, err, row.want)
		}
	}
	if pcs.IsCombined([]byte(`{"tcbInfo":{"tcb_info_signature":1}}`)) {
		t.Error("a document is no combined collateral")
	}
	if _, err := pcs.SplitCombined([]byte("{}x")); err == nil {
		t.Error("bytes behind are read")
	}
}

// TestPublishedCollateral reads what others published; the vectors are not part of this tree.
func TestPublishedCollateral(t *testing.T) {
	folder := os.Getenv("ATTESTD_VECTORS")
	if folder == "" {
		t.Skip("set ATTESTD_VECTORS to a folder with published evidence; testvectors runs the same files")
	}
	root := must(pcs.Root())(t)
	files, _ := filepath.Glob(filepath.Join(folder, "tdx", "dcap-qvl__*_collateral.json"))
	if len(files) != 2 {
		t.Fatalf("%d files", len(files))
	}
	for _, name := range files {
		out := must(pcs.SplitCombined(must(os.ReadFile(name))(t)))(t)
		var by *pcs.Signer
		for _, der := range out.Certificates {
			if found, err := pcs.NewSigner(parse(t, der), root); err == nil {
				by = found
			}
		}
		for _, raw := range out.Documents {
			document := must(pcs.Parse(raw))(t)
			if err := document.SignedBy(by); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if info, is := document.(*pcs.TCBInfo); is && (len(info.Unknown) != 0 || len(info.Modules) != 2) {
				t.Errorf("%s: unknown %q, %d modules", name, info.Unknown, len(info.Modules))
			}
		}
	}
}
