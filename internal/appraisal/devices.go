package appraisal

import (
	"slices"

	"github.com/attestd/attestd"
)

// devicesOrNot says whether claims are composed, for people.
var devicesOrNot = map[bool]string{true: "claims of several devices", false: "claims of one device"}

func hasDevices(claims *attestd.Claims) bool {
	for range claims.Devices() {
		return true
	}
	return false
}

// devices appraises each device of composed claims by the rules of the device's own format. Its
// checks and reasons stand among those of the whole, so that the whole is never better than its worst
// device: [Score] never falls where reasons are added. The whole says of trust what the worst device
// says.
func (w *appraiser) devices(whole *vector) {
	for edge := range w.input.Claims.Edges() {
		w.verdict.Edges = append(w.verdict.Edges, edge)
	}
	for device := range w.input.Claims.Devices() {
		made := w.one(device)
		whole.include(made.Format, made.Trust)
		w.verdict.Devices = append(w.verdict.Devices, made)
	}
	w.device = ""
}

// one appraises one device.
func (w *appraiser) one(device attestd.Device) attestd.DeviceAppraisal {
	w.device = device.Path
	claims, before := device.Claims, len(w.verdict.Reasons)
	made := attestd.DeviceAppraisal{
		Path: device.Path, Format: claims.Format(), Summary: claims.Summary(),
		Freshness: claims.Freshness(), Claims: []byte("null"),
		Handles: slices.Collect(claims.Handles()),
	}
	if view, err := claims.MarshalJSON(); err == nil {
		made.Claims = view
	}
	for _, check := range claims.Checks() {
		check.Device = device.Path
		if !slices.ContainsFunc(w.verdict.Checks, func(c attestd.Check) bool {
			return c.ID == check.ID && c.Device == check.Device
		}) {
			w.verdict.Checks = append(w.verdict.Checks, check)
		}
	}
	vector := vectorOf(claims)
	w.appraise(claims, &vector)
	made.Trust = vector.trust
	made.Risk, made.Tier = Score(w.verdict.Reasons[before:])
	made.Verdict = made.Tier.Verdict()
	return made
}
