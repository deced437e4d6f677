package measurements

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/yamldoc"
)

// RegisterRules say what the events of one register may be. They are closed: every event of the
// register must be of a role that is named and meet its rule, every role that is named must occur,
// and the register must be quoted. What a log says of an event beside its digest is anybody's text,
// its type too; in an open list, an image that is not allowed would be called by another name.
type RegisterRules struct {
	Register string
	// Any says that the register must be quoted and may hold whatever it does.
	Any bool
	// Roles are empty where Any is set. Each role stands once.
	Roles []Rule
}

// Rule says what the events of one role may be.
type Rule struct {
	Role   attestd.Role
	Demand Demand
	// Digests of DemandDigest, DemandEntry and DemandContains.
	Digests [][]byte
	// Texts of DemandText and DemandLike.
	Texts []string
}

// Demand is what a rule asks of an event. The zero Demand is met by nothing.
type Demand uint8

// What can be asked of an event.
const (
	// DemandNothingMeets is the zero value.
	DemandNothingMeets Demand = iota
	// DemandAny wants an event whose digest covers what the log says of it.
	DemandAny
	// DemandDigest wants the event's digest to be among the digests.
	DemandDigest
	// DemandEntry wants the event to have entries, and each of them to be among the digests.
	DemandEntry
	// DemandContains wants every one of the digests to be among the event's entries.
	DemandContains
	// DemandText wants the measured text to be one of the texts.
	DemandText
	// DemandLike wants the measured text to match one of the texts as a pattern, from its beginning
	// to its end; a * stands for any characters within one word, or none. Of RoleCommand, {*} at the
	// end of a definition stands for any block of commands.
	DemandLike
)

var demandKeys = [...]string{"", "any", "digest", "entry", "contains", "text", "like"}

// What can be asked of which role. Of an image the log shows nothing but its digest, so any other
// demand would be met by every image; of other roles the digest covers a text or a database.
var roleDemands = map[attestd.Role][]Demand{
	attestd.RoleFirmware:    {DemandDigest},
	attestd.RoleApplication: {DemandDigest},
	attestd.RoleDriver:      {DemandDigest},
	attestd.RoleKernel:      {DemandDigest},
	attestd.RoleInitrd:      {DemandDigest},
	attestd.RoleUKI:         {DemandDigest},
	attestd.RoleOther:       {DemandDigest},
	attestd.RoleSeparator:   {DemandAny, DemandDigest},
	attestd.RoleExit:        {DemandAny, DemandDigest},
	attestd.RoleSecureBoot:  {DemandAny, DemandDigest, DemandText},
	attestd.RolePK:          {DemandAny, DemandDigest, DemandEntry, DemandContains},
	attestd.RoleKEK:         {DemandAny, DemandDigest, DemandEntry, DemandContains},
	attestd.RoleDB:          {DemandAny, DemandDigest, DemandEntry, DemandContains},
	attestd.RoleDBX:         {DemandAny, DemandDigest, DemandEntry, DemandContains},
	attestd.RoleAuthority:   {DemandAny, DemandDigest, DemandEntry},
	attestd.RoleCommandLine: {DemandAny, DemandDigest, DemandText, DemandLike},
	// Which of the boot loader's texts is a command and which a kernel's command line is the log's
	// word. Any command would be any command line, too.
	attestd.RoleCommand: {DemandDigest, DemandText, DemandLike},
}

// registerIMA is extended by a log that never ends and is replayed from where it stood: no rule
// over it would see all of its events.
const registerIMA = "PCR10"

// Limits of one rule. The largest dbx has some 500 entries; kernels take command lines of 2048 or
// 4096 characters. Commands of a boot loader that define a menu hold all of its entries: some 6000
// characters in published logs.
const (
	maxEntryDigests = 8192
	maxTexts        = 256
	maxText         = 4096
	maxCommand      = 16384
)

func longest(role attestd.Role) int {
	if role == attestd.RoleCommand {
		return maxCommand
	}
	return maxText
}

func ruledRoles() []string {
	var names []string
	for _, role := range attestd.Roles() {
		if len(roleDemands[role]) > 0 {
			names = append(names, string(role))
		}
	}
	return names
}

// readRules reads the map from registers to rules.
func readRules(node *yamldoc.Node, form shape) []RegisterRules {
	entries, _ := node.Entries()
	var read []RegisterRules
	for _, entry := range entries {
		switch {
		case !slices.Contains(form.names, entry.Key):
			entry.Value.Problem("unknown register%s", yamldoc.DidYouMean(entry.Key, form.names))
		case entry.Key == registerIMA:
			entry.Value.Problem("IMA's log goes on after the quote: no rule sees all of it")
		case slices.ContainsFunc(read, func(r RegisterRules) bool { return r.Register == entry.Key }):
			entry.Value.Problem("stands twice")
		case entry.Value.IsText("any"):
			read = append(read, RegisterRules{Register: entry.Key, Any: true})
		default:
			if rules, ok := readRoles(entry, form); ok {
				read = append(read, rules)
			}
		}
	}
	return read
}

func readRoles(of yamldoc.Entry, form shape) (RegisterRules, bool) {
	read := RegisterRules{Register: of.Key}
	entries, whole := of.Value.Entries()
	for _, entry := range entries {
		role := attestd.Role(entry.Key)
		if len(roleDemands[role]) == 0 {
			entry.Value.Problem("unknown role%s", yamldoc.DidYouMean(entry.Key, ruledRoles()))
			whole = false
			continue
		}
		if rule, ok := readRule(entry.Value, role, form); ok {
			read.Roles = append(read.Roles, rule)
		} else {
			whole = false
		}
	}
	if whole && read.mixes() {
		of.Value.Problem("%s", mixesUp)
		whole = false
	}
	return read, whole
}

const mixesUp = "command-line: any beside boot-command would let every command pass as a command line"

// mixes reports whether one of the roles of a boot loader's texts may be any. An event whose role is
// for the log to choose would have that one, and meet no other rule.
func (r RegisterRules) mixes() bool {
	isAny, commands := false, false
	for _, rule := range r.Roles {
		isAny = isAny || rule.Role == attestd.RoleCommandLine && rule.Demand == DemandAny
		commands = commands || rule.Role == attestd.RoleCommand
	}
	return isAny && commands
}

// readRule reads `any`, or a map with one demand.
func readRule(node *yamldoc.Node, role attestd.Role, form shape) (Rule, bool) {
	rule := Rule{Role: role, Demand: DemandAny}
	allowed := roleDemands[role]
	if node.IsText("any") {
		if !slices.Contains(allowed, DemandAny) {
			what, want := "every image", "{digest: [...]}"
			if role == attestd.RoleCommand {
				what, want = "a kernel's command line", "{text: [...]} or {like: [...]}"
			}
			node.Problem("any would let %s pass under this role; want %s, or any for the whole register",
				what, want)
			return Rule{}, false
		}
		return rule, true
	}
	keys := make([]string, 0, len(allowed))
	for _, demand := range allowed {
		if demand != DemandAny {
			keys = append(keys, demandKeys[demand])
		}
	}
	if !node.IsMap() {
		node.Problem("want a map with one of: %s", strings.Join(keys, ", "))
		return Rule{}, false
	}
	fields, ok := node.Fields(nil, keys)
	if !ok {
		return Rule{}, false
	}
	var from *yamldoc.Node
	for _, demand := range allowed {
		switch found := fields.Get(demandKeys[demand]); {
		case demand == DemandAny || found == nil:
		case from != nil:
			node.Problem("want one of: %s", strings.Join(keys, ", "))
			return Rule{}, false
		default:
			rule.Demand, from = demand, found
		}
	}
	return rule, rule.fill(from, form)
}

// fill reads the digests or texts of a rule, and reports whether they will do.
func (r *Rule) fill(node *yamldoc.Node, form shape) bool {
	items, whole := node.Items()
	most := maxEntryDigests
	if r.ofTexts() {
		most = maxTexts
	}
	if len(items) > most {
		node.Problem("got %d, want at most %d", len(items), most)
		return false
	}
	seen := make(map[string]bool, len(items))
	for _, item := range items {
		text, ok := item.Text()
		if !ok {
			whole = false
			continue
		}
		value := text
		if r.ofTexts() {
			if problem := r.badText(text); problem != "" {
				item.Problem("%s", problem)
				whole = false
				continue
			}
			r.Texts = append(r.Texts, text)
		} else {
			digest, ok := r.digest(item, text, form)
			if !ok {
				whole = false
				continue
			}
			value = string(digest)
			r.Digests = append(r.Digests, digest)
		}
		if seen[value] {
			item.Problem("stands twice")
			whole = false
		}
		seen[value] = true
	}
	return whole
}

func (r *Rule) ofTexts() bool { return r.Demand == DemandText || r.Demand == DemandLike }

func (r *Rule) badText(text string) string {
	switch {
	case r.Role == attestd.RoleSecureBoot && text != "on" && text != "off":
		return "want on or off"
	case len(text) > longest(r.Role):
		return fmt.Sprintf("got %d characters, want at most %d", len(text), longest(r.Role))
	case !readableAs(r.Role, text):
		return "has characters that do not show"
	case r.Role == attestd.RoleCommand && r.Demand == DemandLike:
		return badCommand(text)
	case r.Demand == DemandLike && strings.Trim(text, "* ") == "":
		return "matches every text; write any instead"
	default:
		return ""
	}
}

// digest reads a digest of an event (of the bank), or of an entry, whose length its kind sets: SHA-1
// to SHA-512 hashes of images stand in databases, and certificates by their SHA-256.
func (r *Rule) digest(node *yamldoc.Node, text string, form shape) ([]byte, bool) {
	digest, err := hex.DecodeString(text)
	switch {
	case err != nil:
		node.Problem("is not hex: %q", attestd.Excerpt(text, 20))
	case r.Demand == DemandDigest && len(digest) != form.size:
		node.Problem("got %d bytes, want %d (%s)", len(digest), form.size, form.algorithm)
	case !entrySize(len(digest)):
		node.Problem("got %d bytes, want a digest: 20, 28, 32, 48 or 64", len(digest))
	case isZero(digest):
		node.Problem("is all zero, which says that nothing was measured")
	default:
		return digest, true
	}
	return nil, false
}

func entrySize(length int) bool { return slices.Contains([]int{20, 28, 32, 48, 64}, length) }

// problem says what is wrong with rules that were not read from a document, or nothing.
func (r RegisterRules) problem(form shape) string {
	switch {
	case !slices.Contains(form.names, r.Register) || r.Register == registerIMA:
		return r.Register + " is no register with rules"
	case r.Any != (len(r.Roles) == 0):
		return r.Register + " has neither any nor roles, or both"
	}
	var roles []attestd.Role
	for _, rule := range r.Roles {
		if !slices.Contains(roleDemands[rule.Role], rule.Demand) || slices.Contains(roles, rule.Role) {
			return fmt.Sprintf("%s %s is no rule", r.Register, rule.Role)
		}
		roles = append(roles, rule.Role)
		bare := len(rule.Texts) == 0 && len(rule.Digests) == 0
		if bare != (rule.Demand == DemandAny) {
			return fmt.Sprintf("%s %s demands nothing", r.Register, rule.Role)
		}
		for _, text := range rule.Texts {
			if problem := rule.badText(text); problem != "" {
				return fmt.Sprintf("%s %s: a text %s", r.Register, rule.Role, problem)
			}
		}
	}
	if r.mixes() {
		return r.Register + ": " + mixesUp
	}
	return ""
}

// readable reports whether text is one that a person reads as it stands. A measured image can be
// passed off as a measured text: its bytes are what the digest covers.
func readable(text string) bool { return shows(text, "") }

// readableAs is readable for a text of the role: a command that defines a menu entry has lines.
func readableAs(role attestd.Role, text string) bool {
	if role == attestd.RoleCommand {
		return shows(text, "\n\t")
	}
	return shows(text, "")
}

func shows(text, besides string) bool {
	if text == "" || !utf8.ValidString(text) {
		return false
	}
	for _, r := range text {
		if !unicode.IsPrint(r) && !strings.ContainsRune(besides, r) {
			return false
		}
	}
	return true
}
