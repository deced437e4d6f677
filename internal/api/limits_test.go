package api_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/api"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/service"
)

const (
	jsonType = "application/json"
	rawType  = "application/octet-stream"
)

// neg: 161
func TestRequestsThatAreNotAsTheyMustBeAreRefused(t *testing.T) {
	w := newWorld(t, options{limits: api.Limits{JSONBody: 8 << 10, RawBody: 4 << 10, AllBodies: 1 << 20}})
	bomb := func() []byte {
		var packed bytes.Buffer
		writer := gzip.NewWriter(&packed)
		_, _ = writer.Write(make([]byte, 1<<20))
		_ = writer.Close()
		return packed.Bytes()
	}()
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Add(name, value) }
	}
	for name, row := range map[string]struct {
		path, media string
		body        []byte
		change      func(*http.Request)
		status      int
		class       attestd.Class
	}{
		"raw evidence one byte over the limit": {
			path: "/v1/verify-recorded", media: rawType, body: make([]byte, 4<<10+1),
			status: 413, class: attestd.ClassTooLarge,
		},
		"a JSON body one byte over the limit": {
			path: "/v1/verify-recorded", media: jsonType,
			body:   append([]byte(`{"evidence":"AA=="}`), bytes.Repeat([]byte{' '}, 8<<10+1-19)...),
			status: 413, class: attestd.ClassTooLarge,
		},
		"a chunked body over the limit": {
			path: "/v1/verify-recorded", media: rawType, body: make([]byte, 64<<10),
			change: func(r *http.Request) { r.ContentLength = -1 }, status: 413, class: attestd.ClassTooLarge,
		},
		"a gzip bomb": {
			path: "/v1/verify-recorded", media: rawType, body: bomb,
			change: header("Content-Encoding", "gzip"), status: 415, class: attestd.ClassUnsupported,
		},
		"an encoding that says it is none": {
			path: "/v1/verify-recorded", media: rawType, body: []byte{1},
			change: header("Content-Encoding", "identity"), status: 415, class: attestd.ClassUnsupported,
		},
		"no content type": {
			path: "/v1/verify-recorded", body: []byte{1}, status: 415, class: attestd.ClassUnsupported,
		},
		"two content types": {
			path: "/v1/verify-recorded", media: jsonType, body: []byte("{}"),
			change: header("Content-Type", rawType), status: 415, class: attestd.ClassUnsupported,
		},
		"a form": {
			path: "/v1/challenges", media: "application/x-www-form-urlencoded", body: []byte("format=nitro"),
			status: 415, class: attestd.ClassUnsupported,
		},
		"raw evidence where JSON is wanted": {
			path: "/v1/challenges", media: rawType, body: []byte("x"), status: 415, class: attestd.ClassUnsupported,
		},
		"another charset": {
			path: "/v1/challenges", media: "application/json; charset=utf-16", body: []byte("{}"),
			status: 415, class: attestd.ClassUnsupported,
		},
		"no body": {
			path: "/v1/verify-recorded", media: rawType, status: 400, class: attestd.ClassMalformed,
		},
		"JSON of depth 10,000": {
			path: "/v1/challenges", media: jsonType, body: bytes.Repeat([]byte("["), 4000),
			status: 400, class: attestd.ClassMalformed,
		},
		"a key twice": {
			path: "/v1/challenges", media: jsonType, body: []byte(`{"format":"nitro","format":"sev-snp"}`),
			status: 400, class: attestd.ClassMalformed,
		},
		"a key twice, deep": {
			path: "/v1/verify-recorded", media: jsonType,
			body:   []byte(`{"evidence":"AA==","endorsements":{"crls":[],"crls":[]}}`),
			status: 400, class: attestd.ClassMalformed,
		},
		"a key in another case": {
			path: "/v1/challenges", media: jsonType, body: []byte(`{"Format":"nitro"}`),
			status: 400, class: attestd.ClassMalformed,
		},
		"an unknown key": {
			path: "/v1/challenges", media: jsonType, body: []byte(`{"format":"nitro","policy":"lax"}`),
			status: 400, class: attestd.ClassMalformed,
		},
		"something behind the value": {
			path: "/v1/challenges", media: jsonType, body: []byte(`{"format":"nitro"}{}`),
			status: 400, class: attestd.ClassMalformed,
		},
		"null for a text": {
			path: "/v1/challenges", media: jsonType, body: []byte(`{"format":null}`),
			status: 400, class: attestd.ClassMalformed,
		},
		"text that is not UTF-8": {
			path: "/v1/challenges", media: jsonType, body: []byte("{\"format\":\"\xff\"}"),
			status: 400, class: attestd.ClassMalformed,
		},
		"an unknown format": {
			path: "/v1/challenges", media: jsonType, body: []byte(`{"format":"sgx"}`),
			status: 400, class: attestd.ClassUnsupported,
		},
		"a format without a verifier": {
			path: "/v1/challenges", media: jsonType, body: []byte(`{"format":"tdx"}`),
			status: 400, class: attestd.ClassUnsupported,
		},
		"an unknown tenant": {
			path: "/v1/challenges", media: jsonType, body: []byte(`{"format":"nitro","tenant":"red"}`),
			status: 403, class: attestd.ClassForbidden,
		},
		"a purpose that is no name": {
			path: "/v1/challenges", media: jsonType, body: []byte(`{"format":"nitro","purpose":"a b"}`),
			status: 400, class: attestd.ClassMalformed,
		},
		"a nonce of 31 bytes": {
			path: "/v1/challenges", media: jsonType, body: []byte(`{"format":"nitro","nonce_bytes":31}`),
			status: 400, class: attestd.ClassMalformed,
		},
		"a nonce of 65 bytes": {
			path: "/v1/challenges", media: jsonType, body: []byte(`{"format":"nitro","nonce_bytes":65}`),
			status: 400, class: attestd.ClassMalformed,
		},
		"evidence without a challenge": {
			path: "/v1/verify?format=nitro", media: rawType, body: []byte{1},
			status: 400, class: attestd.ClassMalformed,
		},
		"evidence without a format": {
			path: "/v1/verify?challenge_id=x", media: rawType, body: []byte{1},
			status: 400, class: attestd.ClassUnsupported,
		},
		"freshness that is not shown": {
			path: "/v1/verify?challenge_id=x&format=nitro&freshness=not-shown", media: rawType, body: []byte{1},
			status: 400, class: attestd.ClassMalformed,
		},
		"an unknown query parameter": {
			path: "/v1/verify?challenge_id=x&format=nitro&debug=1", media: rawType, body: []byte{1},
			status: 400, class: attestd.ClassMalformed,
		},
		"a query parameter twice": {
			path: "/v1/verify?challenge_id=x&challenge_id=y&format=nitro", media: rawType, body: []byte{1},
			status: 400, class: attestd.ClassMalformed,
		},
		"a query beside JSON": {
			path: "/v1/verify?challenge_id=x", media: jsonType, body: []byte(`{}`),
			status: 400, class: attestd.ClassMalformed,
		},
		"a time that is none": {
			path: "/v1/verify-recorded?at=yesterday", media: rawType, body: []byte{1},
			status: 400, class: attestd.ClassMalformed,
		},
		"a nonce that is not hex": {
			path: "/v1/verify-recorded?nonce=xyz", media: rawType, body: []byte{1},
			status: 400, class: attestd.ClassMalformed,
		},
		"a certificate that is neither PEM nor base64": {
			path: "/v1/verify-recorded", media: jsonType,
			body:   []byte(`{"evidence":"AA==","endorsements":{"certificates":["?"]}}`),
			status: 400, class: attestd.ClassMalformed,
		},
		"a private key among the certificates": {
			path: "/v1/verify-recorded", media: jsonType,
			body: []byte(`{"evidence":"AA==","endorsements":{"certificates":` +
				`["-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]}}`),
			status: 400, class: attestd.ClassMalformed,
		},
		"more certificates than any chain has": {
			path: "/v1/verify-recorded", media: jsonType,
			body: []byte(`{"evidence":"AA==","endorsements":{"certificates":[` +
				strings.Repeat(`"AA==",`, 64) + `"AA=="]}}`),
			status: 413, class: attestd.ClassTooLarge,
		},
		"two keys": {
			path: "/v1/verify-recorded", media: jsonType, body: []byte(`{"evidence":"AA==","key_spki":"?"}`),
			status: 400, class: attestd.ClassMalformed,
		},
		"an empty query parameter": {
			path: "/v1/verify?challenge_id=x&format=nitro&tenant=", media: rawType, body: []byte{1},
			status: 400, class: attestd.ClassMalformed,
		},
		"an empty nonce in the query": {
			path: "/v1/verify-recorded?nonce=", media: rawType, body: []byte{1},
			status: 400, class: attestd.ClassMalformed,
		},
		"an empty nonce": {
			path: "/v1/verify-recorded", media: jsonType, body: []byte(`{"evidence":"AA==","nonce":""}`),
			status: 400, class: attestd.ClassMalformed,
		},
		"null for a nonce": {
			path: "/v1/verify-recorded", media: jsonType, body: []byte(`{"evidence":"AA==","nonce":null}`),
			status: 400, class: attestd.ClassMalformed,
		},
		"an empty key": {
			path: "/v1/verify-recorded", media: jsonType, body: []byte(`{"evidence":"AA==","key_spki":""}`),
			status: 400, class: attestd.ClassMalformed,
		},
		"an empty tenant": {
			path: "/v1/challenges", media: jsonType, body: []byte(`{"format":"nitro","tenant":""}`),
			status: 400, class: attestd.ClassMalformed,
		},
		"a page of another site": {
			path: "/v1/challenges", media: jsonType, body: []byte(`{"format":"nitro"}`),
			change: header("Origin", "https://evil.example"), status: 403, class: attestd.ClassForbidden,
		},
		"a page whose name leads to loopback": {
			path: "/v1/challenges", media: jsonType, body: []byte(`{"format":"nitro"}`),
			change: func(r *http.Request) {
				r.Host = "evil.example:8421"
				r.Header.Set("Origin", "http://evil.example:8421")
				r.Header.Set("Sec-Fetch-Site", "same-origin")
			},
			status: 403, class: attestd.ClassForbidden,
		},
		"a page without an origin": {
			path: "/v1/challenges", media: jsonType, body: []byte(`{"format":"nitro"}`),
			change: header("Sec-Fetch-Site", "cross-site"), status: 403, class: attestd.ClassForbidden,
		},
		"evidence of no known envelope": {
			path: "/v1/verify-recorded", media: rawType, body: []byte("hello"),
			status: 400, class: attestd.ClassUnsupported,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			request, err := http.NewRequest(http.MethodPost, w.server.URL+row.path, bytes.NewReader(row.body))
			w.must(err)
			if row.media != "" {
				request.Header.Set("Content-Type", row.media)
			}
			if row.change != nil {
				row.change(request)
			}
			w.problem(w.send(request), row.status, row.class)
		})
	}
}

// neg: 161
func TestABodyOfManyPEMBlocksCostsLittle(t *testing.T) {
	w := newWorld(t, options{})
	fill := func(kind string) string {
		block := "-----BEGIN " + kind + "-----\nAA==\n-----END " + kind + "-----\n"
		return strings.Repeat(block, 1_000_000/(len(block)+3))
	}
	for name, row := range map[string]struct {
		member object
		status int
		class  attestd.Class
	}{
		"certificates": {
			object{"endorsements": object{"certificates": []string{fill("CERTIFICATE")}}}, 413, attestd.ClassTooLarge,
		},
		"CRLs": {object{"endorsements": object{"crls": []string{fill("X509 CRL")}}}, 413, attestd.ClassTooLarge},
		"keys": {object{"key_spki": fill("PUBLIC KEY")}, 400, attestd.ClassMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			row.member["evidence"] = []byte{1}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got := w.post("/v1/verify-recorded", row.member)
			runtime.ReadMemStats(&after)
			w.problem(got, row.status, row.class)
			// Bytes tell what time on a busy machine does not: a copy of what is left for each block
			// would be thousands of MiB.
			if cost := after.TotalAlloc - before.TotalAlloc; cost > 64<<20 {
				t.Errorf("a body of 1 MB cost %d MiB", cost>>20)
			}
		})
	}
}

// neg: 161
func TestABodyThatEndsEarlyIsRefusedAndHoldsNothing(t *testing.T) {
	w := newWorld(t, options{})
	got := w.raw("POST /v1/verify-recorded HTTP/1.1\r\nHost: x\r\nContent-Type: application/cbor\r\n" +
		"Content-Length: 200000\r\n\r\nshort")
	if got.StatusCode != http.StatusBadRequest {
		t.Errorf("got %d, want 400", got.StatusCode)
	}
	metrics := w.do(http.MethodGet, "/metrics", "", nil)
	if !bytes.Contains(metrics.body, []byte("\nattestd_body_bytes 0\n")) {
		t.Error("bytes of a body are still accounted for")
	}
}

// raw sends bytes, closes its side and reads one response.
func (w *world) raw(request string) *http.Response {
	w.Helper()
	conn, err := net.Dial("tcp", w.server.Listener.Addr().String())
	w.must(err)
	w.Cleanup(func() { _ = conn.Close() })
	_, err = io.WriteString(conn, request)
	w.must(err)
	w.must(conn.(*net.TCPConn).CloseWrite())
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	w.must(err)
	return response
}

func TestTheBodiesOfAllRequestsTogetherAreBounded(t *testing.T) {
	w := newWorld(t, options{limits: api.Limits{JSONBody: 1 << 20, RawBody: 256 << 10, AllBodies: 64 << 10}})
	w.problem(w.do(http.MethodPost, "/v1/verify-recorded", rawType, make([]byte, 100<<10)),
		http.StatusTooManyRequests, attestd.ClassRateLimited)
	// What was refused gives its room back.
	w.verdict(w.do(http.MethodPost, "/v1/verify-recorded?format=nitro", rawType, make([]byte, 10<<10)))
}

// neg: 164
func TestPathsAndMethodsAreComparedAsTheyStand(t *testing.T) {
	w := newWorld(t, options{})
	for _, row := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/", 404},
		{"POST", "//v1/challenges", 404},
		{"POST", "/v1//challenges", 404},
		{"POST", "/v1/challenges/", 404},
		{"POST", "/v1/./challenges", 404},
		{"POST", "/x/../v1/challenges", 404},
		{"POST", "/v1/%63hallenges", 404},
		{"POST", "/v1%2fchallenges", 404},
		{"POST", "/V1/challenges", 404},
		{"GET", "/v1/appraisals/", 404},
		{"GET", "/v1/appraisals/a/b", 404},
		{"GET", "/v1/challenges", 405},
		{"PUT", "/v1/verify", 405},
		{"DELETE", "/v1/appraisals/x", 405},
		{"OPTIONS", "/v1/verify", 405},
		{"TRACE", "/healthz", 405},
		{"BREW", "/healthz", 405},
		{"HEAD", "/healthz", 200},
	} {
		request, err := http.NewRequest(row.method, w.server.URL+row.path, nil)
		w.must(err)
		request.Header.Set("X-Http-Method-Override", "POST")
		got := w.send(request)
		if got.status != row.status {
			t.Errorf("%s %s: got %d, want %d", row.method, row.path, got.status, row.status)
		}
		if row.status == http.StatusMethodNotAllowed && got.header.Get("Allow") == "" {
			t.Errorf("%s %s: no Allow", row.method, row.path)
		}
		if got.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s %s: another origin may read the answer", row.method, row.path)
		}
	}
}

// judgeFunc is a Judge.
type judgeFunc func(context.Context, service.Job) (attestd.Appraisal, error)

// Judge implements [service.Judge].
func (f judgeFunc) Judge(ctx context.Context, job service.Job) (attestd.Appraisal, error) {
	return f(ctx, job)
}

// Credential implements [service.Judge]; such a judge makes none.
func (judgeFunc) Credential(context.Context, service.CredentialJob) (service.CredentialReply, error) {
	return service.CredentialReply{}, errors.New("this judge makes no credentials")
}

// neg: 169
func TestAPanicUnderneathIsA500AndTheServerLives(t *testing.T) {
	w := newWorld(t, options{slots: 1, judge: func(real service.Judge) service.Judge {
		return judgeFunc(func(ctx context.Context, job service.Job) (attestd.Appraisal, error) {
			if job.Demand.Mode == service.DemandBinding {
				panic("index out of range")
			}
			return real.Judge(ctx, job)
		})
	}})
	issued := w.challenge(attestd.FormatNitro, nil).Challenge
	path := "/v1/verify?format=nitro&challenge_id=" + issued.ID
	read := w.problem(w.do(http.MethodPost, path, rawType, []byte{1}), 500, attestd.ClassInternal)
	if read.Detail != "internal error" || read.ID == "" || !strings.Contains(w.log.String(), read.ID) {
		t.Errorf("got %+v, want nothing but an id that the log has", read)
	}
	// The challenge is used up, the place is free, the process lives.
	if given := w.verdict(w.do(http.MethodPost, path, rawType, w.bound(issued))); failed(given) != challenge.CheckKnown {
		t.Errorf("second use: got %s by %q", given.Verdict, failed(given))
	}
	w.verdict(w.post("/v1/verify-recorded", object{"evidence": w.enclave(nil)}))
}

// neg: 170
func TestACallerThatLeavesGetsNoVerdictStoredAndNoChallengeBack(t *testing.T) {
	asked := make(chan struct{})
	var once sync.Once
	w := newWorld(t, options{judge: func(real service.Judge) service.Judge {
		return judgeFunc(func(ctx context.Context, job service.Job) (attestd.Appraisal, error) {
			once.Do(func() { close(asked); <-ctx.Done() })
			return real.Judge(context.WithoutCancel(ctx), job)
		})
	}})
	issued := w.challenge(attestd.FormatNitro, nil).Challenge
	url := w.server.URL + "/v1/verify?format=nitro&challenge_id=" + issued.ID
	evidence := w.bound(issued)
	ctx, leave := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(evidence))
	w.must(err)
	request.Header.Set("Content-Type", rawType)
	left := make(chan error, 1)
	go func() {
		_, err := w.server.Client().Do(request) //nolint:bodyclose // there is no response
		left <- err
	}()
	<-asked
	commits := w.store.Commits()
	leave()
	if err := <-left; err == nil {
		t.Fatal("got an answer, want none")
	}
	w.eventually("the request ended", func() bool { return strings.Contains(w.log.String(), "caller left") })
	if got := w.store.Commits() - commits; got != 0 {
		t.Errorf("%d commits after the caller left, want 0", got)
	}
	again, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(evidence))
	w.must(err)
	again.Header.Set("Content-Type", rawType)
	if given := w.verdict(w.send(again)); failed(given) != challenge.CheckKnown {
		t.Errorf("second use: got %s by %q, want rejected by challenge/known", given.Verdict, failed(given))
	}
}

func (w *world) eventually(what string, holds func() bool) {
	w.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if holds() {
			return
		}
	}
	w.Fatalf("not seen in 5 s: %s", what)
}

func TestABusyVerifierSendsCallersAwayAndKeepsTheirChallenges(t *testing.T) {
	asked, finish := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w := newWorld(t, options{slots: 1, waiting: 0, judge: func(real service.Judge) service.Judge {
		return judgeFunc(func(ctx context.Context, job service.Job) (attestd.Appraisal, error) {
			once.Do(func() { close(asked); <-finish })
			return real.Judge(ctx, job)
		})
	}})
	evidence := w.enclave(nil)
	first := make(chan answer, 1)
	go func() { first <- w.post("/v1/verify-recorded", object{"evidence": evidence}) }()
	<-asked
	issued := w.challenge(attestd.FormatNitro, nil).Challenge
	path := "/v1/verify?format=nitro&challenge_id=" + issued.ID
	got := w.do(http.MethodPost, path, rawType, w.bound(issued))
	w.problem(got, http.StatusTooManyRequests, attestd.ClassRateLimited)
	if got.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	close(finish)
	w.verdict(<-first)
	if given := w.verdict(w.do(http.MethodPost, path, rawType, w.bound(issued))); given.Verdict != attestd.VerdictAccepted {
		t.Errorf("got %s by %q, want accepted: being busy costs no challenge", given.Verdict, failed(given))
	}
}

func TestAJudgementThatTakesTooLongGivesNoVerdict(t *testing.T) {
	for name, late := range map[string]func(ctx context.Context) error{
		"by the time of the service": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		"by the time of the judge": func(context.Context) error {
			return fmt.Errorf("worker: timeout: %w", context.DeadlineExceeded)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, options{timeout: 20 * time.Millisecond, judge: func(service.Judge) service.Judge {
				return judgeFunc(func(ctx context.Context, _ service.Job) (attestd.Appraisal, error) {
					return attestd.Appraisal{}, late(ctx)
				})
			}})
			got := w.post("/v1/verify-recorded", object{"evidence": []byte{1}})
			problem := w.problem(got, http.StatusTooManyRequests, attestd.ClassRateLimited)
			if !strings.Contains(problem.Detail, "no verdict in time") || got.header.Get("Retry-After") == "" {
				t.Errorf("got %q, Retry-After %q", problem.Detail, got.header.Get("Retry-After"))
			}
		})
	}
}

func TestACallerThatFindsNoPlaceInTimeKeepsItsChallenge(t *testing.T) {
	asked, finish := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w := newWorld(t, options{slots: 1, waiting: 1, timeout: 50 * time.Millisecond, judge: func(real service.Judge) service.Judge {
		return judgeFunc(func(ctx context.Context, job service.Job) (attestd.Appraisal, error) {
			once.Do(func() { close(asked); <-finish })
			return real.Judge(context.WithoutCancel(ctx), job)
		})
	}})
	evidence := w.enclave(nil)
	first := make(chan answer, 1)
	go func() { first <- w.post("/v1/verify-recorded", object{"evidence": evidence}) }()
	<-asked
	issued := w.challenge(attestd.FormatNitro, nil).Challenge
	path := "/v1/verify?format=nitro&challenge_id=" + issued.ID
	w.problem(w.do(http.MethodPost, path, rawType, w.bound(issued)), http.StatusTooManyRequests, attestd.ClassRateLimited)
	close(finish)
	<-first
	if given := w.verdict(w.do(http.MethodPost, path, rawType, w.bound(issued))); given.Verdict != attestd.VerdictAccepted {
		t.Errorf("got %s by %q, want accepted", given.Verdict, failed(given))
	}
}

// neg: 166
func TestSecretsAreInNoErrorLogOrMetric(t *testing.T) {
	const canary = "canary-d5c1f0a7-never-to-be-shown"
	w := newWorld(t, options{judge: func(real service.Judge) service.Judge {
		return judgeFunc(func(ctx context.Context, job service.Job) (attestd.Appraisal, error) {
			if bytes.HasSuffix(job.Evidence, []byte("!")) {
				return attestd.Appraisal{}, fmt.Errorf("broken in /var/lib/private/%s", "path-canary")
			}
			return real.Judge(ctx, job)
		})
	}})
	var shown strings.Builder
	keep := func(got answer) { shown.Write(got.body) }
	issued := w.challenge(attestd.FormatNitro, nil).Challenge
	keep(w.post("/v1/verify", object{
		"challenge_id": issued.ID, "format": "nitro", "evidence": []byte(canary), "key_spki": w.b64(canary),
	}))
	keep(w.post("/v1/verify-recorded", object{"evidence": []byte(canary), "nonce": []byte(canary)}))
	keep(w.post("/v1/verify-recorded", object{"format": "sev-snp", "evidence": []byte(canary)}))
	keep(w.post("/v1/verify-recorded", object{"format": "nitro", "evidence": []byte(canary + "!")}))
	evidence := w.enclave([]byte(canary))
	keep(w.post("/v1/verify-recorded", object{"format": "nitro", "evidence": evidence, "nonce": []byte("another nonce")}))
	keep(w.post("/v1/verify-recorded", object{"format": "nitro", "evidence": []byte("x"), "nonce": []byte(canary)}))
	keep(w.do(http.MethodGet, "/metrics", "", nil))
	for _, form := range []struct{ name, text string }{
		{"evidence", canary}, {"evidence in hex", fmt.Sprintf("%x", canary)}, {"evidence in base64", w.b64(canary)[:40]},
		{"nonce", fmt.Sprintf("%x", issued.Nonce)}, {"nonce in base64", w.b64(string(issued.Nonce))},
	} {
		if strings.Contains(w.log.String(), form.text) {
			t.Errorf("the log holds %s", form.name)
		}
		if strings.Contains(shown.String(), form.text) {
			t.Errorf("an answer holds %s", form.name)
		}
	}
	if strings.Contains(shown.String(), "path-canary") {
		t.Error("an answer holds a private path")
	}
}

func (*world) b64(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// neg: 167
func TestForeignTextInAnswersAndLogsIsEscapedAndCut(t *testing.T) {
	w := newWorld(t, options{})
	hostile := "\x1b[31mred\nlevel=error msg=\"all is well\"\u202e" + strings.Repeat("long", 200)
	bodies := []answer{
		w.post("/v1/challenges", object{"format": hostile}),
		w.post("/v1/challenges", object{"format": "nitro", "tenant": hostile}),
		w.post("/v1/challenges", object{"format": "nitro", "purpose": hostile}),
		w.post("/v1/verify", object{"challenge_id": hostile, "format": "nitro", "evidence": []byte{1}}),
		w.post("/v1/verify-recorded", object{"evidence": []byte{1}, "at": hostile}),
		w.post("/v1/verify-recorded", object{hostile: 1}),
	}
	request, err := http.NewRequest(http.MethodPost, w.server.URL+"/v1/challenges", strings.NewReader("{}"))
	w.must(err)
	request.Header.Set("Content-Type", strings.Repeat("text/", 1000))
	request.Header.Set("User-Agent", "agent-canary")
	bodies = append(bodies, w.send(request))
	for i, got := range bodies {
		if len(got.body) > 6000 || bytes.ContainsAny(got.body[:len(got.body)-1], "\x1b\n") ||
			bytes.Contains(got.body, []byte("\\u001b")) || bytes.Contains(got.body, []byte("\u202e")) {
			t.Errorf("answer %d shows foreign text as it came: %.300q", i, got.body)
		}
	}
	log := w.log.String()
	if strings.Contains(log, "\\u001b") || strings.Contains(log, "\x1b") || strings.Contains(log, "agent-canary") {
		t.Error("the log shows foreign text as it came")
	}
}

// neg: 168
func TestMetricsDoNotGrowWithWhatCallersMakeUp(t *testing.T) {
	w := newWorld(t, options{judge: func(real service.Judge) service.Judge {
		return judgeFunc(func(ctx context.Context, job service.Job) (attestd.Appraisal, error) {
			given, err := real.Judge(ctx, job)
			if err == nil { // as a worker that evidence has taken over would
				given.Format = attestd.Format("made-up-" + string(job.Evidence))
				given.Checks = append(given.Checks, attestd.Check{
					ID: attestd.CheckID("made-up-" + string(job.Evidence)), Result: attestd.ResultFail,
				})
			}
			return given, err
		})
	}})
	series := func() int {
		time.Sleep(50 * time.Millisecond) // requests are counted when their answers are on their way
		return bytes.Count(w.do(http.MethodGet, "/metrics", "", nil).body, []byte("\n"))
	}
	ask := func(i int) {
		name := fmt.Sprintf("made-up-%d", i)
		w.post("/v1/challenges", object{"format": name})
		w.post("/v1/challenges", object{"format": "nitro", "tenant": name})
		w.post("/v1/verify", object{"challenge_id": name, "format": "nitro", "evidence": []byte(name)})
		w.post("/v1/verify-recorded", object{"format": "nitro", "evidence": []byte(name)})
		w.do("MADE"+strings.ToUpper(name[5:7]), "/"+name, "", nil)
		w.do(http.MethodGet, "/v1/appraisals/"+name, "", nil)
	}
	series()
	ask(0)
	before := series()
	for i := range 50 {
		ask(i)
	}
	if after := series(); after != before {
		t.Errorf("%d lines of metrics after 50 made-up names, want %d", after, before)
	}
}
