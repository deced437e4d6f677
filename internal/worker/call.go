package worker

import (
	"bytes"
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
	expected  reader
}

// outcome is what was asked for.
type outcome struct {
	appraisal  attestd.Appraisal
	credential service.CredentialReply
}

// reader turns the payload of a reply into an outcome where it is what was expected.
type reader interface {
	// kind is that of the reply where there is one.
	kind() kind
	// read returns an error where the payload is not, or says not, what it must. It keeps nothing of
	// the payload.
	read(payload []byte) (outcome, error)
}

// newCall encodes a job. What cannot be asked is refused here, before it costs a worker's time.
func (l *library) newCall(ctx context.Context, job service.Job) (*call, error) {
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
	if len(job.Collateral.Bytes) != 0 {
		document, err := l.document(job.Collateral)
		if err != nil {
			return nil, err
		}
		q.collateral = document.digest
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
		ctx: ctx, frame: frame, documents: documents,
		expected: expectation{
			evidence: hex.EncodeToString(evidence[:]), format: job.Format, policy: policy.ref,
			at: job.At, demand: job.Demand.Mode, activation: activationOf(job),
		},
	}, nil
}

// activationOf keeps what is expected of the claims; the job's slices are its owner's again soon.
func activationOf(job service.Job) *attestd.Activation {
	if job.Activation == nil {
		return nil
	}
	kept := *job.Activation
	kept.AKName, kept.Answer = bytes.Clone(kept.AKName), bytes.Clone(kept.Answer)
	return &kept
}

// newCredentialCall encodes a job that asks for a credential.
func newCredentialCall(ctx context.Context, job service.CredentialJob) (*call, error) {
	if len(job.Secret) != service.SecretSize || len(job.Entropy) != service.EntropySize {
		return nil, fmt.Errorf("a credential takes %d and %d random bytes, got %d and %d",
			service.SecretSize, service.EntropySize, len(job.Secret), len(job.Entropy))
	}
	frame, err := sealFrame(appendCredentialJob(newFrame(4<<10), job), kindKeys, maxKeys)
	if err != nil {
		return nil, tooLarge(err)
	}
	return &call{
		ctx: ctx, frame: frame, expected: madeFor{akPublic: bytes.Clone(job.AKPublic)},
	}, nil
}

func tooLarge(err error) error {
	return &attestd.CallerError{
		Class: attestd.ClassTooLarge,
		Hint:  "send the evidence and its endorsements alone: together at most 4 MiB",
		Err:   err,
	}
}

// read turns a reply into an outcome, and into a fault where it is not what was asked for.
func (c *call) read(k kind, payload []byte) (outcome, error) {
	switch k {
	case c.expected.kind():
		out, err := c.expected.read(payload)
		if err != nil {
			return outcome{}, fault(ReasonGarbage, err)
		}
		return out, nil
	case kindCaller, kindBug:
		said, err := readComplaint(payload)
		if err != nil {
			return outcome{}, fault(ReasonGarbage, err)
		}
		message := errors.New(attestd.Excerpt(said.message, 500))
		if k == kindBug {
			return outcome{}, fault(ReasonBug, message)
		}
		if !slices.Contains(callerClasses, said.class) {
			return outcome{}, fault(ReasonGarbage, errors.New("worker blames the caller in no class of theirs"))
		}
		return outcome{}, &attestd.CallerError{
			Class: said.class, Hint: attestd.Excerpt(said.hint, 300), Err: message,
		}
	default:
		return outcome{}, fault(ReasonGarbage, fmt.Errorf("reply of unknown kind %q", byte(k)))
	}
}

// callerClasses are what a worker may say about a job. It knows nothing of identities, stores and
// rates, so it must not be able to make attestd answer in their names.
var callerClasses = []attestd.Class{
	attestd.ClassMalformed, attestd.ClassTooLarge, attestd.ClassUnsupported, attestd.ClassConfig,
	attestd.ClassKeyProperties,
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
	// seen are the digests of the byte slices themselves. Reference values have megabytes, and a job
	// brings the same ones as the last: hashing them again would cost more than the verification.
	seen map[extent]hashed
}

// extent is where a slice lies. As long as the slice is held, nothing else lies there.
type extent struct {
	first *byte
	size  int
}

// hashed is a slice that is held, so that its extent stays its own, and its digest. What lies in a
// document is never written to: whoever has a new one makes a new slice.
type hashed struct {
	held   []byte
	digest digest
}

func newLibrary() *library {
	return &library{
		policies: make(map[digest]document), references: make(map[digest]document),
		seen: make(map[extent]hashed),
	}
}

// digestOf returns the SHA-256 of a document. The mutex must be held.
func (l *library) digestOf(document []byte) digest {
	if len(document) == 0 {
		return sha256.Sum256(nil)
	}
	at := extent{first: &document[0], size: len(document)}
	if known, seen := l.seen[at]; seen {
		return known.digest
	}
	if len(l.seen) == maxDocuments {
		clear(l.seen)
	}
	sum := sha256.Sum256(document)
	l.seen[at] = hashed{held: document, digest: sum}
	return sum
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
	l.mutex.Lock()
	defer l.mutex.Unlock()
	key := l.digestOf(source.Bytes)
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
