package problem_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/problem"
)

var edge = problem.Edge{
	Excerpt: 40, RetryLater: 7, Authenticate: "Bearer", TooLarge: "send less",
	Never: []attestd.Class{attestd.ClassConfig},
}

func TestAClassThatNobodyHereCanCauseTellsNothing(t *testing.T) {
	for _, class := range []attestd.Class{attestd.ClassConfig, attestd.ClassTCB, "", "NONSENSE"} {
		got := edge.New(class, "the file /etc/secret", "look there")
		if got.Status != http.StatusInternalServerError || got.Class != attestd.ClassInternal ||
			strings.Contains(got.Detail+got.Hint, "secret") {
			t.Errorf("%q: got %+v", class, got)
		}
	}
}

func TestAnAnswerSaysWhatToDoNext(t *testing.T) {
	for class, row := range map[attestd.Class]struct {
		status        int
		header, value string
	}{
		attestd.ClassRateLimited:      {http.StatusTooManyRequests, "Retry-After", "1"},
		attestd.ClassStoreUnavailable: {http.StatusServiceUnavailable, "Retry-After", "7"},
		attestd.ClassUnauthenticated:  {http.StatusUnauthorized, "WWW-Authenticate", "Bearer"},
		attestd.ClassTooLarge:         {http.StatusRequestEntityTooLarge, "Connection", "close"},
	} {
		answer := httptest.NewRecorder()
		edge.New(class, strings.Repeat("x", 100), "hint").Write(answer)
		var document problem.Problem
		err := json.Unmarshal(answer.Body.Bytes(), &document)
		if err != nil || answer.Code != row.status || answer.Header().Get(row.header) != row.value ||
			document.Class != class || len(document.Detail) > 60 {
			t.Errorf("%s: got %d %v %+v, %v", class, answer.Code, answer.Header(), document, err)
		}
	}
}

// neg: 161
func TestBodiesAreBoundedAloneAndTogether(t *testing.T) {
	read := func(bodies *problem.Bodies, size, limit int) (func(), attestd.Class) {
		request := httptest.NewRequest(http.MethodPost, "/", io.NopCloser(bytes.NewReader(make([]byte, size))))
		request.ContentLength = -1 // as with chunks: nothing is announced
		body, done, err := bodies.Read(&edge, httptest.NewRecorder(), request, limit)
		var refused *problem.Error
		if errors.As(err, &refused) {
			return nil, refused.Class
		}
		if err != nil || len(body) != size {
			t.Fatalf("got %d bytes, %v", len(body), err)
		}
		return done, ""
	}
	bodies := &problem.Bodies{Most: 64 << 10, Small: 16 << 10}
	if _, class := read(bodies, 1001, 1000); class != attestd.ClassTooLarge {
		t.Errorf("one byte over the limit: %q", class)
	}
	if bodies.Held() != 0 {
		t.Errorf("%d bytes are held after a refusal", bodies.Held())
	}
	first, class := read(bodies, 60<<10, 1<<20)
	if class != "" {
		t.Fatal(class)
	}
	if _, class := read(bodies, 60<<10, 1<<20); class != attestd.ClassRateLimited {
		t.Errorf("two long ones at once: %q", class)
	}
	small, class := read(bodies, 1000, 1<<20)
	if class != "" {
		t.Errorf("what is urgent waits for somebody's list: %q", class)
	} else {
		small()
	}
	first()
	if bodies.Held() != 0 {
		t.Errorf("%d bytes are held when all were given back", bodies.Held())
	}
	if again, class := read(bodies, 60<<10, 1<<20); class != "" {
		t.Errorf("there is room again: %q", class)
	} else {
		again()
	}
}

func TestABodyIsOfATypeThatIsTakenAndNotEncoded(t *testing.T) {
	for name, row := range map[string]struct {
		header http.Header
		taken  bool
	}{
		"JSON":                    {http.Header{"Content-Type": {"application/json"}}, true},
		"JSON in UTF-8":           {http.Header{"Content-Type": {"application/json; charset=UTF-8"}}, true},
		"JSON in another charset": {http.Header{"Content-Type": {"application/json; charset=utf-16"}}, false},
		"no type":                 {http.Header{}, false},
		"two types":               {http.Header{"Content-Type": {"application/json", "text/plain"}}, false},
		"a form":                  {http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, false},
		"an encoding": {
			http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}}, false,
		},
	} {
		request := httptest.NewRequest(http.MethodPost, "/", http.NoBody)
		request.Header = row.header
		_, err := edge.MediaType(request, problem.JSON)
		var refused *problem.Error
		if taken := err == nil; taken != row.taken ||
			!taken && (!errors.As(err, &refused) || refused.Status != http.StatusUnsupportedMediaType) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
