package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/client"
	"github.com/attestd/attestd/internal/admin/wire"
)

// demoSubject is what became of the software TPM's machine after an operator said whose it is.
type demoSubject struct {
	ID string `json:"id"`
	// Approved is its state after good evidence, Held the class of the answer to evidence as good as
	// that after a quarantine.
	Approved attestd.State `json:"approved"`
	Held     attestd.Class `json:"held"`
}

// demoReason is what the demo's quarantine is for.
const demoReason = "demo"

// enrol has an operator approve the machine, boots it as it was measured and quarantines it: the same
// good evidence is refused then. It notes what was seen, and whether it is as it must be.
func (d *bootDemo) enrol(ctx context.Context, url string, doc *demoDoc) error {
	operator, err := client.New(client.Config{
		Server: "unix:" + filepath.Join(d.folder, "state", "attestd.sock"),
	})
	if err != nil {
		return err
	}
	waiting, err := operator.Enrolments(ctx, client.Query{Status: "pending"})
	if err != nil {
		return err
	}
	if len(waiting.Enrolments) != 1 {
		return hinted(fmt.Errorf("%d machines wait for approval, want 1", len(waiting.Enrolments)), demoFault)
	}
	key := waiting.Enrolments[0].Key
	if _, err := operator.Approve(ctx, wire.Decide{Key: key.String(), Label: demoReason}); err != nil {
		return err
	}
	verdict, _, err := d.attest(ctx, url, bootSteps()[0])
	if err != nil {
		return err
	}
	if verdict.Standing == nil {
		return hinted(errors.New("the verdict does not say whose the machine is"), demoFault)
	}
	seen := &demoSubject{ID: verdict.Standing.Subject, Approved: verdict.Standing.State}
	if _, err := operator.Quarantine(ctx, wire.Order{Target: seen.ID, Reason: demoReason}); err != nil {
		return err
	}
	body, _, err := d.collect(ctx, url)
	if err != nil {
		return err
	}
	answer, status, err := exchange(ctx, url+"/v1/verify", body)
	if err != nil {
		return err
	}
	var problem struct {
		Class attestd.Class `json:"class"`
	}
	if err := json.Unmarshal(answer, &problem); err != nil {
		return hinted(fmt.Errorf("status %d: %w", status, err), demoFault)
	}
	seen.Held, doc.Subject = problem.Class, seen
	doc.Good = doc.Good && verdict.Verdict == attestd.VerdictAccepted && seen.Approved == attestd.StateTrusted &&
		status == http.StatusForbidden && seen.Held == attestd.ClassQuarantined
	return nil
}

// note says it in a sentence.
func (s demoSubject) note() string {
	return fmt.Sprintf("Approved by an operator and booted as it was measured, its machine is %s, as %s; "+
		"quarantined, it hands in evidence as good as before and is answered 403 %s.",
		s.Approved, shortID(s.ID), s.Held)
}

// demoFault is the hint to what only a fault of ours can cause here: nobody else asks this server.
const demoFault = "this is a fault of attestd; report it with the output of `attestd version`"
