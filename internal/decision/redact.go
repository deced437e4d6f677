package decision

import "regexp"

// Redacted stands for what was taken out of a text.
const Redacted = "[redacted]"

// secrets are what nothing that is kept or sent on may hold: tokens as three parts of base64url that begin
// as a JSON object does (RFC 7515, section 7.1), what follows "Bearer", and PEM. Enforcement points are
// told to send none, and answers hold none of their own: this is for those that put a URL with a token
// into a resource's id. They are looked for in each text by itself, as it is before JSON escapes it: in a
// line, an escape and what follows it could be taken for one, and the line would be JSON no more.
var secrets = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*` +
	`|(?i:bearer)[ +]+[A-Za-z0-9._~+/=-]{16,}` +
	`|(?s:-----BEGIN .*)`)

// Redact returns a text that an enforcement point or a caller chose without what is a secret in it, and
// reports whether there was any.
func Redact(text string) (string, bool) {
	if !secrets.MatchString(text) {
		return text, false
	}
	return secrets.ReplaceAllLiteralString(text, Redacted), true
}
