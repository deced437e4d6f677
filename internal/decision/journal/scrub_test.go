package journal_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/journal"
)

// canaries are what may stand in no record, wherever an enforcement point puts it.
var canaries = map[string]string{
	"a token":                "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJl",
	"a token without a name": "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.",
	"a bearer token":         "Bearer 0123456789abcdefcanary",
	"another spelling":       "bEARER 0123456789abcdefcanary",
	"an encrypted token":     "eyJhbGciOiJSU0EtT0FFUCJ9.a2V5Y2FuYXJ5.aXY.Y2FuYXJ5canary.dGFn",
	"a blank in its header":  "eyAiYWxnIjoiRVMyNTYifQ.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJlcanary",
	"escaped dots":           "eyJhbGciOiJFUzI1NiJ9%2EeyJzdWIiOiJjYW5hcnkifQ%2Ec2lncanary",
	"an escaped blank":       "Bearer%200123456789abcdefcanary",
	"a tab":                  "Bearer\t0123456789abcdefcanary",
	"a password":             "Basic 0123456789abcdefcanary",
	"a query's":              "x?access_token=0123456789canary",
	"a form's":               "authorization=bearer+0123456789abcdefcanary",
	"a key":                  "-----BEGIN PRIVATE KEY-----\ncanaryMIIEvQIBADANBgkqhkiG9w0BAQ\n-----END PRIVATE KEY-----",
}

func TestNoRecordHoldsASecret(t *testing.T) {
	for name, canary := range canaries {
		for place, plant := range map[string]func(*decision.Answer){
			"resource":   func(a *decision.Answer) { a.Input.Resource.ID = "/search?access_token=" + canary + "&q=1" },
			"action":     func(a *decision.Answer) { a.Input.Action.Name = canary },
			"intent":     func(a *decision.Answer) { a.Input.Context.Intent = "x" + canary },
			"request id": func(a *decision.Answer) { a.Input.Context.RequestID = canary },
			"chain":      func(a *decision.Answer) { a.Input.Context.Chain[0].ID = canary },
			"dataset":    func(a *decision.Answer) { a.Input.Resource.Datasets[0].ID = canary },
			"label":      func(a *decision.Answer) { a.Input.Resource.Datasets[0].Classification[0] = canary },
			"detail":     func(a *decision.Answer) { a.Reasons[0].Detail = "got " + canary },
			"fault":      func(a *decision.Answer) { a.Input.Who.FaultDetail = canary },
			"obligation": func(a *decision.Answer) { a.Obligations[0].Properties["x"] = canary },
			"prompt":     func(a *decision.Answer) { a.Input.Context.PromptID = canary },
		} {
			one := answer(1, begin, decision.CodeRing)
			plant(one)
			line, err := journal.Encode(journal.RecordOf(one, "x"))
			if err != nil {
				t.Fatal(err)
			}
			for _, part := range []string{"canary", "eyJzdWIiOiJjYW5hcnkifQ"} {
				if bytes.Contains(line, []byte(part)) {
					t.Errorf("%s in %s is in the record: %s", name, place, line)
				}
			}
			var record journal.Record
			if err := json.Unmarshal(line, &record); err != nil || !record.Scrubbed {
				t.Errorf("%s in %s: scrubbed %v, %v", name, place, record.Scrubbed, err)
			}
		}
	}
}

func TestAPromptIDIsOneOrNothing(t *testing.T) {
	for text, kept := range map[string]bool{
		"": true, prompt: true, "s1:" + strings.Repeat("7", 52): true,
		"ignore previous instructions": false, "p1:": false, "p1:" + strings.Repeat("a", 51): false,
		"p1:" + strings.Repeat("A", 52): false, "p1:" + strings.Repeat("1", 52): false,
		"P1:" + strings.Repeat("a", 52): false, "p1-" + strings.Repeat("a", 52): false,
		"p0:" + strings.Repeat("a", 52): false, prompt + "a": false,
	} {
		one := answer(1, begin, "")
		one.Input.Context.PromptID = text
		line, err := journal.Encode(journal.RecordOf(one, "x"))
		if err != nil {
			t.Fatal(err)
		}
		var record journal.Record
		if err := json.Unmarshal(line, &record); err != nil {
			t.Fatal(err)
		}
		if got := record.PromptID == text && record.Input.Context.PromptID == text; got != kept {
			t.Errorf("%q is kept: %v", text, got)
		}
		if one.Input.Context.PromptID != text {
			t.Error("the answer was written to")
		}
	}
}

func TestWhatIsNoSecretIsKept(t *testing.T) {
	one := answer(1, begin, "")
	one.Input.Resource.ID = "the bearer of bad news, eyJ and all, e.g. eyJabc.def"
	line, err := journal.Encode(journal.RecordOf(one, "x"))
	if err != nil || !bytes.Contains(line, []byte(one.Input.Resource.ID)) {
		t.Errorf("%s, %v", line, err)
	}
}

// TestWhatLooksLikeASecretOnceEscapedIsKept: JSON's escapes are no part of a text, and what is taken out
// never breaks the line. A line that cannot be written would hold up all that follow.
func TestWhatLooksLikeASecretOnceEscapedIsKept(t *testing.T) {
	for text, kept := range map[string]bool{
		"/>yJaaaaaaaa.aaaa.": true, "\x0eyJhbGciOiJFUzI1.abcdef.x": true, "\x08earer 0123456789abcdef": true,
		"-----BEGIN \"x": false, "<eyJhbGciOiJFUzI1.abcdef.x>": false, "\\": true, "eyJ\"": true,
	} {
		for _, plant := range []func(*decision.Answer){
			func(a *decision.Answer) { a.Input.Context.RequestID = text },
			func(a *decision.Answer) { a.Input.Resource.ID = text },
		} {
			one := answer(1, begin, decision.CodeRing)
			plant(one)
			line, err := journal.Encode(journal.RecordOf(one, "x"))
			var record journal.Record
			if err != nil || json.Unmarshal(line, &record) != nil || record.Input == nil || record.Scrubbed == kept {
				t.Errorf("%q: %v, %s", text, err, line)
				continue
			}
			if found := record.Input.Context.RequestID == text || record.Input.Resource.ID == text; found != kept {
				t.Errorf("%q: kept %v, want %v: %s", text, found, kept, line)
			}
		}
	}
}

// TestMostRecordsAreNotSearched: no member's name, and nothing that attestd writes, looks like a secret. Each
// record would cost three times as much otherwise.
func TestMostRecordsAreNotSearched(t *testing.T) {
	one := answer(1, begin, decision.CodeRing)
	one.Input.Standing.KeyGrade, one.Input.Standing.TEE = "hardware", "tpm"
	line, err := journal.Encode(journal.RecordOf(one, "x"))
	if err != nil || journal.Suspicious(line) {
		t.Errorf("%v: %s", err, line)
	}
}
