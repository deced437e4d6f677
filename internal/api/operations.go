package api

import (
	"net/http"
	"reflect"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/svid"
)

// operation is what the API's description says of a route. Schemas are made of the types that the
// route's code reads and writes.
type operation struct {
	summary string
	query   []parameter
	// bodies are the media types of the request with the type of each; nil for bytes.
	bodies map[string]reflect.Type
	// answers are those that are no problem, and problems the statuses of those that are.
	answers  []reply
	problems []int
	// example is a request that anybody can send, and what it is answered with.
	example *example
}

type parameter struct {
	name, about string
	required    bool
	shape       schema
}

type reply struct {
	status int
	about  string
	media  string
	// shape is the type of the body; nil for text.
	shape reflect.Type
	// headers are its headers with what they say.
	headers map[string]string
}

// example is run by a test.
type example struct {
	media string
	body  string
	query string
	gives int
}

func textSchema() schema { return schema{"type": "string", "minLength": 1} }

func optional(name, about string) parameter { return parameter{name, about, false, textSchema()} }

func (o operation) with(problems ...int) operation {
	o.problems = problems
	return o
}

func aboutChallenges() operation {
	return operation{
		summary: "Issue a challenge that evidence must answer, good for one use.",
		bodies:  map[string]reflect.Type{mediaJSON: reflect.TypeFor[challengeRequest]()},
		answers: []reply{{
			status: http.StatusCreated, about: "The challenge.", media: mediaJSON,
			shape: reflect.TypeFor[challenge.Reply](),
		}},
		example: &example{media: mediaJSON, body: `{"format": "nitro"}`, gives: http.StatusCreated},
	}.with(400, 403, 409, 413, 415, 429, 500, 503)
}

func evidenceBodies(request reflect.Type) map[string]reflect.Type {
	return map[string]reflect.Type{mediaJSON: request, mediaCBOR: nil, mediaBytes: nil}
}

func verdicts(shape reflect.Type) []reply {
	return []reply{{
		status: http.StatusOK, about: "The verdict: read its member verdict, also of a 200.",
		media: mediaJSON, shape: shape,
	}}
}

func aboutVerify() operation {
	return operation{
		summary: "Judge evidence that answers a challenge, and keep the verdict.",
		query: []parameter{
			optional("challenge_id", "The challenge; raw evidence only, as all of these."),
			optional("format", "The challenge's format."),
			optional("tenant", "The challenge's tenant; default."),
			optional("purpose", "The challenge's purpose; verify."),
			{"freshness", "How the evidence holds the challenge.", false, schema{
				"type": "string", "enum": []string{
					attestd.FreshnessBinding.String(), attestd.FreshnessNonce.String(),
				},
			}},
			{"result", "Have a signed result beside the verdict.", false, schema{
				"type": "string", "enum": []string{resultEAR},
			}},
			optional("result_profile", "The result's profile; the configured one."),
			optional("result_audience", "Whom the result is for; left out of it."),
		},
		bodies:  evidenceBodies(reflect.TypeFor[verifyRequest]()),
		answers: verdicts(reflect.TypeFor[answered]()),
		example: &example{
			media: mediaJSON, gives: http.StatusOK,
			body: `{"challenge_id": "6f0c1d0e-6f5e-4a53-9f2c-0a7f3b1c2d4e", "format": "nitro", ` +
				`"evidence": "aGVsbG8="}`,
		},
	}.with(400, 401, 403, 409, 413, 415, 429, 500, 503)
}

func aboutRecorded() operation {
	return operation{
		summary: "Judge evidence from an archive, without freshness; nothing is kept. Off by default.",
		query: []parameter{
			optional("format", "Detected if left out; raw evidence only, as all of these."),
			{"at", "The time to judge as of; now if left out.", false, schema{
				"type": "string", "format": "date-time",
			}},
			optional("nonce", "The nonce that must be in it, in hex."),
		},
		bodies:  evidenceBodies(reflect.TypeFor[recordedRequest]()),
		answers: verdicts(reflect.TypeFor[attestd.Appraisal]()),
		example: &example{
			media: mediaJSON, gives: http.StatusOK, body: `{"format": "nitro", "evidence": "aGVsbG8="}`,
		},
	}.with(400, 403, 413, 415, 429, 500, 503)
}

func aboutSVID() operation {
	return operation{
		summary: "Issue an X509-SVID or a JWT-SVID for the key that evidence binds.",
		bodies:  map[string]reflect.Type{mediaJSON: reflect.TypeFor[svidRequest]()},
		answers: []reply{
			{
				status: http.StatusOK, about: "The identity.", media: mediaJSON,
				shape: reflect.TypeFor[svid.Document](),
			},
			{status: http.StatusOK, about: "A compact JWE of it, with encrypt.", media: mediaJOSE},
		},
	}.with(400, 401, 403, 409, 413, 415, 429, 500, 503)
}

func aboutAppraisal() operation {
	return operation{
		summary: "Return a verdict that was kept, byte for byte.",
		answers: verdicts(reflect.TypeFor[attestd.Appraisal]()),
	}.with(400, 404, 500, 503)
}

func aboutEAR() operation {
	return operation{
		summary: "Sign a result about a verdict that was kept.",
		query: []parameter{
			optional("profile", "The result's profile; the configured one."),
			optional("audience", "Whom the result is for; left out of it."),
			optional("nonce", "8 to 64 bytes in base64url that the result shows."),
		},
		answers: []reply{{
			status: http.StatusOK, about: "An EAR as a compact JWS.", media: mediaEAR,
		}},
	}.with(400, 403, 404, 500, 503)
}

const cacheAge = "max-age: for how long the set may be kept."

func aboutKeys() operation {
	return operation{
		summary: "The keys that challenges are signed with.",
		answers: []reply{{
			status: http.StatusOK, about: "A JWK set.", media: mediaKeySet,
			shape:   reflect.TypeFor[keySetDocument](),
			headers: map[string]string{"Cache-Control": cacheAge},
		}},
		example: &example{gives: http.StatusOK},
	}.with(500)
}

func aboutResultKeys() operation {
	return operation{
		summary: "The keys that results are signed with.",
		answers: []reply{{
			status: http.StatusOK, about: "A JWK set, the key that signs now first.", media: mediaKeySet,
			shape:   reflect.TypeFor[keySetDocument](),
			headers: map[string]string{"Cache-Control": cacheAge},
		}},
		example: &example{gives: http.StatusOK},
	}.with(400, 500)
}

func sessionReply(status int, about string) reply {
	return reply{
		status: status, about: about, media: mediaSession, shape: reflect.TypeFor[sessionDocument](),
	}
}

func aboutNewSession() operation {
	created := sessionReply(http.StatusCreated, "The session waits for evidence.")
	created.headers = map[string]string{"Location": "The session's path, relative to this one."}
	return operation{
		summary: "Open a session of Veraison's challenge-response API.",
		query: []parameter{
			{"nonceSize", "Length of the nonce in bytes; 64 for SEV-SNP.", false, schema{
				"type": "integer", "minimum": attestd.MinNonce, "maximum": challenge.MaxNonce,
			}},
			optional("nonce", "A nonce of the client's own, 32 to 64 bytes in base64url, in place of ours."),
			optional("tenant", "A tenant of this verifier; default. Not in Veraison's description."),
		},
		answers: []reply{created},
		example: &example{query: "nonceSize=64", gives: http.StatusCreated},
	}.with(400, 403, 404, 406, 429, 500, 503)
}

func aboutAnswerSession() operation {
	bodies := map[string]reflect.Type{mediaTSMCBOR: nil, mediaTSMJSON: nil}
	for _, format := range attestd.Formats() {
		bodies[mediaEvidence+string(format)] = nil
	}
	return operation{
		summary: "Hand in the evidence of a session, once.",
		bodies:  bodies,
		answers: []reply{sessionReply(http.StatusOK, "The session is complete and has a result.")},
	}.with(400, 403, 404, 406, 409, 413, 415, 429, 500, 503)
}

func aboutShowSession() operation {
	return operation{
		summary: "Look at a session. Its result is signed anew.",
		answers: []reply{sessionReply(http.StatusOK, "The session.")},
	}.with(400, 403, 404, 406, 500, 503)
}

func aboutDeleteSession() operation {
	return operation{
		summary: "Forget a session.",
		answers: []reply{{status: http.StatusNoContent, about: "It is forgotten."}},
	}.with(400, 404, 406, 500)
}

func aboutDiscovery() operation {
	return operation{
		summary: "What this verifier offers to Veraison's clients.",
		answers: []reply{{
			status: http.StatusOK, about: "The verifier.", media: mediaDiscovery,
			shape: reflect.TypeFor[discoveryDocument](),
		}},
		example: &example{gives: http.StatusOK},
	}.with(400, 404, 406, 500)
}

func aboutOpenAPI() operation {
	return operation{
		summary: "This document.",
		answers: []reply{{
			status: http.StatusOK, about: "An OpenAPI 3.1 description.", media: mediaJSON,
			shape: reflect.TypeFor[map[string]any](),
		}},
		example: &example{gives: http.StatusOK},
	}.with(400)
}

func aboutHealth(summary string, problems ...int) operation {
	return operation{
		summary: summary,
		answers: []reply{{
			status: http.StatusOK, about: "Yes.", media: mediaJSON, shape: reflect.TypeFor[stateAnswer](),
		}},
		example: &example{gives: http.StatusOK},
	}.with(problems...)
}

func aboutMetrics() operation {
	return operation{
		summary: "Prometheus metrics.",
		answers: []reply{{status: http.StatusOK, about: "Metrics.", media: "text/plain"}},
		example: &example{gives: http.StatusOK},
	}.with(403)
}
