package eventlog

import (
	"bytes"
	"strings"

	"github.com/attestd/attestd"
)

// collector turns what events show into the facts of a Boot.
type collector struct {
	boot       *Boot
	observer   *observer
	separators [registerCount]int
	databases  [4][]byte // digests of the events that PK, KEK, db and dbx came from
	calling    bool
	invoked    bool
	left       bool // boot services were left with success
}

// collect reads the replayed log a second time, now for what it shows.
func (b *Boot) collect() *Fault {
	c := collector{boot: b, observer: newObserver(b.layout, b.Bank)}
	var events reader
	if fault := events.open(b.log, b.layout, b.Bank); fault != nil {
		return fault
	}
	for e := (raw{}); ; {
		more, fault := events.next(&e)
		if fault != nil {
			return fault
		}
		if !more {
			return c.finish()
		}
		if e.kind == evNoAction || b.believed&(1<<e.register) == 0 {
			continue
		}
		if fault := c.event(&e); fault != nil {
			return fault
		}
	}
}

func (c *collector) event(e *raw) *Fault {
	l := c.boot.layout
	before := c.observer.separated&(1<<e.register) == 0
	seen := c.observer.look(e)
	if l.firmware(e.register) {
		// What an operating system extends cannot be told from the firmware's once it runs: whoever adds
		// an event to PCR 0 to 7 then speaks in the firmware's name.
		if c.left {
			return about(attestd.ClassStale, e, l, "", "after boot services were left")
		}
		if fault := c.separator(e, &seen); fault != nil {
			return fault
		}
		if !before && c.late(e, &seen) {
			c.boot.Late++
		}
	}
	if seen.hidden {
		return about(attestd.ClassMeasurement, e, l, "",
			"has data that its %s digest does not cover", c.boot.Bank)
	}
	if seen.broken {
		return about(attestd.ClassMalformed, e, l, "UEFI_VARIABLE_DATA", "with %d bytes", len(e.data))
	}
	c.action(e, &seen)
	c.count(&seen)
	if fault := c.policy(e, &seen, before); fault != nil {
		return fault
	}
	return c.firmware(e, &seen, before)
}

// separator counts separators. PFP 1.06 section 3.3.2.2: each of PCR 0 to 7 gets one before the
// first boot attempt; an error is measured in its place, after which nothing in the register is to
// be trusted.
func (c *collector) separator(e *raw, seen *sight) *Fault {
	l := c.boot.layout
	if seen.mark == markSeparatorError {
		return about(attestd.ClassMeasurement, e, l, "a separator of 0 or ffffffff",
			"is the separator of an error")
	}
	if seen.role != attestd.RoleSeparator {
		if e.kind == evSeparator {
			return about(attestd.ClassMeasurement, e, l, "the digest of 0 or ffffffff",
				"with a digest of %x..", e.digest[:8])
		}
		return nil
	}
	if e.kind == evSeparator {
		c.separators[e.register]++
	}
	if l == layoutPCR && c.separators[e.register] > 1 {
		return about(attestd.ClassMeasurement, e, l, "one separator", "is a second separator")
	}
	return nil
}

// late reports whether an event after its register's separator is one of the firmware's own.
func (c *collector) late(e *raw, seen *sight) bool {
	return c.boot.layout == layoutPCR && e.register != 4 && e.register != 5 && seen.mark == markNone &&
		seen.role != attestd.RoleAuthority && seen.content != contentVariable
}

// action takes note of the firmware's fixed words. Those that speak well of a boot count only in
// the register that they belong to (PFP 1.06 section 10.4.4: PCR 4 and PCR 5, which share RTMR 1):
// how events of different registers follow each other is the log's word, and anybody can measure a
// text into another one.
func (c *collector) action(e *raw, seen *sight) {
	calls, exits := e.register == 4, e.register == 5
	if c.boot.layout == layoutRTMR {
		calls, exits = e.register == 2, e.register == 2
	}
	switch seen.mark {
	case markCalling:
		c.calling = c.calling || calls
	case markExit:
		c.invoked = c.invoked || exits
	case markExitFailure:
		c.invoked = c.invoked && !exits
	case markExitSuccess:
		c.left = c.left || exits && c.invoked
	case markDebugger:
		c.boot.Debugger = true
	case markDMA:
		c.boot.DMAUnprotected = true
	}
}

func (c *collector) count(seen *sight) {
	switch seen.role {
	case attestd.RoleApplication:
		c.boot.Applications++
		if !c.calling {
			c.boot.Early++
		}
	case attestd.RoleDriver:
		c.boot.Drivers++
	case attestd.RoleAuthority:
		c.boot.Authorities++
	case attestd.RoleKernel:
		c.boot.Kernels++
	case attestd.RoleInitrd:
		c.boot.Initrds++
	case attestd.RoleCommandLine:
		if !seen.same { // one kernel's line, measured twice
			c.boot.CommandLines++
		}
	}
}

// policy takes the Secure Boot policy from before the separator. A second event that says something
// else is a contradiction, wherever it stands: an operating system that adds one must not be able
// to choose which of the two is believed.
func (c *collector) policy(e *raw, seen *sight, before bool) *Fault {
	l := c.boot.layout
	switch seen.content {
	case contentSwitch:
		value := seen.covered
		if len(value) > 1 || len(value) == 1 && value[0] > 1 {
			return about(attestd.ClassMalformed, e, l, "no byte, 0 or 1",
				"SecureBoot with %d bytes", len(value))
		}
		now := Switch{Known: true, On: len(value) == 1 && value[0] == 1}
		if known := c.boot.SecureBoot; known.Known && known != now {
			return about(attestd.ClassMeasurement, e, l, "", "says the contrary of an earlier SecureBoot")
		}
		if before {
			c.boot.SecureBoot = now
		}
	case contentDatabase:
		return c.database(e, seen, before)
	}
	return nil
}

func (c *collector) database(e *raw, seen *sight, before bool) *Fault {
	l := c.boot.layout
	found := Database{Known: true}
	problem := signatures(seen.covered, func(one Signature) {
		switch one.Kind {
		case SignatureCertificate:
			found.Certificates++
		case SignatureImageHash:
			found.Hashes++
		default:
			found.Others++
		}
	})
	if problem != nil {
		return about(problem.class, e, l, "", "%s: %s", seen.policy, problem.got)
	}
	place, into := 0, &c.boot.PK
	switch seen.policy {
	case attestd.RoleKEK:
		place, into = 1, &c.boot.KEK
	case attestd.RoleDB:
		place, into = 2, &c.boot.DB
	case attestd.RoleDBX:
		place, into = 3, &c.boot.DBX
	}
	if earlier := c.databases[place]; earlier != nil && !bytes.Equal(earlier, e.digest) {
		return about(attestd.ClassMeasurement, e, l, "", "is another %s than an earlier event",
			seen.policy)
	}
	if before {
		c.databases[place], *into = e.digest, found
	}
	return nil
}

var gceSignature = []byte("GCE NonHostInfo\x00")

// firmware takes what PCR 0 says of the firmware before its separator.
func (c *collector) firmware(e *raw, seen *sight, before bool) *Fault {
	if c.boot.layout != layoutPCR || e.register != 0 || !before || seen.content != contentText {
		return nil
	}
	// The signature makes the event; its type, which is not covered, does not.
	if len(seen.covered) == 32 && bytes.HasPrefix(seen.covered, gceSignature) {
		now := GCEOther
		if value := seen.covered[len(gceSignature)]; value < byte(GCEOther-GCENone) {
			now = GCENone + GCETechnology(value)
		}
		if known := c.boot.GCETechnology; known != GCEUnknown && known != now {
			return about(attestd.ClassMeasurement, e, layoutPCR, "", "says the contrary of an earlier one")
		}
		c.boot.GCETechnology = now
	}
	if e.kind == evSCRTMVersion && c.boot.FirmwareVersion == "" {
		c.boot.FirmwareVersion = versionText(seen.covered)
	}
	return nil
}

// finish demands the separators of the registers that are believed.
func (c *collector) finish() *Fault {
	b := c.boot
	b.ExitBootServices = c.left || b.ExitSupplied
	for register := range uint32(8) {
		index := register
		if b.layout == layoutRTMR {
			index++
		}
		if c.separators[index] > 0 {
			b.Separators |= 1 << register
			continue
		}
		// RTMR 0 holds PCR 7, whose separator every firmware measures; RTMR 1 may have none.
		must := b.layout == layoutPCR || register == 0
		if must && b.believed&(1<<index) != 0 {
			return &Fault{
				Class: attestd.ClassMeasurement, Event: -1, Register: b.layout.name(index),
				Got:  b.layout.name(index) + " without a separator",
				Want: "the separator that ends the firmware's measurements",
			}
		}
	}
	return nil
}

// versionText returns the text of EV_S_CRTM_VERSION: "a NUL-terminated UCS-2 string" (PFP 1.06
// section 10.4.1), or a GUID, or in some firmware something else, for which it is empty.
func versionText(data []byte) string {
	text, ok := decodeUTF16(data)
	if !ok || len(text) == 0 {
		return ""
	}
	for _, r := range text {
		if r < ' ' || r > '~' {
			return ""
		}
	}
	return attestd.Excerpt(strings.TrimSpace(text), 80)
}
