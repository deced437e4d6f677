package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/report"
	"github.com/attestd/attestd/measurements"
	"github.com/attestd/attestd/verifiers/eventlog/uki"
)

const refComputeSchema = "attestd.ref-compute.v1"

type refComputeDoc struct {
	Schema string          `json:"schema"`
	Image  string          `json:"image"`
	Bank   string          `json:"bank"`
	PCRs   []refComputePCR `json:"pcrs"`
}

type refComputePCR struct {
	Register  string            `json:"register"`
	Predicted bool              `json:"predicted"`
	Digest    string            `json:"digest,omitempty"`
	Why       string            `json:"why,omitempty"`
	Events    []refComputeEvent `json:"events"`
	Assumes   []string          `json:"assumes"`
}

type refComputeEvent struct {
	Type   string       `json:"type"`
	Role   attestd.Role `json:"role"`
	What   string       `json:"what"`
	Digest string       `json:"digest"`
}

// computation holds the flags of ref compute.
type computation struct {
	chain                                  []string
	secureBoot, phase, commandLine, kernel string
	bank, name, version, state, pcrs       string
}

func newRefCompute(a *app) *cobra.Command {
	var c computation
	command := &cobra.Command{
		Use:   "compute UKI",
		Short: "Predict the PCRs that a unified kernel image boots to",
		Long: `Compute predicts PCRs 4, 7, 11 and 12 from a unified kernel image and what boots with it.
What the files do not tell is not guessed: such a PCR has no value, and a sentence says why. With
--name it writes a file of reference values (format tpm) of the PCRs that are predicted; PCR 4 must
be among them. The value is "proposed" unless --state says otherwise, and a proposed value matches
nothing. Check a prediction against one real boot before you rely on it.`,
		Example: `  attestd ref compute linux.efi
  attestd ref compute linux.efi --secure-boot-dir /sys/firmware/efi/efivars --name web-host`,
		Args: arguments(1, 1, "one UKI"),
		RunE: func(_ *cobra.Command, args []string) error { return a.refCompute(c, args[0]) },
	}
	flags := command.Flags()
	flags.StringArrayVar(&c.chain, "boot-chain", nil,
		"EFI image `FILE` that is started before the UKI; once for each, in order")
	flags.StringVar(&c.secureBoot, "secure-boot-dir", "",
		"`FOLDER` with SecureBoot, PK, KEK, db and dbx, as efivarfs or signature lists")
	flags.StringVar(&c.phase, "phase", "",
		"`WORDS` that systemd-pcrphase has measured, as in enter-initrd:leave-initrd:sysinit:ready")
	flags.StringVar(&c.commandLine, "command-line", "",
		"`TEXT` that the boot entry passes beside the UKI")
	flags.StringVar(&c.kernel, "inner-kernel", "",
		"`HOW` the kernel in the UKI counts in PCR 4: measured or unmeasured (default: as known)")
	flags.StringVar(&c.bank, "bank", "sha256", "PCR `BANK`: sha256, sha384 or sha512")
	flags.StringVar(&c.name, "name", "", "write reference values with this `NAME`")
	flags.StringVar(&c.version, "version", "", "`VERSION` in the reference values")
	flags.StringVar(&c.state, "state", "proposed", "`STATE` of the value: proposed or active")
	flags.StringVar(&c.pcrs, "pcrs", "",
		"`LIST` of PCRs in the reference values, as in 4,11 (default: all)")
	complete(command, "inner-kernel", string(uki.InnerMeasured), string(uki.InnerUnmeasured))
	complete(command, "bank", "sha256", "sha384", "sha512")
	complete(command, "state", "proposed", "active")
	command.AddCommand(newRefComputeSNP(a), newRefComputeNitro(a), newRefComputePE(a),
		newRefComputeProfiles(a))
	return command
}

func (a *app) refCompute(c computation, path string) error {
	form, err := a.form(formText, formJSON)
	if err != nil {
		return err
	}
	if err := c.check(form); err != nil {
		return err
	}
	boot, err := a.readBoot(c, path)
	if err != nil {
		return err
	}
	pcrs, err := uki.Predict(boot)
	if err != nil {
		return hinted(err, "attestd ref compute --help lists the flags and their forms")
	}
	switch {
	case form == formJSON:
		return report.JSON(a.out, computed(boot, pcrs))
	case c.name != "":
		return a.writeComputed(c, pcrs)
	default:
		return a.showComputed(boot, pcrs, path)
	}
}

// check refuses flags that contradict each other, or words that are none of theirs.
func (c computation) check(form string) error {
	switch {
	case c.kernel != "" && c.kernel != string(uki.InnerMeasured) &&
		c.kernel != string(uki.InnerUnmeasured):
		return usagef("give measured or unmeasured, or leave it out", "unknown --inner-kernel %q",
			attestd.Excerpt(c.kernel, 40))
	case c.state != "proposed" && c.state != "active":
		return usagef("give proposed or active", "unknown state %q", attestd.Excerpt(c.state, 40))
	case form == formJSON && c.name != "":
		return usagef("drop -o or --name: a file of reference values is YAML",
			"--name writes YAML, -o json another document")
	case c.name == "" && (c.pcrs != "" || c.version != "" || c.state != "proposed"):
		return usagef("add --name, as in --name web-host",
			"--pcrs, --version and --state speak of reference values, which have no name")
	}
	return nil
}

// readBoot reads the images and variables.
func (a *app) readBoot(c computation, path string) (uki.Boot, error) {
	boot := uki.Boot{
		Bank: c.bank, CommandLine: c.commandLine, InnerKernel: uki.InnerKernel(c.kernel),
	}
	if c.phase != "" {
		boot.Phases = strings.Split(c.phase, ":")
	}
	var err error
	if boot.Image, err = a.image(path); err != nil {
		return uki.Boot{}, err
	}
	for _, before := range c.chain {
		image, err := a.image(before)
		if err != nil {
			return uki.Boot{}, err
		}
		boot.Before = append(boot.Before, image)
	}
	if c.secureBoot != "" {
		if boot.Variables, err = a.variables(c.secureBoot); err != nil {
			return uki.Boot{}, err
		}
	}
	return boot, nil
}

func (a *app) image(path string) (uki.Named, error) {
	data, err := a.read("image", path, uki.MaxImage)
	if err != nil {
		return uki.Named{}, err
	}
	image, err := uki.Parse(data)
	if err != nil {
		return uki.Named{}, usagef("name an EFI image: a unified kernel image, a boot loader",
			"image %q: %w", attestd.Excerpt(path, 200), err)
	}
	return uki.Named{Name: filepath.Base(path), Image: image}, nil
}

// GUIDs of variables, as efivarfs has them behind their names (UEFI 2.10, sections 3.3 and 32.6.1).
const (
	globalVariable   = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
	securityDatabase = "d719b2cb-3d3a-4596-a3bc-dad00e67656f"
)

// variables reads the Secure Boot variables from a folder.
func (a *app) variables(folder string) (*uki.Variables, error) {
	state, err := a.variable(folder, "SecureBoot", globalVariable)
	if err != nil {
		return nil, err
	}
	if len(state) != 1 || state[0] > 1 {
		return nil, usagef("copy it from a running machine: /sys/firmware/efi/efivars",
			"variable SecureBoot has %d bytes, want one, 0 or 1", len(state))
	}
	out := &uki.Variables{On: state[0] == 1}
	for _, row := range []struct {
		name, vendor string
		into         *[]byte
	}{
		{"PK", globalVariable, &out.PK}, {"KEK", globalVariable, &out.KEK},
		{"db", securityDatabase, &out.DB}, {"dbx", securityDatabase, &out.DBX},
	} {
		if *row.into, err = a.variable(folder, row.name, row.vendor); err != nil {
			return nil, err
		}
	}
	if err := out.Check(); err != nil {
		return nil, usagef("give signature lists (.esl), or the files of /sys/firmware/efi/efivars",
			"folder %q: %w", attestd.Excerpt(folder, 200), err)
	}
	return out, nil
}

// variable reads one variable. A file of efivarfs begins with four bytes of attributes, which are
// not part of what is measured. An empty file is a variable that is not set; a missing one says
// nothing, and is not taken for an empty one.
func (a *app) variable(folder, name, vendor string) ([]byte, error) {
	for _, file := range []string{name + "-" + vendor, name, name + ".esl"} {
		path := filepath.Join(folder, file)
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err == nil && info.Mode().IsRegular() && info.Size() == 0:
			return nil, nil
		}
		data, err := a.read("variable", path, maxDocument)
		if err != nil || file != name+"-"+vendor {
			return data, err
		}
		if len(data) < 4 {
			return nil, usagef("copy it again, whole",
				"variable %q has %d bytes, want 4 of attributes first",
				attestd.Excerpt(path, 200), len(data))
		}
		return data[4:], nil
	}
	return nil, usagef("copy "+name+"-"+vendor+" from /sys/firmware/efi/efivars; an empty file is a "+
		"variable that is not set", "folder %q has no variable %s", attestd.Excerpt(folder, 200), name)
}

func computed(boot uki.Boot, pcrs []uki.PCR) refComputeDoc {
	doc := refComputeDoc{
		Schema: refComputeSchema, Image: attestd.Excerpt(boot.Image.Name, 200), Bank: boot.Bank,
	}
	for _, pcr := range pcrs {
		row := refComputePCR{
			Register: fmt.Sprintf("PCR%d", pcr.Index), Predicted: pcr.Value != nil,
			Digest: hex.EncodeToString(pcr.Value), Why: pcr.Why, Events: []refComputeEvent{},
			Assumes: append([]string{}, pcr.Assumes...),
		}
		for _, event := range pcr.Events {
			row.Events = append(row.Events, refComputeEvent{
				event.Type, event.Role, event.What, hex.EncodeToString(event.Digest),
			})
		}
		doc.PCRs = append(doc.PCRs, row)
	}
	return doc
}

func (a *app) showComputed(boot uki.Boot, pcrs []uki.PCR, path string) error {
	table := report.Table{Heads: []string{"register", "value, and what it is made of"}}
	count := 0
	for _, pcr := range pcrs {
		register := fmt.Sprintf("PCR%d", pcr.Index)
		if pcr.Value == nil {
			table.Rows = append(table.Rows, []string{register, "not predicted. " + pcr.Why})
		} else {
			count++
			table.Rows = append(table.Rows, []string{register, hex.EncodeToString(pcr.Value)})
			for _, assumed := range pcr.Assumes {
				table.Notes = append(table.Notes, register+" assumes: "+assumed)
			}
		}
		for _, event := range pcr.Events {
			table.Rows = append(table.Rows, []string{"", event.Type + "  " + event.What})
		}
	}
	table.Lead = []string{"PREDICTED", fmt.Sprintf("%d of %d PCRs", count, len(pcrs)),
		attestd.Excerpt(boot.Image.Name, 60), boot.Bank}
	table.Next = "attestd ref compute " + report.QuoteArg(path) + " --name NAME"
	return table.Text(a.out, a.page())
}

// writeComputed writes the predicted PCRs as reference values.
func (a *app) writeComputed(c computation, pcrs []uki.PCR) error {
	chosen, err := c.chosen()
	if err != nil {
		return err
	}
	value := measurements.Value{Name: "computed"}
	if c.state == "active" {
		value.State = measurements.StateActive
	}
	for _, pcr := range pcrs {
		register := fmt.Sprintf("PCR%d", pcr.Index)
		switch {
		case !chosen(register):
			continue
		case pcr.Value == nil && (pcr.Index == 4 || c.pcrs != ""):
			return usagef("attestd ref compute UKI shows what is missing, without --name",
				"%s cannot be predicted: %s", register, pcr.Why)
		case pcr.Value == nil:
			a.warn("%s is not in the file: %s", register, pcr.Why)
			continue
		}
		value.Registers = append(value.Registers, attestd.Register{
			Name: register, Algorithm: strings.ToUpper(c.bank), Digest: pcr.Value,
		})
		for _, event := range pcr.Events {
			if event.Type == "systemd-pcrphase" {
				continue // user space's own log has it, not the firmware's
			}
			value.Events = append(value.Events, attestd.Event{
				Log: "boot", Index: len(value.Events), Register: register, Type: event.Type,
				Digest: event.Digest, Role: event.Role, What: attestd.Excerpt(event.What, 100),
			})
		}
	}
	set := &measurements.Set{
		Name: c.name, Version: c.version, Format: attestd.FormatTPM, Bank: c.bank,
		Values: []measurements.Value{value},
	}
	doc, err := set.YAML()
	if err != nil {
		return hinted(err, "use lower-case letters, digits, dots and hyphens in names")
	}
	var head bytes.Buffer
	head.WriteString("# Predicted, not measured: hold it against one real boot before it is active.\n")
	return a.write(append(head.Bytes(), doc...))
}

// chosen says which registers --pcrs names.
func (c computation) chosen() (func(string) bool, error) {
	if c.pcrs == "" {
		return func(string) bool { return true }, nil
	}
	names := map[string]bool{}
	for _, word := range strings.Split(c.pcrs, ",") {
		switch word {
		case "4", "7", "11", "12":
			names["PCR"+word] = true
		default:
			return nil, usagef("give some of 4, 7, 11 and 12, as in --pcrs 4,11", "no prediction of PCR %q",
				attestd.Excerpt(word, 20))
		}
	}
	if !names["PCR4"] {
		return nil, usagef("add 4, as in --pcrs 4,11",
			"--pcrs leaves PCR 4 out, without which the file would match other images too")
	}
	return func(register string) bool { return names[register] }, nil
}
