package api_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/api"
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
