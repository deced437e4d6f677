package api_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/api"
	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/testvectors/forge"
)

func TestSessionsEndByThemselvesAndAreNotForgottenForOthers(t *testing.T) {
	var s api.Sessions
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.Add("short", "a", time.Millisecond))
	time.Sleep(2 * time.Millisecond)
	if found, _ := s.Begin("short"); found || s.Get("short") || s.Remove("short") {
		t.Error("a session that is over is there")
	}
	must(s.Add("short", "a", time.Millisecond))
	must(s.Add("long", "a", time.Hour))
	time.Sleep(2 * time.Millisecond)
	must(s.Add("next", "b", time.Hour)) // sweeps
	if open, sources := s.Remembered(); open != 2 || sources != 2 {
		t.Errorf("%d sessions of %d sources are remembered, want 2 of 2", open, sources)
	}
	if found, waiting := s.Begin("long"); !found || !waiting || !s.Complete("long") {
		t.Error("a session did not take its answer")
	}
	if found, waiting := s.Begin("long"); !found || waiting {
		t.Error("a session took two answers")
	}
	for number := range api.SessionLimits {
		must(s.Add(fmt.Sprint(number), "c", time.Hour))
	}
	if err := s.Add("more", "c", time.Hour); err == nil {
		t.Error("a source has more sessions than it may")
	}
	must(s.Add("other", "d", time.Hour))
	for _, id := range []string{"long", "next", "other", "1"} {
		if !s.Remove(id) || s.Remove(id) || s.Complete(id) {
			t.Errorf("%s was not forgotten once", id)
		}
	}
	must(s.Add("more", "c", time.Hour))
	if _, sources := s.Remembered(); sources != 1 {
		t.Errorf("%d sources are remembered, want 1", sources)
	}
}

// undecidedJudge cannot decide.
type undecidedJudge struct{ credentials }

// credentials is the part of a judge that these tests do not need.
type credentials struct{}

func (credentials) Credential(context.Context, service.CredentialJob) (service.CredentialReply, error) {
	return service.CredentialReply{}, errors.New("no credentials here")
}

func (undecidedJudge) Judge(_ context.Context, job service.Job) (attestd.Appraisal, error) {
	digest := sha256.Sum256(job.Evidence)
	return attestd.Appraisal{
		Schema: attestd.VerdictSchema, Verdict: attestd.VerdictUndecided, Format: job.Format, At: job.At,
		Reasons: []attestd.Reason{{
			Check: "sev-snp/crl", Points: 100, Effect: attestd.EffectUndecided, Detail: "no list", Remedy: "get one",
		}},
		Checks: []attestd.Check{}, Claims: json.RawMessage("null"),
		EvidenceSHA256: hex.EncodeToString(digest[:]),
	}, nil
}

func TestWhatCouldNotBeDecidedHasNoResult(t *testing.T) {
	w := newWorld(t, options{signed: true, judge: func(service.Judge) service.Judge { return undecidedJudge{} }})
	client := w.veraison()
	session := client.open("/challenge-response/v1/newSession", sizeQuery(32))
	got := client.ask(http.MethodPost, session.at, veraisonMedia, nitroMedia, w.enclave(session.Nonce))
	if given := w.problem(got, 503, attestd.ClassCollateralUnavailable).Appraisal; given == nil {
		t.Errorf("got %s", got.body)
	}
	if shown := client.read(client.ask(http.MethodGet, session.at, veraisonMedia, "", nil)); shown.Status != "failed" ||
		shown.Result != nil {
		t.Errorf("got %+v", shown)
	}
}

// busyJudge never has time.
type busyJudge struct {
	credentials
	asked *atomic.Int64
}

// Judge implements [service.Judge].
func (b busyJudge) Judge(context.Context, service.Job) (attestd.Appraisal, error) {
	b.asked.Add(1)
	return attestd.Appraisal{}, context.DeadlineExceeded
}

// TestABusyVerifierGivesNoNonceBack: the session may be tried again, and the challenge behind it says
// that it was used.
func TestABusyVerifierGivesNoNonceBack(t *testing.T) {
	var asked atomic.Int64
	w := newWorld(t, options{signed: true, judge: func(service.Judge) service.Judge { return busyJudge{asked: &asked} }})
	client := w.veraison()
	session := client.open("/challenge-response/v1/newSession", sizeQuery(32))
	evidence := w.enclave(session.Nonce)
	got := client.ask(http.MethodPost, session.at, veraisonMedia, nitroMedia, evidence)
	w.problem(got, 429, attestd.ClassRateLimited)
	got = client.ask(http.MethodPost, session.at, veraisonMedia, nitroMedia, evidence)
	w.problem(got, 404, attestd.ClassForbidden)
	if asked.Load() != 1 {
		t.Errorf("the judge was asked %d times, want once", asked.Load())
	}
}

// TestASessionEndsByTheStoresClock, also where this process's own is behind.
func TestASessionEndsByTheStoresClock(t *testing.T) {
	var off atomic.Int64
	start := time.Now()
	clock := registry.NewClock(
		func() time.Time { return time.Now().Add(time.Duration(off.Load())) },
		func() time.Duration { return time.Since(start) },
	)
	w := newWorld(t, options{signed: true, clock: clock})
	client := w.veraison()
	session := client.open("/challenge-response/v1/newSession", sizeQuery(32))
	off.Store(int64(2 * time.Minute))
	got := client.ask(http.MethodPost, session.at, veraisonMedia, nitroMedia, w.enclave(session.Nonce))
	w.problem(got, 404, attestd.ClassForbidden)
}

const (
	tsmCBOR = "application/vnd.veraison.tsm-report+cbor"
	tsmJSON = "application/vnd.veraison.tsm-report+json"
)

func cborText(s string) string  { return string(forge.CBORText(s)) }
func cborBytes(s string) string { return string(forge.CBORBytes([]byte(s))) }

// cborMap is a map of keys and values that are encoded already.
func cborMap(parts ...string) string {
	return string(forge.CBORHead(5, uint64(len(parts)/2))) + strings.Join(parts, "")
}

func TestAReportInItsEnvelopeIsTheReport(t *testing.T) {
	provider, out, aux := cborText("provider"), cborText("outblob"), cborText("auxblob")
	sev := cborText("sev_guest\n")
	for name, row := range map[string]struct {
		media, body, want string // want is empty where it is refused
	}{
		"CBOR":                      {tsmCBOR, cborMap(out, cborBytes("RE"), aux, cborBytes("PORT"), provider, sev), "REPORT"},
		"CBOR in another order":     {tsmCBOR, cborMap(provider, sev, aux, cborBytes("PORT"), out, cborBytes("RE")), "REPORT"},
		"CBOR without a table":      {tsmCBOR, cborMap(out, cborBytes("REPORT"), provider, cborText("sev_guest")), "REPORT"},
		"JSON":                      {tsmJSON, `{"outblob": "UkU", "auxblob": "UE9SVA", "provider": "sev_guest\n"}`, "REPORT"},
		"JSON without a table":      {tsmJSON, `{"outblob": "UkU", "provider": "sev_guest"}`, "RE"},
		"CBOR with a key twice":     {tsmCBOR, cborMap(out, cborBytes("RE"), out, cborBytes("XX"), provider, sev), ""},
		"CBOR with bytes behind":    {tsmCBOR, cborMap(out, cborBytes("RE"), provider, sev) + "x", ""},
		"CBOR of another guest":     {tsmCBOR, cborMap(out, cborBytes("RE"), provider, cborText("cca_guest")), ""},
		"CBOR of a TD with a table": {tsmCBOR, cborMap(out, cborBytes("RE"), aux, cborBytes("PORT"), provider, cborText("tdx_guest")), ""},
		"JSON of a TD with a table": {tsmJSON, `{"outblob": "UkU", "auxblob": "UE9SVA", "provider": "tdx_guest"}`, ""},
		"CBOR without a provider":   {tsmCBOR, cborMap(out, cborBytes("RE")), ""},
		"CBOR without a report":     {tsmCBOR, cborMap(provider, sev), ""},
		"CBOR of a provider":        {tsmCBOR, cborMap(out, cborBytes("RE"), provider, sev, cborText("service_provider"), cborText("svsm")), ""},
		"CBOR with an open map":     {tsmCBOR, "\xbf" + out + cborBytes("RE") + provider + sev + "\xff", ""},
		"CBOR with text as bytes":   {tsmCBOR, cborMap(out, cborText("RE"), provider, sev), ""},
		"CBOR cut off":              {tsmCBOR, cborMap(out, cborBytes("RE"), provider, sev)[:20], ""},
		"JSON with a key twice":     {tsmJSON, `{"outblob": "UkU", "outblob": "WFg", "provider": "sev_guest"}`, ""},
		"JSON with another key":     {tsmJSON, `{"outblob": "UkU", "manifestblob": "WFg", "provider": "sev_guest"}`, ""},
		"JSON with padding":         {tsmJSON, `{"outblob": "UkU=", "provider": "sev_guest"}`, ""},
		"JSON with loose bits":      {tsmJSON, `{"outblob": "UkV", "provider": "sev_guest"}`, ""},
		"JSON with a line's end":    {tsmJSON, `{"outblob": "Uk\nU", "provider": "sev_guest"}`, ""},
		"JSON with an empty one":    {tsmJSON, `{"outblob": "", "provider": "sev_guest"}`, ""},
		"JSON with null":            {tsmJSON, `{"outblob": null, "provider": "sev_guest"}`, ""},
		"JSON with two ends":        {tsmJSON, `{"outblob": "UkU", "provider": "sev_guest\n\n"}`, ""},
		"JSON in an array":          {tsmJSON, `[]`, ""},
	} {
		format, evidence, err := api.Unwrap(row.media, []byte(row.body))
		if row.want == "" {
			var refused interface{ Error() string }
			if err == nil || !errors.As(err, &refused) || evidence != nil {
				t.Errorf("%s: got %q, %v", name, evidence, err)
			}
			continue
		}
		if err != nil || format != "sev-snp" || string(evidence) != row.want {
			t.Errorf("%s: got %s %q, %v", name, format, evidence, err)
		}
	}
}

// TestATDQuoteOfConfigfsIsATDQuote: the provider says of which format the report is.
func TestATDQuoteOfConfigfsIsATDQuote(t *testing.T) {
	format, evidence, err := api.Unwrap(tsmJSON, []byte(`{"outblob": "UkU", "provider": "tdx_guest\n"}`))
	if err != nil || format != "tdx" || string(evidence) != "RE" {
		t.Errorf("got %s %q, %v", format, evidence, err)
	}
}

// TestAPublishedReportIsTakenAsItsClientsSendIt: the tsm-report that Veraison's own tests submit.
func TestAPublishedReportIsTakenAsItsClientsSendIt(t *testing.T) {
	folder := os.Getenv("ATTESTD_VECTORS")
	if folder == "" {
		folder = "../../.cache/vectors" // where `make vectors` puts them
	}
	document, err := os.ReadFile(filepath.Join(folder, "snp", "services__sevsnp-tsm-report.cbor"))
	if err != nil {
		if os.Getenv("ATTESTD_VECTORS") != "" {
			t.Fatal(err)
		}
		t.Skip("ATTESTD_VECTORS is not set, and make vectors has not run; .ci/run sets it and runs this test")
	}
	_, evidence, err := api.Unwrap(tsmCBOR, document)
	if err != nil {
		t.Fatal(err)
	}
	const report = 1184 // AMD 56860, table ATTESTATION_REPORT
	inJSON, err := json.Marshal(map[string]string{
		"outblob": base64.RawURLEncoding.EncodeToString(evidence[:report]), "provider": "sev_guest\n",
		"auxblob": base64.RawURLEncoding.EncodeToString(evidence[report:]),
	})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, options{signed: true})
	client := w.veraison()
	digest := sha256.Sum256(evidence)
	for media, body := range map[string][]byte{tsmCBOR: document, tsmJSON: inJSON} {
		session := client.open("/challenge-response/v1/newSession", sizeQuery(64))
		submod := w.submodOf(w.claimsOf(client.submit(session, media, body)))
		kept := w.verdict(w.do(http.MethodGet, "/v1/appraisals/"+w.appraisalOf(submod), "", nil))
		if kept.Format != attestd.FormatSEVSNP || kept.EvidenceSHA256 != hex.EncodeToString(digest[:]) ||
			kept.Verdict != attestd.VerdictRejected {
			t.Errorf("%s: got %s %s %s", media, kept.Format, kept.Verdict, kept.EvidenceSHA256)
		}
	}
	// With the nonce that is in it, chosen by the client, it is as good as it was.
	session := client.open("/challenge-response/v1/newSession", nonceQuery(evidence[0x50:0x50+64]))
	submod := w.submodOf(w.claimsOf(client.submit(session, tsmCBOR, document)))
	if own(submod, "nonce") != "client-chosen" || own(submod, "freshness") != "nonce" {
		t.Errorf("got %v", submod)
	}
	if own(submod, "verdict") != "accepted" {
		t.Errorf("got %v", submod)
	}
}
