package worker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/internal/service"
)

// call is one job on its way: frames of its own memory, so that the job's owner can have its slices
// back at any time, and what is expected of the reply.
type call struct {
	ctx       context.Context
	frame     []byte
	documents []document
	expected  expectation
	done      chan<- outcome // has room for the one outcome
}

type outcome struct {
	appraisal attestd.Appraisal
	err       error
}

// newCall encodes a job. What cannot be asked is refused here, before it costs a worker's time.
func (l *library) newCall(ctx context.Context, job service.Job, done chan<- outcome) (*call, error) {
	if _, err := job.Demand.Demand(); err != nil {
		return nil, err
	}
	policy, err := l.policy(job.Policy)
	if err != nil {
		return nil, err
	}
	q := question{job: job, policy: policy.digest}
	documents := []document{policy}
	for _, reference := range job.References {
		document, err := l.document(reference)
		if err != nil {
			return nil, err
		}
		q.references = append(q.references, document.digest)
		documents = append(documents, document)
	}
	if len(documents) > maxDocuments/2 {
		return nil, configured(fmt.Errorf("%d documents, want at most %d", len(documents), maxDocuments/2))
	}
	frame, err := sealFrame(q.append(newFrame(len(job.Evidence)+1024)), kindJob, maxRequest)
	if err != nil {
		return nil, tooLarge(err)
	}
	evidence := sha256.Sum256(job.Evidence)
	return &call{
		ctx: ctx, frame: frame, documents: documents, done: done,
		expected: expectation{
			evidence: hex.EncodeToString(evidence[:]), format: job.Format, policy: policy.ref,
			at: job.At, demand: job.Demand.Mode,
		},
	}, nil
}

func tooLarge(err error) error {
	return &attestd.CallerError{
		Class: attestd.ClassTooLarge,
		Hint:  "send the evidence and its endorsements alone: together at most 4 MiB",
		Err:   err,
	}
}

// read turns a reply into an outcome, and into a fault where it is not a verdict on what was sent.
func (c *call) read(k kind, payload []byte) (attestd.Appraisal, error) {
	switch k {
	case kindVerdict:
		a, err := readAppraisal(payload)
		if err == nil {
			err = c.expected.check(a)
		}
		if err != nil {
			return attestd.Appraisal{}, fault(ReasonGarbage, err)
		}
		return a, nil
	case kindCaller, kindBug:
		said, err := readComplaint(payload)
		if err != nil {
			return attestd.Appraisal{}, fault(ReasonGarbage, err)
		}
		message := errors.New(attestd.Excerpt(said.message, 500))
		if k == kindBug {
			return attestd.Appraisal{}, fault(ReasonBug, message)
		}
		if !slices.Contains(callerClasses, said.class) {
			return attestd.Appraisal{}, fault(ReasonGarbage, errors.New("worker blames the caller in no class of theirs"))
		}
		return attestd.Appraisal{}, &attestd.CallerError{
			Class: said.class, Hint: attestd.Excerpt(said.hint, 300), Err: message,
		}
	default:
		return attestd.Appraisal{}, fault(ReasonGarbage, fmt.Errorf("reply of unknown kind %q", byte(k)))
	}
}

// callerClasses are what a worker may say about a job. It knows nothing of identities, stores and
// rates, so it must not be able to make attestd answer in their names.
var callerClasses = []attestd.Class{
	attestd.ClassMalformed, attestd.ClassTooLarge, attestd.ClassUnsupported, attestd.ClassConfig,
}

// document is a policy or reference values, encoded once for all workers.
type document struct {
	digest digest
	frame  []byte
	ref    attestd.PolicyRef // of a policy
}

// library keeps encoded documents by their digest. When it is full it starts again: documents are
// few, and come from configuration.
type library struct {
	mutex      sync.Mutex
	policies   map[digest]document
	references map[digest]document
}

func newLibrary() *library {
	return &library{policies: make(map[digest]document), references: make(map[digest]document)}
}

// policy returns the encoded policy. It is parsed here too, as its id is among what is expected of
// the reply.
func (l *library) policy(source service.Document) (document, error) {
	return l.get(l.policies, source, func(d *document) error {
		policy, err := appraisal.ParsePolicy(source.Source, source.Bytes)
		if err == nil {
			d.ref = policy.Ref()
		}
		return err
	})
}

func (l *library) document(source service.Document) (document, error) {
	return l.get(l.references, source, func(*document) error { return nil })
}

func (l *library) get(
	kept map[digest]document, source service.Document, complete func(*document) error,
) (document, error) {
	key := sha256.Sum256(source.Bytes)
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if d, known := kept[key]; known {
		return d, nil
	}
	frame, err := sealFrame(appendDocument(newFrame(len(source.Bytes)+256), source), kindDocument, maxDocument)
	if err != nil {
		return document{}, configured(fmt.Errorf("%s: %w", source.Source, err))
	}
	d := document{digest: key, frame: frame}
	if err := complete(&d); err != nil {
		return document{}, err
	}
	if len(kept) == maxDocuments {
		clear(kept)
	}
	kept[key] = d
	return d, nil
}
