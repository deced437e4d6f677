package issuance

import "github.com/attestd/attestd/internal/subject"

// Slack is how much longer than SPIRE's map what was learned is kept.
const Slack = slack

// Escape and Word write values.
var (
	Escape = escape
	Word   = word
)

// Learn takes in that a node attested itself just now.
func Learn(o *Office, id subject.ID, selectors []string) {
	o.learned.learn(id, facts{}, selectors, nil, o.config.Now())
}
