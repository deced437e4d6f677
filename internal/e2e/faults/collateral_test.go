package faults_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/testvectors/forge"
)

// Revocation lists and certificates come with the evidence: attestd fetches none. So these are faults of
// what is handed in, and of how it comes.
var collateralCells = []cell{
	{"collateral", "error", "what is not there decides nothing", false, func(w *world) {
		chip := w.newChip()
		w.wants("no revocation lists", chip.attest(w, nil), attestd.ClassCollateralStale)
		// A report of a processor, without the certificate of the key that signed it.
		got := w.post(context.Background(), "/v1/challenges", map[string]any{"format": "sev-snp"})
		reply, err := challenge.ParseReply(got.body)
		w.must(err)
		key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
		w.must(err)
		report, err := forge.SignSNP(forge.NewSNPReport("Milan-B0", 3).Bytes(), key)
		w.must(err)
		w.wants("no certificate", w.verify(map[string]any{
			"challenge_id": reply.Challenge.ID, "format": "sev-snp", "evidence": report,
		}), attestd.ClassCollateralUnavailable)
		chip.recovers(w)
	}},
	{"collateral", "timeout", "what never comes is not waited for", false, func(w *world) {
		chip := w.newChip()
		body := chip.request(w, chip.lists(w, nil))
		conn := w.begin(body, len(body)/2)
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil { // or it was cut off without a word
			if _ = response.Body.Close(); response.StatusCode == http.StatusOK {
				w.Errorf("half of a request is answered with %s", response.Status)
			}
		} else if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			w.Errorf("half of a request is waited for: %v", err)
		}
		chip.unknown(w)
		chip.recovers(w)
	}},
	{"collateral", "slow", "what comes late is judged as of then: old lists decide nothing", false, func(w *world) {
		chip := w.newChip()
		old := time.Now().AddDate(0, 0, -8) // a list is good for a week
		w.wants("lists that are over", chip.attest(w, chip.lists(w, &old)), attestd.ClassCollateralStale)
		body := chip.request(w, chip.lists(w, nil))
		conn := w.begin(body, len(body)-100)
		time.Sleep(200 * time.Millisecond)
		w.clock.set(func(c *clock) { c.ahead = 2 * w.settings.Challenges.Lifetime })
		_, err := conn.Write(body[len(body)-100:])
		w.must(err)
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		w.must(err)
		got := answer{status: response.StatusCode}
		got.body, err = io.ReadAll(response.Body)
		w.must(errors.Join(err, response.Body.Close(), json.Unmarshal(got.body, &got.verdict)))
		w.wants("what came after its challenge", got, attestd.ClassStale)
		chip.unknown(w)
		chip.recovers(w)
	}},
	{"collateral", "corrupt", "a list that its issuer did not sign is refused", false, func(w *world) {
		chip := w.newChip()
		lists := chip.lists(w, nil)
		for at := 20; at < len(lists[0]); at += 37 {
			bad := append([]byte(nil), lists[0]...)
			bad[at] ^= 1
			got := chip.attest(w, [][]byte{bad, lists[1]})
			// A list in the name of somebody else is none of ours: the one that is needed is missing.
			w.wants(fmt.Sprintf("a list with byte %d changed", at), got, attestd.ClassCollateralInvalid,
				attestd.ClassCollateralStale)
		}
		chip.unknown(w)
		chip.recovers(w)
	}},
	{"collateral", "partial", "half of the lists, and half of a list, are not enough", false, func(w *world) {
		chip := w.newChip()
		lists := chip.lists(w, nil)
		w.wants("a list of the root alone", chip.attest(w, lists[1:]), attestd.ClassCollateralStale)
		w.wants("a list of the maker alone", chip.attest(w, lists[:1]), attestd.ClassCollateralStale)
		for _, keep := range []int{1, len(lists[0]) / 2, len(lists[0]) - 1} {
			w.wants("the beginning of a list", chip.attest(w, [][]byte{lists[0][:keep], lists[1]}),
				attestd.ClassCollateralInvalid, attestd.ClassMalformed)
		}
		chip.unknown(w)
		chip.recovers(w)
	}},
	{"collateral", "flap", "each answer is by the lists that came with it", false, func(w *world) {
		chip := w.newChip()
		lists := chip.lists(w, nil)
		old := time.Now().AddDate(0, 0, -8)
		stale := chip.lists(w, &old)
		for range 8 {
			if got := chip.attest(w, lists); !got.accepted() {
				w.Errorf("with lists: %s", got)
			}
			w.wants("without", chip.attest(w, nil), attestd.ClassCollateralStale)
			w.wants("with old ones", chip.attest(w, stale), attestd.ClassCollateralStale)
		}
		chip.recovers(w)
	}},
}

// chip is a TPM with an endorsement certificate, of a machine that is the default tenant's.
type chip struct {
	*forge.TPM
	certificate []byte
}

func (w *world) newChip() *chip {
	w.Helper()
	ek, err := forge.NewTPMKey(forge.TPMKeyConfig{Endorsement: true})
	w.must(err)
	ak, err := forge.NewTPMKey(forge.TPMKeyConfig{})
	w.must(err)
	made := &chip{TPM: forge.NewTPM(ak, ek)}
	made.certificate, err = w.chips.EKCertificate(ek.Signer.Public(), forge.EKCertificateConfig{})
	w.must(err)
	spki, err := ek.SPKI()
	w.must(err)
	digest := sha256.Sum256(spki)
	w.must(w.approves("instance:ek:" + hex.EncodeToString(digest[:])))
	return made
}

// lists are the revocation lists of both authorities, as of a time; nil for now.
func (c *chip) lists(w *world, at *time.Time) [][]byte {
	w.Helper()
	from := time.Now().Add(-time.Minute)
	if at != nil {
		from = *at
	}
	below, err := w.chips.CRL(forge.TPMCRLConfig{At: from})
	w.must(err)
	root, err := w.chips.CRL(forge.TPMCRLConfig{At: from, Issuer: forge.TPMRoot})
	w.must(err)
	return [][]byte{below, root}
}

// request is a whole answer to a challenge, with those revocation lists.
func (c *chip) request(w *world, lists [][]byte) []byte {
	w.Helper()
	got := w.post(context.Background(), "/v1/challenges", map[string]any{
		"format": "tpm", "attestation_key": c.AK.Public, "endorsement_key": c.EK.Public,
	})
	if got.status != http.StatusCreated {
		w.Fatalf("no challenge: %s", got)
	}
	reply, err := challenge.ParseReply(got.body)
	w.must(err)
	freshness, err := reply.Challenge.Binding(nil).Digest()
	w.must(err)
	c.Clock++
	evidence, err := c.Evidence(freshness, nil)
	w.must(err)
	evidence.EKCertificate = c.certificate
	container, err := evidence.Marshal()
	w.must(err)
	encoded := []string{}
	for _, list := range lists {
		encoded = append(encoded, base64.StdEncoding.EncodeToString(list))
	}
	body := map[string]any{
		"challenge_id": reply.Challenge.ID, "format": "tpm", "evidence": container,
		"endorsements": map[string]any{
			"certificates": []string{base64.StdEncoding.EncodeToString(w.chips.Intermediate.Raw)}, "crls": encoded,
		},
	}
	if reply.Activation != nil {
		body["activation_secret"], err = c.Activate(reply.Activation.CredentialBlob, reply.Activation.EncryptedSecret)
		w.must(err)
	}
	document, err := json.Marshal(body)
	w.must(err)
	return document
}

func (c *chip) attest(w *world, lists [][]byte) answer {
	w.Helper()
	return w.verify(json.RawMessage(c.request(w, lists)))
}

// unknown demands that none of what was handed in made the machine a subject that is trusted.
func (c *chip) unknown(w *world) {
	w.Helper()
	all, err := w.admin.Status(context.Background())
	w.must(err)
	if n := all.States["trusted"]; n != 1 { // the enclave
		w.Errorf("%d subjects are trusted: %v", n, all.States)
	}
}

// recovers demands that with everything it takes the machine is accepted.
func (c *chip) recovers(w *world) {
	w.Helper()
	if got := c.attest(w, c.lists(w, nil)); !got.accepted() {
		w.Errorf("with everything: %s", got)
	}
	w.recovers()
}

// begin sends the beginning of a request to /v1/verify.
func (w *world) begin(body []byte, most int) net.Conn {
	w.Helper()
	conn, err := net.Dial("unix", w.settings.SocketPath())
	w.must(err)
	w.Cleanup(func() { _ = conn.Close() })
	head := fmt.Sprintf("POST /v1/verify HTTP/1.1\r\nHost: attestd\r\nContent-Type: application/json\r\n"+
		"Connection: close\r\nContent-Length: %d\r\n\r\n", len(body))
	_, err = io.Copy(conn, io.MultiReader(strings.NewReader(head), strings.NewReader(string(body[:most]))))
	w.must(err)
	return conn
}
