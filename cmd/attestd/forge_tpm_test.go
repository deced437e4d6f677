package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/attestd/attestd/testvectors/forge"
)

// forgedTPM makes evidence of a machine whose keys are always the same, so that scripts and pages can
// name them. Words say what it boots: update (another kernel and initrd), line (another command line),
// grub (another boot loader), dbx (two entries fewer), no-log, no-pcr3.
func forgedTPM(words []string) (evidence []byte, keySum string, err error) {
	fixed, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), sum("attestation key of a test"))
	if err != nil {
		return nil, "", err
	}
	key, err := forge.NewTPMKey(forge.TPMKeyConfig{Signer: fixed})
	if err != nil {
		return nil, "", err
	}
	boot := bootOf(words)
	device := forge.NewTPM(key, nil)
	for index, value := range boot.Registers(forge.LogSHA256) {
		if index < 16 {
			device.PCRs[0].Values[uint8(index)] = value //nolint:gosec // below 16
		}
	}
	if slices.Contains(words, "no-pcr3") {
		delete(device.PCRs[0].Values, 3)
	}
	parts, err := device.Evidence([]byte("recorded"), nil)
	if err != nil {
		return nil, "", err
	}
	if !slices.Contains(words, "no-log") {
		parts.EventLog = boot.Log()
	}
	if parts.QuoteSignature, err = signSame(fixed, parts.Quote); err != nil {
		return nil, "", err
	}
	spki, err := key.SPKI()
	if err != nil {
		return nil, "", err
	}
	evidence, err = parts.Marshal()
	return evidence, hex.EncodeToString(sum(string(spki))), err
}

// signSame returns a TPMT_SIGNATURE (ECDSA, SHA-256) that is the same for the same message (RFC 6979),
// so that pages which show digests of evidence stay as they are.
func signSame(key *ecdsa.PrivateKey, message []byte) ([]byte, error) {
	der, err := key.Sign(nil, sum(string(message)), crypto.SHA256)
	if err != nil {
		return nil, err
	}
	var parts struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &parts); err != nil {
		return nil, err
	}
	out := []byte{0x00, 0x18, 0x00, 0x0b}
	for _, part := range []*big.Int{parts.R, parts.S} {
		out = append(append(out, 0, 32), part.FillBytes(make([]byte, 32))...)
	}
	return out, nil
}

func bootOf(words []string) *forge.Boot {
	hash := func(text string) []byte { return sum(text) }
	options := forge.BootOptions{
		SecureBoot: true, Kernel: []byte("kernel 6.12.1"), Initrd: []byte("initrd 6.12.1"),
		DBX: [][]byte{hash("bad loader 1"), hash("bad loader 2"), hash("bad loader 3")},
	}
	if slices.Contains(words, "update") {
		options.Kernel, options.Initrd = []byte("kernel 6.12.2"), []byte("initrd 6.12.2")
		options.DBX = append(options.DBX, hash("bad loader 4"))
	}
	if slices.Contains(words, "line") {
		options.CommandLine = "root=/dev/vda3 ro"
	}
	if slices.Contains(words, "dbx") {
		options.DBX = options.DBX[:1]
	}
	boot := forge.NewBoot(options)
	if slices.Contains(words, "grub") {
		boot.Step("grub").Measured = []byte("a boot loader that nobody knows")
	}
	return boot
}

func sum(text string) []byte {
	digest := sha256.Sum256([]byte(text))
	return digest[:]
}

// forgeTPM writes evidence.bin and the digest of its key in key.txt. A word name=FILE gives evidence
// another name.
func forgeTPM(ts *testscript.TestScript, words []string) {
	evidence, key, err := forgedTPM(words)
	ts.Check(err)
	name := "evidence.bin"
	for _, word := range words {
		if given, ok := strings.CutPrefix(word, "name="); ok {
			name = given
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs(name), evidence, 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("key.txt"), []byte(key), 0o600))
}

// goldenFiles writes what docs/howto/golden-boot.md starts from: evidence of three boots of one machine,
// and the file that vouches for its key.
func goldenFiles(folder string) error {
	for name, words := range map[string][]string{"golden": nil, "update": {"update"}, "odd": {"grub"}} {
		evidence, key, err := forgedTPM(words)
		if err != nil {
			return err
		}
		keys := fmt.Sprintf("schema: attestd.reference-values.v1\nname: rack-3-host-7\nformat: tpm\n"+
			"attestation-keys:\n  rack-3-host-7: %q\n", key)
		for path, data := range map[string][]byte{
			name + ".tpm": evidence, "keys.yaml": []byte(keys),
		} {
			if err := os.WriteFile(filepath.Join(folder, path), data, 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}
