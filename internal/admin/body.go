package admin

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/strict"
)

// Limits of bodies, by what they can hold.
const (
	// orderLimit is for a few short texts.
	orderLimit = 16 << 10
	// policyLimit is for a policy and its reference values in base64.
	policyLimit = 8 << 20
	// importLimit is for a list of 100,000 machines in base64.
	importLimit = 48 << 20
	// allBodies bounds the bodies of all requests: two of the largest.
	allBodies = 2 * importLimit
)

// jsonDepth is the nesting of the deepest request: an object with a list.
const jsonDepth = 2

// readChunk is by how much a body grows: who announces much and sends little holds little.
const readChunk = 16 << 10

// bodies accounts for the bytes of all requests.
type bodies struct{ held atomic.Int64 }

// demandJSON refuses any body but plain JSON. One with an encoding is refused: what a bomb unpacks to
// is not worth finding out.
func demandJSON(r *http.Request) error {
	const hint = "send JSON with Content-Type: application/json, as it is"
	if encodings := r.Header.Values("Content-Encoding"); len(encodings) != 0 {
		return unsupportedMedia("a content encoding is not taken", hint)
	}
	values := r.Header.Values("Content-Type")
	if len(values) != 1 {
		return unsupportedMedia(fmt.Sprintf("got %d content types, want one", len(values)), hint)
	}
	media, parameters, err := mime.ParseMediaType(values[0])
	if err != nil || media != "application/json" {
		return unsupportedMedia("the content type is not application/json", hint)
	}
	for name, value := range parameters {
		if name != "charset" || !strings.EqualFold(value, "utf-8") {
			return unsupportedMedia("the content type has a parameter that is not taken", hint)
		}
	}
	return nil
}

func unsupportedMedia(detail, hint string) error {
	return &problemError{newProblem(attestd.ClassUnsupported, detail, hint).
		withStatus(http.StatusUnsupportedMediaType, "Media type not taken")}
}

// read returns the body, and a function that must be called when it is no longer held.
func (b *bodies) read(w http.ResponseWriter, r *http.Request, limit int) (body []byte, done func(), err error) {
	if r.ContentLength > int64(limit) {
		return nil, nil, tooLarge(limit)
	}
	reserved := int64(0)
	release := func() { b.held.Add(-reserved) }
	defer func() {
		if err != nil {
			release()
		}
	}()
	source := http.MaxBytesReader(w, r.Body, int64(limit))
	for {
		if len(body) == cap(body) {
			grown := min(max(readChunk, 2*cap(body)), limit+readChunk)
			more := int64(grown - cap(body))
			reserved += more
			// Small bodies are always taken: an order to quarantine does not wait for somebody's list.
			if b.held.Add(more) > allBodies && grown > 2*orderLimit {
				return nil, nil, refuse(attestd.ClassRateLimited,
					"the bodies of all requests together are too large", "try again in a second")
			}
			body = append(make([]byte, 0, grown), body...)
		}
		n, readError := source.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		var over *http.MaxBytesError
		switch {
		case errors.Is(readError, io.EOF):
			return body, release, nil
		case errors.As(readError, &over):
			return nil, nil, tooLarge(limit)
		case readError != nil:
			return nil, nil, malformed("the body ended before its end, or came too slowly",
				"send as many bytes as Content-Length says, within the read time-out")
		}
	}
}

func tooLarge(limit int) error {
	return refuse(attestd.ClassTooLarge, fmt.Sprintf("the body has more than %d bytes", limit),
		"send less; a long list can be sent in parts")
}

// decode reads the body of a call strictly: every key is known, none stands twice, nothing follows.
func decode[T any](c *call) (document T, err error) {
	limits := strict.JSONLimits{Bytes: c.route.body, Depth: jsonDepth}
	if err := strict.DecodeJSON(c.body, limits, &document); err != nil {
		return document, malformed(err.Error(), "compare the body with the reference; every key is checked")
	}
	return document, nil
}

// maxQuery bounds the text of a query and of one value in it.
const (
	maxQuery = 8 << 10
	maxValue = 2 << 10
)

// query returns the parameters of the URL, each of which must be among known and stand once.
func query(r *http.Request, known []string) (map[string]string, error) {
	hint := "this request takes no query parameters"
	if len(known) != 0 {
		hint = "known query parameters: " + strings.Join(known, ", ")
	}
	if len(r.URL.RawQuery) > maxQuery {
		return nil, refuse(attestd.ClassTooLarge, "the query is too long", hint)
	}
	parsed, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, malformed("the query cannot be read", hint)
	}
	values := make(map[string]string, len(parsed))
	for name, given := range parsed {
		switch {
		case !slices.Contains(known, name):
			return nil, malformed(fmt.Sprintf("unknown query parameter %q", attestd.Excerpt(name, 40)), hint)
		case len(given) != 1:
			return nil, malformed(fmt.Sprintf("query parameter %q stands more than once", name), hint)
		case given[0] == "":
			return nil, malformed(fmt.Sprintf("query parameter %q is empty", name), "give it a value, or leave it out")
		case len(given[0]) > maxValue || !plain(given[0]):
			return nil, malformed(fmt.Sprintf("query parameter %q is longer than %d bytes, or not plain text",
				name, maxValue), hint)
		}
		values[name] = given[0]
	}
	return values, nil
}
