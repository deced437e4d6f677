// Package asked has what a test asks a workload, and what the workload answers: JSON lines.
package asked

import "time"

// What a workload can be told to do.
const (
	JWT   = "jwt"
	X509  = "x509"
	Watch = "watch" // X.509 updates as they come; each is an Answer with the number 0
)

// Question is one line to a workload.
type Question struct {
	Number   int           `json:"number"`
	Do       string        `json:"do"`
	Audience string        `json:"audience,omitempty"`
	ID       string        `json:"id,omitempty"` // of several JWT-SVIDs
	Within   time.Duration `json:"within"`
	// Persist asks again until it is answered or Within is over.
	Persist bool `json:"persist,omitempty"`
	// Judge has the JWT-SVID judged by the Workload API's bundles; X509-SVIDs always are.
	Judge bool `json:"judge,omitempty"`
}

// Answer is one line from a workload.
type Answer struct {
	Number int       `json:"number"`
	OK     bool      `json:"ok"`
	At     time.Time `json:"at"`
	// Took is the time of the last attempt.
	Took    time.Duration  `json:"took"`
	Error   string         `json:"error,omitempty"`
	Code    string         `json:"code,omitempty"` // of gRPC, as in "PermissionDenied"
	ID      string         `json:"id,omitempty"`
	Token   string         `json:"token,omitempty"`
	Claims  map[string]any `json:"claims,omitempty"`
	Expires time.Time      `json:"expires,omitzero"`
	SVIDs   []X509SVID     `json:"svids,omitempty"`
}

// X509SVID is one X509-SVID that go-spiffe verified.
type X509SVID struct {
	ID           string   `json:"id"`
	Hint         string   `json:"hint,omitempty"`
	Certificates [][]byte `json:"certificates"`
	// Until when it is good.
	Until time.Time `json:"until"`
}
