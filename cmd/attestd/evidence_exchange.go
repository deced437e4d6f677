package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester"
	"github.com/attestd/attestd/internal/report"
)

// maxAnswer is the largest answer of a verifier that is read, in bytes.
const maxAnswer = 4 << 20

// exchange asks the verifier for a challenge, answers it and prints the verdict.
func (a *app) exchange(ctx context.Context, c collecting, m machine, form string) error {
	server, err := a.dialer(c)
	if err != nil {
		return err
	}
	verifier, err := a.verifier(c)
	if err != nil {
		return err
	}
	token, err := a.enrolmentToken(c)
	if err != nil {
		return err
	}
	challenge, err := a.askChallenge(ctx, server, verifier, c, m)
	if err != nil {
		return err
	}
	request, answer, err := a.answer(ctx, challenge, m)
	if err != nil {
		return err
	}
	evidence, err := a.collectFrom(ctx, m, request)
	if err != nil {
		return err
	}
	if c.out != "" {
		if err := writeFile(c.out, evidence.Bytes); err != nil {
			return err
		}
	}
	for _, note := range evidence.Notes {
		a.warn("%s", note)
	}
	verdict, err := a.handIn(ctx, server, c, m, handing{challenge.ID(), evidence, answer, token})
	if err != nil {
		return err
	}
	return a.printVerdict(c, m, evidence, verdict, form)
}

func (a *app) askChallenge(
	ctx context.Context, server *verifierClient, verifier attester.Verifier, c collecting, m machine,
) (attester.Challenge, error) {
	defer a.progress("asking " + c.server + " for a challenge")()
	wish := map[string]any{"format": m.attester.Format(), "tenant": c.tenant, "purpose": c.purpose}
	if m.attestationKey != nil {
		wish["attestation_key"], wish["endorsement_key"] = m.attestationKey, m.endorsementKey
	}
	status, doc, err := server.post(ctx, "/v1/challenges", wish)
	if err != nil {
		return attester.Challenge{}, err
	}
	if status != http.StatusCreated {
		return attester.Challenge{}, refusedBy(c.server, status, doc)
	}
	challenge, err := verifier.Accept(doc, m.attester.Format(), a.now())
	if err != nil {
		return attester.Challenge{}, err
	}
	if challenge.Tenant() != c.tenant || challenge.Purpose() != c.purpose {
		return attester.Challenge{}, usagef("ask the verifier that you mean",
			"the challenge is for tenant %q and purpose %q, which was not asked for",
			attestd.Excerpt(challenge.Tenant(), 60), attestd.Excerpt(challenge.Purpose(), 60))
	}
	return challenge, nil
}

// enrolmentToken reads the token from its file: what stands on a command line, every process can read.
func (a *app) enrolmentToken(c collecting) (string, error) {
	if c.enrolment == "" {
		return "", nil
	}
	doc, err := a.read("enrolment token", c.enrolment, maxToken)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(doc))
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", usagef("save what attestd enroll token printed, and nothing else",
			"enrolment token %q holds no token", attestd.Excerpt(c.enrolment, 200))
	}
	return token, nil
}

const maxToken = 256

// handing is what answers a challenge.
type handing struct {
	id       string
	evidence attester.Evidence
	answer   []byte // opens the credential; nil for none
	token    string // enrols; empty for none
}

// handIn sends the evidence and reads the verdict; an undecided one comes inside a problem document.
func (a *app) handIn(
	ctx context.Context, server *verifierClient, c collecting, m machine, h handing,
) (attestd.Appraisal, error) {
	defer a.progress("waiting for the verdict")()
	evidence := h.evidence
	body := map[string]any{
		"challenge_id": h.id, "format": evidence.Format, "tenant": c.tenant, "purpose": c.purpose,
		"evidence": evidence.Bytes,
	}
	if m.spki != nil {
		body["key_spki"] = base64.StdEncoding.EncodeToString(m.spki)
	}
	if h.answer != nil {
		body["activation_secret"] = h.answer
	}
	if h.token != "" {
		body["enrolment_token"] = h.token
	}
	if given := evidence.Endorsements; len(given.Certificates)+len(given.CRLs) > 0 {
		body["endorsements"] = map[string]any{"certificates": given.Certificates, "crls": given.CRLs}
	}
	status, doc, err := server.post(ctx, "/v1/verify", body)
	if err != nil {
		return attestd.Appraisal{}, err
	}
	var verdict attestd.Appraisal
	switch status {
	case http.StatusOK:
		err = json.Unmarshal(doc, &verdict)
	case http.StatusServiceUnavailable:
		var problem struct {
			Appraisal *attestd.Appraisal `json:"appraisal"`
		}
		if err = json.Unmarshal(doc, &problem); err == nil && problem.Appraisal != nil {
			verdict = *problem.Appraisal
			break
		}
		return attestd.Appraisal{}, refusedBy(c.server, status, doc)
	default:
		return attestd.Appraisal{}, refusedBy(c.server, status, doc)
	}
	digest := sha256.Sum256(evidence.Bytes)
	if err != nil || verdict.Schema != attestd.VerdictSchema ||
		verdict.EvidenceSHA256 != hex.EncodeToString(digest[:]) ||
		status != http.StatusOK && verdict.Verdict == attestd.VerdictAccepted {
		return attestd.Appraisal{}, usagef("check that --server names an attestd",
			"the answer of %q is no verdict about this evidence", attestd.Excerpt(c.server, 100))
	}
	return verdict, nil
}

func (a *app) printVerdict(
	c collecting, m machine, evidence attester.Evidence, verdict attestd.Appraisal, form string,
) error {
	a.exit = exitOfVerdict(verdict.Verdict)
	if form == formJSON {
		return report.JSON(a.out, verdict)
	}
	about := report.Verdict{Source: c.out, AllChecks: c.checks == "all", Why: why}
	if about.Source == "" {
		about.Source = "-" // there is no file that another command could read
	}
	if m.spki != nil {
		digest := sha256.Sum256(m.spki)
		about.Key = "sha256:" + hex.EncodeToString(digest[:4])
	}
	return report.Text(a.out, a.page(), verdict, about)
}

// verifierClient speaks to one verifier.
type verifierClient struct {
	base   string
	named  string
	client *http.Client
}

// dialer reads where the verifier is. In the clear nothing leaves this machine: whoever sits on the
// way would choose the challenge.
func (a *app) dialer(c collecting) (*verifierClient, error) {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
	out := &verifierClient{named: c.server, client: &http.Client{
		Transport: transport,
		// A verifier does not move: evidence that follows a redirect goes to whom nobody named.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if path, isUnix := strings.CutPrefix(c.server, "unix:"); isUnix {
		transport.Proxy = nil
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
		out.base = "http://localhost"
		return out, nil
	}
	const hint = "give it like https://verifier.example.org, http://127.0.0.1:8421 or unix:/run/attestd.sock"
	where, err := url.Parse(c.server)
	switch {
	case err != nil, where.Host == "", where.User != nil, where.RawQuery != "", where.Fragment != "",
		where.Path != "" && where.Path != "/", where.Scheme != "https" && where.Scheme != "http":
		return nil, usagef(hint, "--server %q is not the address of a verifier", attestd.Excerpt(c.server, 100))
	case where.Scheme == "http" && !isLoopback(where.Hostname()):
		return nil, usagef("use https", "--server %q is beyond this machine and not encrypted",
			attestd.Excerpt(c.server, 100))
	}
	out.base = where.Scheme + "://" + where.Host
	transport.TLSClientConfig, err = a.tlsConfig(c)
	return out, err
}

func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

func (a *app) tlsConfig(c collecting) (*tls.Config, error) {
	settings := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.serverCA != "" {
		doc, err := a.read("CA file", c.serverCA, maxRootsFile)
		if err != nil {
			return nil, err
		}
		settings.RootCAs = x509.NewCertPool()
		if !settings.RootCAs.AppendCertsFromPEM(doc) {
			return nil, usagef("give CERTIFICATE blocks in PEM", "CA file %q holds no certificate",
				attestd.Excerpt(c.serverCA, 200))
		}
	}
	if c.clientCert != "" {
		pair, err := tls.LoadX509KeyPair(c.clientCert, c.clientKey)
		if err != nil {
			return nil, usagef("give a certificate and its private key, each in PEM", "client certificate: %w", err)
		}
		settings.Certificates = []tls.Certificate{pair}
	}
	return settings, nil
}

// post sends one JSON document.
//
// Errors: a [*attestd.CallerError]: without an answer nothing was decided.
func (v *verifierClient) post(ctx context.Context, path string, body any) (int, []byte, error) {
	doc, err := json.Marshal(body)
	if err != nil {
		return 0, nil, fmt.Errorf("ask the verifier: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, v.base+path, bytes.NewReader(doc))
	if err != nil {
		return 0, nil, usagef("check --server", "ask the verifier: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	reply, err := v.client.Do(request)
	if err != nil {
		return 0, nil, v.unreached(err)
	}
	defer func() { _ = reply.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(reply.Body, maxAnswer+1))
	switch {
	case err != nil:
		return 0, nil, v.unreached(err)
	case len(answer) > maxAnswer:
		return 0, nil, usagef("check that --server names an attestd",
			"the answer has more than %d bytes", maxAnswer)
	}
	return reply.StatusCode, answer, nil
}

// unreached says that there is no answer. That is no verdict: the exit code is that of undecided.
func (v *verifierClient) unreached(err error) error {
	var withURL *url.Error
	if errors.As(err, &withURL) {
		err = withURL.Err
	}
	return withClass(attestd.ClassRateLimited, usagef(
		"check that the verifier runs and can be reached: GET /readyz", "no answer from %q: %w",
		attestd.Excerpt(v.named, 100), err))
}

// withClass gives an error the class that decides on its exit code.
func withClass(class attestd.Class, err error) error {
	var caller *attestd.CallerError
	if errors.As(err, &caller) {
		caller.Class = class
	}
	return err
}

// refusedBy turns a problem document (RFC 9457) into an error of the same class.
func refusedBy(server string, status int, doc []byte) error {
	var problem struct {
		Class  attestd.Class `json:"class"`
		Detail string        `json:"detail"`
		Hint   string        `json:"hint"`
	}
	server = attestd.Excerpt(server, 100)
	if err := json.Unmarshal(doc, &problem); err != nil || problem.Class == "" {
		class := attestd.ClassMalformed
		if status >= http.StatusInternalServerError || status == http.StatusTooManyRequests {
			class = attestd.ClassRateLimited
		}
		return withClass(class,
			usagef("check that --server names an attestd", "%q answered with status %d", server, status))
	}
	if problem.Class == attestd.ClassInternal {
		// The verifier's bug is not this program's.
		problem.Class, problem.Hint = attestd.ClassStoreUnavailable, "look into the verifier's log"
	}
	if problem.Hint == "" {
		problem.Hint = "attestd explain " + string(problem.Class)
	}
	return withClass(problem.Class, usagef(attestd.Excerpt(problem.Hint, 400), "%q refused: %s", server,
		attestd.Excerpt(problem.Detail, 400)))
}
