package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/report"
	"github.com/attestd/attestd/internal/report/schema"
	"github.com/attestd/attestd/testvectors/forge"
)

var update = flag.Bool("update", false, "write generated files anew")

// build makes the real binary, static as it is released: workers refuse to run in any other.
var build = sync.OnceValues(func() (folder string, err error) {
	if folder, err = os.MkdirTemp("", "attestd-test-"); err != nil {
		return "", err
	}
	built = folder
	command := exec.Command("go", "build", "-o", filepath.Join(folder, "attestd"), ".")
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return folder, nil
})

// built is the folder that build made, to be removed.
var built string

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if built != "" {
		_ = os.RemoveAll(built)
	}
	os.Exit(code)
}

func TestScripts(t *testing.T) {
	folder, err := build()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		UpdateScripts:       *update,
		Setup: func(env *testscript.Env) error {
			// The scripts see a plain machine: no colours, no width, no vectors of whoever runs them.
			env.Values["machine"] = new(machineOf)
			env.Setenv("NO_COLOR", "1")
			env.Setenv("ATTESTD_VECTORS", "")
			env.Setenv("PATH", folder+string(filepath.ListSeparator)+env.Getenv("PATH"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "obeys": obeys, "forge": forgeEvidence, "flip": flip, "lines": lines,
			"until": until, "swtpm": startTPM, "challenge": makeChallenge,
		},
	})
}

// exits CODE COMMAND... runs a command and demands its exit code, and lines of at most 100 columns of
// plain ASCII in whatever it wrote.
func exits(ts *testscript.TestScript, negated bool, args []string) {
	if negated || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	stdout, stderr := ts.ReadFile("stdout"), ts.ReadFile("stderr")
	if got != want {
		ts.Fatalf("exit code %d, want %d\n%s%s", got, want, stdout, stderr)
	}
	machine := slices.ContainsFunc(args, func(arg string) bool {
		return slices.Contains([]string{"json", "--output=json", "junit", "sarif", "completion", "schema"}, arg)
	})
	if !machine {
		demandPage(ts, stdout)
		demandPage(ts, stderr)
	}
	if strings.HasPrefix(stderr, "error:") && !strings.Contains(stderr, "\nhint:  ") {
		ts.Fatalf("error without a hint: %s", stderr)
	}
}

func demandPage(ts *testscript.TestScript, text string) {
	for line := range strings.SplitSeq(text, "\n") {
		if len(line) > report.MaxWidth {
			ts.Fatalf("line of %d columns: %q", len(line), line)
		}
		for _, r := range line {
			if r < ' ' || r > '~' {
				ts.Fatalf("character %q in line %q", r, line)
			}
		}
	}
}

// obeys SCHEMA FILE demands that a JSON document (or "stdout", "stderr") obeys a published schema.
func obeys(ts *testscript.TestScript, negated bool, args []string) {
	if negated || len(args) != 2 {
		ts.Fatalf("usage: obeys SCHEMA FILE")
	}
	ts.Check(obeysSchema(args[0], []byte(ts.ReadFile(args[1]))))
}

// obeysSchema returns why a document does not obey a published schema.
func obeysSchema(name string, document []byte) error {
	doc, err := schema.Document(name)
	if err != nil {
		return err
	}
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	if err != nil {
		return err
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("it.json", parsed); err != nil {
		return err
	}
	compiled, err := compiler.Compile("it.json")
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
	if err != nil {
		return err
	}
	return compiled.Validate(value)
}

// lines FILE first|last TEXT demands what the first or the last line begins with.
func lines(ts *testscript.TestScript, negated bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: lines FILE first|last TEXT")
	}
	all := strings.Split(strings.TrimRight(ts.ReadFile(args[0]), "\n"), "\n")
	line := all[0]
	if args[1] == "last" {
		line = all[len(all)-1]
	}
	if strings.HasPrefix(line, args[2]) == negated {
		ts.Fatalf("%s line is %q", args[1], line)
	}
}

// until FILE TEXT waits until a file that a background command writes holds the text.
func until(ts *testscript.TestScript, negated bool, args []string) {
	if negated || len(args) != 2 {
		ts.Fatalf("usage: until FILE TEXT")
	}
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		if data, err := os.ReadFile(ts.MkAbs(args[0])); err == nil && strings.Contains(string(data), args[1]) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	ts.Fatalf("%q did not appear in %s", args[1], args[0])
}

// flip FILE OFFSET changes one bit; a negative offset counts from the end.
func flip(ts *testscript.TestScript, _ bool, args []string) {
	data := []byte(ts.ReadFile(args[0]))
	parsed, err := strconv.ParseInt(args[1], 0, 32)
	ts.Check(err)
	offset := int(parsed)
	if offset < 0 {
		offset += len(data)
	}
	data[offset] ^= 1
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o600))
}

// forgeEvidence FORMAT [WORD...] writes evidence.bin and root.pem of an authority made here. Words:
// debug, now (signed now instead of in the past), nonce=HEX, bound (also writes challenge.json),
// late (a challenge that has expired), key (also writes key.pem and other.pem). Of tpm see forgeTPM.
func forgeEvidence(ts *testscript.TestScript, _ bool, args []string) {
	options, doc := forge.AWSOptions{}, forge.Document{}
	words := args[1:]
	if args[0] == "uki" {
		forgeUKI(ts)
		return
	}
	if args[0] == "predictions" {
		forgePredictions(ts)
		return
	}
	if args[0] == string(attestd.FormatSEVSNP) {
		forgeSNP(ts, slices.Contains(words, "debug"))
		return
	}
	if args[0] == string(attestd.FormatTDX) {
		forgeTDX(ts)
		return
	}
	if args[0] == string(attestd.FormatTPM) {
		forgeTPM(ts, words)
		return
	}
	doc.NitroTPM = args[0] == string(attestd.FormatNitroTPM)
	if slices.Contains(words, "now") {
		options.At = time.Now().UTC()
	}
	if doc.NitroTPM {
		options.ModuleID = forge.NitroTPMModuleID
	}
	doc.Debug = slices.Contains(words, "debug")
	for _, word := range words {
		if value, ok := strings.CutPrefix(word, "nonce="); ok {
			nonce, err := hex.DecodeString(value)
			ts.Check(err)
			doc.Nonce = nonce
			ts.Check(os.WriteFile(ts.MkAbs("nonce"), nonce, 0o600))
		}
	}
	if slices.Contains(words, "key") {
		doc.PublicKey = newKey(ts)
	}
	if slices.Contains(words, "bound") {
		doc.Nonce = newChallenge(ts, attestd.Format(args[0]), doc.PublicKey, slices.Contains(words, "late"))
	}
	authority, err := forge.NewAWS(options)
	ts.Check(err)
	evidence, err := authority.Document(doc)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("evidence.bin"), evidence, 0o600))
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.RootDER()})
	ts.Check(os.WriteFile(ts.MkAbs("root.pem"), root, 0o600))
}

// forgeSNP writes evidence.bin, root.pem and a folder amd with the VCEK in DER and the ASK in PEM.
func forgeSNP(ts *testscript.TestScript, debug bool) {
	authority, err := forge.NewAMD(forge.AMDConfig{Line: "Milan"})
	ts.Check(err)
	doc := forge.NewSNPReport(authority.Line, 3)
	if debug {
		doc.Policy |= 1 << 19
	}
	vcek, err := authority.IssueVCEK(doc.VCEKConfig(authority.Line))
	ts.Check(err)
	evidence, err := forge.SignSNP(doc.Bytes(), vcek.Key)
	ts.Check(err)
	ts.Check(os.MkdirAll(ts.MkAbs("amd"), 0o755))
	ts.Check(os.WriteFile(ts.MkAbs("evidence.bin"), evidence, 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("root.pem"), toPEM(authority.ARK.Raw), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("amd/vcek"), vcek.DER, 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("amd/ask.txt"), toPEM(authority.ASK.Raw), 0o600))
}

// newKey writes key.pem, private.pem and, for another key, other.pem; it returns the first in DER.
func newKey(ts *testscript.TestScript) []byte {
	var spki []byte
	for _, name := range []string{"other.pem", "key.pem"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		ts.Check(err)
		spki, err = x509.MarshalPKIXPublicKey(&key.PublicKey)
		ts.Check(err)
		public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})
		ts.Check(os.WriteFile(ts.MkAbs(name), public, 0o600))
		private, err := x509.MarshalPKCS8PrivateKey(key)
		ts.Check(err)
		secret := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
		ts.Check(os.WriteFile(ts.MkAbs("private.pem"), secret, 0o600))
	}
	return spki
}

// newChallenge writes challenge.json and returns the digest that evidence must hold for it.
func newChallenge(ts *testscript.TestScript, format attestd.Format, spki []byte, late bool) []byte {
	nonce := make([]byte, attestd.MinNonce)
	_, _ = rand.Read(nonce)
	issued := time.Now().UTC()
	if late {
		issued = issued.Add(-time.Hour)
	}
	reply := challenge.Reply{
		Schema: challenge.Schema, Signature: "not looked at here",
		Challenge: attestd.Challenge{
			ID: "c1", Nonce: nonce, TrustDomain: "example.org", VerifierKeyID: "k1", Tenant: "default",
			Purpose: "verify", Format: format, IssuedAt: issued, ExpiresAt: issued.Add(time.Minute),
		},
	}
	doc, err := json.Marshal(reply)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("challenge.json"), doc, 0o600))
	digest, err := reply.Challenge.Binding(spki).Digest()
	ts.Check(err)
	return digest
}

// startTime returns the best of ten times that a program took to print its version.
func startTime(t *testing.T, program string) time.Duration {
	t.Helper()
	best := time.Hour
	for range 10 {
		began := time.Now()
		if out, err := exec.Command(program, "version").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		best = min(best, time.Since(began))
	}
	return best
}
