package explain

import (
	"github.com/attestd/attestd/internal/subject"
)

// KindSubject is for what adds to the risk of a subject, as attestd subject show lists it.
const KindSubject Kind = "subject"

// subjectWords are the reasons of a subject's risk. Those of signals have the signal's code.
var subjectWords = []struct{ name, title, why, hint string }{
	{"evidence", "the risk of its latest authentic evidence, or that it never gave any",
		"What the policy scored is the least that a subject's risk can be.",
		"attestd subject history ID names the checks that made it"},
	{"quarantined", "it is held until another person releases it",
		"Nothing is granted to it, on any evidence: what was taken over while it ran attests well.",
		"attestd why ID; then attestd release, after a rebirth and by somebody else"},
	{"revoked", "it is held for ever",
		"Nothing lifts a revocation: its hardware is not to come back.",
		"other hardware, under another name"},
	{string(subject.CodeOverdue), "fresh evidence is due, or late",
		"What nobody has looked at since may be anything by now.",
		"look at the agent's log on the machine; let it attest"},
	{string(subject.CodeOwnership), "the machine is nobody's any more",
		"An enrolment ended, or was denied or removed: genuine hardware may be somebody else's.",
		"attestd enroll ls; attestd enroll approve KEY, if it is ours, and let it attest"},
	{string(subject.CodeClockBack), "the clock of its TPM went back once",
		"A virtual TPM was restored, a TPM was cleared, or there are two of it.",
		"ask who restored it; it ends by itself after a day"},
	{string(subject.CodeTwoKeys), "a key came back within one boot after another took its place",
		"Two agents take turns in one name: a restart of an agent changes keys once, and not back.",
		"look for two agents on the machine, or a copy of it; it ends by itself after a day"},
	{string(subject.CodeKeyChurn), "three key changes within a minute",
		"An agent does not make keys so often; several that share a name do.",
		"look for several agents in one name; it ends by itself after a day"},
	{string(subject.CodeClone), "there is a copy of the machine",
		"An earlier boot came back, or counters went back: only two machines in one name do that.",
		"find both, re-image, then attestd release with the ticket"},
	{string(subject.CodeTenantPivot), "it asked for the data of several other tenants",
		"One other tenant is a mistake; several are somebody who looks round.",
		"attestd decision ls --subject ID; it ends by itself after four hours"},
	{string(subject.CodeTwoPlaces), "one credential was shown from two places",
		"A token that was copied is used by two: one of them is not the caller.",
		"attestd decision ls --subject ID names the addresses; it ends by itself after four hours"},
	{string(subject.CodeNovelScope), "it asked for much that it never had asked for",
		"What a workload needs changes with its releases, and seldom all at once.",
		"attestd decision ls --subject ID; it ends by itself after an hour"},
	{string(subject.CodeDenialBurst), "it was denied many times in a row",
		"Whoever tries what it may not is told apart from whoever errs once. Denials alone hold nobody.",
		"attestd decision ls --subject ID; it ends by itself after a quarter of an hour"},
}

func subjectEntries() []Entry {
	out := make([]Entry, 0, len(subjectWords))
	for _, words := range subjectWords {
		out = append(out, Entry{
			ID: "subject/" + words.name, Kind: KindSubject, Title: words.title, Why: words.why,
			Hint: words.hint, Spec: "attestd: docs/explain/states.md",
		})
	}
	for _, kind := range subject.Kinds() {
		out = append(out, Entry{
			ID: "subject/" + string(kind.Code), Kind: KindSubject, Title: "reported: " + kind.Meaning,
			Why: "An enforcement point reported it. Its word adds some points, which fade; all reports " +
				"together make nobody's risk high.",
			Hint: "attestd subject history ID names the source, its rule and the digest of its evidence",
			Spec: "attestd: docs/decisions/signals.md",
		})
	}
	return out
}
