package composite

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/compositeevidence"
	"github.com/attestd/attestd/verifiers"
	"github.com/attestd/attestd/verifiers/internal/trail"
)

// Config of a verifier.
type Config struct {
	// Parts are the verifiers that devices' evidence is shown to. They may be shared with whoever
	// verifies evidence of their formats alone: what they remember never changes an answer. Verifiers of
	// formats that no device has are left out. At least one for each device of a machine must be there.
	Parts []verifiers.Verifier
}

// Verifier verifies composite evidence. It is safe for concurrent use and holds no state of its own.
type Verifier struct {
	parts map[attestd.Format]verifiers.Verifier
	order []verifiers.Verifier
}

var _ verifiers.Composer = (*Verifier)(nil)

// New returns a verifier.
//
// Errors: a [*attestd.CallerError] of class CONFIG where a device has no verifier, or a format two.
func New(config Config) (*Verifier, error) {
	v := &Verifier{parts: map[attestd.Format]verifiers.Verifier{}}
	for _, part := range config.Parts {
		if part == nil || !takes(part.Format()) {
			continue
		}
		if v.parts[part.Format()] != nil {
			return nil, badConfig(fmt.Errorf("two verifiers for format %s", part.Format()))
		}
		v.parts[part.Format()] = part
		v.order = append(v.order, part)
	}
	for _, r := range roles {
		if !slices.ContainsFunc(r.formats, func(f attestd.Format) bool { return v.parts[f] != nil }) {
			return nil, badConfig(fmt.Errorf("no verifier for the %s, want %s", r.what, r.wantedFormats()))
		}
	}
	return v, nil
}

func badConfig(err error) error {
	return &attestd.CallerError{
		Class: attestd.ClassConfig, Hint: "give one verifier for each format of a device", Err: err,
	}
}

// Format returns attestd.FormatComposite.
func (v *Verifier) Format() attestd.Format { return attestd.FormatComposite }

// Parts are the verifiers that devices' evidence is shown to.
func (v *Verifier) Parts() []verifiers.Verifier { return slices.Clone(v.order) }

// Detect implements verifiers.Verifier.
func (v *Verifier) Detect(evidence []byte) bool { return compositeevidence.IsEvidence(evidence) }

// SignaturesVerified counts the public-key verifications of its parts, those included that whoever
// shares a part had made.
func (v *Verifier) SignaturesVerified() (count uint64) {
	for _, part := range v.order {
		count += part.SignaturesVerified()
	}
	return count
}

// session is one verification.
type session struct {
	verifier *Verifier
	input    attestd.Input
	parts    []compositeevidence.Device
	// trail has the checks of the composition so far, and ran those with the devices' among them.
	trail   *trail.Trail
	ran     []attestd.Check
	devices []attestd.Device
}

// Verify implements verifiers.Verifier. Where a device's evidence is refused, the answer is that of the
// device's verifier: its check, class and hint, with the device's path in the checks.
func (v *Verifier) Verify(input attestd.Input) (*attestd.Claims, error) {
	if err := askable(input); err != nil {
		return nil, err
	}
	s := &session{verifier: v, input: input, trail: trail.New(table)}
	if bad := s.read(); bad != nil {
		return nil, s.end(bad)
	}
	s.ran = s.trail.Checks()
	for _, device := range s.parts {
		if err := s.verify(device); err != nil {
			return nil, err
		}
	}
	s.trail = trail.New(table)
	if bad := s.checkBound(); bad != nil {
		return nil, s.end(bad)
	}
	s.ran = append(s.ran, s.trail.Checks()...)
	return s.seal(), nil
}

// askable refuses questions that cannot be answered.
func askable(input attestd.Input) error {
	fail := func(hint, text string) error {
		return &attestd.CallerError{Class: attestd.ClassMalformed, Hint: hint, Err: errors.New(text)}
	}
	if input.At.IsZero() {
		return fail("give the time at which to judge (--at)", "no time to judge at")
	}
	if input.Demand.IsZero() {
		return fail("give --nonce or --challenge, or --recorded", "nothing is demanded of the evidence")
	}
	return nil
}

const (
	wantSize     = "devices within the limits"
	wantEncoding = "the one encoding of its devices"
)

// read takes the container apart and makes the checks of its shape.
func (s *session) read() *fault {
	parsed, bad := open(s.input.Evidence)
	if bad != nil {
		if bad.check == checkEncoding {
			s.trail.Pass(checkSize, wantSize, wantSize)
		}
		return bad
	}
	s.trail.Pass(checkSize, wantSize, wantSize)
	s.trail.Pass(checkEncoding, wantEncoding, wantEncoding)
	s.parts = parsed.Devices
	for _, device := range s.parts {
		if bad := s.verifier.checkKnown(device); bad != nil {
			return bad
		}
	}
	s.trail.Pass(checkKnown, fmt.Sprintf("%d known devices", len(s.parts)), wantedDevices())
	for _, r := range roles {
		if !slices.ContainsFunc(s.parts, func(d compositeevidence.Device) bool { return d.Path == r.path }) {
			return refuse(checkComplete, "no "+r.path, wantedDevices())
		}
	}
	s.trail.Pass(checkComplete, "all devices", wantedDevices())
	return nil
}

func open(evidence []byte) (compositeevidence.Evidence, *fault) {
	parsed, err := compositeevidence.Parse(evidence)
	switch {
	case err == nil:
		return parsed, nil
	case errors.Is(err, compositeevidence.ErrTooLarge):
		return parsed, refuse(checkSize, "", wantSize).because(err)
	default:
		return parsed, refuse(checkEncoding, "", wantEncoding).because(err)
	}
}

// checkKnown demands a path that a machine has, and evidence of a format that can stand there. Composed
// evidence inside of composed evidence would be a second question about the same machine.
func (v *Verifier) checkKnown(device compositeevidence.Device) *fault {
	r, known := roleOf(device.Path)
	if !known {
		return refuse(checkKnown, fmt.Sprintf("device %s of format %s", device.Path, device.Format),
			wantedDevices())
	}
	if !slices.Contains(r.formats, device.Format) || v.parts[device.Format] == nil {
		return refuse(checkKnown, fmt.Sprintf("device %s of format %s", device.Path, device.Format),
			r.wantedFormats())
	}
	return nil
}

// verify shows a device's evidence to the verifier of its format.
func (s *session) verify(device compositeevidence.Device) error {
	part := s.verifier.parts[device.Format]
	demand, err := s.demandOn(device)
	if err != nil {
		return err
	}
	input := s.input
	input.Evidence, input.Demand = device.Evidence, demand
	// Which keys a TEE's report states is known to whoever verified that report, and no processor's
	// report in this container states any.
	input.Anchors.TEEKeys = nil
	claims, err := part.Verify(input)
	if err != nil {
		return s.refusedBy(device.Path, err)
	}
	if !claims.Proven() || claims.Format() != device.Format {
		return fmt.Errorf("the verifier of %s answered with claims of something else", device.Format)
	}
	s.ran = append(s.ran, under(device.Path, claims.Checks())...)
	s.devices = append(s.devices, attestd.Device{Path: device.Path, Claims: claims})
	return nil
}

// demandOn returns what is demanded of a device: the value that is derived for it. A key that is not
// part of a binding is demanded of the TPM: a processor's report has no field for one.
func (s *session) demandOn(device compositeevidence.Device) (attestd.Demand, error) {
	demand, err := s.input.Demand.ForDevice(device.Path, device.Format)
	if err != nil {
		return attestd.Demand{}, err
	}
	key, demanded := s.input.Demand.Key()
	if !demanded || s.input.Demand.IsBinding() || device.Path != pathTPM {
		return demand, nil
	}
	return demand.WithKey(key)
}

// checkBound demands of every device what it was asked for. Its verifier made the comparison; this
// looks at what the claims say of it, so that a verifier that forgot cannot lend its device to another
// machine.
func (s *session) checkBound() *fault {
	_, asked := s.input.Demand.Freshness()
	want := s.wantedFreshness()
	for _, device := range s.devices {
		if got := device.Claims.Freshness(); got != want {
			return refuse(checkBound, fmt.Sprintf("device %s shows freshness %q", device.Path, got),
				fmt.Sprintf("%q of every device", want))
		}
		if key := device.Claims.KeySPKI(); s.input.Demand.IsBinding() && !s.bindsKey(key) {
			return refuse(checkBound, "device "+device.Path+" is bound to another key",
				"the key that was demanded, or none beside the binding")
		}
	}
	if !asked {
		s.trail.NotApplicable(checkBound, "no nonce was demanded: freshness is not shown")
		return nil
	}
	s.trail.Pass(checkBound, "a value of its own from one root for every device", "every device bound")
	return nil
}

// bindsKey reports whether the key that a device names is the demanded one. A format without a field for
// keys names what its freshness value covers, or nothing.
func (s *session) bindsKey(key []byte) bool {
	want, _ := s.input.Demand.Key()
	return len(key) == 0 || bytes.Equal(key, want)
}

func (s *session) wantedFreshness() attestd.Freshness {
	switch {
	case s.input.Demand.IsBinding():
		return attestd.FreshnessBinding
	case s.input.Demand.IsRecorded():
		return attestd.FreshnessNotShown
	default:
		return attestd.FreshnessNonce
	}
}
