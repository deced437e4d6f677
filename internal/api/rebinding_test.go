package api_test

import (
	"net/http"
	"testing"

	"github.com/attestd/attestd"
)

// TestMetricsAreNotReadByAPageThatIsResolvedToLoopback: its GET has no Origin, and no Sec-Fetch-Site in
// the clear; the name in Host is all that there is.
func TestMetricsAreNotReadByAPageThatIsResolvedToLoopback(t *testing.T) {
	w := newWorld(t, options{})
	ask := func(host string) *http.Request {
		request, err := http.NewRequest(http.MethodGet, w.server.URL+"/metrics", nil)
		w.must(err)
		request.Host = host
		return request
	}
	for _, host := range []string{"evil.example:8421", "evil.example", "localhost.evil.example", "127.0.0.1.nip.io"} {
		w.problem(w.send(ask(host)), http.StatusForbidden, attestd.ClassForbidden)
	}
	for _, host := range []string{"127.0.0.1:8421", "localhost:8421", "LOCALHOST", "[::1]:8421", "[::1]"} {
		if got := w.send(ask(host)); got.status != http.StatusOK {
			t.Errorf("%s: %d %s", host, got.status, got.body)
		}
	}
}
