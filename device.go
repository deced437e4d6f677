package attestd

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
)

// Device is one part of composed evidence, verified by the verifier of its own format.
type Device struct {
	// Path names the device within the evidence, as in "cpu", "vtpm" or "gpu0" (see [CheckDevicePath]).
	Path   string
	Claims *Claims
}

// Edge says how it is known that two devices of composed evidence are in one machine.
type Edge struct {
	// From is the device that shows it, and To the one that is shown to belong to it.
	From  string `json:"from"`
	To    string `json:"to"`
	Grade Grade  `json:"grade"`
	// How says for people what was seen.
	How string `json:"how"`
}

// Grade is the strength of an edge. The zero Grade is GradeNone.
type Grade uint8

// Grades of edges, from the weakest.
const (
	// GradeNone: nothing shows that the devices are in one machine.
	GradeNone Grade = iota
	// GradeSimultaneous: both answered values derived from one nonce. Two machines that work together
	// can do that too.
	GradeSimultaneous
	// GradeMeasured: a register that the one signs holds the identity of the other, extended into it
	// while the machine was brought up.
	GradeMeasured
	// GradeCryptographic: the one's hardware signed, below the reach of the workload, the key that
	// signs for the other.
	GradeCryptographic
)

var gradeNames = [...]string{"none", "simultaneous", "measured", "cryptographic"}

// String returns "none", "simultaneous", "measured" or "cryptographic".
func (g Grade) String() string { return nameOf(gradeNames[:], int(g)) }

// MarshalText implements [encoding.TextMarshaler].
func (g Grade) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]; unknown names are errors.
func (g *Grade) UnmarshalText(text []byte) error {
	index, err := indexOf(gradeNames[:], "grade", text)
	*g = Grade(index) //nolint:gosec // index of an array of four
	return err
}

// MaxDevices is how many devices composed evidence can have: a machine has one CPU, one TPM, and of
// GPUs and their switches at most a dozen.
const MaxDevices = 16

var devicePath = regexp.MustCompile(`^[a-z][a-z0-9]{0,15}$`)

// CheckDevicePath reports whether path can name a device: a lower-case letter and up to 15 letters or
// digits behind it.
func CheckDevicePath(path string) error {
	if !devicePath.MatchString(path) {
		return fmt.Errorf("device path %q, want a lower-case letter and at most 15 letters and digits",
			Excerpt(path, 40))
	}
	return nil
}

// deviceLabel separates this construction from every other use of the same hash.
const deviceLabel = "attestd/device/v1"

// DeviceFreshness derives from the root freshness value of composed evidence the value for the
// freshness field of one device: a hash over the label, the root, the device's format and its path,
// each behind its length as a 32-bit big-endian number. It has 64 bytes where the format's field
// holds them, 32 in a TPM's extraData. No two devices share a value, so the evidence of one cannot
// stand for another's.
//
// Errors: a root shorter than [MinNonce] or longer than [MaxNonce], a path that is none, a format that
// has no freshness field of its own.
func DeviceFreshness(root []byte, path string, format Format) ([]byte, error) {
	if len(root) < MinNonce || len(root) > MaxNonce {
		return nil, &CallerError{
			Class: ClassMalformed, Hint: "use a nonce of 32 random bytes or more",
			Err: fmt.Errorf("root of composed evidence has %d bytes, want %d to %d", len(root), MinNonce, MaxNonce),
		}
	}
	if err := CheckDevicePath(path); err != nil {
		return nil, err
	}
	var message []byte
	for _, part := range [][]byte{[]byte(deviceLabel), root, []byte(format), []byte(path)} {
		message = binary.BigEndian.AppendUint32(message, uint32(len(part))) //nolint:gosec // bounded above
		message = append(message, part...)
	}
	switch format {
	case FormatNitro, FormatNitroTPM, FormatSEVSNP, FormatTDX:
		digest := sha512.Sum512(message)
		return digest[:], nil
	case FormatTPM, FormatAzureVTPM:
		digest := sha256.Sum256(message)
		return digest[:], nil
	default:
		return nil, errors.New("a device of this format has no freshness field: " + Excerpt(string(format), 40))
	}
}

// wellComposed reports whether every device is proven and has a path of its own, and every edge goes
// between two of them.
func wellComposed(devices []Device, edges []Edge) bool {
	if len(devices) > MaxDevices || len(edges) > MaxDevices*MaxDevices {
		return false
	}
	paths := make(map[string]bool, len(devices))
	for _, device := range devices {
		if !device.Claims.Proven() || paths[device.Path] || CheckDevicePath(device.Path) != nil {
			return false
		}
		paths[device.Path] = true
	}
	for _, edge := range edges {
		if !paths[edge.From] || !paths[edge.To] || edge.From == edge.To {
			return false
		}
	}
	return true
}
