package decision

import (
	"time"

	"github.com/google/uuid"
)

// Result is what is decided, and why. The zero Result denies.
type Result struct {
	Allow bool `json:"allow"`
	// Reasons say why, the one that decided first. A denial has at least one.
	Reasons []Reason `json:"reasons"`
	Proofs  Proofs   `json:"proofs"`
	// Obligations bind the enforcement point: where it cannot carry one out, it denies.
	Obligations []Obligation `json:"obligations,omitempty"`
	// Policies are the ids of the policies that decided.
	Policies []string `json:"policies,omitempty"`
}

// Reason is one ground.
type Reason struct {
	Code Code `json:"code"`
	// Detail is for people who may see the subject; it never quotes a token, a prompt or a key.
	Detail string `json:"detail,omitempty"`
}

// Proofs are the three of a decision.
type Proofs struct {
	Who    Proof `json:"who"`
	What   Proof `json:"what"`
	Policy Proof `json:"policy"`
}

// Proof is one of them. The zero Proof was not made.
type Proof struct {
	OK bool `json:"ok"`
	// Source is what made it, as in "jwt-svid", "inventory", "cedar".
	Source string `json:"source,omitempty"`
	// Age is how old what it rests on is.
	Age    time.Duration `json:"-"`
	Detail string        `json:"detail,omitempty"`
}

// Types of obligations (AuthZEN's Obligations profile).
const (
	ObligationStepUp       = "step-up"
	ObligationNotification = "notification"
	ObligationCustom       = "custom"
)

// ACRHardwareFresh is the authentication context class of a step-up by fresh evidence of hardware.
const ACRHardwareFresh = "urn:attestd:acr:hw-fresh"

// Obligation is what the enforcement point must do with the answer.
type Obligation struct {
	ID         string         `json:"id"`
	Type       string         `json:"type"`
	Properties map[string]any `json:"properties,omitempty"`
}

// Ruling is what policies say. The zero Ruling denies.
type Ruling struct {
	Allow bool
	// Policies are the ids of those that decided: what forbids, else what permits.
	Policies []string
	// Reasons are those that the deciding policies name.
	Reasons     []Reason
	Obligations []Obligation
	// Failed says that a policy could not be evaluated, or that there is none: nothing is allowed then.
	Failed Code
	Detail string
}

// PolicySet is one version of all policies; it never changes. Evaluate is safe for concurrent use.
type PolicySet interface {
	// Digest is the SHA-256 over everything that it decides by, as "sha256:HEX".
	Digest() string
	Evaluate(in *Input) Ruling
}

// Answer is a decision that was given.
type Answer struct {
	Result
	// ID (policy_snapshot) is a UUIDv7.
	ID uuid.UUID
	// Policy is the digest of the policies that it was made by.
	Policy string
	Input  *Input
	Took   time.Duration
}
