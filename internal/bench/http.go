package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers"
	"github.com/attestd/attestd/verifiers/nitro"
	"github.com/attestd/attestd/verifiers/tpm"
)

// question is evidence of a test authority that a daemon does not know: it is rejected there. What a
// request costs beyond the verification is the same for every verdict; it is added to the time of a
// verification that is accepted.
type question struct {
	verifier verifiers.Verifier // knows the authority as little as the daemon
	input    attestd.Input
	// honest is the time in microseconds of a verification by somebody who knows it.
	honest float64
}

func nitroQuestion(opts options) (question, error) {
	authority, err := forge.NewAWS(forge.AWSOptions{})
	if err != nil {
		return question{}, err
	}
	document, err := authority.Document(forge.Document{})
	if err != nil {
		return question{}, err
	}
	honest, err := honestMicros(opts, authority, document)
	if err != nil {
		return question{}, err
	}
	verifier, err := nitro.New(nitro.Config{})
	return question{
		verifier: verifier, honest: honest,
		input: attestd.Input{Evidence: document, At: authority.At(), Demand: attestd.Recorded()},
	}, err
}

func tpmQuestion(opts options) (question, error) {
	key, err := forge.NewTPMKey(forge.TPMKeyConfig{})
	if err != nil {
		return question{}, err
	}
	evidence, err := forge.NewTPM(key, nil).Evidence([]byte("recorded"), nil)
	if err != nil {
		return question{}, err
	}
	container, err := evidence.Marshal()
	if err != nil {
		return question{}, err
	}
	spki, err := key.SPKI()
	if err != nil {
		return question{}, err
	}
	verifier, err := tpm.New(tpm.Config{})
	if err != nil {
		return question{}, err
	}
	asked := question{verifier: verifier, input: attestd.Input{
		Evidence: container, At: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Demand: attestd.Recorded(),
	}}
	known := asked.input
	known.Anchors.AttestationKeys = [][32]byte{sha256.Sum256(spki)}
	medians, err := alternate(opts.rounds, func(int) error {
		_, err := verifier.Verify(known)
		return err
	})
	if err == nil {
		asked.honest = medians[0]
	}
	return asked, err
}

// overHTTP alternates a request with the same evidence verified in this process.
func overHTTP(opts options, url string, asked question) (ratio, micros float64, err error) {
	target := url + "/v1/verify-recorded?at=" + asked.input.At.Format(time.RFC3339)
	client := &http.Client{Timeout: 10 * time.Second}
	medians, err := alternate(opts.rounds,
		func(int) error {
			_, err := asked.verifier.Verify(asked.input)
			var rejected *attestd.EvidenceError
			if !errors.As(err, &rejected) {
				return fmt.Errorf("verify: %v, want a rejection", err)
			}
			return nil
		},
		func(int) error { return post(client, target, asked.input.Evidence) })
	if err != nil {
		return 0, 0, err
	}
	edge := medians[1] - medians[0]
	return (asked.honest + edge) / asked.honest, asked.honest + edge, nil
}

func post(client *http.Client, target string, evidence []byte) error {
	reply, err := client.Post(target, "application/cbor", bytes.NewReader(evidence))
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err == nil && reply.StatusCode != http.StatusOK {
		err = fmt.Errorf("HTTP %d: %.200s", reply.StatusCode, body)
	}
	return err
}
