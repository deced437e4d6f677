package interop

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
)

// exchange is a request of the API's own tests and its answer, as they write them down.
type exchange struct {
	Method, URL         string
	RequestType, Accept string
	Request             []byte
	Status              int
	ResponseType        string
	Response            []byte
	Location, Sender    string
}

// exchanges returns what went over the wire in the API's tests, which run once.
func exchanges(t *testing.T) []exchange {
	t.Helper()
	all, err := record(t.TempDir())
	if err != nil || len(all) < 200 {
		t.Fatalf("%d exchanges were written down, want at least 200: %v", len(all), err)
	}
	return all
}

var recorded struct {
	sync.Once
	all []exchange
	err error
}

func record(folder string) ([]exchange, error) {
	recorded.Do(func() { recorded.all, recorded.err = runTests(filepath.Join(folder, "exchanges")) })
	return recorded.all, recorded.err
}

func runTests(path string) ([]exchange, error) {
	tests := exec.Command("go", "test", "-count=1", "-run", "Session|Result|Client|Description|Example|Described",
		"./internal/api")
	tests.Dir = filepath.Join("..", "..")
	tests.Env = append(os.Environ(), "ATTESTD_EXCHANGES="+path)
	if out, err := tests.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("the API's tests: %w\n%s", err, out)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	var all []exchange
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var one exchange
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, lines.Err()
}

// request is that of an exchange, as it was sent.
func (e exchange) request(t *testing.T) *http.Request {
	t.Helper()
	made, err := http.NewRequest(e.Method, "http://localhost"+e.URL, bytes.NewReader(e.Request))
	if err != nil {
		t.Fatal(err)
	}
	if e.RequestType != "" {
		made.Header.Set("Content-Type", e.RequestType)
	}
	return made
}

func (e exchange) response(request *http.Request) *http.Response {
	return &http.Response{
		StatusCode: e.Status, Header: http.Header{"Content-Type": {e.ResponseType}, "Location": {e.Location}},
		Body: io.NopCloser(bytes.NewReader(e.Response)), Request: request,
	}
}

// TestTheAPIIsAsItIsDescribed: the description is a valid OpenAPI 3.1 document, every answer in the
// API's tests is one that it allows, and every request that was answered is one that it allows.
func TestTheAPIIsAsItIsDescribed(t *testing.T) {
	all := exchanges(t)
	var description []byte
	for _, one := range all {
		if one.URL == "/openapi.json" && one.Status == http.StatusOK {
			description = one.Response
		}
	}
	document, err := libopenapi.NewDocument(description)
	if err != nil {
		t.Fatal(err)
	}
	held, problems := validator.NewValidator(document)
	if len(problems) != 0 {
		t.Fatal(problems)
	}
	if good, wrong := held.ValidateDocument(); !good {
		for _, one := range wrong {
			t.Errorf("%s: %s %v", one.Message, one.Reason, one.SchemaValidationErrors)
		}
		t.FailNow()
	}
	model, err := document.BuildV3Model()
	if err != nil {
		t.Fatal(err)
	}
	answered, asked := 0, 0
	paths := map[string]bool{}
	for _, one := range all {
		if !described(one, model.Model.Paths.PathItems.KeysFromOldest()) {
			continue
		}
		request := one.request(t)
		if good, wrong := held.ValidateHttpResponse(request, one.response(request)); !good {
			for _, each := range wrong {
				t.Errorf("%s: the answer to %s %s, %d %s: %s: %s", one.Sender, one.Method, one.URL, one.Status,
					one.ResponseType, each.Message, each.Reason)
			}
		}
		answered++
		if one.Status >= 300 {
			continue
		}
		if good, wrong := held.ValidateHttpRequest(one.request(t)); !good {
			for _, each := range wrong {
				t.Errorf("%s: %s %s %s was answered with %d: %s: %s", one.Sender, one.Method, one.URL,
					one.RequestType, one.Status, each.Message, each.Reason)
			}
		}
		asked++
		paths[one.Method+" "+strings.SplitN(one.URL, "?", 2)[0]] = true
	}
	if answered < 200 || asked < 50 || len(paths) < 15 {
		t.Errorf("held %d answers and %d requests to %d paths against the description", answered, asked, len(paths))
	}
	t.Logf("%d answers and %d requests are as described", answered, asked)
}

// described leaves out what the description says nothing about: other paths and other methods.
func described(one exchange, paths func(func(string) bool)) bool {
	at, err := url.Parse(one.URL)
	if err != nil || one.Status == http.StatusMethodNotAllowed || one.Method == http.MethodHead {
		return false
	}
	for path := range paths {
		before, after, varies := strings.Cut(path, "{id}")
		rest, ok := strings.CutPrefix(at.EscapedPath(), before)
		if varies && ok && strings.HasSuffix(rest, after) {
			id := strings.TrimSuffix(rest, after)
			if id != "" && !strings.ContainsAny(id, "/%") {
				return true
			}
		}
		if !varies && at.EscapedPath() == path {
			return true
		}
	}
	return false
}

// TestADescriptionThatIsWrongIsFound: the test above can fail.
func TestADescriptionThatIsWrongIsFound(t *testing.T) {
	const wrong = `{"openapi": "3.1.1", "info": {"title": "x", "version": "1"}, "paths": {"/healthz": {"get": {
		"operationId": "healthz", "responses": {"200": {"description": "Yes.", "content": {"application/json": {
		"schema": {"type": "object", "required": ["state"]}}}}}}}}}`
	document, err := libopenapi.NewDocument([]byte(wrong))
	if err != nil {
		t.Fatal(err)
	}
	held, problems := validator.NewValidator(document)
	if len(problems) != 0 {
		t.Fatal(problems)
	}
	for _, one := range []exchange{
		{Method: "GET", URL: "/healthz", Status: 200, ResponseType: "application/json", Response: []byte(`{"status": "ok"}`)},
		{Method: "GET", URL: "/healthz", Status: 418, ResponseType: "application/json", Response: []byte(`{"state": 1}`)},
	} {
		request := one.request(t)
		if good, _ := held.ValidateHttpResponse(request, one.response(request)); good {
			t.Errorf("an answer %d %s passes for one that is described", one.Status, one.Response)
		}
	}
}
