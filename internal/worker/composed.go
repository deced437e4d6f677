package worker

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/attestd/attestd"
)

// The parts of a verdict that composed evidence adds.

func appendHandles(out []byte, handles []attestd.Handle) []byte {
	out = binary.BigEndian.AppendUint32(out, uint32(len(handles))) //nolint:gosec // frames are capped
	for _, handle := range handles {
		out = appendText(appendText(out, string(handle.Kind)), handle.Value)
	}
	return out
}

func (r *fields) handles() (handles []attestd.Handle) {
	for range r.count(2 * 4) {
		handles = append(handles, attestd.Handle{Kind: attestd.HandleKind(r.text()), Value: r.text()})
	}
	return handles
}

func appendTrust(out []byte, trust *attestd.TrustVector) []byte {
	for _, value := range trustValues(trust) {
		out = append(out, byte(*value)) //nolint:gosec // read back as an int8
	}
	return out
}

func (r *fields) trust(into *attestd.TrustVector) {
	for _, value := range trustValues(into) {
		*value = int8(r.take(1)[0]) //nolint:gosec // written from an int8
	}
}

func appendDevices(out []byte, devices []attestd.DeviceAppraisal, edges []attestd.Edge) []byte {
	out = binary.BigEndian.AppendUint32(out, uint32(len(devices))) //nolint:gosec // frames are capped
	for i := range devices {
		d := &devices[i]
		out = appendText(appendText(appendText(out, d.Path), string(d.Format)), d.Summary)
		out = appendName(appendName(out, d.Verdict), d.Tier)
		out = binary.BigEndian.AppendUint32(out, uint32(d.Risk.Int())) //nolint:gosec // 0 to 100
		out = appendBytes(appendName(out, d.Freshness), d.Claims)
		out = appendTrust(appendHandles(out, d.Handles), &d.Trust)
	}
	out = binary.BigEndian.AppendUint32(out, uint32(len(edges))) //nolint:gosec // frames are capped
	for _, edge := range edges {
		out = appendName(appendText(appendText(out, edge.From), edge.To), edge.Grade)
		out = appendText(out, edge.How)
	}
	return out
}

// leastDevice is the fewest bytes that a device takes: nine lengths and numbers, and a trust vector.
const leastDevice = 9*4 + 8

func (r *fields) devices() (devices []attestd.DeviceAppraisal) {
	for range r.count(leastDevice) {
		d := attestd.DeviceAppraisal{
			Path: r.text(), Format: attestd.Format(r.text()), Summary: r.text(),
		}
		r.name(&d.Verdict)
		r.name(&d.Tier)
		d.Risk = attestd.Risk(r.points())
		r.name(&d.Freshness)
		d.Claims, d.Handles = bytes.Clone(r.bytes()), r.handles()
		r.trust(&d.Trust)
		devices = append(devices, d)
	}
	return devices
}

func (r *fields) edges() (edges []attestd.Edge) {
	for range r.count(4 * 4) {
		edge := attestd.Edge{From: r.text(), To: r.text()}
		r.name(&edge.Grade)
		edge.How = r.text()
		edges = append(edges, edge)
	}
	return edges
}

// checkDevices: the parts of a verdict do not contradict the whole. A device is a device of some format,
// under a path of its own; no part is worse than what it is a part of; what is said of a device is said
// of one that is there; and edges go between two of them. What stays believed is what a worker says of
// claims, as with the whole.
func checkDevices(a attestd.Appraisal) error {
	paths := make(map[string]bool, len(a.Devices))
	if len(a.Devices) > attestd.MaxDevices || len(a.Edges) > attestd.MaxDevices*attestd.MaxDevices {
		return fmt.Errorf("verdict has %d devices and %d edges", len(a.Devices), len(a.Edges))
	}
	if len(a.Devices) != 0 && !bytes.HasPrefix(a.Claims, []byte("{")) {
		return errors.New("verdict has devices without claims")
	}
	for i := range a.Devices {
		d := &a.Devices[i]
		if attestd.CheckDevicePath(d.Path) != nil || paths[d.Path] {
			return errors.New("verdict has a device twice, or under a path that is none")
		}
		paths[d.Path] = true
		if err := checkDevice(a, d); err != nil {
			return fmt.Errorf("device %s: %w", d.Path, err)
		}
	}
	for _, edge := range a.Edges {
		if !paths[edge.From] || !paths[edge.To] || edge.From == edge.To || !printable(edge.How) {
			return errors.New("verdict has an edge that goes between no two devices")
		}
	}
	// Of evidence that was not verified checks name devices that are not there.
	verified := bytes.HasPrefix(a.Claims, []byte("{"))
	known := func(device string) bool {
		return device == "" || paths[device] || !verified && attestd.CheckDevicePath(device) == nil
	}
	for _, check := range a.Checks {
		if !known(check.Device) {
			return errors.New("verdict has a check of a device that is not there")
		}
	}
	for _, reason := range a.Reasons {
		if !known(reason.Device) {
			return errors.New("verdict has a reason about a device that is not there")
		}
	}
	return nil
}

// rank orders verdicts, the worst last.
var rank = map[attestd.Verdict]int{
	attestd.VerdictAccepted: 0, attestd.VerdictUndecided: 1, attestd.VerdictRejected: 2,
}

func checkDevice(a attestd.Appraisal, d *attestd.DeviceAppraisal) error {
	switch {
	case !slices.Contains(attestd.Formats(), d.Format):
		return fmt.Errorf("it is of format %q", attestd.Excerpt(string(d.Format), 40))
	case d.Verdict != d.Tier.Verdict():
		return fmt.Errorf("verdict %s does not follow from tier %s", d.Verdict, d.Tier)
	case d.Tier != attestd.TierUnknown && d.Tier != d.Risk.Tier():
		return fmt.Errorf("tier %s does not follow from risk %s", d.Tier, d.Risk)
	case rank[d.Verdict] > rank[a.Verdict] || d.Risk.Int() > a.Risk.Int():
		return errors.New("the whole is better than it")
	case !bytes.HasPrefix(d.Claims, []byte("{")) || !json.Valid(d.Claims):
		return errors.New("it has claims that are no JSON object")
	case !printable(d.Summary) || !printable(d.Claims):
		return errors.New("it holds characters that could steer a terminal")
	case len(d.Handles) > maxHandles:
		return fmt.Errorf("it has %d handles, want at most %d", len(d.Handles), maxHandles)
	}
	for _, handle := range d.Handles {
		if !slices.Contains(handleKinds, handle.Kind) || handle.Value == "" ||
			len(handle.Value) > maxHandle || !plain(handle.Value) {
			return errors.New("it has a handle that is no name")
		}
	}
	return nil
}
