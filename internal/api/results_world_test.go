package api_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/api"
	"github.com/attestd/attestd/internal/keys"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/result"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/internal/subject"
)

// fence is an index in which everything is trusted, or held.
type fence struct {
	mu   sync.Mutex
	held attestd.State
}

func (f *fence) hold(state attestd.State) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held = state
}

func (f *fence) Held(keys ...subject.Key) (attestd.State, subject.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.held == attestd.StateUnknown || len(keys) == 0 {
		return attestd.StateUnknown, subject.Key{}
	}
	return f.held, keys[0]
}

func (f *fence) GrantOn(id subject.ID, _ []subject.ID, now time.Time, decide live.Decide) error {
	_, err := decide(live.Standing{
		ID: id, Known: true, Tenant: "default", State: attestd.StateTrusted, Risk: attestd.Risk(5),
		DueAt: now.Add(time.Hour),
	}, nil)
	return err
}

// results are signed with a key of the test's own.
func (w *world) results(o options, served *service.Service) api.Results {
	w.Helper()
	if !o.signed {
		return nil
	}
	if o.fence == nil {
		o.fence = &fence{}
	}
	ring, err := keys.Open(context.Background(), keys.Config{
		Purpose: keys.PurposeResult, Folder: filepath.Join(w.TempDir(), "keys"), Lifetime: 5 * time.Minute, Now: w.store.Now,
	})
	w.must(err)
	w.Cleanup(func() { _ = ring.Close() })
	issuer, err := result.New(result.Config{
		Ring: ring, Profile: "veraison-2023", Lifetime: 5 * time.Minute, Developer: "attestd", Build: "test",
		Now: w.store.Now,
	})
	w.must(err)
	made, err := service.NewResults(service.ResultsConfig{
		Appraisal: served.Appraisal, Fence: o.fence, Signer: issuer, MaxAge: time.Hour, Now: w.store.Now,
		Notes: noNotes{}, TrustDomain: "example.org",
	})
	w.must(err)
	if o.results != nil {
		return o.results(made)
	}
	return made
}

// exchange is a request and its answer, for the test that compares them with the API's description in
// a module of its own.
type exchange struct {
	Method, URL             string
	RequestType, Accept     string
	Request                 []byte
	Status                  int
	ResponseType            string
	Response                []byte
	Location, RetryAfter    string
	SecFetchSite, Origin    string
	ContentEncoding, Sender string
}

var recording sync.Mutex

// digestOf is how results name an appraisal.
func digestOf(id string) string {
	digest := sha256.Sum256([]byte(id))
	return hex.EncodeToString(digest[:])
}

// appraisalOf finds in the store what a result is about: nobody else can.
func (w *world) appraisalOf(submod object) string {
	w.Helper()
	database, err := sql.Open("sqlite", "file:"+w.path)
	w.must(err)
	defer func() { _ = database.Close() }()
	rows, err := database.Query("SELECT id FROM appraisals")
	w.must(err)
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id string
		w.must(rows.Scan(&id))
		if digestOf(id) == own(submod, "appraisal_sha256") {
			return id
		}
	}
	w.Fatal("no appraisal is the result's")
	return ""
}

// record appends an exchange to the file that ATTESTD_EXCHANGES names.
func (w *world) record(request *http.Request, sent []byte, response *http.Response, read []byte) {
	path := os.Getenv("ATTESTD_EXCHANGES")
	if path == "" {
		return
	}
	line, err := json.Marshal(exchange{
		Method: request.Method, URL: request.URL.RequestURI(), Request: sent,
		RequestType: request.Header.Get("Content-Type"), Accept: request.Header.Get("Accept"),
		Status: response.StatusCode, ResponseType: response.Header.Get("Content-Type"), Response: read,
		Location: response.Header.Get("Location"), RetryAfter: response.Header.Get("Retry-After"),
		ContentEncoding: request.Header.Get("Content-Encoding"), Origin: request.Header.Get("Origin"),
		SecFetchSite: request.Header.Get("Sec-Fetch-Site"), Sender: w.Name(),
	})
	w.must(err)
	recording.Lock()
	defer recording.Unlock()
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	w.must(err)
	_, err = file.Write(append(bytes.TrimSpace(line), '\n'))
	w.must(err)
	w.must(file.Close())
}
