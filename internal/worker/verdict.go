package worker

import (
	"bytes"
	"encoding"
	"encoding/binary"
	"fmt"

	"github.com/attestd/attestd"
)

// appendAppraisal writes a verdict as fields: JSON would cost more than the rest of the journey.
func appendAppraisal(out []byte, a attestd.Appraisal) []byte {
	out = appendText(appendText(out, a.Schema), a.ID)
	out = appendName(appendText(appendName(out, a.Verdict), string(a.Format)), a.Tier)
	out = appendText(out, a.Summary)
	out = binary.BigEndian.AppendUint32(out, uint32(a.Risk.Int())) //nolint:gosec // 0 to 100
	out = appendTime(appendName(out, a.Freshness), a.At)
	out = binary.BigEndian.AppendUint32(out, uint32(len(a.Reasons))) //nolint:gosec // frames are capped
	for _, reason := range a.Reasons {
		out = appendText(appendText(out, string(reason.Check)), reason.Device)
		out = appendText(out, string(reason.Group))
		out = binary.BigEndian.AppendUint32(out, uint32(reason.Points)) //nolint:gosec // checked by the reader
		out = appendText(appendText(appendName(out, reason.Effect), reason.Detail), reason.Remedy)
	}
	out = binary.BigEndian.AppendUint32(out, uint32(len(a.Checks))) //nolint:gosec // frames are capped
	for _, check := range a.Checks {
		out = appendName(appendText(appendText(out, string(check.ID)), check.Device), check.Result)
		out = appendText(appendText(out, check.Got), check.Want)
		out = appendText(appendText(out, check.Spec), check.Hint)
	}
	out = appendHandles(appendBytes(out, a.Claims), a.Handles)
	out = appendDevices(out, a.Devices, a.Edges)
	out = appendTrust(out, &a.Trust)
	out = appendText(appendText(out, a.Policy.ID), a.Policy.Digest)
	return appendText(out, a.EvidenceSHA256)
}

// readAppraisal reads what appendAppraisal wrote. What it reads comes from a process that may have
// been taken over: every name must be one of its kind and every number within its range, and nothing
// may be left over. It keeps nothing of the payload.
func readAppraisal(payload []byte) (attestd.Appraisal, error) {
	r := fields{rest: payload, whole: string(payload)}
	a := attestd.Appraisal{Schema: r.text(), ID: r.text()}
	r.name(&a.Verdict)
	a.Format = attestd.Format(r.text())
	r.name(&a.Tier)
	a.Summary = r.text()
	a.Risk = attestd.Risk(r.points())
	r.name(&a.Freshness)
	a.At = r.time()
	count := r.count(7 * 4)
	a.Reasons = make([]attestd.Reason, 0, count) // an empty list is written as [], never as null
	for range count {
		reason := attestd.Reason{
			Check: attestd.CheckID(r.text()), Device: r.text(), Group: attestd.Group(r.text()),
			Points: r.points(),
		}
		r.name(&reason.Effect)
		reason.Detail, reason.Remedy = r.text(), r.text()
		a.Reasons = append(a.Reasons, reason)
	}
	count = r.count(7 * 4)
	a.Checks = make([]attestd.Check, 0, count)
	for range count {
		check := attestd.Check{ID: attestd.CheckID(r.text()), Device: r.text()}
		r.name(&check.Result)
		check.Got, check.Want, check.Spec, check.Hint = r.text(), r.text(), r.text(), r.text()
		a.Checks = append(a.Checks, check)
	}
	a.Claims = bytes.Clone(r.bytes())
	a.Handles = r.handles()
	a.Devices, a.Edges = r.devices(), r.edges()
	r.trust(&a.Trust)
	a.Policy = attestd.PolicyRef{ID: r.text(), Digest: r.text()}
	a.EvidenceSHA256 = r.text()
	if err := r.end(); err != nil {
		return attestd.Appraisal{}, err
	}
	return a, nil
}

// trustValues lists the fields of a trust vector in the order in which they cross.
func trustValues(v *attestd.TrustVector) [8]*int8 {
	return [...]*int8{
		&v.InstanceIdentity, &v.Configuration, &v.Executables, &v.FileSystem, &v.Hardware,
		&v.RuntimeOpaque, &v.StorageOpaque, &v.SourcedData,
	}
}

func appendName(out []byte, value fmt.Stringer) []byte { return appendText(out, value.String()) }

// name reads the name of a closed set of values.
func (r *fields) name(into encoding.TextUnmarshaler) {
	text := r.bytes()
	if r.err == nil {
		r.err = into.UnmarshalText(text)
	}
}

// points reads a number from 0 to 100, and 100 where it reads anything else.
func (r *fields) points() int {
	points := r.uint32()
	if r.err == nil && points > 100 {
		r.err = fmt.Errorf("payload has %d points, want at most 100", points)
	}
	if r.err != nil {
		return 100
	}
	return int(points)
}
