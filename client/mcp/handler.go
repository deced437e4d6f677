package mcp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/client/decide"
)

// Handler returns a handler that stands in front of a server over HTTP (transport "Streamable HTTP") and
// hands it the messages that pass, byte for byte. Opening the stream of the server's messages (GET) and
// ending a session (DELETE) are questions about the server, and so is a client's answer to a request of
// the server. Batches, which version 2025-06-18 took out of the protocol, are refused.
func (g *Guard) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		said := message{}
		switch r.Method {
		case http.MethodPost:
			var refused *Error
			if said, r, refused = readRequest(w, r); refused != nil {
				answer(w, http.StatusBadRequest, nil, refused)
				return
			}
		case http.MethodGet, http.MethodDelete:
		default:
			w.Header().Set("Allow", "GET, POST, DELETE")
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		if said.method != "" && passes(said.method, said.id != nil) {
			next.ServeHTTP(w, r)
			return
		}
		credential, err := g.config.Credential(r)
		if err != nil {
			refuse := denied(decide.Unauthenticated())
			w.Header().Set("Www-Authenticate", refuse.Decision.Challenge())
			answer(w, http.StatusUnauthorized, said.id, refuse)
			return
		}
		if err := g.check(r, credential, said); err != nil {
			g.refuse(w, said.id, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// check decides about a message; one without a method is about the server.
func (g *Guard) check(r *http.Request, credential decide.Credential, said message) error {
	if said.method == "" {
		return g.ask(r.Context(), decide.Question{
			Credential: credential, Wish: decide.Wish{Action: actionList, Resource: g.config.Server},
		})
	}
	return g.Check(r.Context(), credential, said.method, said.params, said.id != nil)
}

// refuse writes why a message does not pass. That the credential is none is said as HTTP says it, so that
// a client fetches another; all else is an answer of JSON-RPC, which clients hand to whoever called.
func (g *Guard) refuse(w http.ResponseWriter, id json.RawMessage, err error) {
	var refused *Error
	if !errors.As(err, &refused) {
		refused = &Error{Code: CodeUnavailable, Message: "Authorization service unavailable"}
	}
	status := http.StatusOK
	if refused.Code == CodeDenied && refused.Decision.Status() == http.StatusUnauthorized {
		status = http.StatusUnauthorized
		w.Header().Set("Www-Authenticate", refused.Decision.Challenge())
	}
	answer(w, status, id, refused)
}

// answer writes an error of JSON-RPC with the id of the message that it is about.
func answer(w http.ResponseWriter, status int, id json.RawMessage, refused *Error) {
	if id == nil {
		id = json.RawMessage("null")
	}
	body, err := json.Marshal(struct {
		Version string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Error   *Error          `json:"error"`
	}{"2.0", id, refused})
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if err == nil {
		_, _ = w.Write(body) // who does not read its denial is denied all the same
	}
}

// message is one of JSON-RPC 2.0. Without a method it is the answer to one.
type message struct {
	method     string
	id, params json.RawMessage
}

const maxID = 256

// readRequest reads the message of a request and puts its bytes back.
func readRequest(w http.ResponseWriter, r *http.Request) (message, *http.Request, *Error) {
	refuse := func(format string, args ...any) (message, *http.Request, *Error) {
		return message{}, nil, &Error{Code: CodeInvalid, Message: fmt.Sprintf(format, args...)}
	}
	if r.Header.Get("Content-Encoding") != "" {
		return refuse("a body with Content-Encoding is not taken")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxMessage))
	if err != nil {
		return refuse("the message cannot be read, or has more than %d bytes", maxMessage)
	}
	said, err := readMessage(body)
	if err != nil {
		return refuse("no message of JSON-RPC 2.0: %s", attestd.Excerpt(err.Error(), 160))
	}
	r = r.Clone(r.Context())
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return said, r, nil
}

func readMessage(body []byte) (message, error) {
	if strings.HasPrefix(strings.TrimLeft(string(body[:min(len(body), 64)]), " \t\r\n"), "[") {
		return message{}, errors.New("a batch")
	}
	given, err := readObject(body)
	if err != nil {
		return message{}, err
	}
	var version string
	if json.Unmarshal(given["jsonrpc"], &version) != nil || version != "2.0" {
		return message{}, errors.New("jsonrpc is not 2.0")
	}
	for key := range given {
		switch key {
		case "jsonrpc", "id", "method", "params", "result", "error":
		default: // "Method" is one of these for some who read it
			return message{}, fmt.Errorf("key %q", attestd.Excerpt(key, 40))
		}
	}
	out := message{id: given["id"], params: given["params"]}
	if len(out.id) > maxID || len(out.id) != 0 && (out.id[0] == '{' || out.id[0] == '[') {
		return message{}, errors.New("id is neither a text nor a number")
	}
	raw, isCall := given["method"]
	if !isCall {
		if given["result"] == nil && given["error"] == nil {
			return message{}, errors.New("neither a method nor an answer")
		}
		return out, nil
	}
	if json.Unmarshal(raw, &out.method) != nil || out.method == "" || len(out.method) > maxName {
		return message{}, errors.New("method is no text")
	}
	return out, nil
}
