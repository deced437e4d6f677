package service_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/internal/subject"
)

// trustDomains makes of every verdict one on a trust domain whose paravisor nobody measured, and which
// states the name that the evidence has.
type trustDomains struct{ asked service.Judge }

func (j trustDomains) Credential(
	ctx context.Context, job service.CredentialJob,
) (service.CredentialReply, error) {
	return j.asked.Credential(ctx, job)
}

func (j trustDomains) Judge(ctx context.Context, job service.Job) (attestd.Appraisal, error) {
	given, err := j.asked.Judge(ctx, job)
	given.Claims = json.RawMessage(`{"paravisor_signer":"td"}`)
	given.Devices = []attestd.DeviceAppraisal{
		{Path: "cpu", Format: attestd.FormatTDX, Claims: json.RawMessage(`{"debug":false}`)},
		{Path: "vtpm", Format: attestd.FormatTPM, Claims: json.RawMessage("{}")},
	}
	given.Edges = []attestd.Edge{{From: "cpu", To: "vtpm", Grade: attestd.GradeCryptographic}}
	return given, err
}

// TestANameThatNobodyVouchesForGivesNothing: where a policy lets an unknown paravisor pass, the name in
// it is still what its owner wrote there: no subject, no owner, no enrolment follows from it, and who
// is held under the name stays so.
func TestANameThatNobodyVouchesForGivesNothing(t *testing.T) {
	w := newWorld(t, worldOptions{judge: func(j service.Judge) service.Judge { return trustDomains{j} }})
	w.own("default")
	given, err := w.attest("default", nil)
	w.must(err)
	if given.Verdict != attestd.VerdictAccepted || given.Standing == nil || given.Standing.Subject != "" ||
		given.Standing.Ownership != string(subject.MethodNone) || w.known().Subject != nil {
		t.Errorf("got %s, %+v, and the registry has %+v", given.Verdict, given.Standing, w.known().Subject)
	}
	w.bar(w.instance(), attestd.StateQuarantined)
	_, err = w.attest("default", nil)
	w.refused(err, attestd.ClassQuarantined)
}

func TestANameThatNobodyVouchesForIsNotEnrolled(t *testing.T) {
	w := newWorld(t, worldOptions{judge: func(j service.Judge) service.Judge { return trustDomains{j} }})
	token := w.token("default")
	given, err := w.attest("default", func(s *service.Submission) { s.EnrolmentToken = token })
	if err == nil && given.Standing.Ownership != string(subject.MethodNone) || len(w.known().Owners) != 0 {
		t.Errorf("got %+v, %v, and the registry has %+v", given.Standing, err, w.known().Owners)
	}
}
