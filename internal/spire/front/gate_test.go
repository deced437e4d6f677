package front_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestTheGateAllowsWhatTheOfficeAllowsAndNothingElse(t *testing.T) {
	w := newWorld(t)
	w.office.allowed = nodeID
	url := "http://" + w.front.Bound().Gate.String()
	good := `{"caller":"` + nodeID + `"}`
	client := &http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	for name, row := range map[string]struct {
		method, path, body string
		change             func(*http.Request)
		allow, banned      bool
	}{
		"the question":           {body: good, allow: true},
		"with spaces":            {body: " " + good + "\n", allow: true},
		"with a charset":         {body: good, change: header("Content-Type", "application/json; charset=utf-8"), allow: true},
		"a banned one":           {body: `{"caller":"` + bannedID + `"}`, banned: true},
		"another caller":         {body: `{"caller":"spiffe://example.org/spire/agent/x/y"}`},
		"no caller":              {body: `{"caller":""}`},
		"nobody":                 {body: `{"caller":null}`},
		"an empty question":      {body: `{}`},
		"no question":            {body: ""},
		"two callers":            {body: `{"caller":"x","caller":"` + nodeID + `"}`},
		"one more key":           {body: `{"caller":"` + nodeID + `","x":1}`},
		"another case":           {body: `{"Caller":"` + nodeID + `"}`},
		"a number":               {body: `{"caller":1}`},
		"an array":               {body: `[` + good + `]`},
		"bytes behind":           {body: good + good},
		"half of it":             {body: good[:20]},
		"too long":               {body: good + strings.Repeat(" ", 5000)},
		"another method":         {method: http.MethodPut, body: good},
		"GET":                    {method: http.MethodGet, body: good},
		"another path":           {path: "/v1/gate/", body: good},
		"a query":                {path: "/v1/gate?caller=" + nodeID, body: good},
		"no type":                {body: good, change: header("Content-Type", "")},
		"a form":                 {body: good, change: header("Content-Type", "application/x-www-form-urlencoded")},
		"an encoding":            {body: good, change: header("Content-Encoding", "gzip")},
		"from a page":            {body: good, change: header("Origin", "http://evil.example")},
		"by a name that rebinds": {body: good, change: func(r *http.Request) { r.Host = "evil.example" }},
		"an office that panics":  {body: `{"caller":"panic"}`},
	} {
		t.Run(name, func(t *testing.T) {
			method, path := row.method, row.path
			if method == "" {
				method = http.MethodPost
			}
			if path == "" {
				path = "/v1/gate"
			}
			request, err := http.NewRequest(method, url+path, bytes.NewReader([]byte(row.body)))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", "application/json")
			if row.change != nil {
				row.change(request)
			}
			answer, err := client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = answer.Body.Close() }()
			said, err := io.ReadAll(answer.Body)
			want := fmt.Sprintf("{\"allow\":%t,\"banned\":%t}\n", row.allow, row.banned)
			if err != nil || string(said) != want || answer.StatusCode != http.StatusOK {
				t.Errorf("got %d %q, %v", answer.StatusCode, said, err)
			}
		})
	}
	elsewhere := httptest.NewRequest(http.MethodPost, "/v1/gate", strings.NewReader(good))
	elsewhere.Header.Set("Content-Type", "application/json")
	elsewhere.RemoteAddr, elsewhere.Host = "192.0.2.7:1", "127.0.0.1"
	answer := httptest.NewRecorder()
	w.front.Gate().ServeHTTP(answer, elsewhere)
	if answer.Body.String() != "{\"allow\":false,\"banned\":false}\n" {
		t.Errorf("from elsewhere: %s", answer.Body)
	}
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// TestTheGateIsNotHeldShut by somebody on this host who connects and asks nothing.
func TestTheGateIsNotHeldShut(t *testing.T) {
	w := newWorld(t)
	w.office.allowed = nodeID
	address := w.front.Bound().Gate.String()
	began := time.Now()
	var first net.Conn
	for range 400 {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if first == nil {
			first = conn
		}
	}
	// The oldest is gone before its time for a question (1 s) is over.
	_ = first.SetReadDeadline(began.Add(900 * time.Millisecond))
	if _, err := first.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the oldest of too many is kept: %v", err)
	}
	client := &http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	answer, err := client.Post("http://"+address+"/v1/gate", "application/json",
		strings.NewReader(`{"caller":"`+nodeID+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if said, _ := io.ReadAll(answer.Body); string(said) != "{\"allow\":true,\"banned\":false}\n" {
		t.Errorf("got %q", said)
	}
}
