package condition_test

import (
	"slices"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/condition"
)

const day = 24 * time.Hour

func wellStore() condition.StoreFigures {
	return condition.StoreFigures{Free: 100 << 30, Reserve: 64 << 20, WAL: 4 << 20, P99: 3 * time.Millisecond}
}

func wellFleet() condition.Fleet {
	return condition.Fleet{Subjects: 400, Overdue: 2, Pending: 3, Room: 100}
}

func wellAudit() condition.AuditFigures {
	return condition.AuditFigures{Now: noon, Signed: noon.Add(-time.Minute), Read: noon, Size: 7}
}

// TestFiguresAreJudged has both sides of each limit. neg: 179, 185, 187
func TestFiguresAreJudged(t *testing.T) {
	store := func(change func(*condition.StoreFigures)) []condition.Finding {
		figures := wellStore()
		change(&figures)
		return figures.Findings()
	}
	fleet := func(change func(*condition.Fleet)) []condition.Finding {
		figures := wellFleet()
		change(&figures)
		return figures.Findings()
	}
	audit := func(change func(*condition.AuditFigures)) []condition.Finding {
		figures := wellAudit()
		change(&figures)
		return figures.Findings()
	}
	setting := func(change func(*condition.Settings)) []condition.Finding {
		figures := condition.Settings{Isolated: true, Automation: "on"}
		change(&figures)
		return figures.Findings()
	}
	type figures = *condition.StoreFigures
	for _, row := range []struct {
		name  string
		found []condition.Finding
		id    condition.ID
		want  condition.Severity
	}{
		{"a store without writes", store(func(f figures) { f.Pulse = errSo }),
			condition.StoreAnswers, condition.Failure},
		{"four reserves left", store(func(f figures) { f.Free = 4 * f.Reserve }),
			condition.StoreSpace, condition.OK},
		{"under four reserves", store(func(f figures) { f.Free = 4*f.Reserve - 8 }),
			condition.StoreSpace, condition.Warning},
		{"under the reserve", store(func(f figures) { f.Free = f.Reserve - 1 }),
			condition.StoreSpace, condition.Failure},
		{"refusing writes", store(func(f figures) { f.Low = true }),
			condition.StoreSpace, condition.Failure},
		{"a disk that does not say", store(func(f figures) { f.Free = 0 }),
			condition.StoreSpace, condition.Failure},
		{"a log of 257 MiB", store(func(f figures) { f.WAL = 257 << 20 }),
			condition.StoreWAL, condition.Warning},
		{"a log of 2 GiB", store(func(f figures) { f.WAL = 2 << 30 }),
			condition.StoreWAL, condition.Failure},
		{"25 ms", store(func(f figures) { f.P99 = 25 * time.Millisecond }),
			condition.StoreSlow, condition.OK},
		{"26 ms", store(func(f figures) { f.P99 = 26 * time.Millisecond }),
			condition.StoreSlow, condition.Warning},
		{"two seconds", store(func(f figures) { f.P99 = 2 * time.Second }),
			condition.StoreSlow, condition.Failure},
		{"an older copy", store(func(f figures) { f.RolledBack = true }),
			condition.StoreRollback, condition.Warning},
		{"no guard", store(func(f figures) { f.Guard = errSo }),
			condition.StoreGuard, condition.Failure},
		{"two seconds behind", store(func(f figures) { f.Behind = 2 * time.Second }),
			condition.ClockBehind, condition.Warning},
		{"an hour behind", store(func(f figures) { f.Behind = time.Hour }),
			condition.ClockBehind, condition.Failure},

		{"one journaled hold", fleet(func(f *condition.Fleet) { f.Journaled = 1 }),
			condition.JournalDrained, condition.Warning},
		{"four of four late", fleet(func(f *condition.Fleet) { f.Subjects, f.Overdue = 4, 4 }),
			condition.SubjectsOverdue, condition.OK},
		{"21 of 400 late", fleet(func(f *condition.Fleet) { f.Overdue = 21 }),
			condition.SubjectsOverdue, condition.Warning},
		{"201 of 400 late", fleet(func(f *condition.Fleet) { f.Overdue = 201 }),
			condition.SubjectsOverdue, condition.Failure},
		{"a queue of 80 in 100", fleet(func(f *condition.Fleet) { f.Pending = 80 }),
			condition.EnrolmentPending, condition.Warning},
		{"a full queue", fleet(func(f *condition.Fleet) { f.Pending = 100 }),
			condition.EnrolmentPending, condition.Failure},
		{"one over the cap", fleet(func(f *condition.Fleet) { f.Capped = 1 }),
			condition.AutomationCap, condition.Failure},
		{"a failed re-appraisal", fleet(func(f *condition.Fleet) { f.Reappraisal = errSo }),
			condition.ReappraisalDone, condition.Failure},
		{"a failed reload", fleet(func(f *condition.Fleet) { f.Reload = errSo }),
			condition.PolicyReload, condition.Failure},

		{"a record that was not written", audit(func(f *condition.AuditFigures) { f.Ready = errSo }),
			condition.AuditWritable, condition.Failure},
		{"a checkpoint that was not signed once", audit(func(f *condition.AuditFigures) { f.SignError = errSo }),
			condition.AuditCheckpoint, condition.Warning},
		{"no checkpoint for 11 minutes", audit(func(f *condition.AuditFigures) { f.Signed = noon.Add(-11 * time.Minute) }),
			condition.AuditCheckpoint, condition.Failure},
		{"never a checkpoint", audit(func(f *condition.AuditFigures) { f.Signed = time.Time{} }),
			condition.AuditCheckpoint, condition.Failure},
		{"a changed log", audit(func(f *condition.AuditFigures) { f.Whole = errSo }),
			condition.AuditWhole, condition.Failure},
		{"a log that nobody read", audit(func(f *condition.AuditFigures) { f.Read = time.Time{} }),
			condition.AuditWhole, condition.Unknown},

		{"no workers", setting(func(f *condition.Settings) { f.Isolated = false }),
			condition.WorkersApart, condition.Failure},
		{"a laboratory", setting(func(f *condition.Settings) { f.Laboratory = []string{"blue"} }),
			condition.PolicyLaboratory, condition.Warning},
		{"recorded evidence", setting(func(f *condition.Settings) { f.Recorded = true }),
			condition.PolicyRecorded, condition.Warning},
		{"roots by hand", setting(func(f *condition.Settings) { f.Roots = 2 }),
			condition.PolicyRoots, condition.Warning},
		{"a dry run", setting(func(f *condition.Settings) { f.Automation = "dry-run" }),
			condition.AutomationOn, condition.Warning},

		{"no named operator", condition.Operators(0, noon, time.Time{}, noon),
			condition.AdminToken, condition.Warning},
		{"workers that fail", []condition.Finding{condition.Workers(errSo)},
			condition.WorkersAnswer, condition.Failure},
	} {
		index := slices.IndexFunc(row.found, func(f condition.Finding) bool { return f.ID == row.id })
		if index < 0 {
			t.Errorf("%s: %s is not among the findings", row.name, row.id)
			continue
		}
		if got := row.found[index]; got.Severity != row.want || got.Detail == "" {
			t.Errorf("%s: %s is %s (%q), want %s", row.name, row.id, got.Severity, got.Detail, row.want)
		}
	}
}

// TestWellIsWell: figures of a healthy daemon answer for all their conditions, each well.
func TestWellIsWell(t *testing.T) {
	for name, part := range map[string]struct {
		ids   []condition.ID
		found []condition.Finding
	}{
		"store":    {condition.StoreIDs, wellStore().Findings()},
		"fleet":    {condition.FleetIDs, wellFleet().Findings()},
		"audit":    {condition.AuditIDs, wellAudit().Findings()},
		"settings": {condition.SettingIDs, condition.Settings{Isolated: true, Automation: "on"}.Findings()},
	} {
		if len(part.ids) != len(part.found) {
			t.Errorf("%s: %d findings for %d conditions", name, len(part.found), len(part.ids))
		}
		for _, found := range part.found {
			if found.Severity != condition.OK || !slices.Contains(part.ids, found.ID) {
				t.Errorf("%s: %s is %s: %s", name, found.ID, found.Severity, found.Detail)
			}
		}
	}
}

func TestCertificatesEndSoon(t *testing.T) {
	for _, row := range []struct {
		name       string
		life, left time.Duration
		want       condition.Severity
	}{
		{"a year, a month left", 365 * day, 30 * day, condition.OK},
		{"a year, 13 days left", 365 * day, 13 * day, condition.Warning},
		{"a year, a day left", 365 * day, day, condition.Failure},
		{"twelve hours, four left", 12 * time.Hour, 4 * time.Hour, condition.OK},
		{"twelve hours, two left", 12 * time.Hour, 2 * time.Hour, condition.Warning},
		{"one that has ended", 365 * day, -time.Second, condition.Failure},
		{"one that ends now", 365 * day, 0, condition.Failure},
	} {
		until := noon.Add(row.left)
		got := condition.Certificate(condition.TLSCertificate, until.Add(-row.life), until, noon)
		if got.Severity != row.want {
			t.Errorf("%s: %s, want %s", row.name, got.Severity, row.want)
		}
	}
	got := condition.Certificate(condition.TLSCertificate, time.Time{}, time.Time{}, noon)
	if got.Severity != condition.OK {
		t.Errorf("no certificate: %s", got.Severity)
	}
}
