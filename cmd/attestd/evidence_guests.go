package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester"
	"github.com/attestd/attestd/attester/azure"
	"github.com/attestd/attestd/attester/composite"
	"github.com/attestd/attestd/attester/snp"
	"github.com/attestd/attestd/attester/tdx"
)

func newEvidenceTDX(a *app) *cobra.Command {
	var log string
	return newEvidencePlain(a, plainMachine{
		format: attestd.FormatTDX, place: "tsm", what: "an Intel TDX guest",
		paths: "`PATH` of configfs-tsm's folder (default " + tdx.DefaultConfigFS + ")",
		more: `The report data has 64 bytes: --nonce takes exactly so many, and a key is bound by a challenge
alone. The firmware's log goes along where it can be read. What Intel says about the platform does
not: a verifier has it from its own side.`,
		flags: func(flags *pflag.FlagSet) {
			flags.StringVar(&log, "event-log", "",
				"`FILE` of the firmware's log, or off (default "+tdx.DefaultEventLog+")")
		},
		open: func(path string) (attester.Attester, error) {
			return tdx.Open(tdx.Options{ConfigFS: path, EventLog: log})
		},
	})
}

// azureFormat is the command's name; evidence of it has a longer one.
const azureFormat = "azure"

func newEvidenceAzure(a *app) *cobra.Command {
	var (
		c        collecting
		t        tpmFlags
		metadata string
	)
	command := &cobra.Command{
		Use:   azureFormat + " --nonce HEX|--challenge FILE|--server URL",
		Short: "Collect evidence inside an Azure confidential VM",
		Long: `Collect evidence inside an Azure confidential VM: the report that its paravisor keeps in the
virtual TPM, a quote of that TPM by the key that the report names, the boot log, and what the host's
services give about the CPU: the chip's certificates on AMD, a TD quote on Intel.

The freshness value goes into the TPM's quote. The CPU's report was made when the VM started, and
says which key may sign for the TPM.
` + threeWays,
		Example: `  attestd evidence azure --challenge challenge.json --out azure.bin
  attestd evidence azure --server https://verifier.example.org --trust-domain example.org`,
		Args: arguments(0, 0, ""),
		RunE: func(command *cobra.Command, _ []string) error {
			return a.evidenceAzure(command, c, t, metadata)
		},
	}
	c.addFlags(command)
	flags := command.Flags()
	flags.StringVar(&t.place, "tpm", "/dev/tpmrm0", "`TPM`: a device file, or swtpm:PATH for a software TPM's socket")
	flags.StringVar(&t.pcrs, "pcrs", "0-14", "`LIST` of PCRs to quote, as in 0-7,11")
	flags.StringVar(&t.bank, "bank", "sha256", "`BANK` of the PCRs: sha256, sha384 or sha512")
	flags.StringVar(&t.bootLog, "event-log", "", "boot log `FILE`, or off (default: the kernel's)")
	flags.StringVar(&t.akHandle, "ak-handle", fmt.Sprintf("0x%08x", azure.DefaultAKHandle),
		"persistent `HANDLE` of the paravisor's attestation key")
	flags.StringVar(&t.lockFile, "lock-file", "",
		"lock `FILE` (default: the device file, or the socket's path and .lock)")
	flags.StringVar(&t.ownerAuth, "owner-auth-file", "", "`FILE` with the owner hierarchy's password")
	flags.StringVar(&metadata, "metadata", azure.DefaultMetadata, "base `URL` of the host's services")
	complete(command, "bank", "sha256", "sha384", "sha512")
	a.outputFlag(command, formText, formJSON)
	return command
}

func (a *app) evidenceAzure(command *cobra.Command, c collecting, t tpmFlags, metadata string) error {
	form, err := a.form(formText, formJSON)
	if err != nil {
		return err
	}
	if err := c.contradictions(command); err != nil {
		return err
	}
	options := azure.Options{Metadata: metadata}
	if options.PCRs, err = parsePCRs(t.pcrs); err != nil {
		return err
	}
	if options.Bank, err = parseBank(t.bank); err != nil {
		return err
	}
	if options.AKHandle, err = parseHandle(t.akHandle); err != nil {
		return err
	}
	var m machine
	if c.key != "" {
		if m.spki, err = a.publicKey(c.key); err != nil {
			return err
		}
	}
	t.imaLog = "off"
	device, err := a.openTPM(t)
	if err != nil {
		return err
	}
	if m.attester, err = azure.Open(device, options); err != nil {
		return err
	}
	ctx, stop := a.collectContext(command.Context(), c)
	defer stop()
	return a.collect(ctx, c, m, form)
}

// cpuFlags are the flags of the processor of composite evidence.
type cpuFlags struct{ format, place, log string }

func newEvidenceComposite(a *app) *cobra.Command {
	var (
		c   collecting
		t   tpmFlags
		cpu cpuFlags
	)
	command := &cobra.Command{
		Use:   "composite --cpu sev-snp|tdx --nonce HEX|--challenge FILE|--server URL",
		Short: "Collect evidence of a machine's CPU and TPM for one question",
		Long: `Collect evidence of a machine's CPU and TPM for one question: a SEV-SNP report or a TDX quote, and
what attestd evidence tpm collects. Each device answers a value of its own that is derived from the
one freshness value, so that neither answer stands for anything alone.

It shows two devices that answered at once. That they are in one machine it does not show.
` + threeWays,
		Example: `  attestd evidence composite --cpu sev-snp --nonce @nonce.bin --out composite.bin
  attestd evidence composite --cpu tdx --server https://verifier.example.org`,
		Args: arguments(0, 0, ""),
		RunE: func(command *cobra.Command, _ []string) error {
			return a.evidenceComposite(command, c, t, cpu)
		},
	}
	c.addFlags(command)
	t.addFlags(command)
	flags := command.Flags()
	flags.StringVar(&cpu.format, "cpu", "", "`FORMAT` of the CPU's evidence: sev-snp or tdx")
	flags.StringVar(&cpu.place, "tsm", "", "`PATH` of configfs-tsm's folder, or of SEV-SNP's guest device")
	flags.StringVar(&cpu.log, "cpu-event-log", "",
		"`FILE` of a TDX guest's firmware log, or off (default "+tdx.DefaultEventLog+")")
	complete(command, "cpu", string(attestd.FormatSEVSNP), string(attestd.FormatTDX))
	a.outputFlag(command, formText, formJSON)
	return command
}

func (a *app) evidenceComposite(command *cobra.Command, c collecting, t tpmFlags, cpu cpuFlags) error {
	form, err := a.form(formText, formJSON)
	if err != nil {
		return err
	}
	if err := c.contradictions(command); err != nil {
		return err
	}
	processor, err := cpu.open()
	if err != nil {
		return err
	}
	ctx, stop := a.collectContext(command.Context(), c)
	defer stop()
	m, err := a.machineWithTPM(ctx, &c, t)
	if err != nil {
		return err
	}
	m.attester, err = composite.New(composite.Device{Path: composite.PathCPU, From: processor},
		composite.Device{Path: composite.PathTPM, From: m.attester})
	if err != nil {
		return err
	}
	return a.collect(ctx, c, m, form)
}

func (f cpuFlags) open() (attester.Attester, error) {
	switch f.format {
	case string(attestd.FormatTDX):
		return tdx.Open(tdx.Options{ConfigFS: f.place, EventLog: f.log})
	case string(attestd.FormatSEVSNP):
		if f.log != "" {
			return nil, usagef("drop it", "--cpu-event-log has no meaning with --cpu sev-snp")
		}
		return snp.Open(f.place)
	case "":
		return nil, usagef("add --cpu sev-snp or --cpu tdx", "nothing says which CPU the machine has")
	}
	return nil, usagef("give sev-snp or tdx", "unknown --cpu %q", attestd.Excerpt(f.format, 40))
}
