// Package wycheproof reads the signature cases of C2SP's Wycheproof project, which collect what
// implementations of signatures got wrong before, for the tests of whatever verifies signatures
// here.
//
// What comes in: the name of a file of that project. What is true of what is returned: it is that
// file of the release that is pinned by version and hash, and each case says what must be made of
// it. What is not shown: that the cases are all there could be.
//
// The files are fetched as a Go module and read in place; nothing of them is in this repository.
package wycheproof

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// The pinned release, and the hash of its content as in a go.sum.
const (
	release = "github.com/C2SP/wycheproof@v0.0.0-20250901140545-b51abcfb8daf"
	sum     = "h1:5BKKVVVj676FUWirLcouEEL6GCYR9X0opkMlEUck8FY="
)

// Case is one signature and what must be made of it.
type Case struct {
	ID        int
	Comment   string
	Message   []byte
	Signature []byte
	// Valid and Acceptable are the verdicts of the project; neither is a signature that must be
	// refused. What is acceptable may be taken or refused: it is weak, or encoded in a way that
	// some allow.
	Valid, Acceptable bool
}

// Group is the cases of one key.
type Group struct {
	Type string `json:"type"`
	// Hash is the hash of the message, SHA-384 and the like; MaskHash the one of a mask of RSA-PSS,
	// and Salt the length of its salt in bytes.
	Hash     string `json:"sha"`
	MaskHash string `json:"mgfSha"`
	Salt     int    `json:"sLen"`
	// Key is the public key: SubjectPublicKeyInfo in DER.
	Key   []byte `json:"-"`
	Cases []Case `json:"-"`
}

// Load returns the groups of a file, such as "ecdsa_secp384r1_sha384_test.json".
//
// Errors: where the module can neither be fetched nor found in the module cache, has another hash,
// or the file is not what it should be or holds less cases than it says.
func Load(name string) ([]Group, error) {
	folder, err := locate()
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(folder, "testvectors_v1", filepath.Base(name)))
	if err != nil {
		return nil, err
	}
	return parse(data)
}

func parse(data []byte) ([]Group, error) {
	var file struct {
		NumberOfTests int `json:"numberOfTests"`
		TestGroups    []struct {
			Group
			KeyDER string `json:"publicKeyDer"`
			Tests  []struct {
				ID      int    `json:"tcId"`
				Comment string `json:"comment"`
				Message string `json:"msg"`
				Sig     string `json:"sig"`
				Result  string `json:"result"`
			} `json:"tests"`
		} `json:"testGroups"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, err
	}
	count := 0
	groups := make([]Group, 0, len(file.TestGroups))
	for _, read := range file.TestGroups {
		group := read.Group
		var err error
		if group.Key, err = hex.DecodeString(read.KeyDER); err != nil || len(group.Key) == 0 {
			return nil, fmt.Errorf("a group without a readable key: %w", err)
		}
		for _, test := range read.Tests {
			message, err := hex.DecodeString(test.Message)
			if err != nil {
				return nil, fmt.Errorf("case %d: %w", test.ID, err)
			}
			signature, err := hex.DecodeString(test.Sig)
			if err != nil {
				return nil, fmt.Errorf("case %d: %w", test.ID, err)
			}
			if test.Result != "valid" && test.Result != "acceptable" && test.Result != "invalid" {
				return nil, fmt.Errorf("case %d: result %q", test.ID, test.Result)
			}
			group.Cases = append(group.Cases, Case{
				ID: test.ID, Comment: test.Comment, Message: message, Signature: signature,
				Valid: test.Result == "valid", Acceptable: test.Result == "acceptable",
			})
			count++
		}
		groups = append(groups, group)
	}
	if count == 0 || count != file.NumberOfTests {
		return nil, fmt.Errorf("%d cases, the file says %d", count, file.NumberOfTests)
	}
	return groups, nil
}

// locate asks the go command for the module and compares its hash.
var locate = sync.OnceValues(func() (string, error) {
	command := exec.Command("go", "mod", "download", "-json", release)
	// Outside of every module, so that neither go.mod nor go.sum of the project is touched.
	command.Dir = os.TempDir()
	command.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	var failure bytes.Buffer
	command.Stderr = &failure
	out, err := command.Output()
	var module struct{ Dir, Sum, Error string }
	if parseErr := json.Unmarshal(out, &module); parseErr != nil {
		return "", fmt.Errorf("go mod download: %w (%s)", errors.Join(err, parseErr), failure.Bytes())
	}
	switch {
	case module.Error != "":
		return "", fmt.Errorf("go mod download: %s", module.Error)
	case module.Sum != sum:
		return "", fmt.Errorf("the module has hash %s, want %s", module.Sum, sum)
	}
	return module.Dir, nil
})
