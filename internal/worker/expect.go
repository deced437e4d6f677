package worker

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/internal/strict"
)

// expectation is what attestd itself knows about the verdict that it asked for.
type expectation struct {
	evidence string // SHA-256 in hex
	format   attestd.Format
	policy   attestd.PolicyRef
	at       time.Time
	demand   service.DemandMode
	// activation is what was known of the attestation key; nil for nothing.
	activation *attestd.Activation
}

func (e expectation) kind() kind { return kindVerdict }

func (e expectation) read(payload []byte) (outcome, error) {
	a, err := readAppraisal(payload)
	if err == nil {
		err = e.check(a)
	}
	return outcome{appraisal: a}, err
}

// check refuses a verdict that is not about what was sent, or that contradicts itself. A worker that
// was taken over can still lie consistently about evidence it was given; without these lines it
// could also answer with a verdict on other evidence, by another policy, or with a word that its own
// score does not support.
func (e expectation) check(a attestd.Appraisal) error {
	return errors.Join(
		e.checkSubject(a), e.checkFreshness(a), checkTier(a), checkGrounds(a), checkText(a),
		e.checkKeys(a), e.checkHandles(a), checkDevices(a), checkWhole(a),
	)
}

func (e expectation) checkSubject(a attestd.Appraisal) error {
	switch {
	case a.Schema != attestd.VerdictSchema || a.ID != "":
		return fmt.Errorf("verdict has schema %q and id %q", attestd.Excerpt(a.Schema, 40), attestd.Excerpt(a.ID, 40))
	case a.EvidenceSHA256 != e.evidence:
		return errors.New("verdict is about other evidence than was sent")
	case a.Policy != e.policy:
		return errors.New("verdict is by another policy than was sent")
	case !a.At.Equal(e.at):
		return errors.New("verdict is as of another time than was sent")
	case !slices.Contains(attestd.Formats(), a.Format), e.format != "" && a.Format != e.format:
		return fmt.Errorf("verdict is about format %q", attestd.Excerpt(string(a.Format), 40))
	}
	return nil
}

// checkFreshness: an accepted verdict must have shown what was demanded, and no verdict more.
func (e expectation) checkFreshness(a attestd.Appraisal) error {
	want := attestd.FreshnessNotShown // service.DemandRecorded; calls in other modes are not made
	switch e.demand {
	case service.DemandNonce:
		want = attestd.FreshnessNonce
	case service.DemandBinding:
		want = attestd.FreshnessBinding
	}
	if a.Freshness == want || a.Verdict != attestd.VerdictAccepted && a.Freshness == attestd.FreshnessNotShown {
		return nil
	}
	return fmt.Errorf("verdict has freshness %s where %s was demanded", a.Freshness, want)
}

// checkTier: the verdict follows from the tier; the tier from the score, unless nothing could be
// decided.
func checkTier(a attestd.Appraisal) error {
	switch {
	case a.Verdict != a.Tier.Verdict():
		return fmt.Errorf("verdict %s does not follow from tier %s", a.Verdict, a.Tier)
	case a.Tier != attestd.TierUnknown && a.Tier != a.Risk.Tier():
		return fmt.Errorf("tier %s does not follow from risk %s", a.Tier, a.Risk)
	}
	return nil
}

// checkGrounds: an accepted verdict has claims, at least one check, none without a result, and no
// reason against it; one that is not accepted says why.
func checkGrounds(a attestd.Appraisal) error {
	if len(a.Claims) == 0 || !strict.PlainJSON(a.Claims) && !json.Valid(a.Claims) {
		return errors.New("verdict has claims that are not JSON")
	}
	if a.Verdict != attestd.VerdictAccepted {
		if len(a.Reasons) == 0 {
			return fmt.Errorf("verdict %s has no reasons", a.Verdict)
		}
		return nil
	}
	if a.Claims[0] != '{' || len(a.Checks) == 0 {
		return errors.New("verdict accepted has no claims or no checks")
	}
	for _, check := range a.Checks {
		if check.Result == attestd.ResultMissing {
			return errors.New("verdict accepted has a check without a result")
		}
	}
	for _, reason := range a.Reasons {
		if reason.Effect != attestd.EffectScored {
			return fmt.Errorf("verdict accepted has a reason that says %s", reason.Effect)
		}
	}
	return nil
}

// checkKeys: where an attestation key was asked about, what is accepted is accepted for that key, and
// says what attestd remembers of it.
func (e expectation) checkKeys(a attestd.Appraisal) error {
	if e.activation == nil || a.Verdict != attestd.VerdictAccepted || len(a.Claims) == 0 {
		return nil
	}
	_, err := service.State(*e.activation, a)
	return err
}

// Bounds of the names that hardware gave. The longest there is, of a machine in a cloud, has some
// 150 bytes; devices are counted by the dozen.
const (
	maxHandles = 64
	maxHandle  = 256
)

var handleKinds = []attestd.HandleKind{
	attestd.HandleInstance, attestd.HandleBoot, attestd.HandleHost, attestd.HandleDevice,
}

// checkHandles: what a subject is named and held by comes from here. Unverified evidence has no names,
// a machine has one of each kind but for its devices, and one that is named by its endorsement key
// answered a credential for that very key: a worker that was taken over cannot speak for another. The
// machine of a cloud keeps its cloud's name where its key answered as well.
func (e expectation) checkHandles(a attestd.Appraisal) error {
	if len(a.Handles) != 0 && !bytes.HasPrefix(a.Claims, []byte("{")) {
		return errors.New("verdict names hardware without claims")
	}
	if len(a.Handles) > maxHandles {
		return fmt.Errorf("verdict has %d handles, want at most %d", len(a.Handles), maxHandles)
	}
	activated := false
	for i, handle := range a.Handles {
		known := slices.Contains(handleKinds, handle.Kind)
		twice := handle.Kind != attestd.HandleDevice &&
			slices.ContainsFunc(a.Handles[:i], func(h attestd.Handle) bool { return h.Kind == handle.Kind })
		value, keyed := strings.CutPrefix(handle.Value, "ek:")
		keyed = keyed && handle.Kind == attestd.HandleInstance
		ours := keyed && e.activation != nil && value == hex.EncodeToString(e.activation.EK[:])
		activated = activated || ours || handle.Kind == attestd.HandleInstance && clouds(handle.Value)
		switch {
		case !known || twice:
			return fmt.Errorf("verdict has a handle too many, or of kind %q",
				attestd.Excerpt(string(handle.Kind), 20))
		case handle.Value == "" || len(handle.Value) > maxHandle || !plain(handle.Value):
			return fmt.Errorf("verdict has a handle of kind %s that is no name", handle.Kind)
		case keyed && !ours:
			return errors.New("verdict names an endorsement key that answered nothing")
		}
	}
	if e.activation != nil && a.Verdict == attestd.VerdictAccepted && !activated {
		return errors.New("accepted, and not for the machine whose endorsement key answered")
	}
	return nil
}

// clouds reports whether an instance has the name that the certificate of a cloud gives it.
func clouds(instance string) bool {
	return strings.HasPrefix(instance, "gce:") || strings.HasPrefix(instance, "azure:")
}

// plain reports whether text is printable ASCII without spaces, as every handle is.
func plain(text string) bool {
	return strings.IndexFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

// checkText: what a worker says goes to terminals and logs, so it may hold nothing that Excerpt
// would have to replace.
func checkText(a attestd.Appraisal) error {
	fine := printable(a.Summary) && printable(a.Claims)
	for _, reason := range a.Reasons {
		fine = fine && printable(reason.Check) && printable(reason.Group) && printable(reason.Detail) &&
			printable(reason.Remedy)
	}
	for _, check := range a.Checks {
		fine = fine && printable(check.ID) && printable(check.Got) && printable(check.Want) &&
			printable(check.Spec) && printable(check.Hint)
	}
	if !fine {
		return errors.New("verdict holds characters that could steer a terminal")
	}
	return nil
}

// printable reports whether Excerpt would leave text as it is. Nearly all text here is printable
// ASCII, which a loop over its bytes can tell.
func printable[Text ~string | ~[]byte](text Text) bool {
	for i := strict.PlainLength(text); i < len(text); i++ {
		if text[i] < ' ' || text[i] > '~' {
			return attestd.Excerpt(string(text), len(text)) == string(text)
		}
	}
	return true
}

// madeFor is what is expected of a credential: that it is for the attestation key that was sent.
type madeFor struct{ akPublic []byte }

func (madeFor) kind() kind { return kindMade }

func (m madeFor) read(payload []byte) (outcome, error) {
	made, err := readCredential(payload)
	if err == nil {
		err = m.check(made)
	}
	return outcome{credential: made}, err
}

// Bounds of a credential in bytes: a TPMS_ID_OBJECT is two digests of at most 64 bytes, each behind a
// length, and what is encrypted to RSA-4096 has 512.
const (
	maxBlob      = 256
	maxEncrypted = 1 << 10
)

// check recomputes the Name: a worker that was taken over could otherwise have another key than the
// one that was sent enrolled by its answer. The digest of the endorsement key cannot be recomputed
// without reading the key, so it is believed here; the quote's verifier compares it with the key that
// the vendor's certificate names.
func (m madeFor) check(made service.CredentialReply) error {
	name, err := nameOf(m.akPublic)
	switch {
	case err != nil:
		return err
	case !bytes.Equal(made.AKName, name):
		return errors.New("credential is for another attestation key than was sent")
	case made.EK == digest{}:
		return errors.New("credential is for no endorsement key")
	case len(made.Blob) == 0 || len(made.Blob) > maxBlob,
		len(made.EncryptedSecret) == 0 || len(made.EncryptedSecret) > maxEncrypted:
		return fmt.Errorf("credential has parts of %d and %d bytes", len(made.Blob), len(made.EncryptedSecret))
	}
	return nil
}

// nameOf returns the Name of a TPMT_PUBLIC (TPM 2.0 Library, Part 1, section "Names"): its nameAlg,
// which lies behind its type, and the digest of the whole with it.
func nameOf(public []byte) ([]byte, error) {
	if len(public) < 4 {
		return nil, errors.New("credential for a key that is none")
	}
	name := bytes.Clone(public[2:4])
	switch binary.BigEndian.Uint16(name) {
	case 0x000B: // TPM_ALG_SHA256
		sum := sha256.Sum256(public)
		return append(name, sum[:]...), nil
	case 0x000C: // TPM_ALG_SHA384
		sum := sha512.Sum384(public)
		return append(name, sum[:]...), nil
	case 0x000D: // TPM_ALG_SHA512
		sum := sha512.Sum512(public)
		return append(name, sum[:]...), nil
	default:
		return nil, fmt.Errorf("credential for a key with the name algorithm %#x", name)
	}
}
