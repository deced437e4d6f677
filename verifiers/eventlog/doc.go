// Package eventlog replays the event logs of a measured boot and says what may be believed of them.
//
// What comes in: a log in the crypto-agile format of the TCG PC Client Platform Firmware Profile
// (PFP, version 1.06, sections 10.2 to 10.4), and register values that a quote vouches for. CCEL,
// the log of confidential virtual machines (UEFI specification 2.10, section 38.4), has the same
// format over other registers.
//
// What is true where [ReplayBoot] or [ReplayCCEL] returns no [Fault]: extending the log's digests
// in their order gives exactly the quoted registers (see [Boot.Matched] for the registers that this
// is said of), PCR 0 to 7 were separated from what started later, and every fact comes from data
// that hash to a digest that was extended. The type of an event, the order of events of different
// registers, and data beside a digest that they do not hash to, are text that anybody with root on
// the machine can write: a fact never rests on them. So a firmware's or boot loader's event that
// cannot be recognised by its digest counts as the thing that a policy speaks of (an application in
// PCR 4, a driver in PCR 2) and not as something else.
//
// What is not shown: that the measured software is good (reference values and rules say that), that
// the firmware measured what it ran, and what was started after the last event. See
// docs/explain/event-logs.md.
package eventlog

// limits of a log. They stand above every log that was seen (73 KB, 160 events) and far below what
// would hurt: memory is the log's copy, time is linear in its length.
var limits = struct {
	log, events, data, algorithms, lists, entries, name, files, command int
}{
	log:        8 << 20, // bytes of a log, without padding more than real areas reserve
	events:     1 << 17, // events of a log
	data:       1 << 20, // bytes of one event's data
	algorithms: 8,       // digest algorithms of a log (TPM 2.0 part 1: banks of one TPM)
	lists:      1 << 10, // signature lists of one variable
	entries:    1 << 14, // signatures of one variable
	name:       1 << 10, // UTF-16 units of a variable's name
	files:      32,      // files of a boot loader's command that are looked for
	command:    8 << 10, // bytes of a boot loader's command in which they are
}
