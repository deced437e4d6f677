package appraisal

import (
	"errors"

	"github.com/attestd/attestd"
)

// Schema names the policy document.
const Schema = "attestd.policy.v1"

// Names of the built-in policies.
const (
	Production = "production"
	Recorded   = "recorded"
)

// Policy is one policy document, read and complete. It is immutable and safe for concurrent use.
type Policy struct {
	ref      attestd.PolicyRef
	document []byte
}

// BuiltinNames lists the policies that are compiled in.
func BuiltinNames() []string { return []string{Production, Recorded} }

// Builtin returns the compiled-in policy called name.
func Builtin(name string) (*Policy, error) { return nil, errors.New("not yet") }

// ParsePolicy reads a policy document. Source names it in messages.
func ParsePolicy(source string, doc []byte) (*Policy, error) { return nil, errors.New("not yet") }

// Ref returns the policy's id and the digest of its document.
func (p *Policy) Ref() attestd.PolicyRef { return p.ref }

// Document returns a copy of the document as it was read.
func (p *Policy) Document() []byte { return append([]byte(nil), p.document...) }
