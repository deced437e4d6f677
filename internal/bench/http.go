package main

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers"
	"github.com/attestd/attestd/verifiers/nitro"
	"github.com/attestd/attestd/verifiers/sevsnp"
	"github.com/attestd/attestd/verifiers/tpm"
)

// question is recorded evidence, and what it costs in this process.
type question struct {
	verifier verifiers.Verifier // knows as much as the daemon
	input    attestd.Input
	// rejected says that the daemon does not know the authority of the evidence and rejects it.
	// What a request costs beyond the verification is the same for every verdict: it is added to
	// honest, the time in microseconds of a verification by somebody who does know.
	rejected bool
	honest   float64
}

// nitroQuestion is a published document of hardware, accepted as recorded evidence.
func nitroQuestion() (question, error) {
	corpus, err := testvectors.Load(testvectors.Options{})
	if err != nil {
		return question{}, err
	}
	for _, vector := range corpus.Format(attestd.FormatNitro) {
		if vector.Expect != attestd.VerdictAccepted {
			continue
		}
		verifier, err := nitro.New(nitro.Config{})
		return question{verifier: verifier, input: attestd.Input{
			Evidence: vector.Evidence, At: vector.At, Demand: attestd.Recorded(),
		}}, err
	}
	return question{}, fmt.Errorf("no published document: %s", corpus.Report())
}

// snpQuestion is a published report of hardware with its VCEK behind it in a certificate table.
func snpQuestion() (question, error) {
	reports, err := publishedReports()
	if err != nil {
		return question{}, err
	}
	input := reports[len(reports)-1].input
	table, err := forge.SNPTable(forge.SNPTableEntry{
		GUID: forge.GUIDVCEK, Data: input.Endorsements.Certificates[0],
	})
	if err != nil {
		return question{}, err
	}
	input.Evidence = append(append([]byte(nil), input.Evidence...), table...)
	input.Endorsements = attestd.Endorsements{}
	verifier, err := sevsnp.New(sevsnp.Config{})
	return question{verifier: verifier, input: input}, err
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
	asked := question{verifier: verifier, rejected: true, input: attestd.Input{
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

// journey is what a request costs: the time of its verification in this process, and what comes on
// top. Floor is a request that nobody looks at: what net/http and this machine's loopback take.
type journey struct{ alone, edge, floor float64 }

func (j journey) total() float64 { return j.alone + j.edge }

// over is the ratio of a whole request to a verification that takes alone microseconds.
func (j journey) over(alone float64) float64 { return (alone + j.edge) / alone }

// overHTTP alternates a request with the same evidence verified in this process.
func overHTTP(opts options, url string, asked question) (journey, error) {
	path := "/v1/verify-recorded?at=" + asked.input.At.UTC().Format(time.RFC3339) +
		"&format=" + string(asked.verifier.Format())
	line, err := dial(url)
	if err != nil {
		return journey{}, err
	}
	defer line.conn.Close()
	verify := func(int) error {
		_, err := asked.verifier.Verify(asked.input)
		var rejected *attestd.EvidenceError
		if errors.As(err, &rejected) != asked.rejected || !asked.rejected && err != nil {
			return fmt.Errorf("verify: %w", err)
		}
		return nil
	}
	request := func(int) error { return line.post(path, asked.input.Evidence) }
	healthz := func(int) error { return line.get("/healthz") }
	for round := range 12 { // every worker has its tables and its policy
		if err := errors.Join(verify(round), request(round), healthz(round)); err != nil {
			return journey{}, err
		}
	}
	medians, err := alternate(opts.rounds, verify, request, healthz)
	if err != nil {
		return journey{}, err
	}
	found := journey{alone: medians[0], edge: medians[1] - medians[0], floor: medians[2]}
	if asked.rejected {
		found.alone = asked.honest
	}
	return found, nil
}

// line is a connection that is kept. What is measured is the service, so its client is the least
// that speaks HTTP: net/http's takes two goroutines and as much time as the server.
type line struct {
	conn   net.Conn
	reader *bufio.Reader
}

func dial(url string) (*line, error) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		return nil, err
	}
	return &line{conn: conn, reader: bufio.NewReaderSize(conn, 64<<10)}, nil
}

func (l *line) post(path string, evidence []byte) error {
	request := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: attestd\r\nContent-Type: "+
		"application/octet-stream\r\nContent-Length: %d\r\n\r\n", path, len(evidence))
	return l.ask(append(request, evidence...))
}

func (l *line) get(path string) error {
	return l.ask([]byte("GET " + path + " HTTP/1.1\r\nHost: attestd\r\n\r\n"))
}

func (l *line) ask(request []byte) error {
	if err := l.conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := l.conn.Write(request); err != nil {
		return err
	}
	reply, err := http.ReadResponse(l.reader, nil)
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
