package why

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/subject"
)

// Schema names the document.
const Schema = "attestd.why.v1"

// Codes of causes, for programs. The set is closed; docs/operate/why.md lists it.
const (
	Granted          = "granted"
	StoreDown        = "store-down"
	Revoked          = "revoked"
	Quarantined      = "quarantined"
	NeverSeen        = "never-seen"
	EvidenceRejected = "evidence-rejected"
	// EvidenceUndecided is of one appraisal alone: a subject keeps the state that it had.
	EvidenceUndecided = "evidence-undecided"
	OtherTenant       = "other-tenant"
	Denied            = "denied"
	NotEnrolled       = "not-enrolled"
	Expired           = "ownership-expired"
	Overdue           = "overdue"
	Suspect           = "suspect"
	Changing          = "changing"
)

// Codes of causes that lie in SPIRE, or between it and attestd.
const (
	OtherDomain        = "other-domain"
	SPIREsOwn          = "spires-own"
	EvidenceAlone      = "evidence-alone"
	SPIREUnknown       = "spire-unknown"
	NoEntry            = "no-entry"
	EntryHeld          = "entry-held"
	EntryExpired       = "entry-expired"
	EntryTTL           = "entry-ttl"
	NoNode             = "no-node"
	AgentUnknown       = "agent-unknown"
	AgentBanned        = "agent-banned"
	AgentExpired       = "agent-expired"
	Unattested         = "unattested"
	Selectors          = "selectors"
	MintFailing        = "mint-failing"
	AttestationFailing = "attestation-failing"
)

// Codes of causes that lie on the node, at the process.
const (
	NoProcess = "no-process"
	NoStream  = "no-stream"
	NotNamed  = "not-named"
)

// Codes lists them in the order in which they are looked for.
func Codes() []string {
	return []string{
		StoreDown, Revoked, Quarantined, NeverSeen, EvidenceRejected, EvidenceUndecided, OtherTenant, Denied,
		NotEnrolled, Expired, Overdue, Suspect, OtherDomain, SPIREsOwn, EvidenceAlone, SPIREUnknown, NoEntry, EntryHeld,
		EntryExpired, EntryTTL, NoNode, AgentUnknown, AgentBanned, AgentExpired, Unattested, Selectors,
		MintFailing, AttestationFailing, NoProcess, NoStream, NotNamed, Changing, Granted,
	}
}

// Facts are what is known at Now. The zero Facts know nothing and explain that.
type Facts struct {
	// Target as it was asked for.
	Target string
	// Known is what the registry has; nil where it could not be read.
	Known *subject.Known
	// Standing is what the index says of the subject.
	Standing live.Standing
	// Verdict is the one that the subject's state stands on; nil for none.
	Verdict *attestd.Appraisal
	// Appraisal is the one that Target names, which may be an older one; nil where it names none.
	Appraisal *attestd.Appraisal
	// Sees says whether the asker may know of a tenant; nil sees none.
	Sees func(tenant string) bool
	Now  time.Time
	// SPIRE is what SPIRE has of it; nil where attestd answers none, or where nothing concerns the target.
	SPIRE *Shown
}

// steps are those for what the target is, and whether that is a machine that attestd attests.
func (f Facts) steps() (steps []step, node bool) {
	subject := f.Known != nil && f.Known.Subject != nil && f.Known.Subject.Format != ""
	switch {
	case f.SPIRE == nil, subject, f.SPIRE.Kind == OfNode:
		return nodeSteps, true
	case f.SPIRE.Kind == OfStranger:
		return strangerSteps, false
	}
	return workloadSteps, false
}

// Explain says what stands between the target and an identity.
func Explain(facts Facts) wire.Why {
	facts = facts.visible()
	out := wire.Why{Schema: Schema, Target: facts.Target, Steps: []wire.WhyStep{}}
	missing := finding{}
	steps, node := facts.steps()
	for _, step := range steps {
		found := step.look(facts)
		if found.skipped {
			continue
		}
		out.Steps = append(out.Steps, wire.WhyStep{Name: step.name, OK: found.code == "", Detail: found.detail})
		if found.code != "" && missing.code == "" {
			missing = found
		}
		if found.ends {
			break
		}
	}
	if facts.Appraisal != nil && facts.Known != nil && facts.Known.Subject != nil {
		out.Subject = facts.Known.Subject.ID
	}
	if facts.SPIRE != nil {
		out.Entries = entriesOf(facts)
	}
	if !node {
		settle(facts, &out, missing)
		return out
	}
	out.Code, out.Cause, out.Fix = missing.code, missing.cause, missing.fix
	grants := facts.Standing.Grants()
	switch {
	case missing.code == "" && grants:
		out.Granted, out.Code, out.Cause = true, Granted, "nothing stands in its way"
	case bySPIRE(missing.code):
	case grants && facts.againstIt():
		out.Granted, out.Code, out.Fix = true, Granted, ""
		out.Cause = "better evidence came since, and nothing stands in its way now; " + missing.cause
	case missing.code == "" || grants && missing.code != StoreDown:
		// Registry and index are read one after the other: a change fell between them, or they differ.
		out.Code, out.Cause = Changing, "what the registry and the index of states say differs at this moment"
		out.Fix = "attestd why " + facts.Target + "   # again; if it stays so: attestd doctor"
	case grants:
		// The store is down and memory goes on granting to whom it trusted: that is by design, and said.
		out.Granted = true
	}
	return out
}

// bySPIRE reports whether SPIRE refuses what attestd would grant.
func bySPIRE(code string) bool {
	return code == AgentUnknown || code == AgentBanned || code == AgentExpired
}

// entriesOf are the entries of an id, or those of a node's that something can be issued by.
func entriesOf(f Facts) []wire.WhyEntry {
	var out []wire.WhyEntry
	entries := f.SPIRE.Entries
	if f.SPIRE.Kind != OfWorkload {
		entries = f.usable()
	}
	for _, one := range entries {
		entry := wire.WhyEntry{ID: one.ID, SPIFFEID: one.SPIFFEID, ParentID: one.ParentID, Selectors: []string{}}
		for _, selector := range one.Selectors {
			entry.Selectors = append(entry.Selectors, selector.String())
		}
		out = append(out, entry)
	}
	return out
}

// visible leaves out what the asker may not know of.
func (f Facts) visible() Facts {
	sees := f.Sees
	if sees == nil {
		sees = func(string) bool { return false }
	}
	if f.Standing.Known && !sees(f.Standing.Tenant) {
		f.Standing, f.Verdict = live.Standing{}, nil
	}
	own := f.Known != nil && f.Known.Subject != nil && sees(f.Known.Subject.Tenant)
	f.SPIRE = f.SPIRE.visible(sees, own)
	if f.Known == nil {
		return f
	}
	known := *f.Known
	if known.Subject != nil && !sees(known.Subject.Tenant) {
		known.Subject, f.Verdict, f.Standing = nil, nil, live.Standing{}
	}
	known.Owners = slices.DeleteFunc(slices.Clone(known.Owners), func(o subject.Ownership) bool {
		return !sees(o.Tenant)
	})
	// A bar on what tenants share is felt by all and explained to those who may know: its words are
	// left out, and it counts only where a subject of the asker has the key.
	known.Bars = slices.Clone(known.Bars)
	for i, bar := range known.Bars {
		if !sees(bar.Tenant) {
			known.Bars[i].Text, known.Bars[i].Ticket, known.Bars[i].By = "", "", ""
			known.Bars[i].Key.Value, known.Bars[i].Subject, known.Bars[i].Code = "", "", ""
		}
	}
	if known.Subject == nil && len(known.Owners) == 0 {
		known.Bars = slices.DeleteFunc(known.Bars, func(b subject.Bar) bool { return !sees(b.Tenant) })
	}
	f.Known = &known
	return f
}

// finding is what a step came to. An empty code is well.
type finding struct {
	code, detail, cause, fix string
	// skipped leaves the step out; ends leaves out those behind it.
	skipped, ends bool
}

func fine(format string, args ...any) finding { return finding{detail: fmt.Sprintf(format, args...)} }

func registryStep(f Facts) finding {
	if f.Known != nil {
		return fine("read")
	}
	found := finding{
		code: StoreDown, detail: "cannot be read", ends: true,
		cause: "attestd's store is down: nothing new is accepted, and nobody can be looked up",
		fix:   "attestd doctor   # to hold a subject meanwhile: attestd quarantine ID --direct --reason ...",
	}
	if f.Standing.Known {
		found.detail += "; memory has it as " + f.Standing.State.String()
	}
	if f.Standing.Grants() {
		found.cause = "attestd's store is down: what is trusted goes on being granted from memory until its " +
			"evidence is due"
	}
	return found
}

func holdsStep(f Facts) finding {
	bar, found := worst(f.Known.Bars)
	one := f.Known.Subject
	switch {
	case !found && one != nil && one.State == attestd.StateRevoked:
		bar = subject.Bar{Key: one.ID.Key(), State: one.State, At: one.ChangedAt}
	case !found && one != nil && one.State == attestd.StateQuarantined:
		bar = subject.Bar{Key: one.ID.Key(), State: one.State, At: one.ChangedAt}
	case !found:
		return fine("none")
	}
	out := finding{
		code: Quarantined, ends: true,
		detail: fmt.Sprintf("%s %s %s", bar.Key.Kind, bar.State, ago(bar.At, f.Now)),
	}
	if bar.By != "" {
		out.detail += " by " + bar.By
	}
	out.cause = grounds(bar)
	switch {
	case bar.State == attestd.StateRevoked:
		out.code = Revoked
		out.fix = "nothing lifts it: enrol other hardware under another name (attestd enroll --help)"
	case bar.By == "" && bar.Key.Value == "":
		out.fix = "ask whoever runs attestd for all tenants: it is not yours to release"
	case bar.Key.Kind == string(subject.BarHost), bar.Key.Kind == string(subject.BarInstance) &&
		one == nil:
		out.fix = release(bar.Key.String())
	default:
		out.fix = release(f.name())
	}
	return out
}

func release(target string) string {
	return "attestd release " + target + " --reason ...   # after rebirth (reboot, re-image), by somebody " +
		"other than who quarantined it"
}

// grounds says why a bar was laid, as far as the asker may know.
func grounds(bar subject.Bar) string {
	what := map[string]string{
		string(subject.BarSubject): "the name", string(subject.BarInstance): "the hardware",
		string(subject.BarHost): "the host it runs on", string(subject.BarBoot): "this boot",
	}[bar.Key.Kind]
	out := fmt.Sprintf("%s is %s", cmp.Or(what, bar.Key.Kind), bar.State)
	if bar.Automatic && bar.Code != "" {
		out += fmt.Sprintf(" by attestd itself (%s)", bar.Code)
	}
	if bar.Text != "" {
		out += ": " + attestd.Excerpt(bar.Text, 300)
	}
	if bar.Ticket != "" {
		out += " [" + attestd.Excerpt(bar.Ticket, 80) + "]"
	}
	return out
}

// worst returns the bar that holds longest: revoked before quarantined, the subject's own before the
// hardware's, the older before the newer.
func worst(bars []subject.Bar) (subject.Bar, bool) {
	if len(bars) == 0 {
		return subject.Bar{}, false
	}
	order := []string{
		string(subject.BarSubject), string(subject.BarInstance), string(subject.BarBoot), string(subject.BarHost),
	}
	return slices.MinFunc(bars, func(a, b subject.Bar) int {
		return cmp.Or(cmp.Compare(b.State, a.State),
			cmp.Compare(slices.Index(order, a.Key.Kind), slices.Index(order, b.Key.Kind)), a.At.Compare(b.At))
	}), true
}

func (f Facts) name() string {
	if f.Known != nil && f.Known.Subject != nil {
		return string(f.Known.Subject.ID)
	}
	return f.Target
}

// ago says when something was, absolutely and as seen from now.
func ago(at, now time.Time) string {
	if at.IsZero() {
		return "at an unknown time"
	}
	text := "at " + at.UTC().Format(time.RFC3339)
	switch lapse := now.Sub(at).Round(time.Second); {
	case lapse > 0:
		return text + " (" + lapse.String() + " ago)"
	case lapse < 0:
		return text + " (in " + (-lapse).String() + ")"
	}
	return text + " (now)"
}
