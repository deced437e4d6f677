package judge

// NewWith returns a judge over the given verifiers.
var NewWith = newWith

// WithCredential is a judge without verifiers and with another maker of credentials.
func WithCredential(make func(CredentialRequest) (Credential, error)) *Judge {
	return &Judge{credential: make}
}
