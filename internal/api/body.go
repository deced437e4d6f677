package api

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/strict"
)

// Media types of request bodies.
const (
	mediaJSON  = "application/json"
	mediaCBOR  = "application/cbor"
	mediaBytes = "application/octet-stream"
)

// Limits bound what one caller and all callers together can make us hold.
type Limits struct {
	// JSONBody and RawBody are the most bytes of one body.
	JSONBody, RawBody int
	// AllBodies is the most bytes of all bodies that are being read or answered.
	AllBodies int64
}

// jsonDepth is the nesting of the deepest request: an object, endorsements, certificates.
const jsonDepth = 3

// readChunk is by how much a body grows: a caller that announces much and sends little holds little.
const readChunk = 16 << 10

// bodies accounts for the bytes of all requests.
type bodies struct {
	held atomic.Int64
	most int64
}

// mediaType returns the body's type, which must be among accepted. A body with an encoding is
// refused: what a bomb unpacks to is not worth finding out.
func mediaType(r *http.Request, accepted ...string) (string, error) {
	if encodings := r.Header.Values("Content-Encoding"); len(encodings) != 0 {
		return "", unsupportedMedia(
			fmt.Sprintf("content encoding %q is not taken", attestd.Excerpt(encodings[0], 40)),
			"send the body as it is, without Content-Encoding")
	}
	hint := "set Content-Type to " + strings.Join(accepted, " or ")
	values := r.Header.Values("Content-Type")
	if len(values) != 1 {
		return "", unsupportedMedia(fmt.Sprintf("got %d content types, want one", len(values)), hint)
	}
	media, parameters, err := mime.ParseMediaType(values[0])
	if err != nil {
		return "", unsupportedMedia("content type cannot be read", hint)
	}
	for name, value := range parameters {
		if media != mediaJSON || name != "charset" || !strings.EqualFold(value, "utf-8") {
			return "", unsupportedMedia(
				fmt.Sprintf("content type has parameter %q", attestd.Excerpt(name, 40)), hint)
		}
	}
	for _, one := range accepted {
		if one == media {
			return media, nil
		}
	}
	return "", unsupportedMedia(fmt.Sprintf("content type is %q", attestd.Excerpt(media, 60)), hint)
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
			grown := max(readChunk, 2*cap(body))
			more := int64(grown - cap(body))
			reserved += more
			if b.held.Add(more) > b.most {
				return nil, nil, newBusy("the bodies of all requests together are too large")
			}
			body = append(make([]byte, 0, grown), body...)
		}
		n, readError := source.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		var over *http.MaxBytesError
		switch {
		case errors.Is(readError, io.EOF):
			if len(body) == 0 {
				return nil, nil, malformed("the request has no body", "send evidence in the body")
			}
			return body, release, nil
		case errors.As(readError, &over):
			return nil, nil, tooLarge(limit)
		case readError != nil:
			return nil, nil, malformed("the body ended before its end, or came too slowly",
				"send as many bytes as Content-Length says, within the read time-out")
		}
	}
}

func newBusy(detail string) error {
	return &problemError{newProblem(attestd.ClassRateLimited, detail, "try again in a second")}
}

func tooLarge(limit int) error {
	return &problemError{newProblem(attestd.ClassTooLarge,
		fmt.Sprintf("the body has more than %d bytes", limit),
		"send less; raw evidence and JSON have limits of their own (docs/api.md)")}
}

// decode reads a JSON body strictly into the pointer into.
func decode(body []byte, limit int, into any) error {
	err := strict.DecodeJSON(body, strict.JSONLimits{Bytes: limit, Depth: jsonDepth}, into)
	if err != nil {
		return malformed(err.Error(), "compare the body with docs/api.md; every key is checked")
	}
	return nil
}

// query returns the parameters of the URL, each of which must be among known and stand once.
func query(r *http.Request, known ...string) (map[string]string, error) {
	hint := "this request takes no query parameters"
	if len(known) != 0 {
		hint = "known query parameters: " + strings.Join(known, ", ")
	}
	parsed, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, malformed("the query cannot be read", hint)
	}
	values := make(map[string]string, len(known))
	for _, name := range known {
		if given, ok := parsed[name]; ok {
			if len(given) != 1 {
				return nil, malformed(fmt.Sprintf("query parameter %q stands more than once", name), hint)
			}
			if given[0] == "" {
				return nil, malformed(fmt.Sprintf("query parameter %q is empty", name), "give it a value, or leave it out")
			}
			values[name] = given[0]
			delete(parsed, name)
		}
	}
	for name := range parsed {
		return nil, malformed(fmt.Sprintf("unknown query parameter %q", attestd.Excerpt(name, 40)), hint)
	}
	return values, nil
}
