package authzen

import (
	"fmt"

	"github.com/attestd/attestd/internal/decision"
)

// Semantics of several evaluations (AuthZEN 1.0, Evaluations semantics).
const (
	executeAll          = "execute_all"
	denyOnFirstDeny     = "deny_on_first_deny"
	permitOnFirstPermit = "permit_on_first_permit"
)

// maxEvaluations is how many questions one request may have.
const maxEvaluations = 100

// document is a request.
type document struct {
	question
	// evaluations are nil where the request is of one question.
	evaluations []question
	semantic    string
}

// readDocument reads the body of an evaluation or, where several may be, of evaluations.
func readDocument(body []byte, several bool) (document, error) {
	out := document{semantic: executeAll}
	c, err := newCursor(body)
	if err != nil {
		return out, err
	}
	err = c.object(func(key string) error {
		switch {
		case several && key == "evaluations":
			return c.array(maxEvaluations, func(int) error {
				var one question
				err := c.object(func(key string) error { return one.read(c, key) })
				out.evaluations = append(out.evaluations, one)
				return err
			})
		case several && key == "options":
			return c.object(func(key string) error {
				if key != "evaluations_semantic" {
					return c.skip()
				}
				return readSemantic(c, &out.semantic)
			})
		default:
			return out.read(c, key)
		}
	})
	if err != nil {
		return out, err
	}
	// Without evaluations, or with none, it is one question.
	if len(out.evaluations) == 0 {
		return out, out.whole()
	}
	return out, nil
}

func (q *question) read(c *cursor, key string) error {
	known, err := q.member(c, key)
	if known || err != nil {
		return err
	}
	return c.skip()
}

func readSemantic(c *cursor, into *string) error {
	text, err := c.bounded(maxType)
	if err != nil {
		return err
	}
	switch text {
	case executeAll, denyOnFirstDeny, permitOnFirstPermit:
		*into = text
		return nil
	default:
		return c.wrong("want %s, %s or %s", executeAll, denyOnFirstDeny, permitOnFirstPermit)
	}
}

// over reports whether the semantic ends the evaluations behind this decision.
func (d *document) over(allowed bool) bool {
	return d.semantic == denyOnFirstDeny && !allowed || d.semantic == permitOnFirstPermit && allowed
}

// answer is a decision as it is written.
type answer struct {
	Decision bool          `json:"decision"`
	Context  answerContext `json:"context"`
}

type answerContext struct {
	// Decision is the id of the record: attestd decision show ID.
	Decision    string                `json:"decision_id,omitempty"`
	Codes       []decision.Code       `json:"reason_codes,omitempty"`
	Admin       map[string]string     `json:"reason_admin,omitempty"`
	User        map[string]string     `json:"reason_user,omitempty"`
	Policy      *answerPolicy         `json:"policy,omitempty"`
	Proofs      *answerProofs         `json:"proofs,omitempty"`
	Obligations []decision.Obligation `json:"obligations,omitempty"`
	Subject     *answerSubject        `json:"subject,omitempty"`
	ATLAS       []string              `json:"atlas,omitempty"`
	RetryAfter  int                   `json:"retry_after,omitempty"`
	Error       *answerError          `json:"error,omitempty"`
}

// answerError says why an evaluation of several is none.
type answerError struct {
	Status  int    `json:"status"`
	Message string `json:"message"`
}

type answerPolicy struct {
	Digest string   `json:"digest"`
	IDs    []string `json:"ids,omitempty"`
}

type answerProofs struct {
	Who    answerProof `json:"who"`
	What   answerProof `json:"what"`
	Policy answerProof `json:"policy"`
}

type answerProof struct {
	OK     bool   `json:"ok"`
	Source string `json:"source,omitempty"`
	// Age is in whole seconds.
	Age    int64  `json:"age_seconds"`
	Detail string `json:"detail,omitempty"`
}

// answerSubject is how the caller stands now.
type answerSubject struct {
	ID         string `json:"id"`
	Tenant     string `json:"tenant,omitempty"`
	State      string `json:"state"`
	Risk       int    `json:"risk_score"`
	Tier       string `json:"risk_tier"`
	Epoch      uint64 `json:"risk_epoch"`
	Attested   bool   `json:"attested"`
	AttestedAt string `json:"attested_at,omitempty"`
}

func proofOf(p decision.Proof) answerProof {
	return answerProof{OK: p.OK, Source: p.Source, Age: int64(p.Age.Seconds()), Detail: p.Detail}
}

// failed is the answer to an evaluation of several that is no question.
func failed(err error) answer {
	return answer{Context: answerContext{
		Codes: []decision.Code{decision.CodeMalformed},
		Error: &answerError{Status: 400, Message: fmt.Sprint(err)},
	}}
}
