package condition

import (
	"fmt"
	"time"
)

// Where a figure becomes a warning or a failure.
const (
	// spaceAhead warns while there are so many reserves left on the disk.
	spaceAhead = 4
	walWarn    = 256 << 20
	walFail    = 1 << 30
	// PERFORMANCE: p99 of a durable write is at most 25 ms.
	slowWarn   = 25 * time.Millisecond
	slowFail   = time.Second
	behindWarn = time.Second
	behindFail = time.Minute
	// overdueLeast is how many late subjects are more than an accident.
	overdueLeast = 5
	checkpointTo = 10 * time.Minute
)

// judged returns a finding of the first of two that holds.
func judged(id ID, failure, warning bool, format string, args ...any) Finding {
	severity := OK
	switch {
	case failure:
		severity = Failure
	case warning:
		severity = Warning
	}
	return Finding{ID: id, Severity: severity, Detail: fmt.Sprintf(format, args...)}
}

// broken returns a finding that is a failure where there is an error.
func broken(id ID, err error, well string) Finding {
	if err != nil {
		return Finding{ID: id, Severity: Failure, Detail: err.Error()}
	}
	return Finding{ID: id, Severity: OK, Detail: well}
}

// StoreIDs are what [StoreFigures.Findings] answers for.
var StoreIDs = []ID{
	StoreAnswers, StoreSpace, StoreWAL, StoreSlow, StoreRollback, StoreGuard, ClockBehind,
}

// StoreFigures is what a store says of itself.
type StoreFigures struct {
	// Pulse is what came of a write that was made to see whether writes work.
	Pulse         error
	Free, Reserve uint64
	// Low says that ordinary writes are refused.
	Low        bool
	WAL        int64
	P99        time.Duration
	RolledBack bool
	Guard      error
	Behind     time.Duration
}

// Findings judges the figures.
func (f StoreFigures) Findings() []Finding {
	return []Finding{
		broken(StoreAnswers, f.Pulse, "writes are durable"),
		judged(StoreSpace, f.Low || f.Free < f.Reserve, f.Free/spaceAhead < f.Reserve,
			"%s free, %s of it reserved for holds", size(f.Free), size(f.Reserve)),
		judged(StoreWAL, f.WAL > walFail, f.WAL > walWarn, "%s", size(uint64(max(f.WAL, 0)))),
		judged(StoreSlow, f.P99 > slowFail, f.P99 > slowWarn, "p99 of the last commits %s",
			f.P99.Round(10*time.Microsecond)),
		judged(StoreRollback, false, f.RolledBack, "%s", either(f.RolledBack,
			"started on an older copy, as store.accept_rollback says", "the newest this machine has seen")),
		broken(StoreGuard, f.Guard, "written with each start and hold"),
		judged(ClockBehind, f.Behind > behindFail, f.Behind > behindWarn, "%s", either(f.Behind > behindWarn,
			"by "+f.Behind.Round(time.Millisecond).String(), "not behind the store's")),
	}
}

func either(is bool, yes, no string) string {
	if is {
		return yes
	}
	return no
}

// size is a number of bytes as people read it.
func size(bytes uint64) string {
	const units = "KMGT"
	if bytes < 1024 {
		return fmt.Sprintf("%d B", bytes)
	}
	value := float64(bytes)
	unit := -1
	for value >= 1024 && unit < len(units)-1 {
		value /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", value, units[unit])
}

// SettingIDs are what [Settings.Findings] answers for.
var SettingIDs = []ID{WorkersApart, PolicyLaboratory, PolicyRecorded, PolicyRoots, AutomationOn}

// Settings are the switches of the configuration that make less certain what a verdict says.
type Settings struct {
	// Isolated says that evidence is parsed in workers.
	Isolated bool
	// Laboratory names the tenants, or "all", that are judged under that policy.
	Laboratory []string
	Recorded   bool
	Roots      int
	// Automation is on, dry-run or off.
	Automation string
}

// Findings judges the switches.
func (s Settings) Findings() []Finding {
	return []Finding{
		judged(WorkersApart, !s.Isolated, false, "%s",
			either(s.Isolated, "workers without keys, network or files", "verify.isolation is none")),
		judged(PolicyLaboratory, false, len(s.Laboratory) > 0, "%s", either(len(s.Laboratory) > 0,
			fmt.Sprintf("in force for %.200v", s.Laboratory), "not in force")),
		judged(PolicyRecorded, false, s.Recorded, "verify.allow_recorded is %t", s.Recorded),
		judged(PolicyRoots, false, s.Roots > 0, "%d of them", s.Roots),
		judged(AutomationOn, false, s.Automation != "on", "automation.mode is %s", s.Automation),
	}
}

// AuditIDs are what [AuditFigures.Findings] answers for.
var AuditIDs = []ID{AuditWritable, AuditCheckpoint, AuditWhole}

// AuditFigures is what the audit log says of itself.
type AuditFigures struct {
	// Ready is the error of the last record that was to be written.
	Ready error
	// Signed is when a checkpoint was signed, or found to be the newest still; SignError why not since.
	Signed    time.Time
	SignError error
	// Whole is what the last reading of the whole log found, Read when that was; zero for not yet.
	Whole error
	Read  time.Time
	Size  int64
	// Now is the time of these figures.
	Now time.Time
}

// Findings judges the figures.
func (f AuditFigures) Findings() []Finding {
	signing := judged(AuditCheckpoint, f.Now.Sub(f.Signed) > checkpointTo, f.SignError != nil,
		"%d entries, signed %s", f.Size, stamp(f.Signed))
	if f.SignError != nil {
		signing.Detail += ": " + f.SignError.Error()
	}
	whole := broken(AuditWhole, f.Whole, "read as a whole "+stamp(f.Read))
	if f.Whole == nil && f.Read.IsZero() {
		whole = Finding{ID: AuditWhole, Detail: "not read as a whole yet"}
	}
	return []Finding{broken(AuditWritable, f.Ready, "takes entries"), signing, whole}
}

func stamp(at time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return at.UTC().Format(time.RFC3339)
}

// FleetIDs are what [Fleet.Findings] answers for.
var FleetIDs = []ID{
	JournalDrained, SubjectsOverdue, EnrolmentPending, AutomationCap, ReappraisalDone, PolicyReload,
}

// Fleet counts subjects and what waits.
type Fleet struct {
	// Journaled holds are in force and not in the store yet.
	Journaled int
	// Subjects that give evidence, and how many of them are late.
	Subjects, Overdue int
	// Pending is the fullest tenant's queue, Room how many it can hold.
	Pending, Room int
	// Capped counts the automatic quarantines of the last hour that were over their cap.
	Capped int
	// Reappraisal and Reload are the errors of the last ones.
	Reappraisal, Reload error
}

// Findings judges the counts.
func (f Fleet) Findings() []Finding {
	return []Finding{
		judged(JournalDrained, false, f.Journaled > 0, "%d wait for the database", f.Journaled),
		judged(SubjectsOverdue, f.Overdue >= overdueLeast && 2*f.Overdue > f.Subjects,
			f.Overdue >= overdueLeast && 20*f.Overdue > f.Subjects, "%d of %d", f.Overdue, f.Subjects),
		judged(EnrolmentPending, f.Room > 0 && f.Pending >= f.Room, f.Room > 0 && 5*f.Pending >= 4*f.Room,
			"%d wait for approval, room for %d in a tenant", f.Pending, f.Room),
		judged(AutomationCap, f.Capped > 0, false, "%d over the cap in the last hour", f.Capped),
		broken(ReappraisalDone, f.Reappraisal, "the last one went through"),
		broken(PolicyReload, f.Reload, "what is in the files is in force"),
	}
}

// Certificate judges how long a certificate is still good. Zero times are of one that is not used.
func Certificate(id ID, from, until, now time.Time) Finding {
	if until.IsZero() {
		return Finding{ID: id, Severity: OK, Detail: "not in use"}
	}
	left := until.Sub(now)
	// A quarter of its life, and two weeks where it is long: what renews by itself has done so by half.
	early := min(until.Sub(from)/4, 14*24*time.Hour)
	detail := "until " + stamp(until)
	if left <= 0 {
		detail = "ended " + stamp(until)
	}
	return judged(id, left <= early/8, left <= early, "%s", detail)
}

// Workers judges what came of the self-test of the workers.
func Workers(err error) Finding { return broken(WorkersAnswer, err, "the self-test went through") }

// Operators judges how operators are known: how many there are by name, and until when the newest
// certificate of one of them is good.
func Operators(named int, from, until, now time.Time) []Finding {
	return []Finding{
		judged(AdminToken, false, named == 0, "%d operators have a name", named),
		Certificate(OperatorCertificates, from, until, now),
	}
}
