package tpm

import (
	"errors"

	"github.com/attestd/attestd"
)

// Core returns what is made of every quote and no more: structures, attributes, algorithms, signature,
// Qualified Name, extraData, selection and digest, of a key that was seen before.
func Core(v *Verifier, input attestd.Input) (func() error, error) {
	parts, bad := open(input.Evidence)
	if bad != nil {
		return nil, errors.New(bad.got)
	}
	want, _ := input.Demand.Freshness()
	return func() error {
		var q quote
		if q.key, bad = v.readKey(parts.AKPublic); bad != nil {
			return errors.New(string(bad.check))
		}
		for _, bad := range [...]*fault{
			q.key.check(), readQuote(&q, parts.Quote, parts.QuoteSignature), v.checkSigned(&q),
			q.checkSigner(parts.AKParents), q.checkFreshness(want), q.checkBanks(),
			q.checkSelection(parts.PCRs), q.checkDigest(parts.PCRs),
		} {
			if bad != nil {
				return errors.New(string(bad.check))
			}
		}
		return nil
	}, nil
}

// Kept returns how many keys and certificates the verifier remembers.
func Kept(v *Verifier) int { return v.keys.Len() + v.endorsementKeys.Len() + v.store.Kept() }
