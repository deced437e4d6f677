package service

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/registry"
)

// jobSchema names the form in which a job is stored.
const jobSchema = "attestd.stored-job.v1"

// storedJob is a Job without its policy and reference values, which are those of the day it is judged
// again, and with its evidence and endorsements beside it.
type storedJob struct {
	Schema string `json:"schema"`
	// Standard is the digest of the documents that it was judged by.
	Standard string `json:"standard"`
	// Tenant whose policy judges it.
	Tenant     string              `json:"tenant"`
	Format     attestd.Format      `json:"format"`
	At         time.Time           `json:"at"`
	Demand     DemandSpec          `json:"demand"`
	Activation *attestd.Activation `json:"activation,omitempty"`
	LastSeen   *attestd.TPMState   `json:"last_seen,omitempty"`
}

// Recalled is evidence that can be judged again.
type Recalled struct {
	Job Job
	// Policy of the job, read.
	Policy *appraisal.Policy
	// Current says that it was judged by these very documents.
	Current bool
}

// storeJob returns what it takes to judge the evidence of a job again, without anything that answers
// something: an activation that was answered is an earlier one from now on.
func storeJob(job Job, tenant, standard string) (document []byte, blobs [][]byte, err error) {
	kept := storedJob{
		Schema: jobSchema, Standard: standard, Tenant: tenant, Format: job.Format, At: job.At, Demand: job.Demand,
		LastSeen: job.LastSeen,
	}
	if job.Activation != nil {
		kept.Activation = &attestd.Activation{
			AKName: job.Activation.AKName, EK: job.Activation.EK, Earlier: true,
		}
	}
	if document, err = json.Marshal(kept); err != nil {
		return nil, nil, err
	}
	endorsements, err := json.Marshal(job.Endorsements)
	return document, [][]byte{job.Evidence, endorsements}, err
}

// Recall returns the job that a stored verdict was reached by, to be judged again by this standard, as
// of the time that it was judged at. The challenge that it answered is
// over: that it was alive then was seen then.
//
// Errors: where what is stored is no job.
func (s *Standard) Recall(document []byte, blobs [][]byte) (Recalled, error) {
	var kept storedJob
	var endorsements attestd.Endorsements
	if len(blobs) != 2 {
		return Recalled{}, fmt.Errorf("a stored job with %d parts, want 2", len(blobs))
	}
	for _, part := range []struct {
		from []byte
		into any
	}{{document, &kept}, {blobs[1], &endorsements}} {
		decoder := json.NewDecoder(bytes.NewReader(part.from))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(part.into); err != nil {
			return Recalled{}, fmt.Errorf("stored job: %s", attestd.Excerpt(err.Error(), 160))
		}
	}
	if kept.Schema != jobSchema {
		return Recalled{}, fmt.Errorf("stored job has schema %q", attestd.Excerpt(kept.Schema, 40))
	}
	policy, read := s.Of(kept.Tenant)
	return Recalled{Policy: read, Current: kept.Standard == s.digest(kept.Tenant, kept.Format), Job: Job{
		Format: kept.Format, Evidence: blobs[0], Endorsements: endorsements, At: kept.At,
		Demand: kept.Demand, Activation: kept.Activation, LastSeen: kept.LastSeen, Policy: policy,
		References: s.documents.References, Collateral: s.documents.Collateral[kept.Format],
	}}, nil
}

// carryOut keeps a verdict with everything that follows from it, in one step. Of a machine that is
// held only what it showed is noted.
func (s *Service) carryOut(ctx context.Context, v verification, made decision) error {
	if made.barred != nil {
		if made.write.Empty() {
			return nil
		}
		return storeError(ctx, s.config.Store.Write(ctx, made.write))
	}
	seen, err := seenBy(v.taken, v.job, made.given)
	if err != nil {
		return err
	}
	document, err := json.Marshal(made.given)
	if err != nil {
		return fmt.Errorf("appraisal: %w", err)
	}
	kept := registry.Verdict{
		Answered: challenge.Answered{
			ID: made.given.ID, ChallengeID: v.taken.ID, Tenant: v.taken.Tenant, Document: document,
			Seen: seen,
		},
		Write: made.write,
	}
	if made.subject != nil && made.given.Verdict == attestd.VerdictAccepted {
		if kept.Evidence, err = evidenceOf(v, made); err != nil {
			return err
		}
	}
	// A verdict that cannot be stored is not given: nobody could look it up, and later steps rely on
	// what is stored.
	return storeError(ctx, s.config.Store.Keep(ctx, kept))
}

func newID() (string, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return "", fmt.Errorf("appraisal id: %w", err)
	}
	return id.String(), nil
}

func evidenceOf(v verification, made decision) (*registry.Evidence, error) {
	job, blobs, err := storeJob(v.job, v.taken.Tenant, v.standard.digest(v.taken.Tenant, v.job.Format))
	if err != nil {
		return nil, fmt.Errorf("stored job: %w", err)
	}
	return &registry.Evidence{
		Subject: made.subject.ID, Tenant: made.subject.Tenant, Format: made.given.Format,
		At: v.job.At, Job: job, Blobs: blobs,
	}, nil
}
