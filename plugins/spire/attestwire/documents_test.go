package attestwire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/plugins/spire/attestwire"
)

const agentID = "spiffe://example.org/spire/agent/attestd/tpm/m1"

func documents() []attestwire.Document {
	return []attestwire.Document{
		&attestwire.Opening{
			V: 1, Format: attestd.FormatTPM, Tenant: "blue", AttestationKey: []byte{1},
			EndorsementKey: []byte{2},
		},
		&attestwire.Opening{V: 1, Format: attestd.FormatNitro, Tenant: "blue"},
		&attestwire.Opening{V: 1, Canary: "c-1"},
		&attestwire.Challenge{V: 1, Challenge: wire.NodeChallenge{
			Challenge: json.RawMessage(`{"challenge":{"id":"1"}}`),
			Keys:      json.RawMessage(`{"keys":[{"kid":"1"}]}`),
		}},
		&attestwire.Answer{
			V: 1, Evidence: []byte("evidence"), KeySPKI: []byte{3}, ActivationSecret: []byte{4},
			EnrolmentToken: "token",
			Endorsements:   attestwire.Endorsements{Certificates: [][]byte{{5}}, CRLs: [][]byte{{6}}},
		},
		&attestwire.Outcome{
			V: 1, AgentID: agentID, AppraisalID: "a-1", Grade: wire.GradeBound,
			Enlist: &wire.Enlist{AgentID: agentID, Certificates: [][]byte{{7}}},
		},
		&attestwire.Outcome{V: 1, AgentID: agentID, AppraisalID: "a-1", Grade: wire.GradeNone},
		&attestwire.Receipt{V: 1, Received: true},
	}
}

func TestWhatOneSideWritesTheOtherReads(t *testing.T) {
	for _, document := range documents() {
		text, err := attestwire.Encode(document)
		if err != nil {
			t.Fatalf("%T: %v", document, err)
		}
		// of the same type
		read := reflect.New(reflect.TypeOf(document).Elem()).Interface().(attestwire.Document) //nolint:forcetypeassert
		if err := attestwire.Decode(text, read); err != nil {
			t.Errorf("%T: %v", document, err)
		}
		if !reflect.DeepEqual(document, read) {
			t.Errorf("got %+v, want %+v", read, document)
		}
	}
}

// TestALargestAnswerFits: evidence as large as verifiers take it, with everything beside it.
func TestALargestAnswerFits(t *testing.T) {
	answer := attestwire.Answer{V: 1, Evidence: bytes.Repeat([]byte{255}, 1<<20),
		KeySPKI: make([]byte, 1<<10)}
	text, err := attestwire.Encode(&answer)
	if err != nil {
		t.Fatal(err)
	}
	if err := attestwire.Decode(text, &attestwire.Answer{}); err != nil {
		t.Error(err)
	}
	answer.Evidence = append(answer.Evidence, 0)
	if _, err := attestwire.Encode(&answer); err == nil {
		t.Error("evidence of a byte more was taken")
	}
}

func TestDocumentsThatAreRefused(t *testing.T) {
	long := strings.Repeat("a", 9<<10)
	for _, row := range []struct {
		name, text string
		into       attestwire.Document
		want       string
	}{
		// neg: 193
		{"an id in a payload", `{"v":1,"format":"tpm","tenant":"a","agent_id":"x"}`,
			&attestwire.Opening{}, "unknown key"},
		{"selectors in an answer",
			`{"v":1,"evidence":"AA==","endorsements":{},"selectors":["tier:low"]}`,
			&attestwire.Answer{}, "unknown key"},
		{"a tenant in an answer", `{"v":1,"evidence":"AA==","endorsements":{},"tenant":"b"}`,
			&attestwire.Answer{}, "unknown key"},
		{"a key in other case", `{"v":1,"Format":"tpm","tenant":"a"}`, &attestwire.Opening{},
			"unknown key"},
		{"two tenants", `{"v":1,"format":"tpm","tenant":"a","tenant":"b"}`, &attestwire.Opening{},
			"duplicate key"},
		{"something behind it", `{"v":1,"format":"tpm","tenant":"a"}{}`, &attestwire.Opening{},
			"bytes follow"},
		{"of another version", `{"v":2,"format":"tpm","tenant":"a"}`, &attestwire.Opening{},
			"v is 2, want 1"},
		{"without a version", `{"format":"tpm","tenant":"a"}`, &attestwire.Opening{},
			"v is 0, want 1"},
		{"of no format", `{"v":1,"tenant":"a"}`, &attestwire.Opening{}, "unknown format"},
		{"of an unknown format", `{"v":1,"format":"sgx","tenant":"a"}`, &attestwire.Opening{},
			"unknown format"},
		{"of no tenant", `{"v":1,"format":"tpm"}`, &attestwire.Opening{}, "tenant"},
		{"of a tenant with a line break", `{"v":1,"format":"tpm","tenant":"a\nb"}`,
			&attestwire.Opening{}, "tenant"},
		{"an attestation key alone", `{"v":1,"format":"tpm","tenant":"a","attestation_key":"AA=="}`,
			&attestwire.Opening{}, "without the other"},
		{"a canary with a format", `{"v":1,"canary":"c","format":"tpm"}`, &attestwire.Opening{},
			"nothing else"},
		{"a canary with a tenant", `{"v":1,"canary":"c","tenant":"a"}`, &attestwire.Opening{},
			"nothing else"},
		{"a canary with a line break", `{"v":1,"canary":"c\n"}`, &attestwire.Opening{},
			"printable"},
		{"a canary of another version", `{"v":3,"canary":"c"}`, &attestwire.Opening{}, "v is 3"},
		{"a long opening", `{"v":1,"format":"tpm","tenant":"` + long + `"}`, &attestwire.Opening{},
			"at most 8192"},
		{"no evidence", `{"v":1,"endorsements":{}}`, &attestwire.Answer{}, "evidence has 0 bytes"},
		{"an empty certificate", `{"v":1,"evidence":"AA==","endorsements":{"certificates":[""]}}`,
			&attestwire.Answer{}, "certificates has 0 bytes"},
		{"seventeen certificates", `{"v":1,"evidence":"AA==","endorsements":{"certificates":[` +
			strings.Repeat(`"AA==",`, 16) + `"AA=="]}}`, &attestwire.Answer{}, "17 items"},
		{"a token with a space",
			`{"v":1,"evidence":"AA==","endorsements":{},"enrolment_token":"a b"}`,
			&attestwire.Answer{}, "printable"},
		{"no challenge", `{"v":1,"challenge":{"keys":{}}}`, &attestwire.Challenge{},
			"challenge has 0 bytes"},
		{"a challenge without keys", `{"v":1,"challenge":{"challenge":{}}}`,
			&attestwire.Challenge{}, "keys has 0 bytes"},
		{"an unknown grade", `{"v":1,"agent_id":"x","appraisal_id":"y","grade":"best"}`,
			&attestwire.Outcome{}, "grade"},
		{"no grade", `{"v":1,"agent_id":"x","appraisal_id":"y"}`, &attestwire.Outcome{}, "grade"},
		{"no agent", `{"v":1,"agent_id":"","appraisal_id":"y","grade":"none"}`,
			&attestwire.Outcome{}, "agent_id"},
		{"no appraisal", `{"v":1,"agent_id":"x","appraisal_id":"","grade":"none"}`,
			&attestwire.Outcome{}, "appraisal_id"},
		{"a receipt that denies", `{"v":1,"received":false}`, &attestwire.Receipt{}, "not true"},
		{"an empty receipt", `{"v":1}`, &attestwire.Receipt{}, "not true"},
		{"nothing", ``, &attestwire.Receipt{}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			err := attestwire.Decode([]byte(row.text), row.into)
			var caller *attestd.CallerError
			if !errors.As(err, &caller) || caller.Class != attestd.ClassMalformed ||
				caller.Hint == "" ||
				!strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want a MALFORMED with %q", err, row.want)
			}
		})
	}
}

func TestAnOutcomeSpeaksOfOneAgent(t *testing.T) {
	for name, change := range map[string]func(*attestwire.Outcome){
		"a certificate for another": func(o *attestwire.Outcome) { o.Enlist.AgentID += "2" },
		"a certificate without key": func(o *attestwire.Outcome) { o.Grade = wire.GradeNone },
	} {
		outcome := attestwire.Outcome{
			V: 1, AgentID: agentID, AppraisalID: "a-1", Grade: wire.GradeBound,
			Enlist: &wire.Enlist{AgentID: agentID},
		}
		if _, err := attestwire.Encode(&outcome); err != nil {
			t.Fatal(err)
		}
		change(&outcome)
		if _, err := attestwire.Encode(&outcome); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, document := range documents() {
		text, err := attestwire.Encode(document)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		before := bytes.Clone(text)
		for _, into := range []attestwire.Document{
			&attestwire.Opening{}, &attestwire.Challenge{}, &attestwire.Answer{},
			&attestwire.Outcome{}, &attestwire.Receipt{},
		} {
			if attestwire.Decode(text, into) != nil {
				continue
			}
			if _, err := attestwire.Encode(into); err != nil {
				t.Errorf("%T was read and cannot be written: %v", into, err)
			}
		}
		if !bytes.Equal(before, text) {
			t.Error("the input was written to")
		}
	})
}
