package admin_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/attestd/attestd/internal/admin"
)

// FuzzAdminRequest sends what HTTP can carry, as a stranger and as whoever has the bootstrap token.
// Whatever it is: a stranger asks no part anything, nothing breaks, and every answer can be read.
func FuzzAdminRequest(f *testing.F) {
	for _, row := range admin.Rows() {
		sample := good[row.Method+" "+strings.TrimPrefix(row.Path, admin.Prefix)]
		if row.Body {
			f.Add(row.Method, row.Path, "Content-Type: application/json", sample)
		} else {
			f.Add(row.Method, row.Path+"?"+sample, "Host: localhost", "")
		}
	}
	f.Add("POST", "/v1/admin/login", "Authorization: Bearer "+guessed, `{"csr":"AAAA"}`)
	f.Add("GET", "//v1/admin/%2e%2e/status", "X-HTTP-Method-Override: POST", "{")
	w := newWorld(f)
	token := w.token()
	config := w.config
	config.Registerer = prometheus.NewRegistry()
	handler, err := admin.New(config)
	must(f, err)
	local := context.WithValue(context.Background(), http.LocalAddrContextKey, net.Addr(&net.UnixAddr{Net: "unix"}))
	f.Fuzz(func(t *testing.T, method, target, header, body string) {
		for _, bearer := range []string{"", token} {
			text := method + " " + target + " HTTP/1.1\r\nHost: localhost\r\n" + header + "\r\n"
			if bearer != "" {
				text += "Authorization: Bearer " + bearer + "\r\n"
			}
			request, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text + "\r\n")))
			if err != nil {
				return // net/http answers that itself
			}
			request.Body, request.ContentLength = http.NoBody, 0
			if body != "" {
				request = request.WithContext(local)
				withBody := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
				request.Body, request.ContentLength = withBody.Body, withBody.ContentLength
			}
			w.parts.since()
			w.parts.entries()
			recorder := httptest.NewRecorder()
			handler.ServeHTTP(recorder, request.WithContext(local))
			answer := recorder.Result()
			media := answer.Header.Get("Content-Type")
			if recorder.Code >= 500 || media != "application/gzip" && !json.Valid(recorder.Body.Bytes()) {
				t.Fatalf("%q is answered with %d %s", text, recorder.Code, recorder.Body)
			}
			if bearer == "" && !strings.Contains(header, token) &&
				(recorder.Code == http.StatusOK || len(w.parts.since()) != 0) {
				t.Fatalf("a stranger's %q is answered with %d", text, recorder.Code)
			}
			if recorder.Code != http.StatusOK && len(w.parts.entries()) == 0 {
				t.Fatalf("%q was refused and leaves no trace", text)
			}
		}
	})
}
