package eventlog_test

import (
	"bytes"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/eventlog"
)

// confidential returns a confidential machine and what its registers show.
func confidential(t testing.TB, options forge.BootOptions) (*forge.Boot, eventlog.RTMRs) {
	t.Helper()
	options.Confidential = true
	boot := forge.NewBoot(options)
	var quoted eventlog.RTMRs
	values := boot.Registers(forge.LogSHA384)
	copy(quoted[:], values[1:5])
	return boot, quoted
}

func TestFactsOfAConfidentialMachine(t *testing.T) {
	t.Parallel()
	boot, quoted := confidential(t, forge.BootOptions{SecureBoot: true})
	padded := append(boot.Log(), bytes.Repeat([]byte{0xff}, 1000)...)
	for _, log := range [][]byte{boot.Log(), padded} {
		facts, fault := eventlog.ReplayCCEL(log, quoted)
		if fault != nil {
			t.Fatal(fault)
		}
		if facts.Log != "ccel" || facts.Matched != 0xf || facts.Separators != 3 || !facts.SecureBoot.On ||
			facts.DBX.Hashes != 3 || facts.Authorities != 1 || !facts.ExitBootServices ||
			facts.Kernels != 1 || facts.Initrds != 1 || facts.CommandLines != 1 {
			t.Errorf("%+v", eventlog.Public(facts))
		}
		// PCR 2 and 4 are one register here: nothing tells a driver from an application.
		if facts.Applications != 3 || facts.Drivers != 0 {
			t.Errorf("%d applications, %d drivers", facts.Applications, facts.Drivers)
		}
		line := ofRole(facts, attestd.RoleCommandLine)[0]
		if line.Register != "RTMR2" || line.Log != "ccel" || line.Text != "/vmlinuz root=/dev/vda2 ro" {
			t.Errorf("%+v", line)
		}
	}
	boot, quoted = confidential(t, forge.BootOptions{Unified: true})
	facts, fault := eventlog.ReplayCCEL(boot.Log(), quoted)
	if fault != nil || facts.Kernels != 1 || facts.Initrds != 1 {
		t.Errorf("unified image: %v %+v", fault, eventlog.Public(facts))
	}
	quoted[0] = nil
	facts, fault = eventlog.ReplayCCEL(boot.Log(), quoted)
	if fault != nil || facts.SecureBoot.Known || facts.Matched != 0xe ||
		len(ofRole(facts, attestd.RoleDBX)) != 0 {
		t.Errorf("facts of a register that nothing vouches for: %v %+v", fault, eventlog.Public(facts))
	}
}

func TestCCELsThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		change func(*testing.T, *forge.Boot)
		log    func([]byte) []byte
		quote  func(*eventlog.RTMRs)
		class  attestd.Class
		words  string
	}{
		{"an event is dropped", func(_ *testing.T, b *forge.Boot) { b.Drop("shim") }, nil, nil, // neg: 65
			attestd.ClassMeasurement, "RTMR1"},
		{"RTMR 3 holds what the log does not say", nil, nil, nil, "", ""},
		{"data beside a digest", func(t *testing.T, b *forge.Boot) { // neg: 64, 66
			step(t, b, "secure-boot").Data = forge.SecureBootVariable([]byte{1})
		}, nil, nil, attestd.ClassMeasurement, "RTMR0 EV_EFI_VARIABLE_DRIVER_CONFIG) has data"},
		{"padding with something in it", nil, func(log []byte) []byte {
			return append(append(log, bytes.Repeat([]byte{0xff}, 99)...), 0)
		}, nil, attestd.ClassMalformed, "digests"},
		{"padding of zeros", nil, func(log []byte) []byte {
			return append(log, make([]byte, 64)...)
		}, nil, attestd.ClassMalformed, "0 digests"},
		{"a register of 32 bytes", nil, nil, func(q *eventlog.RTMRs) { q[1] = q[1][:32] },
			attestd.ClassMalformed, "RTMR1 quoted with 32 bytes"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			boot, quoted := confidential(t, forge.BootOptions{})
			if row.change != nil {
				row.change(t, boot)
			}
			log := boot.Log()
			if row.log != nil {
				log = row.log(log)
			}
			if row.quote != nil {
				row.quote(&quoted)
			}
			if row.class == "" {
				quoted[3] = bytes.Repeat([]byte{9}, 48)
				facts, fault := eventlog.ReplayCCEL(log, quoted)
				if fault != nil || facts.Unaccounted != 8 || facts.Matched != 7 {
					t.Errorf("%v %+v", fault, eventlog.Public(facts))
				}
				return
			}
			facts, fault := eventlog.ReplayCCEL(log, quoted)
			wantFault(t, facts, fault, row.class, row.words)
		})
	}
	t.Run("no separator in RTMR 0", func(t *testing.T) { // neg: 71
		boot, _ := confidential(t, forge.BootOptions{})
		for _, name := range []string{"separator7", "separator0", "separator1"} {
			boot.Drop(name)
		}
		var quoted eventlog.RTMRs
		values := boot.Registers(forge.LogSHA384)
		copy(quoted[:], values[1:5])
		facts, fault := eventlog.ReplayCCEL(boot.Log(), quoted)
		wantFault(t, facts, fault, attestd.ClassMeasurement, "RTMR0 without a separator")
	})
	t.Run("a TPM's log", func(t *testing.T) {
		boot := forge.NewBoot(forge.BootOptions{Algorithms: []uint16{forge.LogSHA384}})
		facts, fault := eventlog.ReplayCCEL(boot.Log(), eventlog.RTMRs{})
		wantFault(t, facts, fault, attestd.ClassMalformed, "register 0x00000000")
	})
}
