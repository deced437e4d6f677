package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/attestd/attestd"
)

// Error says why there is no answer. The server's words in it are cut, and safe to print.
type Error struct {
	// Status is that of the HTTP answer; 0 where there was none.
	Status int
	// Class says what kind of trouble it is: where [attestd.Class.Undecided] holds, nothing was decided,
	// and the same can be asked again, with a new challenge. RATE_LIMITED where there was no answer.
	Class attestd.Class
	// Detail says what was wrong, Hint what to do.
	Detail, Hint string
	// ID finds the entry in the server's log, for class INTERNAL.
	ID string
	// RetryAfter is how long to wait before the next try, where the server said so; else 0.
	RetryAfter time.Duration
	// Appraisal is the whole verdict where it is undecided, or where more was to follow from it and it
	// is rejected; nil otherwise.
	Appraisal *attestd.Appraisal
	// Err is the cause where there was no answer, as the context's.
	Err error

	server string
}

// Error names the server and what was wrong.
func (e *Error) Error() string {
	switch {
	case e.Status == 0 && e.Err != nil:
		return fmt.Sprintf("no answer from %q: %v", e.server, e.Err)
	case e.Detail == "":
		return fmt.Sprintf("%q answered with status %d", e.server, e.Status)
	default:
		return fmt.Sprintf("%q refused: %s", e.server, e.Detail)
	}
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Temporary reports whether the same question may be answered later.
func (e *Error) Temporary() bool { return e.Class.Undecided() }

// maxText bounds texts of the server, maxRetry how long it can make us wait.
const (
	maxText  = 400
	maxRetry = 10 * time.Minute
)

func (c *Client) unreached(err error) *Error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err // what was asked can be in the URL
	}
	return &Error{
		server: attestd.Excerpt(c.named, 100), Class: attestd.ClassRateLimited, Err: err,
		Hint: "check that the verifier runs and can be reached: GET /readyz",
	}
}

// noAttestd is about an answer that no attestd gives.
func (c *Client) noAttestd(status int, detail string) *Error {
	class := attestd.ClassMalformed
	if status >= http.StatusInternalServerError || status == http.StatusTooManyRequests {
		class = attestd.ClassRateLimited // something in between, which may pass
	}
	return &Error{
		server: attestd.Excerpt(c.named, 100), Status: status, Class: class, Detail: detail,
		Hint: "check that the address is that of an attestd",
	}
}

// refused reads a problem document (RFC 9457).
func (c *Client) refused(got answer) *Error {
	var problem struct {
		Class     attestd.Class      `json:"class"`
		Detail    string             `json:"detail"`
		Hint      string             `json:"hint"`
		ID        string             `json:"id"`
		Appraisal *attestd.Appraisal `json:"appraisal"`
	}
	media, _, _ := mime.ParseMediaType(got.header.Get("Content-Type"))
	if media != mediaProblem || json.Unmarshal(got.body, &problem) != nil || problem.Class == "" {
		return c.noAttestd(got.status, "")
	}
	out := &Error{
		server: attestd.Excerpt(c.named, 100), Status: got.status,
		Class:  attestd.Class(attestd.Excerpt(string(problem.Class), 40)),
		Detail: attestd.Excerpt(problem.Detail, maxText), Hint: attestd.Excerpt(problem.Hint, maxText),
		ID: attestd.Excerpt(problem.ID, 64), RetryAfter: retryAfter(got.header),
	}
	// No problem comes with a verdict that accepts: whoever reads one must not find it.
	if given := problem.Appraisal; given != nil && given.Verdict != attestd.VerdictAccepted &&
		given.Schema == attestd.VerdictSchema {
		out.Appraisal = given
	}
	return out
}

// retryAfter reads seconds (RFC 9110 section 10.2.3); attestd gives no dates.
func retryAfter(header http.Header) time.Duration {
	seconds, err := strconv.ParseUint(header.Get("Retry-After"), 10, 16)
	if err != nil {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, maxRetry) //nolint:gosec // 16 bits
}
