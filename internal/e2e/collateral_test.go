package e2e_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
)

// A report comes without certificates. The daemon says that one is missing; an operator brings it and a revocation list with `attestd collateral import`; the
// daemon takes both up by itself, and a later list that revokes the ASK as well.
func TestCollateralIsTakenUpWhileTheDaemonRuns(t *testing.T) {
	amd, err := forge.NewAMD(forge.AMDConfig{Line: "Milan"})
	if err != nil {
		t.Fatal(err)
	}
	report := forge.NewSNPReport("Milan", 3)
	vcek, err := amd.IssueVCEK(report.VCEKConfig("Milan-B1"))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := forge.SignSNP(report.Bytes(), vcek.Key)
	if err != nil {
		t.Fatal(err)
	}
	brought := t.TempDir()
	root := filepath.Join(brought, "ark.pem")
	write(t, root, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: amd.ARK.Raw}))
	write(t, filepath.Join(brought, "ask.der"), amd.ASK.Raw)
	write(t, filepath.Join(brought, "vcek.der"), vcek.DER)

	d := configure(t, serverConfig{more: []string{"collateral: {folder: collateral}"}})
	document, err := os.ReadFile(d.settings)
	if err != nil {
		t.Fatal(err)
	}
	write(t, d.settings, bytes.Replace(document, []byte("verify: {"),
		fmt.Appendf(nil, "verify: {allow_recorded: true, insecure_roots: [%s], ", root), 1))
	d.start(t)

	if given := d.recorded(t, signed); given.Verdict != attestd.VerdictUndecided ||
		!slices.ContainsFunc(given.Reasons, func(r attestd.Reason) bool {
			return r.Check == "sev-snp/vcek-present"
		}) {
		t.Fatalf("without a certificate: %s for %+v", given.Verdict, given.Reasons)
	}
	folder := filepath.Join(d.state, "collateral")
	list := func(number int64, revoked ...int64) string {
		t.Helper()
		config := forge.AMDCRLConfig{Number: number, At: time.Now().Add(-time.Minute), Serials: revoked}
		der, err := amd.CRL(config)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(brought, fmt.Sprintf("list-%d.crl", number))
		write(t, path, der)
		return path
	}
	imported := func(files ...string) {
		t.Helper()
		args := append([]string{"collateral", "import", "--folder", folder, "--insecure-roots", root}, files...)
		command := exec.Command(made.binary, args...) //nolint:gosec // built above
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	// until asks until the claims say it, or the verdict is rejected by the check.
	until := func(what string, done func(attestd.Appraisal) bool) {
		t.Helper()
		var given attestd.Appraisal
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
			if given = d.recorded(t, signed); done(given) {
				return
			}
		}
		t.Fatalf("%s: still %s for %+v", what, given.Verdict, given.Reasons)
	}
	imported(filepath.Join(brought, "ask.der"), filepath.Join(brought, "vcek.der"), list(7))
	until("with certificate and list", func(given attestd.Appraisal) bool {
		return given.Verdict == attestd.VerdictAccepted && strings.Contains(string(given.Claims), `"crl":"fresh"`)
	})
	imported(list(8, forge.SerialASK))
	until("with a list that revokes the ASK", func(given attestd.Appraisal) bool {
		return given.Verdict == attestd.VerdictRejected && slices.ContainsFunc(given.Reasons,
			func(r attestd.Reason) bool { return r.Check == "sev-snp/revoked" })
	})
	command := exec.Command(made.binary, "collateral", "import", "--folder", folder, "--insecure-roots", root,
		list(6)) //nolint:gosec // built above
	if out, err := command.CombinedOutput(); err == nil || !bytes.Contains(out, []byte("was seen already")) {
		t.Errorf("a list from before was taken: %v\n%s", err, out)
	}
}

// recorded judges evidence of an archive.
func (d *daemon) recorded(t *testing.T, evidence []byte) attestd.Appraisal {
	t.Helper()
	body, err := json.Marshal(map[string]string{
		"format": "sev-snp", "evidence": base64.StdEncoding.EncodeToString(evidence),
	})
	if err != nil {
		t.Fatal(err)
	}
	response, err := d.client.Post("http://attestd/v1/verify-recorded", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var given struct {
		attestd.Appraisal
		// Undecided is the verdict inside an answer that says so.
		Undecided *attestd.Appraisal `json:"appraisal"`
	}
	if err := json.NewDecoder(response.Body).Decode(&given); err != nil {
		t.Fatalf("HTTP %d: %v", response.StatusCode, err)
	}
	if given.Undecided != nil {
		return *given.Undecided
	}
	return given.Appraisal
}
