package condition

import "time"

// ID is a condition of the list. There are no others than the constants here.
type ID uint8

// The list, in the order in which it is shown. Zero is no condition.
const (
	_ ID = iota
	StoreAnswers
	StoreSpace
	StoreWAL
	StoreSlow
	StoreRollback
	StoreGuard
	ClockBehind
	WorkersAnswer
	WorkersApart
	PolicyLaboratory
	PolicyRecorded
	PolicyRoots
	PolicyReload
	AuditWritable
	AuditCheckpoint
	AuditWhole
	JournalDrained
	SubjectsOverdue
	EnrolmentPending
	AutomationOn
	AutomationCap
	ReappraisalDone
	CollateralReadable
	CollateralCurrent
	CollateralFetched
	TLSCertificate
	AdminCertificate
	AdminToken
	OperatorCertificates
	SPIREController
	SPIREHolds
	SPIRECanaryMint
	SPIRECanaryAttestation
	SPIREPlugins
	SPIREUnattested
	SPIREExtension
	DecisionRecords
	DecisionBundles
	ServerAnswers
	ConfigReadable
	FilesPrivate

	// ids is one more than the last.
	ids
)

// Severity says how bad a condition is. The zero Severity is unknown: what nobody looked at is not well.
type Severity uint8

// Severities.
const (
	Unknown Severity = iota
	OK
	Warning
	Failure
)

// String returns the word for it.
func (s Severity) String() string {
	switch s {
	case OK:
		return "ok"
	case Warning:
		return "warning"
	case Failure:
		return "failure"
	default:
		return "unknown"
	}
}

// Spec is what is said about a condition wherever it is shown.
type Spec struct {
	ID ID
	// Name as in "store/space-low".
	Name string
	// Title says what is the matter where it is not well.
	Title string
	// Effect is what that does to people who rely on attestd, Fix the first thing to do.
	Effect, Fix string
	// Why says what it is for, at more length.
	Why string
	// Local says that doctor looks at it where it runs; a server does not report it.
	Local bool
	// Blocks says that attestd is not ready unless it is well.
	Blocks bool
	// Alert is the least severity that somebody is called for, and After how long it has to last;
	// nobody is called where it is Unknown.
	Alert Severity
	After time.Duration
}

// All returns the list.
func All() []Spec {
	out := make([]Spec, 0, len(specs))
	for id := ID(1); id < ids; id++ {
		out = append(out, Of(id))
	}
	return out
}

// Of returns what is said about a condition; the zero Spec for what is none.
func Of(id ID) Spec {
	spec, known := specs[id]
	if !known {
		return Spec{}
	}
	spec.ID = id
	return spec
}

// Lookup finds a condition by its name.
func Lookup(name string) (Spec, bool) {
	for _, spec := range All() {
		if spec.Name == name {
			return spec, true
		}
	}
	return Spec{}, false
}

// String returns the name.
func (id ID) String() string { return Of(id).Name }

const (
	minute = time.Minute
	hour   = time.Hour
)

var specs = map[ID]Spec{
	StoreAnswers: {
		Name: "store/unavailable", Title: "the database takes no writes", Blocks: true,
		Effect: "nothing is verified and nothing granted; holds work with --direct alone",
		Fix:    "look at the disk of state_dir: df, dmesg, and the daemon's log for the cause",
		Why: "A challenge that cannot be marked as used could be used twice, and a hold that cannot be read " +
			"could be missed: without its database attestd refuses everything.",
		Alert: Failure, After: minute,
	},
	StoreSpace: {
		Name: "store/space-low", Title: "the disk of the database is nearly full",
		Effect: "below store.reserve only holds and their audit are written; all else is refused",
		Fix:    "make room on the disk of state_dir, or lower appraisals.keep and appraisals.most",
		Why: "The last bytes of a disk are kept for quarantine: whoever fills the disk must not thereby keep " +
			"a host from being held.",
		Alert: Warning, After: 10 * minute,
	},
	StoreWAL: {
		Name: "store/wal-large", Title: "the write-ahead log is not folded into the database",
		Effect: "starting takes longer and the disk fills",
		Fix:    "end what reads the database for long, such as a backup tool; then restart attestd",
		Why: "The log is folded in whenever no reader needs what is in it. One that grows has a reader that " +
			"does not end.",
		Alert: Failure, After: 30 * minute,
	},
	StoreSlow: {
		Name: "store/fsync-slow", Title: "commits take long",
		Effect: "verdicts and quarantines are acknowledged late",
		Fix:    "put state_dir on a disk with power-loss protection, and nothing else that writes much on it",
		Why:    "Every acknowledgement waits for the disk to have the write: what is acknowledged is never lost.",
		Alert:  Failure, After: 10 * minute,
	},
	StoreRollback: {
		Name: "store/rolled-back", Title: "the database was put back to an older state",
		Effect: "holds, enrolments and used challenges of the time between are gone",
		Fix: "lay the holds of that time again (attestd audit ls on an export made before), then unset " +
			"store.accept_rollback and restart",
		Why: "An older database forgets quarantines. attestd starts on one only when told to, and says so " +
			"until it was restarted without being told.",
		Alert: Warning,
	},
	StoreGuard: {
		Name: "store/guard-failing", Title: "the file that knows older databases cannot be written",
		Effect: "an older database that is put in place of this one could go unseen",
		Fix:    "make state_dir writable for attestd, then restart it",
		Why: "A small file beside the database says how far the database was. Without it nothing tells " +
			"yesterday's copy from today's.",
		Alert: Failure, After: 5 * minute,
	},
	ClockBehind: {
		Name: "clock/behind", Title: "the machine's clock went back",
		Effect: "challenges and certificates are judged by the latest time that was seen, and end early",
		Fix:    "set the clock and see to its synchronisation: chronyc tracking, or timedatectl",
		Why: "A clock that goes back makes what has expired valid again. The store keeps to the latest time " +
			"it has seen.",
		Alert: Warning, After: 5 * minute,
	},
	WorkersAnswer: {
		Name: "workers/failing", Title: "the workers that verify do not answer", Blocks: true,
		Effect: "no evidence can be verified",
		Fix:    "read the daemon's log; the service must allow seccomp and landlock (docs/isolation.md)",
		Why: "Evidence is hostile until it was verified: it is parsed in processes without keys, network or " +
			"files, and nowhere else.",
		Alert: Failure, After: minute,
	},
	WorkersApart: {
		Name: "workers/not-isolated", Title: "evidence is parsed in the process that holds the keys",
		Effect: "a fault in a parser would reach every key and the database",
		Fix:    "set verify.isolation to process",
		Why:    "For development only.",
		Alert:  Warning, After: hour,
	},
	PolicyLaboratory: {
		Name: "policy/laboratory", Title: "evidence is judged under a policy for laboratories",
		Effect: "software TPMs and test roots can be accepted",
		Fix:    "set verify.policy, and verify.tenant_policies, to production or a policy of your own",
		Why:    "That policy is there to try attestd without hardware.",
		Alert:  Warning, After: hour,
	},
	PolicyRecorded: {
		Name: "policy/recorded-allowed", Title: "evidence is judged without freshness on request",
		Effect: "/v1/verify-recorded answers; its verdicts say that freshness was not shown",
		Fix:    "set verify.allow_recorded to false",
		Why:    "Recorded evidence is for archives and tests. No subject and no grant follows from it.",
		Alert:  Unknown,
	},
	PolicyRoots: {
		Name: "policy/insecure-roots", Title: "roots that are not compiled in are trusted",
		Effect: "whoever holds a key under one of them can make evidence; it scores at least 60",
		Fix:    "empty verify.insecure_roots",
		Why:    "For tests with a certificate authority of their own.",
		Alert:  Warning, After: hour,
	},
	PolicyReload: {
		Name: "policy/reload-failed", Title: "a changed policy or reference file was not taken",
		Effect: "the policy from before stays in force",
		Fix:    "mend the lines that the daemon's log names, then reload once more",
		Why:    "A policy that is only half understood would demand only half.",
		Alert:  Failure,
	},
	AuditWritable: {
		Name: "audit/unavailable", Title: "the audit log takes no entries", Blocks: true,
		Effect: "operators are refused, holds work with --direct alone, and nothing is granted",
		Fix:    "as for store/unavailable: the log lies in the same database",
		Why:    "What leaves no record must not happen: whoever fills the log's disk could act unseen.",
		Alert:  Failure, After: minute,
	},
	AuditCheckpoint: {
		Name: "audit/checkpoint-failing", Title: "the audit log is not signed",
		Effect: "entries since the last checkpoint could be taken away unseen",
		Fix:    "make audit.key readable and state_dir writable for attestd",
		Why:    "A checkpoint says what the log was. What came after the last one is covered by nothing yet.",
		Alert:  Failure, After: 10 * minute,
	},
	AuditWhole: {
		Name: "audit/tampered", Title: "the audit log is not what its checkpoint says",
		Effect: "entries were changed or taken away; what the log says is not what happened",
		Fix:    "keep a copy of state_dir, then attestd audit verify DIR on the last export, and compare",
		Why: "Whoever can write the database can write the log. The hash tree and its signed checkpoints " +
			"show that it happened, and from which entry on.",
		Alert: Failure,
	},
	JournalDrained: {
		Name: "journal/not-drained", Title: "holds laid with --direct are not in the database yet",
		Effect: "they hold, and are lost if both the journal and this process are",
		Fix:    "see store/unavailable; the journal is drained by itself when the store answers",
		Why:    "Revocation never waits: a hold can be laid while the store is down and is recorded after.",
		Alert:  Warning, After: 5 * minute,
	},
	SubjectsOverdue: {
		Name: "subjects/overdue", Title: "many subjects give no fresh evidence",
		Effect: "their risk rises and they become suspect; then they get nothing any more",
		Fix:    "attestd subject ls --overdue, and see whether their attesters reach attestd",
		Why:    "One late host is a host that is late; many at once are a network, a clock or a roll-out.",
		Alert:  Warning, After: 10 * minute,
	},
	EnrolmentPending: {
		Name: "enrolment/queue-full", Title: "the queue of machines that wait for approval is nearly full",
		Effect: "machines that come now are not queued, and have to come again",
		Fix:    "attestd enroll ls --status pending, then approve or deny",
		Why:    "The queue is bounded: anyone with genuine hardware can ask to be in it.",
		Alert:  Warning, After: hour,
	},
	AutomationOn: {
		Name: "automation/off", Title: "attestd quarantines nothing by itself",
		Effect: "a clone or a replay makes a subject suspect, and a person has to hold it",
		Fix:    "set automation.mode to on",
		Why:    "Proven clones, replays and compromised keys are held within milliseconds where it is on.",
		Alert:  Unknown,
	},
	AutomationCap: {
		Name: "automation/cap-reached", Title: "more automatic quarantines were due than an hour may have",
		Effect: "what is over the cap is suspect, gets nothing, and waits for a person",
		Fix:    "attestd subject ls --state suspect; if it is an attack, quarantine; if a mistake, release",
		Why: "The cap keeps a bad policy, or somebody who provokes it, from taking a fleet down. It is kept " +
			"for each ground, source and tenant.",
		Alert: Warning,
	},
	ReappraisalDone: {
		Name: "reappraisal/failing", Title: "stored evidence could not be judged again",
		Effect: "subjects keep the state that an earlier policy gave them",
		Fix:    "attestd reappraise --dry-run names what failed",
		Why:    "A new policy or deny list holds for what was accepted before, without touching a host.",
		Alert:  Failure, After: 10 * minute,
	},
	CollateralReadable: {
		Name: "collateral/unreadable", Title: "the folder of vendors' collateral cannot be used",
		Effect: "judges keep the lists and certificates that were read last; what is newer is not seen",
		Fix:    "attestd collateral verify names what is wrong; docs/operate/collateral.md says how to mend it",
		Why: "The folder remembers the newest revocation list that was ever seen. A folder that lost that " +
			"memory is not used in silence: an older list could be put back.",
		Alert: Failure, After: 5 * minute,
	},
	CollateralCurrent: {
		Name: "collateral/expiring", Title: "a revocation list or intermediate CA ends soon, ended, or is missing",
		Effect: "from its end on, evidence that needs it is undecided under policies that want fresh lists",
		Fix:    "attestd collateral pull, or import a new bundle; attestd collateral ls says which",
		Why: "Whoever can keep new lists away keeps a revocation away: a list whose time has passed is never " +
			"enough for a pass. It warns well before, at another moment for each list and installation.",
		Alert: Warning, After: hour,
	},
	CollateralFetched: {
		Name: "collateral/fetch-failing", Title: "nothing can be fetched from AMD's key distribution service",
		Effect: "new machines stay undecided, and lists run towards their end",
		Fix:    "attestd collateral pull says why; is kdsintf.amd.com to be reached on port 443?",
		Why: "Fetching is a process of its own and never part of a verification: what is held stays in use " +
			"until its end.",
		Alert: Failure, After: 6 * hour,
	},
	TLSCertificate: {
		Name: "tls/certificate-expiring", Title: "the certificate of listen.http ends soon",
		Effect: "attesters that verify the server refuse it from then on",
		Fix:    "replace listen.tls.certificate and listen.tls.key, then restart attestd",
		Why:    "attestd does not renew a certificate that it was given.",
		Alert:  Warning, After: hour,
	},
	AdminCertificate: {
		Name: "admin/certificate-expiring", Title: "the certificate of the operators' listener ends soon",
		Effect: "operators cannot reach admin.http from then on; the unix socket goes on",
		Fix:    "restart attestd, which renews it; look at state_dir/pki if it does not",
		Why:    "It is renewed by itself well before its end: one that is this old was not.",
		Alert:  Warning, After: hour,
	},
	AdminToken: {
		Name: "admin/token-only", Title: "operators are known by the bootstrap token alone",
		Effect: "whoever can read admin.token may do everything, and the log cannot tell people apart",
		Fix:    "attestd operator add NAME --role security, then attestd login with the token it prints",
		Why:    "The token is for the first minutes. Named operators can be told apart and revoked.",
		Alert:  Unknown,
	},
	OperatorCertificates: {
		Name: "operators/certificate-expiring", Title: "the certificates of operators end soon",
		Effect: "who has no other way in cannot quarantine from then on",
		Fix:    "attestd operator add NAME gives a new login token; then attestd login",
		Why:    "It should be seen before the night on which it matters.",
		Alert:  Unknown,
	},
	SPIREController: {
		Name: "spire/controller-absent", Title: "nothing carries holds out in SPIRE",
		Effect: "agents are not banned and entries not held, though nothing is granted to what is held; " +
			"POST /v1/svid mints nothing, and new entries are not known",
		Fix:   "read the daemon's log for part=controller; is spire.server SPIRE's socket, and may attestd open it?",
		Why:   "The controller is a process of its own, which talks to SPIRE's server API and sees no evidence.",
		Alert: Failure, After: minute,
	},
	SPIREHolds: {
		Name: "spire/holds-open", Title: "a hold is not carried out in SPIRE yet",
		Effect: "an honest node drops it by itself; a hostile one goes on with the SVIDs it has",
		Fix:    "attestd status names the id and what SPIRE said; the controller tries again at each poll",
		Why: "A ban can be undone by an attestation that was under way, and an agent that SPIRE does not know " +
			"cannot be banned: the hold stays, and is tried again.",
		Alert: Warning, After: minute,
	},
	SPIRECanaryMint: {
		Name: "spire/canary-mint", Title: "SPIRE mints nothing",
		Effect: "no workload of the trust domain gets a new SVID; those that have one keep it to its end",
		Fix:    "spire-server's log for credentialcomposer; then the composer's line in attestd status",
		Why: "SPIRE's own health stays green for a minute after a plugin died. The controller mints an SVID " +
			"for nobody every ten seconds instead.",
		Alert: Failure, After: minute,
	},
	SPIRECanaryAttestation: {
		Name: "spire/canary-attestation", Title: "SPIRE's server cannot attest nodes",
		Effect: "agents cannot start, and those that must attest again lose their SVID; attestd forces no " +
			"re-attestation meanwhile",
		Fix: "spire-server's log for nodeattestor; then attestd doctor for store and workers",
		Why: "An attestation that comes as far as attestd and back is tried every ten seconds, and issues " +
			"nothing.",
		Alert: Failure, After: minute,
	},
	SPIREPlugins: {
		Name: "spire/plugin-restarts", Title: "a plugin of attestd's in SPIRE dies again and again",
		Effect: "calls that were under way fail, and SPIRE tries again",
		Fix:    "the log of the SPIRE server or agent, which has the plugin's last words",
		Why:    "SPIRE never starts a plugin again: its supervisor does, and counts.",
		Alert:  Warning, After: 10 * minute,
	},
	SPIREUnattested: {
		Name: "spire/unattested-observed", Title: "identities are issued on nodes that attestd did not attest",
		Effect: "their SVIDs say attested: false and risk_score 100; who does not look takes them",
		Fix:    "attestd migrate plan, and then spire.unattested: deny",
		Why:    "For a migration: nothing is refused while nodes change over.",
		Alert:  Unknown,
	},
	SPIREExtension: {
		Name: "spire/extension-oid", Title: "the X.509 extension has an OID from the arc for documentation",
		Effect: "another product's extension could be taken for attestd's",
		Fix:    "set spire.extension_oid to one of your own enterprise number",
		Why:    "RFC 5612 reserves 1.3.6.1.4.1.32473 for examples: nobody owns it.",
		Alert:  Unknown,
	},
	DecisionRecords: {
		Name: "decisions/records-failing", Title: "records of decisions cannot be written",
		Effect: "everything that would be allowed is denied, records_unavailable: nothing is allowed without a record",
		Fix:    "space and rights of state_dir/decisions, which df -h and the log of attestd name",
		Why:    "A decision is recorded before it is given out; a disk that takes no record takes no decision.",
		Alert:  Failure, After: minute,
	},
	DecisionBundles: {
		Name: "decisions/bundle-old", Title: "the keys of a trust domain cannot be fetched",
		Effect: "callers of that trust domain are denied, bundle_unavailable, an hour after the last time it went well",
		Fix:    "the source of decisions.bundles for that trust domain; the log of attestd has the error",
		Why:    "Credentials are verified with the bundle of their own trust domain, which changes when keys do.",
		Alert:  Failure, After: minute,
	},
	ServerAnswers: {
		Name: "server/unreachable", Title: "the attestd that was asked does not answer", Local: true,
		Effect: "what it would say of itself is not known",
		Fix:    "systemctl status attestd; then name another with --server, or use --offline",
		Why:    "Doctor asks the server for its conditions. Where nobody answers they are unknown: never ok.",
		Alert:  Unknown,
	},
	ConfigReadable: {
		Name: "config/unusable", Title: "attestd does not start with this configuration", Local: true,
		Effect: "the next restart of attestd fails",
		Fix:    "mend the lines that are named; docs/config.md has every key",
		Why:    "A configuration is read as a whole or not at all, and so are the policies it names.",
		Alert:  Unknown,
	},
	FilesPrivate: {
		Name: "files/not-private", Title: "keys or tokens can be read by others than their owner", Local: true,
		Effect: "whoever can read them can act as attestd or as an operator",
		Fix:    "chmod 600 the files and 700 the folder; if others use the machine, replace the keys",
		Why:    "attestd refuses to start with some of these, and does not look at the others.",
		Alert:  Unknown,
	},
}
