package journal

import (
	"strconv"
	"time"

	"github.com/attestd/attestd/internal/audit"
)

// sealAction names the entries of the audit log that hold seals.
const sealAction = "decision.segment"

// Entry returns a seal as an entry of the audit log. Each segment names the digest of the one before it,
// so the newest entry stands for all.
func (s Seal) Entry(at time.Time) audit.Record {
	return audit.Record{
		At: at, Actor: "attestd", Tenant: "*", Action: sealAction, Target: s.Segment, Outcome: "done",
		Detail: map[string]string{
			"sha256": s.SHA256, "records": strconv.FormatInt(s.Records, 10), "bytes": strconv.FormatInt(s.Bytes, 10),
		},
	}
}

// SealOf returns the seal of an entry of the audit log, where it has one.
func SealOf(entry audit.Record) (seal Seal, ok bool) {
	if entry.Action != sealAction || entry.Target == "" || entry.Detail["sha256"] == "" {
		return seal, false
	}
	seal = Seal{Segment: entry.Target, SHA256: entry.Detail["sha256"]}
	var errRecords, errBytes error
	seal.Records, errRecords = strconv.ParseInt(entry.Detail["records"], 10, 64)
	seal.Bytes, errBytes = strconv.ParseInt(entry.Detail["bytes"], 10, 64)
	return seal, errRecords == nil && errBytes == nil
}
