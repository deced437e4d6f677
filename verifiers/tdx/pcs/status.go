package pcs

import "fmt"

// Status is how Intel judges one level of a TCB. The zero Status is none and is never in a document
// that was read.
type Status uint8

// What Intel writes as tcbStatus (PCS API version 4, TCB Info V3).
const (
	StatusNone Status = iota
	UpToDate
	SWHardeningNeeded
	ConfigurationNeeded
	ConfigurationAndSWHardeningNeeded
	OutOfDate
	OutOfDateConfigurationNeeded
	Revoked
)

var statusNames = [...]string{"", "UpToDate", "SWHardeningNeeded", "ConfigurationNeeded",
	"ConfigurationAndSWHardeningNeeded", "OutOfDate", "OutOfDateConfigurationNeeded", "Revoked"}

// Statuses are all there are, the best first.
func Statuses() []Status {
	return []Status{UpToDate, SWHardeningNeeded, ConfigurationNeeded,
		ConfigurationAndSWHardeningNeeded, OutOfDate, OutOfDateConfigurationNeeded, Revoked}
}

// String returns Intel's word; an empty text for none.
func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return fmt.Sprintf("invalid(%d)", s)
}

// statusOf knows Intel's words and no others: one that is new could be worse than all of them.
func statusOf(word string) (Status, bool) {
	for index, name := range statusNames {
		if index != 0 && name == word {
			return Status(index), true //nolint:gosec // index of an array of eight
		}
	}
	return StatusNone, false
}

// IsOutOfDate reports whether an update is missing, or the level was revoked.
func (s Status) IsOutOfDate() bool { return s >= OutOfDate || s == StatusNone }

// NeedsConfiguration reports whether the platform must be configured in another way.
func (s Status) NeedsConfiguration() bool {
	return s == ConfigurationNeeded || s == ConfigurationAndSWHardeningNeeded ||
		s == OutOfDateConfigurationNeeded
}

// NeedsSWHardening reports whether software in the TD must be hardened.
func (s Status) NeedsSWHardening() bool {
	return s == SWHardeningNeeded || s == ConfigurationAndSWHardeningNeeded
}

// Converge returns the status of a whole whose parts have these: never better than any of them, with
// every need that one of them names. It does not matter in which order. Revoked stays Revoked whatever
// stands beside it, an update that one part misses is missing from the whole, and the need for another
// configuration stays visible beside that (OutOfDateConfigurationNeeded). Intel has no word for an
// update that is missing and software that must be hardened: there the update counts, and the
// advisories name the rest. No status at all, and one that is not known, give none.
func Converge(parts ...Status) Status {
	var outOfDate, revoked, configuration, hardening bool
	for _, part := range parts {
		if part == StatusNone || part > Revoked {
			return StatusNone
		}
		revoked = revoked || part == Revoked
		outOfDate = outOfDate || part.IsOutOfDate()
		configuration = configuration || part.NeedsConfiguration()
		hardening = hardening || part.NeedsSWHardening()
	}
	switch {
	case len(parts) == 0:
		return StatusNone
	case revoked:
		return Revoked
	case outOfDate && configuration:
		return OutOfDateConfigurationNeeded
	case outOfDate:
		return OutOfDate
	case configuration && hardening:
		return ConfigurationAndSWHardeningNeeded
	case configuration:
		return ConfigurationNeeded
	case hardening:
		return SWHardeningNeeded
	default:
		return UpToDate
	}
}
