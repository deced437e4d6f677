package decision

import (
	"regexp"
	"strings"
)

// Redacted stands for what was taken out of a text.
const Redacted = "[redacted]"

// secrets are what nothing that is kept or sent on may hold: tokens as three parts of base64url or more that
// begin as a JSON object does (RFC 7515 section 7.1, RFC 7516 section 7.1), what follows "Bearer", "Basic"
// and "token=", and PEM. Enforcement points are
// told to send none, and answers hold none of their own: this is for those that put a URL with a token
// into a resource's id. They are looked for in each text by itself, as it is before JSON escapes it: in a
// line, an escape and what follows it could be taken for one, and the line would be JSON no more.
var secrets = regexp.MustCompile(`ey[JAoI][A-Za-z0-9_-]{8,}(?:\.|%2[Ee])[A-Za-z0-9_-]*(?:(?:\.|%2[Ee])[A-Za-z0-9_-]*)+` +
	`|(?i:bearer|basic)(?:[ +:\t]|%20)+[A-Za-z0-9._~+/=-]{16,}` +
	`|(?i:token=)[^&\s"]{8,}`)

// pem begins a key or a certificate; all that follows is taken for it.
const pem = "-----BEGIN "

// Redact returns a text that an enforcement point or a caller chose without what is a secret in it, and
// reports whether there was any.
func Redact(text string) (string, bool) {
	before, _, found := strings.Cut(text, pem)
	if found {
		text = before + Redacted
	}
	if !secrets.MatchString(text) {
		return text, found
	}
	return secrets.ReplaceAllLiteralString(text, Redacted), true
}
