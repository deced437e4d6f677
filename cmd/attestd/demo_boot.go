package main

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester"
	attestertpm "github.com/attestd/attestd/attester/tpm"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/internal/swtpm"
	"github.com/attestd/attestd/measurements"
	"github.com/attestd/attestd/testvectors/forge"
)

// Labels of the boots that the demo shows.
const (
	whatGolden   = "known boot"
	whatKernel   = "other kernel"
	whatUnlogged = "not in log"
)

// bootDemo is a software TPM in a machine that boots as it is told, with an agent.
type bootDemo struct {
	folder string
	ca     *swtpm.CA
	tpm    *swtpm.TPM
	device *attestertpm.Device
	// golden are reference values measured from the golden boot, in YAML.
	golden []byte
	key    [32]byte // the attestation key's digest
}

// bootStep is one boot with the verdict that it must get.
type bootStep struct {
	what   string
	boot   *forge.Boot
	hidden bool // something is extended that the log does not say
	expect attestd.Verdict
	check  attestd.CheckID
}

func bootSteps() []bootStep {
	boot := func(kernel string) *forge.Boot {
		return forge.NewBoot(forge.BootOptions{
			SecureBoot: true, CommandLine: "root=/dev/vda2 ro quiet", Kernel: []byte(kernel),
		})
	}
	return []bootStep{
		{what: whatGolden, boot: boot("kernel 6.12.57"), expect: attestd.VerdictAccepted},
		{what: whatUnlogged, boot: boot("kernel 6.12.57"), hidden: true,
			expect: attestd.VerdictRejected, check: "tpm/event-log"},
		{what: whatKernel, boot: boot("kernel 6.12.58"),
			expect: attestd.VerdictRejected, check: "measurement/known"},
	}
}

// newBootDemo makes a software TPM below folder, boots it and measures that boot.
func (a *app) newBootDemo(ctx context.Context, folder string) (demo *bootDemo, err error) {
	defer a.progress("making a software TPM and measuring its first boot")()
	demo = &bootDemo{folder: folder}
	if demo.ca, err = swtpm.NewCA(folder); err != nil {
		return nil, noTPM(err)
	}
	if demo.tpm, err = demo.ca.Manufacture(ctx, "demo"); err != nil {
		return nil, noTPM(err)
	}
	if err = demo.start(ctx, a); err != nil {
		return nil, noTPM(errors.Join(err, demo.tpm.Close()))
	}
	return demo, nil
}

// noTPM says what to install where that is the cause; anything else is a bug.
func noTPM(err error) error {
	if errors.Is(err, swtpm.ErrMissing) {
		return hinted(err, "apt-get install swtpm swtpm-tools")
	}
	return err
}

func (d *bootDemo) start(ctx context.Context, a *app) error {
	if err := d.tpm.Start(); err != nil {
		return err
	}
	issuer, err := oneCertificate(d.ca.IssuerPEM())
	if err != nil {
		return err
	}
	d.device, err = attestertpm.Open("swtpm:"+d.tpm.Socket(), attestertpm.Options{
		StateDir: d.folder, BootLog: d.log(), IMALog: attestertpm.Off, Intermediates: [][]byte{issuer.Raw},
	})
	if err != nil {
		return err
	}
	if err := d.boots(bootSteps()[0]); err != nil {
		return err
	}
	return d.measure(ctx, a)
}

func oneCertificate(data []byte, err error) (*x509.Certificate, error) {
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, usagef("reinstall swtpm and swtpm-tools", "swtpm's CA left no certificate")
	}
	return x509.ParseCertificate(block.Bytes)
}

func (d *bootDemo) log() string { return filepath.Join(d.folder, "boot.log") }

// boots does what firmware and boot loader do, on a TPM that was just started.
func (d *bootDemo) boots(step bootStep) error {
	for _, one := range step.boot.Extensions() {
		if err := d.tpm.Extend(one.PCR, one.Digests); err != nil {
			return err
		}
	}
	if step.hidden {
		digest := forge.LogDigest(forge.LogSHA256, []byte("something that nobody logged"))
		if err := d.tpm.Extend(4, map[uint16][]byte{forge.LogSHA256: digest}); err != nil {
			return err
		}
	}
	return os.WriteFile(d.log(), step.boot.Log(), 0o600)
}

// measure makes reference values from the boot that is under way, as attestd measure does with
// evidence whose key the operator vouches for.
func (d *bootDemo) measure(ctx context.Context, a *app) error {
	identity, err := d.device.Identity(ctx)
	if err != nil {
		return err
	}
	d.key = identity.AKSHA256()
	nonce := make([]byte, attestd.MinNonce)
	_, _ = rand.Read(nonce) // never fails
	evidence, err := d.device.Collect(ctx, attestertpm.Request{Freshness: nonce})
	if err != nil {
		return err
	}
	claims, err := d.verify(a, evidence.Bytes, nonce)
	if err != nil {
		return err
	}
	options := measurements.Options{Registers: goldenRegisters()}
	set, err := measurements.Measure("golden", claims, options)
	if err != nil {
		return err
	}
	for index := range set.Values {
		set.Values[index].State = measurements.StateActive
	}
	d.golden, err = set.YAML()
	return err
}

// verify verifies evidence in this process, under the root of the software TPM's maker and with its
// key taken for vouched for.
func (d *bootDemo) verify(a *app, evidence, nonce []byte) (*attestd.Claims, error) {
	root, err := oneCertificate(d.ca.RootPEM())
	if err != nil {
		return nil, err
	}
	local, err := a.judge(judge.Config{InsecureRoots: []*x509.Certificate{root}})
	if err != nil {
		return nil, err
	}
	fresh, err := attestd.Fresh(nonce)
	if err != nil {
		return nil, err
	}
	return local.Verify(judge.Request{
		Format: attestd.FormatTPM, Evidence: evidence, At: a.now(), Demand: fresh,
		Anchors: attestd.Anchors{AttestationKeys: [][32]byte{d.key}},
	})
}

// goldenRegisters are what firmware and boot loader measure: PCR 8 and 9 hold what grub ran.
func goldenRegisters() (names []string) {
	for pcr := range 10 {
		names = append(names, fmt.Sprintf("PCR%d", pcr))
	}
	return append(names, "PCR14")
}

// attest reboots the machine into the step's boot and does the whole exchange with a server.
func (d *bootDemo) attest(
	ctx context.Context, url string, step bootStep,
) (verdict attestd.Appraisal, evidence []byte, err error) {
	if err = d.tpm.Reboot(); err == nil {
		err = d.boots(step)
	}
	if err != nil {
		return verdict, nil, err
	}
	body, evidence, err := d.collect(ctx, url)
	if err != nil {
		return verdict, nil, err
	}
	verdict, err = post(ctx, url+"/v1/verify", body)
	return verdict, evidence, err
}

// collect asks for a challenge and returns the body that answers it, with the evidence in it.
func (d *bootDemo) collect(
	ctx context.Context, url string,
) (body map[string]any, evidence []byte, err error) {
	asked, body, err := d.ask(ctx, url)
	if err != nil {
		return nil, nil, err
	}
	key, err := d.device.Key(ctx, "service")
	if err != nil {
		return nil, nil, err
	}
	freshness, err := asked.Freshness(key.SPKI())
	if err != nil {
		return nil, nil, err
	}
	given, err := d.device.Collect(ctx, attestertpm.Request{Freshness: freshness, Key: key})
	if err != nil {
		return nil, nil, err
	}
	body["evidence"], body["key_spki"] = given.Bytes, base64.StdEncoding.EncodeToString(key.SPKI())
	return body, given.Bytes, nil
}

// ask shows the TPM's keys to the server and returns its challenge, with the beginning of the body
// that hands the evidence in: the answer to the credential where there was one.
func (d *bootDemo) ask(
	ctx context.Context, url string,
) (asked attester.Challenge, body map[string]any, err error) {
	identity, err := d.device.Identity(ctx)
	if err != nil {
		return asked, nil, err
	}
	reply, _, err := exchange(ctx, url+"/v1/challenges", map[string]any{
		"format": attestd.FormatTPM, "attestation_key": identity.AKPublic,
		"endorsement_key": identity.EKPublic,
	})
	if err != nil {
		return asked, nil, err
	}
	verifier := attester.Verifier{TrustDomain: demoTrustDomain}
	if asked, err = verifier.Accept(reply, attestd.FormatTPM, time.Now()); err != nil {
		return asked, nil, err
	}
	body = map[string]any{"challenge_id": asked.ID(), "format": attestd.FormatTPM}
	return asked, body, d.activate(ctx, reply, body)
}

// activate answers the credential of a challenge, where there is one.
func (d *bootDemo) activate(ctx context.Context, reply []byte, body map[string]any) error {
	var given struct {
		Activation *struct {
			Blob   []byte `json:"credential_blob"`
			Secret []byte `json:"encrypted_secret"`
		} `json:"activation"`
	}
	if err := json.Unmarshal(reply, &given); err != nil || given.Activation == nil {
		return err
	}
	secret, err := d.device.Activate(ctx, given.Activation.Blob, given.Activation.Secret)
	body["activation_secret"] = secret
	return err
}

// show runs every step against a server and adds its rows; it returns the verdict that names an
// event.
func (d *bootDemo) show(
	ctx context.Context, url string, doc *demoDoc,
) (named attestd.Appraisal, err error) {
	for _, step := range bootSteps() {
		began := time.Now()
		verdict, evidence, err := d.attest(ctx, url, step)
		if err != nil {
			return named, fmt.Errorf("software TPM, %s: %w", step.what, err)
		}
		row := demoRow{
			Evidence: "software TPM", Format: attestd.FormatTPM, What: step.what, Expected: step.expect,
		}
		row.fill(verdict, began)
		if verdict.Verdict == attestd.VerdictRejected {
			row.Event = gotOf(verdict, attestd.CheckID(row.Check))
		}
		doc.add(row, step.check)
		doc.evidence["tpm-"+strings.ReplaceAll(step.what, " ", "-")+".bin"] = evidence
		if step.what == whatKernel {
			named = verdict
		}
	}
	if err := d.enrol(ctx, url, doc); err != nil {
		return named, fmt.Errorf("software TPM, enrolled: %w", err)
	}
	return named, nil
}

// gotOf is what a check saw: of measured boot, the event that differs.
func gotOf(verdict attestd.Appraisal, id attestd.CheckID) string {
	for _, check := range verdict.Checks {
		if check.ID == id {
			return check.Got
		}
	}
	return ""
}

// bootNote explains the rows of the software TPM.
const bootNote = "The software TPM booted three times, each with a synthetic boot log: as it was " +
	"measured before, with PCR 4 extended behind the log's back, and with another kernel."

// Names of files that the demo makes, in its own folder and in that of --save.
const (
	goldenFile = "golden.yaml"
	rootsFile  = "test-roots.pem"
)

// save writes the TPM's evidence into folder, with the reference values that name its key, and
// returns a note that says how to judge it.
func (d *bootDemo) save(folder string, evidence map[string][]byte) (string, error) {
	set, err := measurements.Parse(goldenFile, d.golden)
	if err != nil {
		return "", err
	}
	set.AttestationKeys = []measurements.Key{{Name: "demo", SHA256: d.key}}
	references, err := set.YAML()
	if err != nil {
		return "", err
	}
	root, err := d.ca.RootPEM()
	if err != nil {
		return "", err
	}
	for name, data := range evidence {
		if err := saveFile(folder, name, data); err != nil {
			return "", err
		}
	}
	err = errors.Join(saveFile(folder, goldenFile, references), saveFile(folder, "tpm-root.pem", root))
	at := func(name string) string { return filepath.Join(folder, name) }
	return fmt.Sprintf(
		"Of the software TPM: attestd verify %s --recorded --reference %s --insecure-roots %s", at("tpm-other-kernel.bin"), at(goldenFile), at("tpm-root.pem")), err
}

func saveFile(folder, name string, data []byte) error {
	if err := os.WriteFile(filepath.Join(folder, name), data, 0o644); err != nil {
		return usagef("give a folder that can be written to: --save DIR",
			"write evidence: %w", pathless(err))
	}
	return nil
}

// demoPolicy is what the demo's software TPM is judged under; demoTrustDomain the one of its server.
const (
	demoPolicy      = appraisal.Laboratory
	demoTrustDomain = "localhost"
)
