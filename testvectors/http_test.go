package testvectors_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/testvectors"
	"github.com/attestd/attestd/verifiers/tdx/pcs"
)

// service is the entry of other programs: `attestd serve`, the real binary with its worker
// processes, asked over its unix socket. With raw set, evidence that needs no endorsements goes as a
// raw body instead of JSON.
type service struct {
	client *http.Client
	raw    bool
}

// operated is what a vector takes from the operator of a service and never from who asks it: a document
// of reference values, and signed documents with the certificate of who signed them.
type operated struct{ reference, collateral string }

func operatedFor(vector testvectors.Vector) operated {
	out := operated{reference: string(vector.Reference())}
	if len(vector.Endorsements.Documents) > 0 {
		kept := slices.Concat(vector.Endorsements.Documents, vector.Endorsements.Certificates)
		out.collateral = string(bytes.Join(kept, []byte{0}))
	}
	return out
}

// newService starts the binary with /v1/verify-recorded allowed, with what the vector takes from its
// operator: documents are imported into its folder of collateral first. It stops the binary when the
// test ends.
func newService(t *testing.T, vector testvectors.Vector) service {
	t.Helper()
	name, err := builtBinary()
	if err != nil {
		t.Fatal(err)
	}
	// Below the short scratch folder: the path of a unix socket has at most 107 bytes.
	state, err := os.MkdirTemp(scratch, "serve")
	if err != nil {
		t.Fatal(err)
	}
	settings, verify := filepath.Join(state, "config.yaml"), "allow_recorded: true"
	if reference := vector.Reference(); reference != nil {
		document := filepath.Join(state, "reference.yaml")
		write(t, document, reference)
		verify += ", local_references: [" + document + "]"
	}
	if len(vector.Endorsements.Documents) > 0 {
		importDocuments(t, name, filepath.Join(state, "collateral"), vector.Endorsements)
	}
	write(t, settings, fmt.Appendf(nil, "schema: attestd.config.v1\nstate_dir: %s\n"+
		"listen: {http: off, unix: s}\nchallenges: {ephemeral_key: true}\nverify: {%s}\n", state, verify))
	var said bytes.Buffer
	command := exec.Command(name, "serve", "--config", settings) //nolint:gosec // the binary built above
	command.Stdout, command.Stderr = &said, &said
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	t.Cleanup(func() {
		_ = command.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = command.Process.Kill()
			t.Error("the daemon did not stop when it was interrupted")
		}
		if t.Failed() {
			t.Logf("the daemon said:\n%s", said.Bytes())
		}
	})
	socket := filepath.Join(state, "s")
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	waitUntilReady(t, client, ended)
	return service{client: client}
}

// importDocuments fills a folder of collateral as an operator does.
func importDocuments(t *testing.T, binary, folder string, given attestd.Endorsements) {
	t.Helper()
	args, files := []string{"collateral", "import", "--folder", folder}, t.TempDir()
	for i, data := range slices.Concat(given.Certificates, given.Documents) {
		file := filepath.Join(files, fmt.Sprint(i))
		write(t, file, data)
		args = append(args, file)
	}
	command := exec.Command(binary, args...) //nolint:gosec // the binary built above
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v: %s", args[:2], err, out)
	}
}

func waitUntilReady(t *testing.T, client *http.Client, ended chan error) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		response, err := client.Get("http://attestd/readyz")
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("the daemon ended: %v", err)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("not ready in time: %v", err)
		}
	}
}

func (s service) ask(t *testing.T, vector testvectors.Vector, at time.Time) attestd.Appraisal {
	t.Helper()
	target, media, body := "http://attestd/v1/verify-recorded", "application/json", []byte(nil)
	when := at.Format(time.RFC3339Nano)
	given, format := vector.Endorsements, ""
	if len(given.Documents) > 0 {
		format = string(vector.Format) // what is kept is looked up by the format that a request names
	}
	if s.raw && len(given.Certificates) == 0 && len(given.CRLs) == 0 {
		target += "?at=" + url.QueryEscape(when)
		if format != "" {
			target += "&format=" + format
		}
		if len(vector.DemandNonce) > 0 {
			target += "&nonce=" + hex.EncodeToString(vector.DemandNonce)
		}
		media, body = "application/octet-stream", vector.Evidence
	} else {
		var err error
		members := map[string]any{
			"at": when, "evidence": vector.Evidence,
			"endorsements": map[string]any{
				"certificates": inBase64(given.Certificates), "crls": inBase64(given.CRLs),
			},
		}
		if format != "" {
			members["format"] = format
		}
		if len(vector.DemandNonce) > 0 {
			members["nonce"] = vector.DemandNonce
		}
		body, err = json.Marshal(members)
		if err != nil {
			t.Fatal(err)
		}
	}
	response, err := s.client.Post(target, media, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	// A rejection is an answer: 200 with the verdict. Undecided is none yet: a problem, 503, that
	// carries the verdict.
	var verdict attestd.Appraisal
	problem := struct {
		Appraisal *attestd.Appraisal `json:"appraisal"`
	}{&verdict}
	var into any = &verdict
	if response.StatusCode == http.StatusServiceUnavailable {
		into = &problem
	}
	if err := json.Unmarshal(answer, into); err != nil || verdict.Schema == "" {
		t.Fatalf("%s: %v in %s", response.Status, err, answer)
	}
	undecided := verdict.Verdict == attestd.VerdictUndecided
	if undecided != (response.StatusCode == http.StatusServiceUnavailable) {
		t.Errorf("status %s for %v", response.Status, verdict.Verdict)
	}
	return verdict
}

// inBase64 writes documents as a list that JSON takes, empty where there are none.
func inBase64(documents [][]byte) []string {
	out := []string{}
	for _, der := range documents {
		out = append(out, base64.StdEncoding.EncodeToString(der))
	}
	return out
}

// keepable returns the vector as a daemon of today can be asked: documents whose signer's certificate
// has ended are not taken into a folder of collateral, so that the daemon has to do without them.
func keepable(t *testing.T, vector testvectors.Vector) (testvectors.Vector, bool) {
	t.Helper()
	if len(vector.Endorsements.Documents) == 0 {
		return vector, true
	}
	for _, der := range vector.Endorsements.Certificates {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		if certificate.Subject.CommonName == pcs.NameSigner && time.Now().After(certificate.NotAfter) {
			vector.Endorsements.Documents = nil
			return vector, false
		}
	}
	return vector, true
}

// TestVectorsThroughHTTP wants the daemon to say what the library says, by JSON and by raw body.
//
// neg: 171
func TestVectorsThroughHTTP(t *testing.T) {
	reference := newLibrary(t, judge.Config{})
	vectors := append(corpus(t).Vectors, selfMade(t)...)
	// Reference values are an operator's: a daemon for each document of them, and one for none.
	// So are documents: those of one day must not be judged with those of another.
	services := map[operated]service{}
	for _, published := range vectors {
		vector, kept := keepable(t, published)
		through, running := services[operatedFor(vector)]
		if !running {
			through = newService(t, vector)
			services[operatedFor(vector)] = through
		}
		want := reference.ask(t, vector, vector.At)
		for _, raw := range []bool{false, true} {
			through.raw = raw
			t.Run(fmt.Sprintf("%s, raw %t", vector.Name, raw), func(t *testing.T) {
				if kept {
					agrees(t, through, vector, want)
					return
				}
				got := through.ask(t, vector, vector.At)
				if sameAnswer(t, got, want); got.Verdict == attestd.VerdictAccepted {
					t.Error("accepted without its documents")
				}
			})
		}
	}
	t.Logf("%d vectors, %d daemons", len(vectors), len(services))
}
