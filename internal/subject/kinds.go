package subject

import (
	"strings"

	"github.com/attestd/attestd"
)

// Editions that ids are of.
const (
	EditionLLM     = "OWASP Top 10 for LLM Applications 2025"
	EditionAgentic = "OWASP Top 10 for Agentic Applications 2026"
	EditionATLAS   = "MITRE ATLAS 5.6"
)

// Kind is something that others than attestd can report of a caller.
type Kind struct {
	// Code names it in the registry.
	Code Code
	// Group is its root cause: of several signals of one group the strongest counts.
	Group attestd.Group
	// Points that it has at full confidence.
	Points int
	// OWASP and ATLAS are the ids that mean it. Where an id is listed with several kinds, it stands
	// for the first of them.
	OWASP, ATLAS []string
	// Meaning is for people.
	Meaning string
}

// Groups of kinds.
const (
	groupPrompt attestd.Group = "prompt"
	groupOutput attestd.Group = "output"
	groupData   attestd.Group = "data"
	groupTools  attestd.Group = "tools"
	groupSupply attestd.Group = "supply-chain"
	groupUse    attestd.Group = "use"
	groupHost   attestd.Group = "host"
)

// kinds are all there are. The techniques are OWASP's own cross references where it has some (LLM01
// to LLM04, LLM07 and LLM10), and else those whose description fits.
var kinds = []Kind{
	{"prompt-injection", groupPrompt, 30, []string{"LLM01"},
		[]string{"AML.T0051", "AML.T0051.000", "AML.T0051.001", "AML.T0051.002"},
		"a prompt carries instructions that are not its author's"},
	{"jailbreak", groupPrompt, 25, nil, []string{"AML.T0054"},
		"a prompt talks the model out of its rules"},
	{"goal-hijack", groupPrompt, 30, []string{"ASI01"}, []string{"AML.T0051.001"},
		"the agent follows another goal than the one it was given"},
	{"context-poisoning", groupPrompt, 25, []string{"ASI06"}, []string{"AML.T0080"},
		"its memory or context holds what somebody planted"},
	{"system-prompt-leak", groupOutput, 15, []string{"LLM07"}, []string{"AML.T0056"},
		"the system prompt went out"},
	{"sensitive-disclosure", groupOutput, 30, []string{"LLM02"}, []string{"AML.T0057", "AML.T0024"},
		"an output has data that the reader may not have"},
	{"secret-in-output", groupOutput, 30, nil, []string{"AML.T0055", "AML.T0057"},
		"an output refers to a deployment's secrets"},
	{"improper-output", groupOutput, 15, []string{"LLM05"}, []string{"AML.T0050"},
		"an output would be run by what reads it"},
	{"misinformation", groupOutput, 5, []string{"LLM09"}, nil,
		"an output is not so"},
	{"trust-exploitation", groupOutput, 20, []string{"ASI09"}, nil,
		"an output leads a person to do what the agent may not"},
	{"data-poisoning", groupData, 25, []string{"LLM04"}, []string{"AML.T0020", "AML.T0018"},
		"what it learns from was tampered with"},
	{"retrieval-poisoning", groupData, 25, []string{"LLM08"},
		[]string{"AML.T0070", "AML.T0071", "AML.T0085.000"},
		"what it retrieves was planted, or is not its own"},
	{"exfiltration", groupTools, 30, nil, []string{"AML.T0086", "AML.T0025"},
		"data leaves through a tool"},
	{"tool-misuse", groupTools, 25, []string{"ASI02"}, []string{"AML.T0053"},
		"a tool is called for what it is not meant for"},
	{"excessive-agency", groupTools, 20, []string{"LLM06"}, []string{"AML.T0053"},
		"the agent does more than it was asked to"},
	{"code-execution", groupTools, 30, []string{"ASI05"}, []string{"AML.T0050"},
		"code ran that nobody meant to run"},
	{"insecure-agent-message", groupTools, 20, []string{"ASI07"}, nil,
		"a message between agents was forged or read"},
	{"cascading-failure", groupUse, 15, []string{"ASI08"}, []string{"AML.T0029"},
		"its failure takes others with it"},
	{"unbounded-use", groupUse, 15, []string{"LLM10"},
		[]string{"AML.T0029", "AML.T0034", "AML.T0024", "AML.T0025"},
		"it uses more than it is worth"},
	{"supply-chain", groupSupply, 30, []string{"LLM03", "ASI04"},
		[]string{
			"AML.T0010", "AML.T0010.001", "AML.T0010.003", "AML.T0010.005", "AML.T0109", "AML.T0110",
		},
		"a part of it is not what it was meant to be"},
	{"rogue-agent", groupHost, 30, []string{"ASI10"}, []string{"AML.T0081"},
		"the agent itself was changed, or acts against its owner"},
	{"host-compromise", groupHost, 30, nil, []string{"AML.T0112", "AML.T0105"},
		"an endpoint agent says that the machine is somebody else's"},
	{"credential-access", GroupToken, 30, nil,
		[]string{"AML.T0090", "AML.T0098", "AML.T0082", "AML.T0083", "AML.T0106"},
		"it reads credentials that are not its own"},
	{"identity-abuse", GroupToken, 30, []string{"ASI03"},
		[]string{"AML.T0012", "AML.T0073", "AML.T0091", "AML.T0091.000"},
		"its identity is used by somebody else, or for more than it is for"},
}

// Kinds returns all kinds.
func Kinds() []Kind { return kinds }

// KindOf finds a kind by its code, or by an id of OWASP's, with or without its edition, or of
// ATLAS.
func KindOf(name string) (Kind, bool) {
	owasp := strings.TrimSuffix(strings.TrimSuffix(name, ":2025"), ":2026")
	if strings.HasPrefix(owasp, "LLM") && strings.HasSuffix(name, ":2026") ||
		strings.HasPrefix(owasp, "ASI") && strings.HasSuffix(name, ":2025") {
		return Kind{}, false
	}
	for _, one := range kinds {
		if string(one.Code) == name {
			return one, true
		}
	}
	for _, one := range kinds {
		for _, id := range one.OWASP {
			if id == owasp {
				return one, true
			}
		}
		for _, id := range one.ATLAS {
			if id == name {
				return one, true
			}
		}
	}
	return Kind{}, false
}
