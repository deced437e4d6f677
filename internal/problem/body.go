package problem

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/attestd/attestd"
)

// readChunk is by how much a body grows: who announces much and sends little holds little.
const readChunk = 16 << 10

// JSON is the one media type that can have a parameter: its charset, which is UTF-8.
const JSON = "application/json"

// MediaType returns the body's type, which must be among accepted. A body with an encoding is refused:
// what a bomb unpacks to is not worth finding out.
func (e *Edge) MediaType(r *http.Request, accepted ...string) (string, error) {
	if encodings := r.Header.Values("Content-Encoding"); len(encodings) != 0 {
		return "", e.unsupported(
			fmt.Sprintf("content encoding %q is not taken", attestd.Excerpt(encodings[0], 40)),
			"send the body as it is, without Content-Encoding")
	}
	hint := "set Content-Type to " + strings.Join(accepted, " or ")
	values := r.Header.Values("Content-Type")
	if len(values) != 1 {
		return "", e.unsupported(fmt.Sprintf("got %d content types, want one", len(values)), hint)
	}
	media, parameters, err := mime.ParseMediaType(values[0])
	if err != nil {
		return "", e.unsupported("content type cannot be read", hint)
	}
	for name, value := range parameters {
		if media != JSON || name != "charset" || !strings.EqualFold(value, "utf-8") {
			return "", e.unsupported(
				fmt.Sprintf("content type has parameter %q", attestd.Excerpt(name, 40)), hint)
		}
	}
	for _, one := range accepted {
		if one == media {
			return media, nil
		}
	}
	return "", e.unsupported(fmt.Sprintf("content type is %q", attestd.Excerpt(media, 60)), hint)
}

func (e *Edge) unsupported(detail, hint string) error {
	return e.New(attestd.ClassUnsupported, detail, hint).
		WithStatus(http.StatusUnsupportedMediaType, "Media type not taken").Err()
}

// Bodies accounts for the bytes of the bodies of all requests of an edge. The zero value with Most set
// is ready.
type Bodies struct {
	// Most is the most bytes of all bodies that are being read or answered; Small is the length up to
	// which a body is read all the same: what is urgent does not wait for somebody's list.
	Most  int64
	Small int

	held atomic.Int64
}

// Held returns how many bytes are held now.
func (b *Bodies) Held() int64 { return b.held.Load() }

// Read returns the body, which can be empty, and a function that must be called when it is no longer
// held.
//
// Errors: an [*Error] of class TOO_LARGE, RATE_LIMITED or MALFORMED.
func (b *Bodies) Read(
	e *Edge, w http.ResponseWriter, r *http.Request, limit int,
) (body []byte, done func(), err error) {
	tooLarge := func() error {
		return e.Refuse(attestd.ClassTooLarge, fmt.Sprintf("the body has more than %d bytes", limit), e.TooLarge)
	}
	if r.ContentLength > int64(limit) {
		return nil, nil, tooLarge()
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
			if b.held.Add(more) > b.Most && grown > b.Small {
				return nil, nil, e.Refuse(attestd.ClassRateLimited,
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
			return nil, nil, tooLarge()
		case readError != nil:
			return nil, nil, e.Refuse(attestd.ClassMalformed,
				"the body ended before its end, or came too slowly",
				"send as many bytes as Content-Length says, within the read time-out")
		}
	}
}
