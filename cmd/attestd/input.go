package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/judge"
)

// Largest files that are read, in bytes. Evidence has judge.MaxEvidence.
const (
	maxDocument  = 1 << 20 // policy, reference values
	maxChallenge = 16 << 10
	maxKeyFile   = 64 << 10
	maxNonceFile = attestd.MaxNonce
	maxRootsFile = 256 << 10
)

// read returns a file whole, or standard input for "-". The size is capped while reading, not asked
// for before: a pipe has none, and a file may grow.
func (a *app) read(what, path string, limit int) ([]byte, error) {
	source := a.in
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return nil, fileError(what, path, err)
		}
		defer file.Close()
		if info, err := file.Stat(); err == nil && info.IsDir() {
			return nil, usagef("name a file inside it", "%s %q is a folder", what, attestd.Excerpt(path, 200))
		}
		source = file
	}
	data, err := io.ReadAll(io.LimitReader(source, int64(limit)+1))
	if err != nil {
		return nil, fileError(what, path, err)
	}
	if len(data) > limit {
		return nil, &attestd.CallerError{
			Class: attestd.ClassTooLarge,
			Hint:  "check that this is the right file: nothing of this kind is that large",
			Err: fmt.Errorf("%s %q has more than %d bytes", what, attestd.Excerpt(path, 200),
				limit),
		}
	}
	if len(data) == 0 {
		return nil, usagef("collect it again: whatever wrote the file wrote nothing into it",
			"%s %q is empty", what, attestd.Excerpt(path, 200))
	}
	return data, nil
}

// evidence reads the evidence itself.
func (a *app) evidence(path string) ([]byte, error) {
	return a.read("evidence", path, judge.MaxEvidence)
}

// textHint returns what to do where evidence looks like an encoding of evidence rather than
// evidence, and "" where it does not. Only raw bytes are judged: which bytes were signed must never
// depend on a guess.
func textHint(data []byte, path string) string {
	trimmed := bytes.TrimSpace(data)
	if path == "-" || strings.ContainsAny(path, " '\"\\$`\n") {
		path = "FILE"
	}
	path = attestd.Excerpt(path, 60)
	switch {
	case bytes.HasPrefix(trimmed, []byte("-----BEGIN ")):
		return "this is PEM: name the raw evidence, or attestd inspect " + path
	case bytes.Contains(data[:min(len(data), 64)], []byte("Spec ID Event03")):
		return "this is a boot log, which nobody signed: attestd evidence tpm --event-log " + path +
			" sends it along with a quote"
	case isCollateral(data):
		return "this is a certificate or CRL: its folder goes to --collateral; it is shown by attestd inspect " + path
	case bytes.HasPrefix(trimmed, []byte("{")) || bytes.HasPrefix(trimmed, []byte("[")):
		return "this is JSON: take the evidence out of it and decode it first, then verify the raw bytes"
	case len(trimmed) >= 64 && onlyOf(trimmed, "0123456789abcdefABCDEF"):
		return "this is hex: decode it first: xxd -r -p " + path + " evidence.bin"
	case len(trimmed) >= 64 && onlyOf(trimmed,
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=-_"):
		return "this is base64: decode it first: base64 -d " + path + " > evidence.bin"
	default:
		return ""
	}
}

func onlyOf(data []byte, alphabet string) bool {
	for _, b := range data {
		if b != '\n' && b != '\r' && strings.IndexByte(alphabet, b) < 0 {
			return false
		}
	}
	return true
}

// undetected adds what can be said about evidence in which no format was recognised.
func undetected(err error, data []byte, path string) error {
	problem := problemOf(err)
	if problem.ExitCode != exitUsage {
		return err
	}
	if hint := textHint(data, path); hint != "" {
		return &attestd.CallerError{Class: problem.Class, Hint: hint, Err: err}
	}
	return err
}

// parseNonce reads hex, or the raw bytes of a file behind "@".
func (a *app) parseNonce(text string) ([]byte, error) {
	if path, isFile := strings.CutPrefix(text, "@"); isFile {
		if path == "-" {
			return nil, usagef("put the nonce into a file of its own",
				"the nonce cannot come from standard input")
		}
		nonce, err := a.read("nonce", path, maxNonceFile)
		if trimmed := bytes.TrimSpace(nonce); err == nil && len(trimmed) >= attestd.MinNonce &&
			onlyOf(trimmed, "0123456789abcdefABCDEF") {
			a.warn("nonce file %q holds hex digits, which are compared as they stand; for the bytes they "+
				"spell give --nonce HEX", path)
		}
		return nonce, err
	}
	nonce, err := hex.DecodeString(text)
	if err != nil || len(nonce) == 0 {
		// The nonce itself is not repeated: it may be a secret of a protocol around us.
		return nil, usagef("give the nonce in hex, as in --nonce 9f2c..., or its raw bytes with --nonce @FILE",
			"--nonce has %d characters that are not an even number of hex digits", len(text))
	}
	return nonce, nil
}

// parseAt reads --at.
func parseAt(text string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, usagef("write it like 2025-06-01T00:00:00Z",
			"--at %q is not a time of RFC 3339", attestd.Excerpt(text, 60))
	}
	if at.IsZero() {
		return time.Time{}, usagef("write it like 2025-06-01T00:00:00Z", "--at is the zero time")
	}
	return at.UTC(), nil
}

// publicKey reads a SubjectPublicKeyInfo in PEM or DER and returns its DER.
func (a *app) publicKey(path string) ([]byte, error) {
	data, err := a.read("key", path, maxKeyFile)
	if err != nil {
		return nil, err
	}
	const hint = "write the public key as SubjectPublicKeyInfo: openssl pkey -in KEY.pem -pubout"
	der := data
	if block, rest := pem.Decode(data); block != nil {
		switch {
		case strings.Contains(block.Type, "PRIVATE KEY"):
			return nil, usagef(hint, "key %q is a private key: keep it to yourself",
				attestd.Excerpt(path, 200))
		case block.Type != "PUBLIC KEY" || len(bytes.TrimSpace(rest)) != 0:
			return nil, usagef(hint, "key %q holds %q, want one PUBLIC KEY",
				attestd.Excerpt(path, 200), attestd.Excerpt(block.Type, 40))
		}
		der = block.Bytes
	}
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, usagef(hint, "key %q is not a SubjectPublicKeyInfo", attestd.Excerpt(path, 200))
	}
	switch key.(type) {
	case *ecdsa.PublicKey, *rsa.PublicKey, ed25519.PublicKey:
		return der, nil
	default:
		return nil, usagef(hint, "key %q is of a kind that is not bound to evidence",
			attestd.Excerpt(path, 200))
	}
}

// insecureRoots reads certificates in PEM, and says loudly that they were read.
func (a *app) insecureRoots(path string) ([]*x509.Certificate, error) {
	if path == "" {
		return nil, nil
	}
	data, err := a.read("roots file", path, maxRootsFile)
	if err != nil {
		return nil, err
	}
	const hint = "give CERTIFICATE blocks in PEM"
	var roots []*x509.Certificate
	for rest := bytes.TrimSpace(data); len(rest) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return nil, usagef(hint, "roots file %q holds something that is not a certificate",
				attestd.Excerpt(path, 200))
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, usagef(hint, "roots file %q, certificate %d: %w",
				attestd.Excerpt(path, 200), len(roots)+1, err)
		}
		roots = append(roots, certificate)
		rest = bytes.TrimSpace(rest)
	}
	a.warn("%d root(s) of %q are trusted for this run; the risk is never below 60 (explain roots/pinned)",
		len(roots), path)
	return roots, nil
}
