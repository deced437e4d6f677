package explain

import "github.com/attestd/attestd"

// outcome is how a class reaches people, by the one table of STYLE: HTTP, gRPC, exit code.
type outcome struct{ answer, hint string }

var (
	rejected = outcome{"evidence rejected: HTTP 200, gRPC PermissionDenied, exit 3",
		"the failed check of the verdict says what to do: `attestd explain` and its id"}
	undecided = outcome{"could not decide: HTTP 503 with Retry-After, gRPC Unavailable, exit 4",
		"ask again when what is missing is there; it is never a pass"}
	barred = outcome{"subject barred: HTTP 403, gRPC PermissionDenied, exit 3",
		"good evidence does not lift it: a person has to release the subject"}
)

type class struct {
	class    attestd.Class
	title    string
	why      string
	outcome  outcome
	hint     string // where it is another than the outcome's
	asAnswer string // where it is another than the outcome's
}

var classes = []class{
	{class: attestd.ClassMalformed, title: "not encoded as the format demands", outcome: rejected,
		why: "two readers could see two things in it; a broken envelope or request is the " +
			"caller's: HTTP 400, exit 2"},
	{class: attestd.ClassTooLarge, title: "over a limit", outcome: rejected,
		why: "hostile input must cost less than honest input; a request over the limit is the " +
			"caller's: HTTP 413, exit 2"},
	{class: attestd.ClassUnsupported, title: "version, product or algorithm not known here",
		outcome: rejected, why: "what is not known is never assumed to be like what is; an unknown " +
			"format is the caller's: HTTP 415, exit 2"},
	{class: attestd.ClassSignature, title: "a signature over evidence is bad", outcome: rejected,
		why: "the evidence was changed, or was never signed by that key"},
	{class: attestd.ClassChain, title: "no path to a pinned root", outcome: rejected,
		why: "anyone can make a chain of their own; only the vendor's counts"},
	{class: attestd.ClassCertTime, title: "a certificate is not valid at the time", outcome: rejected,
		why:  "keys that expired may have leaked since; old evidence would be good for ever",
		hint: "collect new evidence; for an archive, judge with --recorded --at its time"},
	{class: attestd.ClassRevokedCert, title: "a certificate was revoked", outcome: rejected,
		why: "the vendor says that the key is no longer to be trusted"},
	{class: attestd.ClassCollateralInvalid, title: "a CRL or TCB information is not the vendor's",
		outcome: rejected, why: "a forged list could hide a revocation"},
	{class: attestd.ClassBinding, title: "nonce, key or report data differ", outcome: rejected,
		why: "the evidence was made for another question, another key or another verifier"},
	{class: attestd.ClassReplay, title: "the nonce was used before, or was never ours",
		outcome: rejected, why: "evidence seen once on the wire must not be good twice",
		hint: "ask for a new challenge and collect the evidence with its nonce"},
	{class: attestd.ClassStale, title: "too old, or from the future", outcome: rejected,
		why:  "an attester that has time can have evidence made elsewhere",
		hint: "collect new evidence; check the clocks"},
	{class: attestd.ClassMeasurement, title: "what runs is not what was expected", outcome: rejected,
		why: "genuine hardware measures an attacker's image as faithfully as yours"},
	{class: attestd.ClassDebug, title: "the guest can be read from outside", outcome: rejected,
		why: "a debug guest keeps no secret from its host"},
	{class: attestd.ClassTCB, title: "firmware below the floor", outcome: rejected,
		why: "known holes in old firmware let a host forge or read what it should not"},
	{class: attestd.ClassPlatform, title: "host or guest configured otherwise", outcome: rejected,
		why: "a setting that the policy does not allow weakens what the evidence means"},
	{class: attestd.ClassKeyProperties, title: "a key is not of the kind it must be",
		outcome: rejected, why: "a key that can leave its device proves nothing about the device"},
	{class: attestd.ClassQuarantined, title: "the subject is in quarantine", outcome: barred,
		why: "somebody or something decided that it must not act until it is released"},
	{class: attestd.ClassRevokedSubject, title: "the subject is revoked", outcome: barred,
		why: "a person decided that it must never act again"},
	{class: attestd.ClassPolicyDeny, title: "the policy denies it", outcome: barred,
		why:  "the policy names no rules under which this could be accepted",
		hint: "see which formats the policy names; docs/policy.md"},
	{class: attestd.ClassCollateralStale, title: "a CRL or TCB information is past its time",
		outcome: undecided, why: "a revocation since then would not be in it"},
	{class: attestd.ClassCollateralUnavailable, title: "a certificate, CRL or TCB information is missing",
		outcome: undecided, why: "without it nobody can say whether the evidence is good",
		hint: "give the vendor's files with --collateral, or in the request"},
	{class: attestd.ClassPolicyUnavailable, title: "no policy could be loaded", outcome: undecided,
		why: "without a policy nothing would be demanded"},
	{class: attestd.ClassStoreUnavailable, title: "the store does not answer", outcome: undecided,
		why:  "whether a nonce was used, or a subject is barred, cannot be known",
		hint: "look at /readyz and at the disk of the machine that runs attestd"},
	{class: attestd.ClassRateLimited, title: "too many requests", outcome: undecided,
		why:      "one client must not take the place of the others",
		asAnswer: "try later: HTTP 429 with Retry-After, gRPC ResourceExhausted, exit 4",
		hint:     "wait as long as Retry-After says"},
	{class: attestd.ClassUnauthenticated, title: "no accepted credential",
		why:      "nobody knows who asks",
		asAnswer: "caller: HTTP 401, gRPC Unauthenticated, exit 2", hint: "give the client certificate"},
	{class: attestd.ClassForbidden, title: "not allowed to ask this",
		why:      "one tenant must not learn what another has: it reads like not found",
		asAnswer: "caller: HTTP 403, or 404 across tenants, gRPC PermissionDenied, exit 2",
		hint:     "ask whoever runs attestd for the right"},
	{class: attestd.ClassConflict, title: "something else was there first",
		why:      "two answers to one question would contradict each other",
		asAnswer: "caller: HTTP 409, gRPC Aborted, exit 3", hint: "read the present state, then ask again"},
	{class: attestd.ClassConfig, title: "a configuration, policy or reference file will not do",
		why:      "a file that is only half understood would demand only half",
		asAnswer: "refuses to start, exit 2", hint: "mend every line that the message names"},
	{class: attestd.ClassInternal, title: "a fault of attestd",
		why:      "it is never a pass, and never said to be the evidence's fault",
		asAnswer: "bug: HTTP 500 with an id, gRPC Internal, exit 1",
		hint:     "report it with the id and the output of `attestd version`"},
}

func classEntries() []Entry {
	var out []Entry
	for _, class := range classes {
		answer, hint := class.outcome.answer, class.outcome.hint
		if class.asAnswer != "" {
			answer = class.asAnswer
		}
		if class.hint != "" {
			hint = class.hint
		}
		out = append(out, Entry{
			ID: string(class.class), Kind: KindClass, Title: class.title,
			Why: class.why + " (" + answer + ")", Hint: hint, Class: class.class,
			Spec: "attestd: docs/checks.md, error classes",
		})
	}
	return out
}

// groups are the root causes, in the order of the vocabulary.
var groups = []struct {
	group attestd.Group
	why   string
}{
	{attestd.GroupAuthenticity, "signature, chain, encoding, freshness, binding: no policy waives it"},
	{attestd.GroupRoots, "roots that were loaded by hand: a floor of 60, and no summand"},
	{attestd.GroupDebug, "the guest can be read or changed from outside"},
	{attestd.GroupTCB, "firmware and microcode, their advisories and their age: one cause"},
	{attestd.GroupPlatform, "how the host and the guest are configured"},
	{attestd.GroupIdentity, "which machine it is, and whose"},
	{attestd.GroupMeasurement, "what runs"},
	{attestd.GroupCollateral, "revocation lists and TCB information, their presence and age"},
	{attestd.GroupChallenge, "life time and single use of a nonce"},
}

func groupEntries() []Entry {
	var out []Entry
	for _, group := range groups {
		out = append(out, Entry{
			ID: "group/" + string(group.group), Kind: KindGroup,
			Title: "root cause of reasons: " + string(group.group), Why: group.why, Group: group.group,
			Hint: "within a group only the worst reason counts towards the risk; see docs/policy.md",
			Spec: "attestd: docs/policy.md, how the risk is added up",
		})
	}
	return out
}
