package tpm

import "github.com/attestd/attestd"

// PCRs on which facts rest.
const (
	bitPCR2 = 1 << 2
	bitPCR4 = 1 << 4
	bitPCR5 = 1 << 5
	bitPCR7 = 1 << 7
	// bitsClosed are those of PCR 0 to 7 in which nothing is due behind the separator.
	bitsClosed = 0xff &^ (bitPCR4 | bitPCR5)
)

// bootFacts are those of a replayed boot log. A fact whose PCR was not quoted is not visible.
func (s *session) bootFacts(add adder) {
	boot := s.boot
	if boot == nil {
		add("boot_log", attestd.Text("absent"))
		add("secure_boot", attestd.NotVisible())
		add("exit_boot_services", attestd.NotVisible())
		return
	}
	where := func(visible bool, value attestd.Value) attestd.Value {
		if !visible {
			return attestd.NotVisible()
		}
		return value
	}
	add("boot_log", attestd.Text("replayed"))
	add("boot_bank", attestd.Text(boot.Bank.String()))
	add("boot_events", count(boot.Count))
	add("boot_pcrs", attestd.Uint(uint64(boot.Matched)))
	add("boot_pcrs_unexplained", attestd.Uint(uint64(boot.Unaccounted)))
	add("secure_boot", where(boot.SecureBoot.Known && boot.Matched&bitPCR7 != 0,
		attestd.Bool(boot.SecureBoot.On)))
	add("exit_boot_services", where(boot.Matched&bitPCR5 != 0, attestd.Bool(boot.ExitBootServices)))
	add("firmware_debugger", where(boot.Matched&bitPCR7 != 0, attestd.Bool(boot.Debugger)))
	add("dma_unprotected", where(boot.Matched&bitPCR7 != 0, attestd.Bool(boot.DMAUnprotected)))
	add("late_events", where(boot.Matched&bitsClosed == bitsClosed, count(boot.Late)))
	add("boot_applications", where(boot.Matched&bitPCR4 != 0, count(boot.Applications)))
	add("early_applications", where(boot.Matched&bitPCR4 != 0, count(boot.Early)))
	add("boot_drivers", where(boot.Matched&bitPCR2 != 0, count(boot.Drivers)))
	add("dbx_entries", where(boot.DBX.Known, count(boot.DBX.Entries())))
	if boot.FirmwareVersion != "" {
		add("firmware_text", attestd.Text(attestd.Excerpt(boot.FirmwareVersion, 64)))
	}
	if boot.Phase != "" {
		add("boot_phase", attestd.Text(attestd.Excerpt(boot.Phase, 32)))
	}
	if technology := boot.GCETechnology.String(); technology != "" {
		add("gce_technology", attestd.Text(technology))
	}
}

func (s *session) imaFacts(add adder) {
	log := s.ima
	if log == nil {
		add("ima", attestd.Text("absent"))
		return
	}
	add("ima", attestd.Text("replayed"))
	add("ima_entries", attestd.Uint(log.State.Entries))
	add("ima_offset", attestd.Uint(log.State.Offset))
	add("ima_bank", attestd.Text(log.State.Bank))
	add("ima_register", attestd.Bytes(log.State.Register))
	add("ima_unquoted", count(log.Unquoted))
	add("ima_violations", count(log.Violations))
	add("ima_kexecs", count(log.Kexecs))
	add("ima_padded", attestd.Bool(log.Padded))
	add("ima_aggregate", attestd.Text(string(log.Aggregate)))
}

func count(n int) attestd.Value { return attestd.Uint(uint64(max(n, 0))) } //nolint:gosec // not negative
