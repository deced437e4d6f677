package testvectors

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Log is a published log of measurements, with what a reader must make of it. It is no evidence: no
// signature covers it.
type Log struct {
	Name string
	// Kind is "boot" (TCG event log), "boot-sha1" (one of the old form, which is read and never
	// replayed), "ccel" or "ima-ascii".
	Kind string
	Data []byte
	// Expect is "replayed" where Registers were published with the log, which the log must lead to;
	// "parsed" where none were; "refused" where it must not be read, or must not lead to Registers.
	Expect string
	// Events is how many entries a log has that is read.
	Events int
	// Bank of Registers, as in "sha256", and the registers by name, as in "PCR0" or "RTMR0".
	Bank      string
	Registers map[string][]byte
	Neg       []int
	Licence   string
	Comment   string
}

var logKinds = []string{"boot", "boot-sha1", "ccel", "ima-ascii"}

// bankSizes are the lengths of the digests of the banks.
var bankSizes = map[string]int{"sha1": 20, "sha256": 32, "sha384": 48}

func parseLog(values map[string]string) (log Log, err error) {
	log = Log{Kind: values["log"], Expect: values["expect"], Bank: values["bank"]}
	if !slices.Contains(logKinds, log.Kind) {
		return Log{}, fmt.Errorf("log is %q, want one of %q", log.Kind, logKinds)
	}
	texts, err := parseClaims(values["registers"])
	if err != nil {
		return Log{}, fmt.Errorf("registers: %w", err)
	}
	if (len(texts) == 0) != (log.Bank == "") {
		return Log{}, errors.New("bank and registers go together")
	}
	log.Registers = map[string][]byte{}
	for name, text := range texts {
		value, err := hex.DecodeString(text)
		if err != nil || len(value) != bankSizes[log.Bank] {
			return Log{}, fmt.Errorf("register %s of bank %q is %q", name, log.Bank, text)
		}
		log.Registers[name] = value
	}
	if text := values["events"]; text != "" {
		if log.Events, err = strconv.Atoi(text); err != nil || log.Events < 1 {
			return Log{}, fmt.Errorf("events is %q", text)
		}
	}
	switch {
	case log.Expect == "replayed" && len(texts) > 0 && log.Events > 0,
		log.Expect == "parsed" && len(texts) == 0 && log.Events > 0,
		log.Expect == "refused" && log.Events == 0:
	default:
		return Log{}, fmt.Errorf("expect is %q: want replayed (with registers and events), parsed "+
			"(with events) or refused (without events)", strings.TrimSpace(log.Expect))
	}
	log.Neg, err = parseNumbers(values["neg"])
	return log, err
}
