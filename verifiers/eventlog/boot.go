package eventlog

import (
	"bytes"
)

// Boot is what a replayed log shows. Facts rest on registers of [Boot.Matched] and on data that
// their digests cover; where a fact's register was not quoted, or shows nothing, the fact is
// unknown.
type Boot struct {
	// Log is "boot" or "ccel", Bank the bank that was replayed.
	Log  string
	Bank Bank
	// Count is the number of the log's events, those that extend nothing included.
	Count int
	// Matched has bit n set where PCR n (or RTMR n) was quoted and the log's events give its value.
	Matched uint32
	// Unaccounted has bit n set where PCR n above 7 (RTMR n above 1) was quoted and has another value
	// than its initial one, and the log has no event of it. Nothing is known of what was measured
	// there.
	Unaccounted uint32

	// SecureBoot says whether the firmware checked signatures: the variable SecureBoot, measured in
	// PCR 7 before its separator. A variable without data counts as off.
	SecureBoot Switch
	// PK, KEK, DB and DBX count the entries of the variables with those names, in PCR 7.
	PK, KEK, DB, DBX Database
	// Authorities is the number of events in PCR 7 that name the entry which vouched for an image.
	Authorities int
	// Debugger says that the firmware measured a debug mode ("UEFI Debug Mode", PFP 1.06 section
	// 10.4.4), DMAUnprotected that it measured that protection against DMA was off.
	Debugger, DMAUnprotected bool

	// Separators has bit n set where PCR n below 8 has its one good separator (CCEL: RTMR n has one at
	// least). ReplayBoot refuses a log in which a quoted PCR below 8 has none.
	Separators uint8
	// Late is the number of events in PCR 0 to 7 behind their register's separator that are not among
	// those which follow it on every machine: drivers, firmware volumes, configuration.
	Late int

	// Applications is the number of images started in PCR 4, Early how many of them came before
	// "Calling EFI Application from Boot Option", or without it: images of the firmware's own, or a
	// boot that was hooked. Drivers is the number of images of PCR 2.
	Applications, Early, Drivers int
	// ExitBootServices says that boot services were left with success: "Exit Boot Services Invocation"
	// and "... Returned with Success" are the last of PCR 5. ExitSupplied says that the log lacks
	// those two events and that adding them gave the quoted PCR 5, as on machines whose log is read
	// before them.
	ExitBootServices, ExitSupplied bool

	// Kernels, Initrds and CommandLines are the numbers of events with these roles.
	Kernels, Initrds, CommandLines int
	// Phase is the last boot phase of systemd-pcrphase that PCR 11 shows beyond the log, as in
	// "ready"; empty for none.
	Phase string

	// FirmwareVersion is the measured text of EV_S_CRTM_VERSION in PCR 0, where its digest covers it.
	FirmwareVersion string
	// GCETechnology says what Google's firmware measured in PCR 0 about the memory of the machine.
	GCETechnology GCETechnology

	layout   layout
	log      []byte
	believed uint32 // Matched by the log's register indices
}

// Switch is something that is on or off, or not known.
type Switch struct{ Known, On bool }

// Database counts the entries of a signature database. Known says that the variable was measured
// and covered; an absent variable is known and empty.
type Database struct {
	Known bool
	// Certificates, Hashes (of images) and Others (hashes of certificates, bare keys).
	Certificates, Hashes, Others int
}

// Entries is the number of all entries.
func (d Database) Entries() int { return d.Certificates + d.Hashes + d.Others }

// GCETechnology is what EV_NONHOST_INFO of Google Compute Engine's firmware says.
type GCETechnology uint8

// Technologies. The host's firmware wrote the event: it is a statement of Google's, not of a
// processor.
const (
	GCEUnknown GCETechnology = iota // no such event
	GCENone                         // memory is not encrypted
	GCESEV
	GCESEVES
	GCETDX
	GCESEVSNP
	GCEOther // a number that is not known here
)

var gceNames = [...]string{"", "none", "sev", "sev-es", "tdx", "sev-snp", "other"}

// String returns "none", "sev", "sev-es", "tdx", "sev-snp" or "other"; empty for unknown.
func (g GCETechnology) String() string {
	if int(g) < len(gceNames) {
		return gceNames[g]
	}
	return ""
}

// ReplayBoot replays a TPM's event log and compares it with the quoted registers, then collects
// what it shows. Nothing of a log is returned beside a fault.
//
// Faults: MALFORMED and TOO_LARGE for a log that leaves its format; MEASUREMENT for one that does
// not lead to the quoted registers, lacks a separator, has an error separator, or contradicts
// itself; STALE for firmware events after boot services were left; UNSUPPORTED for a bank that
// cannot be replayed.
func ReplayBoot(log []byte, quoted Registers) (Boot, *Fault) {
	state := replay{bank: quoted.Bank, layout: layoutPCR}
	if quoted.Bank.Size() == 0 {
		return Boot{}, unknownBank(quoted.Bank)
	}
	for register, value := range quoted.Values {
		if fault := state.quote(register, value); fault != nil {
			return Boot{}, fault
		}
	}
	return believe(log, &state)
}

// ReplayCCEL replays the event log of a confidential virtual machine and compares it with its
// runtime measurement registers. Bits of the result's Matched count RTMRs.
func ReplayCCEL(log []byte, quoted RTMRs) (Boot, *Fault) {
	state := replay{bank: SHA384, layout: layoutRTMR}
	for index, value := range quoted {
		if fault := state.quote(index+1, value); fault != nil {
			return Boot{}, fault
		}
	}
	return believe(log, &state)
}

func believe(log []byte, state *replay) (Boot, *Fault) {
	if fault := state.run(log); fault != nil {
		return Boot{}, fault
	}
	boot := Boot{Log: state.layout.log(), Bank: state.bank, Count: state.total, layout: state.layout}
	boot.ExitSupplied, boot.Phase = state.supplement()
	var fault *Fault
	if boot.believed, boot.Unaccounted, fault = state.compare(); fault != nil {
		return Boot{}, fault
	}
	boot.Matched = boot.believed
	if state.layout == layoutRTMR {
		boot.Matched, boot.Unaccounted = boot.Matched>>1, boot.Unaccounted>>1
	}
	boot.log = bytes.Clone(log)
	if fault := boot.collect(); fault != nil {
		return Boot{}, fault
	}
	return boot, nil
}
