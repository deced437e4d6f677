package attestd

import "fmt"

// CheckID is the stable name of one check: the format or area, a slash, and what is checked, as in
// "sev-snp/tcb-floor". It is the same in the CLI, the API, the documentation and metrics.
type CheckID string

// Result of a check. The zero Result is ResultMissing, which counts as a failure wherever results
// are counted: a check that did not run did not pass.
type Result uint8

// Results of a check.
const (
	// ResultMissing is the zero value: no result was ever set.
	ResultMissing Result = iota
	// ResultPass means that what was wanted was seen.
	ResultPass
	// ResultFail means that it was not.
	ResultFail
	// ResultNotApplicable means that the check has no meaning for this evidence, or that the policy
	// says in so many words that any value will do. It is never used for a check that was skipped.
	ResultNotApplicable
)

var resultNames = [...]string{"missing", "pass", "fail", "not-applicable"}

// String returns the name used in JSON: "pass", "fail" or "not-applicable".
func (r Result) String() string { return nameOf(resultNames[:], int(r)) }

// MarshalText implements [encoding.TextMarshaler].
func (r Result) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]; unknown names are errors.
func (r *Result) UnmarshalText(text []byte) error {
	index, err := indexOf(resultNames[:], "result", text)
	*r = Result(index) //nolint:gosec // index of an array of four
	return err
}

// Check is one named step of a verification or an appraisal, with its outcome.
type Check struct {
	ID CheckID `json:"id"`
	// Device is the path of the device that the check is about where evidence is composed of several;
	// empty for what is about the whole.
	Device string `json:"device,omitempty"`
	Result Result `json:"result"`
	// Got and Want say what was seen and what was wanted, in words or hex. Foreign text in them is
	// quoted and cut; nonces and keys are never in them.
	Got  string `json:"got"`
	Want string `json:"want"`
	// Spec names document, revision and section that demand the check.
	Spec string `json:"spec"`
	// Hint says what to do where the check failed.
	Hint string `json:"hint"`
}

// Stage says who decides what a failed check means.
type Stage uint8

// Stages of a check. The zero Stage is the stricter one.
const (
	// StageVerify checks are decided by cryptography, freshness and binding: no policy can waive one.
	StageVerify Stage = iota
	// StageAppraise checks compare a verified fact with what the policy wants; the policy says
	// whether a difference rejects, leaves undecided, or adds risk.
	StageAppraise
)

// Rule says how an appraised check compares its fact with what the policy wants.
type Rule uint8

// Rules of appraised checks.
const (
	// RuleNone marks a check that no policy parameter steers (every StageVerify check).
	RuleNone Rule = iota
	// RuleFlag wants a bool fact to be the given value.
	RuleFlag
	// RuleOneOf wants an integer or text fact to be among the given values.
	RuleOneOf
	// RuleAtLeast wants an integer fact to be the given value or more.
	RuleAtLeast
	// RuleFloor wants every component of a components fact to be at least the floor that the policy
	// gives for the claims' product. Components are compared one by one, never as one number.
	RuleFloor
	// RuleAtMost wants an integer fact to be the given value or less.
	RuleAtMost
	// RuleDigest wants a bytes fact to be among the given hex strings.
	RuleDigest
	// RuleReference wants the claims' registers to match an active reference value.
	RuleReference
	// RuleCovers wants an integer fact, read as a set of bits, to hold every one of the given numbers
	// from 0 to 63: the set may be larger, never smaller.
	RuleCovers
	// RuleNoneOf wants a bytes or text fact to be visible and none of the given hex strings or texts,
	// which stand under the key `deny` where other rules have `want`. A text with blanks in it is read as
	// several names, of which none may be denied.
	RuleNoneOf
)

// CheckSpec is what is known about a check before it runs. `attestd explain` and the tables of the
// documentation are made from it.
type CheckSpec struct {
	ID CheckID
	// Proves says what is true when the check passes, as a sentence without a full stop.
	Proves string
	// Why says what an attacker gains where the check is missing.
	Why string
	// Spec names document, revision and section.
	Spec string
	// Hint says what a person does when it fails; it names a command where there is one.
	Hint string
	// Class of the error where the check fails.
	Class Class
	// Group is the root cause that the check speaks of (see [Reason]); one of the Group constants.
	Group Group
	// Stage says whether a policy has a say.
	Stage Stage
	// Rule and Fact say how a StageAppraise check is decided: the fact of that name is compared.
	Rule Rule
	Fact string
	// Values are the texts that a policy may want of a RuleOneOf fact; none where the fact is open or
	// a number. A fact can hold others, such as "missing": wanting those would be demanding nothing.
	// Of a RuleNoneOf text fact they are those that can be denied: a misspelt one would deny nothing. Of a
	// RuleFlag fact it is the one value that can be wanted, since of a Required check the other would wave
	// it through. Of a RuleFloor fact they are the components that each floor must name.
	Values []string
	// Required says that a policy can neither wave the check through (`any`) nor score its failure: it
	// rejects or leaves undecided. A policy that says otherwise is a configuration error.
	Required bool
}

// Group is a root cause. Within a group only the worst reason counts towards the risk, so that one
// cause with many symptoms is not counted many times.
type Group string

// The root causes there are.
const (
	GroupAuthenticity Group = "authenticity" // signature, chain, encoding, freshness, binding
	GroupRoots        Group = "roots"        // roots that were not compiled in
	GroupDebug        Group = "debug"        // the guest can be read or changed from outside
	GroupTCB          Group = "tcb"          // firmware, microcode, advisories, their age
	GroupPlatform     Group = "platform"     // how the host and the guest are configured
	GroupIdentity     Group = "identity"     // which machine, whose machine
	GroupMeasurement  Group = "measurement"  // what runs
	GroupCollateral   Group = "collateral"   // CRLs and TCB information, their presence and age
	GroupChallenge    Group = "challenge"    // nonce life time and single use
)

func nameOf(names []string, index int) string {
	if index < 0 || index >= len(names) {
		return fmt.Sprintf("invalid(%d)", index)
	}
	return names[index]
}

// indexOf returns 0, the denying zero value, beside every error.
func indexOf(names []string, kind string, text []byte) (int, error) {
	for index, name := range names {
		if name == string(text) {
			return index, nil
		}
	}
	return 0, fmt.Errorf("unknown %s %q", kind, Excerpt(string(text), 40))
}
