package api

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/problem"
	"github.com/attestd/attestd/internal/svid"
)

// schema is a JSON schema (draft 2020-12), as OpenAPI 3.1 has them.
type schema map[string]any

// schemas makes schemas of the types that the code reads and writes, so that the description cannot say
// something else than what is served.
type schemas struct {
	components schema
	err        error
}

// named are the types that have a place of their own in the description, with what they are.
func named() map[reflect.Type]struct{ name, about string } {
	return map[reflect.Type]struct{ name, about string }{
		reflect.TypeFor[challengeRequest]():    {"ChallengeRequest", "What a challenge is wished for."},
		reflect.TypeFor[verifyRequest]():       {"VerifyRequest", "Evidence that answers a challenge."},
		reflect.TypeFor[recordedRequest]():     {"RecordedRequest", "Evidence from an archive."},
		reflect.TypeFor[svidRequest]():         {"SVIDRequest", "Evidence that binds a key, and what for."},
		reflect.TypeFor[endorsementsRequest](): {"Endorsements", "Certificates and CRLs in PEM, or in base64 of DER."},
		reflect.TypeFor[challenge.Reply]():     {"ChallengeReply", "A challenge and its signature."},
		reflect.TypeFor[attestd.Challenge]():   {"Challenge", "What evidence must answer."},
		reflect.TypeFor[attestd.Appraisal]():   {"Verdict", "A verdict with everything that led to it."},
		reflect.TypeFor[answered]():            {"VerdictWithResult", "A verdict and the signed result about it."},
		reflect.TypeFor[attestd.Standing]():    {"Standing", "Who it is, whose it is and in which state."},
		reflect.TypeFor[svid.Document]():       {"SVID", "An identity."},
		reflect.TypeFor[problem.Problem]():     {"Problem", "Why there is no answer (RFC 9457)."},
		reflect.TypeFor[sessionDocument]():     {"Session", "A challenge-response session of project Veraison."},
		reflect.TypeFor[discoveryDocument]():   {"Discovery", "What this verifier offers to Veraison's clients."},
		reflect.TypeFor[keySetDocument]():      {"KeySet", "A JWK set (RFC 7517)."},
		reflect.TypeFor[stateAnswer]():         {"State", "The answer of a probe."},
	}
}

// keySetDocument is a JWK set as far as it is described.
type keySetDocument struct {
	Keys []map[string]any `json:"keys"`
}

// of returns the schema of a type, by reference where the type has a name.
func (s *schemas) of(kind reflect.Type) schema {
	for kind.Kind() == reflect.Pointer {
		kind = kind.Elem()
	}
	if known, ok := named()[kind]; ok {
		if _, made := s.components[known.name]; !made {
			s.components[known.name] = schema{} // before its fields, which can name it again
			made := s.object(kind)
			made["description"] = known.about
			s.components[known.name] = made
		}
		return schema{"$ref": "#/components/schemas/" + known.name}
	}
	return s.plain(kind)
}

func (s *schemas) plain(kind reflect.Type) schema {
	switch kind {
	case reflect.TypeFor[time.Time]():
		return schema{"type": "string", "format": "date-time"}
	case reflect.TypeFor[json.RawMessage]():
		return schema{"type": []string{"object", "null"}}
	case reflect.TypeFor[attestd.RiskScore]():
		return schema{"type": "integer", "minimum": 0, "maximum": 100}
	case reflect.TypeFor[attestd.Format]():
		return schema{"type": "string", "examples": attestd.Formats()}
	case reflect.TypeFor[octets]():
		return schema{"type": "string", "contentEncoding": "base64", "minLength": 1}
	case reflect.TypeFor[word]():
		return schema{"type": "string", "minLength": 1}
	case reflect.TypeFor[sessionState]():
		return schema{"type": "string", "enum": []sessionState{
			sessionWaiting, sessionProcessing, sessionComplete, sessionFailed,
		}}
	}
	if names := namesOf(kind); names != nil {
		return schema{"type": "string", "enum": names}
	}
	switch kind.Kind() {
	case reflect.String:
		return schema{"type": "string"}
	case reflect.Bool:
		return schema{"type": "boolean"}
	case reflect.Int, reflect.Int8, reflect.Int64, reflect.Uint64:
		return schema{"type": "integer"}
	case reflect.Slice:
		if kind.Elem().Kind() == reflect.Uint8 {
			return schema{"type": "string", "contentEncoding": "base64"}
		}
		return schema{"type": "array", "items": s.of(kind.Elem())}
	case reflect.Map:
		return schema{"type": "object", "additionalProperties": s.of(kind.Elem())}
	case reflect.Interface:
		return schema{}
	case reflect.Struct:
		return s.object(kind)
	default:
		s.err = fmt.Errorf("no schema for %s", kind)
		return nil
	}
}

// namesOf returns the names of a type that is a number here and a name in JSON; nil where it is not.
func namesOf(kind reflect.Type) (names []string) {
	if kind.Kind() != reflect.Uint8 {
		return nil
	}
	for number := range uint64(32) {
		value := reflect.New(kind)
		value.Elem().SetUint(number)
		from, ok := value.Elem().Interface().(encoding.TextMarshaler)
		into, back := reflect.New(kind).Interface().(encoding.TextUnmarshaler)
		if !ok || !back {
			return nil
		}
		text, err := from.MarshalText()
		if err != nil || into.UnmarshalText(text) != nil {
			break
		}
		names = append(names, string(text))
	}
	return names
}

// object describes a struct by its JSON members. Of what is read, members marked need:"" are required and
// none beside them are taken; what is written has all members but those that can be left out.
func (s *schemas) object(kind reflect.Type) schema {
	read := strings.HasSuffix(kind.Name(), "Request")
	properties, required := schema{}, []string{}
	var fields func(kind reflect.Type)
	fields = func(kind reflect.Type) {
		for i := range kind.NumField() {
			field := kind.Field(i)
			if field.Anonymous {
				fields(field.Type)
				continue
			}
			name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
			if name == "-" || name == "" {
				continue
			}
			made := s.of(field.Type)
			if about := field.Tag.Get("doc"); about != "" {
				made["description"] = about
			}
			properties[name] = made
			_, needed := field.Tag.Lookup("need")
			if needed || !read && !strings.HasPrefix(options, "omit") {
				required = append(required, name)
			}
		}
	}
	fields(kind)
	made := schema{"type": "object", "properties": properties}
	if len(required) != 0 {
		made["required"] = required
	}
	if read {
		made["additionalProperties"] = false
	}
	return made
}
