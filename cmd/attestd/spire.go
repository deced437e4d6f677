package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/config"
	"github.com/attestd/attestd/internal/report"
)

func newSPIRE(a *app) *cobra.Command {
	return nounGroup("spire", "Put attestd's plugins into SPIRE", newSPIREConfig(a))
}

// Where plugins and what they share lie, as docs/deploy/spire has it.
const (
	defaultRuntimeDir = "/run/attestd-agent"
	defaultKeyDir     = "/var/lib/attestd-agent"
	defaultUplink     = "unix:/run/attestd/spire.sock"
	pluginBinary      = "attestd-spire"
)

// pluginWish is what plugin blocks are asked for.
type pluginWish struct {
	server, agent          bool
	only                   []string
	config                 string
	binary, installed      string
	addresses              []string
	certificate, key, ca   string
	format, tenant, keys   string
	runtimeDir, keyDir     string
	device, enrolmentToken string
	cpu                    string
	checksum, trustDomain  string
}

func newSPIREConfig(a *app) *cobra.Command {
	var wish pluginWish
	command := &cobra.Command{
		Use:   "config --server | --agent",
		Short: "Print attestd's plugin blocks of a SPIRE configuration",
		Long: `Config prints the blocks that go inside "plugins { }" of a SPIRE server's or agent's
configuration, with the SHA-256 of the installed attestd-spire: SPIRE starts no other program then.
A SPIRE agent takes one KeyManager and one NodeAttestor, and these are in the place of its own.
Server blocks stand beside the server's others.

With --config the tenant, the trust domain and the socket are those of attestd's own configuration.`,
		Example: `  attestd spire config --server --config /etc/attestd/attestd.yaml
  attestd spire config --agent --format tpm --tenant default
  attestd spire config --server --only composer`,
		Args: arguments(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			blocks, err := wish.blocks(a.read)
			if err != nil {
				return err
			}
			if form == formJSON {
				return report.JSON(a.out, wish.document(blocks))
			}
			return a.write([]byte(wish.text(blocks)))
		},
	}
	flags := command.Flags()
	flags.BoolVar(&wish.server, "server", false, "the blocks of a SPIRE server")
	flags.BoolVar(&wish.agent, "agent", false, "the blocks of a SPIRE agent")
	flags.StringSliceVar(&wish.only, "only", nil, "`PLUGIN`: "+strings.Join(pluginNames(), ", ")+"; may be repeated")
	flags.StringVar(&wish.config, "config", "", "attestd's configuration `FILE`")
	flags.StringVar(&wish.binary, "plugin", "", "`FILE` of attestd-spire to trust (default: beside attestd)")
	flags.StringVar(&wish.installed, "installed", "", "`PATH` of it where SPIRE runs, if another")
	flags.StringSliceVar(&wish.addresses, "address", nil,
		"`ADDRESS` of attestd for server plugins, unix:PATH or tcp:HOST:PORT (default: "+defaultUplink+")")
	flags.StringVar(&wish.certificate, "certificate", "", "for tcp: `FILE` of an issuer's certificate")
	flags.StringVar(&wish.key, "key", "", "for tcp: `FILE` of its key")
	flags.StringVar(&wish.ca, "ca", "", "for tcp: `FILE` of attestd's own CA")
	flags.StringVar(&wish.format, "format", "tpm", "`FORMAT` of the node's evidence: "+
		strings.Join(nodeFormats(), ", "))
	flags.StringVar(&wish.cpu, "cpu", "", "`FORMAT` of the CPU's evidence, with --format composite: "+
		strings.Join(cpuFormats(), ", "))
	flags.StringVar(&wish.tenant, "tenant", "", "`TENANT` whose the machine is (default: default)")
	flags.StringVar(&wish.keys, "keys", "", "where the agent's keys live: memory or tpm (default: tpm where the format has one)")
	flags.StringVar(&wish.runtimeDir, "runtime-dir", defaultRuntimeDir, "`DIR` that the agent's plugins share")
	flags.StringVar(&wish.keyDir, "state-dir", defaultKeyDir, "`DIR` of the TPM's keys")
	flags.StringVar(&wish.device, "device", "", "the TPM: a device `FILE`, or swtpm:PATH (default: the only one)")
	flags.StringVar(&wish.enrolmentToken, "enrolment-token", "", "`FILE` of a one-time token on the machine")
	complete(command, "format", nodeFormats()...)
	complete(command, "cpu", cpuFormats()...)
	complete(command, "keys", "memory", "tpm")
	complete(command, "only", pluginNames()...)
	return command
}

// nodeFormats are those that the plugin of an agent collects.
func nodeFormats() []string {
	return []string{
		string(attestd.FormatTPM), string(attestd.FormatNitro), string(attestd.FormatNitroTPM),
		string(attestd.FormatSEVSNP), string(attestd.FormatTDX), string(attestd.FormatAzureVTPM),
		string(attestd.FormatComposite),
	}
}

// hasTPM reports whether the node's evidence is its own TPM's, in whole or in part.
func (w *pluginWish) hasTPM() bool {
	return w.format == string(attestd.FormatTPM) || w.format == string(attestd.FormatComposite)
}

// cpuFormats are those of the CPU in composite evidence.
func cpuFormats() []string {
	return []string{string(attestd.FormatSEVSNP), string(attestd.FormatTDX)}
}

// pluginNames are the plugins as people name them, by the sub-command that is each one.
func pluginNames() []string {
	return []string{"nodeattestor-server", "composer", "keymanager", "nodeattestor-agent", "workloadattestor"}
}

// pluginBlock is one block of SPIRE's configuration.
type pluginBlock struct {
	Type string `json:"type"`
	Name string `json:"name"`
	// Command, Arguments and Checksum start the plugin; Data is what is inside plugin_data, in HCL.
	Command   string   `json:"plugin_cmd"`
	Arguments []string `json:"plugin_args"`
	Checksum  string   `json:"plugin_checksum"`
	Data      string   `json:"plugin_data"`
}

type pluginBlocks struct {
	Schema string        `json:"schema"` // attestd.spire-config.v1
	For    string        `json:"for"`    // "server" or "agent"
	Blocks []pluginBlock `json:"blocks"`
	HCL    string        `json:"hcl"`
}

func (w *pluginWish) document(blocks []pluginBlock) pluginBlocks {
	out := pluginBlocks{Schema: "attestd.spire-config.v1", For: "agent", Blocks: blocks, HCL: w.text(blocks)}
	if w.server {
		out.For = "server"
	}
	return out
}

// blocks makes what is wished for.
func (w *pluginWish) blocks(read reader) ([]pluginBlock, error) {
	if err := w.settle(read); err != nil {
		return nil, err
	}
	made := w.serverBlocks
	if w.agent {
		made = w.agentBlocks
	}
	var out []pluginBlock
	for _, one := range made() {
		if len(w.only) != 0 && !slices.Contains(w.only, one.Arguments[0]) {
			continue
		}
		one.Name, one.Command, one.Checksum = "attestd", w.installed, w.checksum
		out = append(out, one)
	}
	if len(out) == 0 {
		return nil, usagef("give --server for nodeattestor-server and composer, --agent for the others",
			"no plugin of --only is one of these")
	}
	return out, nil
}

// reader reads a file that a command was given.
type reader func(what, path string, limit int) ([]byte, error)

// settle fills in what was left out, and refuses what does not go together.
func (w *pluginWish) settle(read reader) error {
	switch {
	case w.server == w.agent:
		return usagef("attestd spire config --server, or attestd spire config --agent",
			"give one of --server and --agent")
	case !slices.Contains(nodeFormats(), w.format):
		return usagef("give one of: "+strings.Join(nodeFormats(), ", "), "unknown --format %q",
			attestd.Excerpt(w.format, 40))
	}
	if err := knownNames("plugin", w.only, pluginNames()); err != nil {
		return err
	}
	if err := w.fromConfig(read); err != nil {
		return err
	}
	if w.tenant == "" {
		w.tenant = "default"
	}
	if len(w.addresses) == 0 {
		w.addresses = []string{defaultUplink}
	}
	if w.keys == "" {
		w.keys = "memory"
		if w.hasTPM() {
			w.keys = "tpm"
		}
	}
	composed := w.format == string(attestd.FormatComposite)
	switch cpus := cpuFormats(); {
	case composed && !slices.Contains(cpus, w.cpu):
		return usagef("add --cpu sev-snp or --cpu tdx", "--format composite of --cpu %q", attestd.Excerpt(w.cpu, 40))
	case !composed && w.cpu != "":
		return usagef("drop it, or give --format composite", "--cpu has no meaning with --format %s", w.format)
	}
	if w.keys != "memory" && w.keys != "tpm" {
		return usagef("give memory or tpm", "unknown --keys %q", attestd.Excerpt(w.keys, 40))
	}
	if slices.ContainsFunc(w.addresses, func(one string) bool { return strings.HasPrefix(one, "tcp:") }) &&
		(w.certificate == "" || w.key == "" || w.ca == "") {
		return usagef("attestd operator add spire --role issuer, then attestd login on that host",
			"a tcp address needs --certificate, --key and --ca")
	}
	if err := w.demandPlain(); err != nil {
		return err
	}
	return w.pin()
}

// demandPlain refuses values that would mean something else in SPIRE's file: HCL has its quotes, and
// SPIRE replaces $NAME where it is told to.
func (w *pluginWish) demandPlain() error {
	for _, one := range append([]string{
		w.installed, w.certificate, w.key, w.ca, w.tenant, w.runtimeDir, w.keyDir, w.device, w.enrolmentToken,
	}, w.addresses...) {
		if strings.ContainsFunc(one, func(r rune) bool { return r < ' ' || strings.ContainsRune("\"\\$", r) }) {
			return usagef("give paths without quotes, backslashes and dollar signs", "%q has no place in SPIRE's file",
				attestd.Excerpt(one, 100))
		}
	}
	return nil
}

// fromConfig takes what attestd's own configuration says.
func (w *pluginWish) fromConfig(read reader) error {
	if w.config == "" {
		return nil
	}
	doc, err := read("configuration", w.config, maxDocument)
	if err != nil {
		return err
	}
	settings, err := config.Parse(w.config, doc)
	if err != nil {
		return hinted(err, "mend the lines that are named; docs/config.md has every key")
	}
	w.trustDomain = settings.TrustDomain
	if w.tenant == "" && len(settings.Tenants) > 0 {
		w.tenant = settings.Tenants[0]
	}
	socket := settings.SPIRESocketPath()
	switch {
	case len(w.addresses) != 0:
	case socket != config.Off:
		w.addresses = []string{"unix:" + socket}
	case w.server && settings.SPIRE.Listen != config.Off:
		w.addresses = []string{"tcp:" + settings.SPIRE.Listen}
	case w.server:
		return usagef("write spire: {unix: /run/attestd/spire.sock, unattested: observe} into it; see docs/config.md",
			"%s answers no plugins: spire.unix and spire.listen are off", attestd.Excerpt(w.config, 200))
	}
	return nil
}

// maxPlugin bounds a program that is read for its digest.
const maxPlugin = 256 << 20

// pin finds the plugins' program and takes its digest.
func (w *pluginWish) pin() error {
	if w.binary == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		w.binary = filepath.Join(filepath.Dir(self), pluginBinary)
	}
	path, err := filepath.Abs(w.binary)
	if err != nil {
		return err
	}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return usagef("give it with --plugin FILE, and with --installed where SPIRE has it",
			"attestd-spire is not at %s", attestd.Excerpt(path, 200))
	}
	if err != nil {
		return fileError("plugin", path, err)
	}
	defer func() { _ = file.Close() }()
	about, err := file.Stat()
	if err != nil {
		return fileError("plugin", path, err)
	}
	if !about.Mode().IsRegular() || about.Mode().Perm()&0o111 == 0 || about.Size() > maxPlugin {
		return usagef("give the program attestd-spire", "--plugin %s is no program", attestd.Excerpt(path, 200))
	}
	digest := sha256.New()
	if _, err := io.Copy(digest, io.LimitReader(file, maxPlugin)); err != nil {
		return fileError("plugin", path, err)
	}
	w.checksum = hex.EncodeToString(digest.Sum(nil))
	if w.installed == "" {
		w.installed = path
	}
	if !filepath.IsAbs(w.installed) {
		return usagef("give the whole path", "--installed %s is not a whole path", attestd.Excerpt(w.installed, 200))
	}
	return nil
}
