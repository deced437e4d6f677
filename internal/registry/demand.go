package registry

import (
	"fmt"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// Bounds of one write. They are far above what a decision makes and keep one from filling a
// transaction that others share.
const (
	maxRows    = 20000 // of each kind: an import comes in pages
	maxKey     = 512
	maxWord    = 512
	maxWords   = 8192
	maxSignals = 64
)

// demandWrite refuses a write that cannot be carried out, before it shares a transaction with others:
// a constraint of the database would fail them all.
//
// Errors: a [*attestd.CallerError] of class MALFORMED.
func demandWrite(write subject.Write) error {
	for _, count := range []int{
		len(write.Unbarred), len(write.Owned), len(write.Subjects), len(write.Bars), len(write.Owners),
		len(write.History), len(write.Audit),
	} {
		if count > maxRows {
			return malformed("a write of %d rows, want at most %d", count, maxRows)
		}
	}
	for _, rows := range []func(subject.Write) error{
		demandKeys, demandSubjects, demandBars, demandOwners, demandTokens, demandEvents,
	} {
		if err := rows(write); err != nil {
			return err
		}
	}
	changes := len(write.Subjects)+len(write.Bars)+len(write.Owners)+len(write.History) > 0 ||
		write.Token != nil || write.NewToken != nil
	if changes && len(write.Audit) == 0 {
		return malformed("a write that changes something and leaves no record of it")
	}
	return nil
}

func demandKey(key subject.Key) error {
	if key.Kind == "" || key.Value == "" {
		return malformed("a key without kind or value")
	}
	if err := demandTexts(maxKey, key.Kind); err != nil {
		return err
	}
	return demandTexts(maxText, key.Value)
}

func demandKeys(write subject.Write) error {
	for _, key := range write.Unbarred {
		if err := demandKey(key); err != nil {
			return err
		}
	}
	for _, owned := range write.Owned {
		if err := demandKey(owned.Key); err != nil {
			return err
		}
	}
	return nil
}

func demandSubjects(write subject.Write) error {
	seen := map[string]bool{}
	for _, row := range write.Subjects {
		next := row.Next
		if _, err := subject.ParseID(string(next.ID)); err != nil {
			return err
		}
		if seen[next.ID.Fold()] {
			return malformed("one subject twice in a write")
		}
		seen[next.ID.Fold()] = true
		kind := next.Instance.Kind
		if next.Instance.Value != "" && kind != attestd.HandleInstance {
			return malformed("a subject whose instance is a handle of kind %q", kind)
		}
		if next.State > attestd.StateRevoked || len(next.Signals) > maxSignals {
			return malformed("a subject in state %d with %d signals", next.State, len(next.Signals))
		}
		for _, signal := range next.Signals {
			if err := demandTexts(maxWords, signal.Detail, signal.Source, string(signal.Code)); err != nil {
				return err
			}
		}
		if err := demandTexts(maxWord, next.Tenant, string(next.Format), next.Instance.Value,
			next.Boot, next.Host, string(next.Ownership), next.AppraisalID); err != nil {
			return err
		}
	}
	return nil
}

func demandBars(write subject.Write) error {
	seen := map[subject.Key]bool{}
	for _, row := range write.Bars {
		if err := demandKey(row.Key); err != nil {
			return err
		}
		if seen[row.Key] {
			return malformed("one key is held or freed twice in a write")
		}
		seen[row.Key] = true
		bar := row.Next
		if bar == nil {
			continue
		}
		if bar.Key != row.Key || bar.Tenant == "" ||
			bar.State != attestd.StateQuarantined && bar.State != attestd.StateRevoked {
			return malformed("a hold of another key, without a tenant, or that holds nothing")
		}
		if err := demandTexts(maxText, string(bar.Subject)); err != nil {
			return err
		}
		if err := demandTexts(maxWords, bar.Tenant, string(bar.Code), bar.Text, bar.Ticket, bar.By,
			bar.Boot); err != nil {
			return err
		}
	}
	return nil
}

func demandOwners(write subject.Write) error {
	seen := map[subject.Key]bool{}
	for _, row := range write.Owners {
		if err := demandKey(row.Key); err != nil {
			return err
		}
		if seen[row.Key] {
			return malformed("one key is owned twice in a write")
		}
		seen[row.Key] = true
		owner := row.Next
		if owner == nil {
			continue
		}
		switch owner.Status {
		case subject.StatusPending, subject.StatusApproved, subject.StatusDenied:
		default:
			return malformed("an ownership of status %q", attestd.Excerpt(string(owner.Status), 20))
		}
		if owner.Key != row.Key || owner.Status == subject.StatusApproved && owner.Tenant == "" {
			return malformed("an ownership of another key, or approved for no tenant")
		}
		if err := demandTexts(maxWords, owner.Tenant, string(owner.Method), owner.Label, owner.Source,
			owner.Format, owner.By); err != nil {
			return err
		}
	}
	return nil
}

func demandTokens(write subject.Write) error {
	if write.Token != nil {
		if err := demandTexts(maxWord, write.Token.ID); err != nil {
			return err
		}
		if err := demandKey(write.Token.By); err != nil {
			return err
		}
	}
	token := write.NewToken
	if token == nil {
		return nil
	}
	if token.ID == "" || token.Tenant == "" || len(token.Formats) == 0 || token.ExpiresAt.IsZero() ||
		token.Secret == [32]byte{} {
		return malformed("an enrolment token without id, secret, tenant, formats or end")
	}
	return demandTexts(maxWord, append([]string{
		token.ID, token.Tenant, token.Label, token.By,
	}, token.Formats...)...)
}

func demandEvents(write subject.Write) error {
	for _, event := range write.History {
		if event.Kind == "" || event.ID == "" {
			return malformed("an event without kind or subject")
		}
		if err := demandTexts(maxText, string(event.ID)); err != nil {
			return err
		}
		if err := demandTexts(maxWords, event.Tenant, event.Kind, event.Actor, event.Detail,
			event.AppraisalID); err != nil {
			return fmt.Errorf("event: %w", err)
		}
	}
	return nil
}
