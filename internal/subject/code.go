package subject

// Code names why a state changed or what a signal says. The set is closed; docs list it.
type Code string

// Codes.
const (
	CodeOperator   Code = "operator"    // a person's own grounds, in words
	CodeOverdue    Code = "overdue"     // fresh evidence is late
	CodeEvidence   Code = "evidence"    // authentic evidence that policy rejects
	CodeClone      Code = "clone"       // one instance in two places, or going back in time
	CodeKeyChurn   Code = "key-churn"   // three key changes within a minute
	CodeReplay     Code = "replay"      // a proven replay
	CodeCompromise Code = "compromised" // a key known to be compromised
	CodeReappraise Code = "reappraised" // stored evidence no longer meets the policy
	CodeTwoKeys    Code = "two-keys"    // two keys took turns within one boot
	CodeClockBack  Code = "clock-back"  // a TPM's clock went back: restored, cleared, or a copy
	CodeOwnership  Code = "ownership"   // the machine is nobody's any more
	CodeRiskSpike  Code = "risk-spike"  // a caller's risk was high or critical when it asked

	// What is seen of a caller while it runs.
	CodeTenantPivot Code = "tenant-pivot"     // it asked for the data of several other tenants
	CodeTwoPlaces   Code = "token-two-places" // one credential was shown from two places
	CodeNovelScope  Code = "novel-scope"      // it asked for much that it never had asked for
	CodeDenialBurst Code = "denial-burst"     // it was denied many times in a row
)
