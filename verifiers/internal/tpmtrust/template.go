package tpmtrust

import (
	"bytes"
	"fmt"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/internal/tpm2"
)

// Attributes of the templates: what makes a key one that a TPM only ever uses to open credentials
// and imports. The low range asks for the policy where the high range also takes the (empty)
// password.
const (
	lowAttributes = tpm2.FixedTPM | tpm2.FixedParent | tpm2.SensitiveDataOrigin |
		tpm2.AdminWithPolicy | tpm2.Restricted | tpm2.Decrypt
	highAttributes = lowAttributes | tpm2.UserWithAuth
)

// Policies of the templates (TCG EK Credential Profile 2.5, section 2.2.1.5, "Policy NV Indices",
// and annex B). Policy A is TPM2_PolicySecret(TPM_RH_ENDORSEMENT). Policy B is TPM2_PolicyOR of
// policy A and of TPM2_PolicyAuthorizeNV for the index that belongs to the hash.
const (
	policyA256 = "\x83\x71\x97\x67\x44\x84\xb3\xf8\x1a\x90\xcc\x8d\x46\xa5\xd7\x24" +
		"\xfd\x52\xd7\x6e\x06\x52\x0b\x64\xf2\xa1\xda\x1b\x33\x14\x69\xaa"
	policyB256 = "\xca\x3d\x0a\x99\xa2\xb9\x39\x06\xf7\xa3\x34\x24\x14\xef\xcf\xb3" +
		"\xa3\x85\xd4\x4c\xd1\xfd\x45\x90\x89\xd1\x9b\x50\x71\xc0\xb7\xa0"
	policyB384 = "\xb2\x6e\x7d\x28\xd1\x1a\x50\xbc\x53\xd8\x82\xbc\xf5\xfd\x3a\x1a" +
		"\x07\x41\x48\xbb\x35\xd3\xb4\xe4\xcb\x1c\x0a\xd9\xbd\xe4\x19\xca" +
		"\xcb\x47\xba\x09\x69\x96\x46\x15\x0f\x9f\xc0\x00\xf3\xf8\x0e\x12"
	policyB512 = "\xb8\x22\x1c\xa6\x9e\x85\x50\xa4\x91\x4d\xe3\xfa\xa6\xa1\x8c\x07" +
		"\x2c\xc0\x12\x08\x07\x3a\x92\x8d\x5d\x66\xd5\x9e\xf7\x9e\x49\xa4" +
		"\x29\xc4\x1a\x6b\x26\x95\x71\xd5\x7e\xdb\x25\xfb\xdb\x18\x38\x42" +
		"\x56\x08\xb4\x13\xcd\x61\x6a\x5f\x6d\xb5\xb6\x07\x1a\xf9\x9b\xea"
)

// template is one of the TCG's EK templates, but for the key itself.
type template struct {
	name       string
	keyType    uint16
	size       uint16 // RSA key bits, or the curve
	nameAlg    uint16
	attributes uint32
	policy     string
	aesBits    uint16
}

// templates are those of TCG EK Credential Profile 2.5, section 2.2.1.4 ("Default EK Templates"),
// with keys that are used here: all but that for SM2.
var templates = []template{
	{"L-1", tpm2.AlgRSA, 2048, tpm2.AlgSHA256, lowAttributes, policyA256, 128},
	{"L-2", tpm2.AlgECC, tpm2.CurveP256, tpm2.AlgSHA256, lowAttributes, policyA256, 128},
	{"H-1", tpm2.AlgRSA, 2048, tpm2.AlgSHA256, highAttributes, policyB256, 128},
	{"H-2", tpm2.AlgECC, tpm2.CurveP256, tpm2.AlgSHA256, highAttributes, policyB256, 128},
	{"H-3", tpm2.AlgECC, tpm2.CurveP384, tpm2.AlgSHA384, highAttributes, policyB384, 256},
	{"H-4", tpm2.AlgECC, tpm2.CurveP521, tpm2.AlgSHA512, highAttributes, policyB512, 256},
	{"H-6", tpm2.AlgRSA, 3072, tpm2.AlgSHA384, highAttributes, policyB384, 256},
	{"H-7", tpm2.AlgRSA, 4096, tpm2.AlgSHA384, highAttributes, policyB384, 256},
}

// CheckEKTemplate demands that the public area is one of the TCG's templates. A certificate vouches
// for a key alone: with other attributes the same key might sign what it decrypts, or open a
// credential without the endorsement hierarchy's consent.
func CheckEKTemplate(public tpm2.Public) *Fault {
	wrong := func(got, want string) *Fault {
		return refuse(ReasonTemplate, attestd.ClassKeyProperties, got, want)
	}
	size := public.KeyBits
	if public.Type == tpm2.AlgECC {
		size = public.Curve
	}
	kind := fmt.Sprintf("%s %s with %s", sizeName(public), tpm2.AlgorithmName(public.Type),
		tpm2.AlgorithmName(public.NameAlg))
	sameKey := false
	for _, known := range templates {
		if public.Type != known.keyType || size != known.size || public.NameAlg != known.nameAlg {
			continue
		}
		sameKey = true
		if public.Attributes == known.attributes && bytes.Equal(public.AuthPolicy, []byte(known.policy)) {
			return checkTemplateRest(public, known)
		}
	}
	if !sameKey {
		return wrong("an endorsement key of "+kind, "the key of a TCG EK template")
	}
	return wrong(fmt.Sprintf("an endorsement key (%s) with attributes 0x%08x and policy %x", kind,
		public.Attributes, public.AuthPolicy), "attributes and policy of a TCG EK template")
}

func checkTemplateRest(public tpm2.Public, known template) *Fault {
	cipher := tpm2.Symmetric{Algorithm: tpm2.AlgAES, KeyBits: known.aesBits, Mode: tpm2.AlgCFB}
	switch {
	case public.Symmetric != cipher:
		return refuse(ReasonTemplate, attestd.ClassKeyProperties,
			fmt.Sprintf("%s-%d with mode %s", tpm2.AlgorithmName(public.Symmetric.Algorithm),
				public.Symmetric.KeyBits, tpm2.AlgorithmName(public.Symmetric.Mode)),
			fmt.Sprintf("AES-%d with CFB, as template %s has it", known.aesBits, known.name))
	case public.Scheme.Algorithm != tpm2.AlgNull:
		return refuse(ReasonTemplate, attestd.ClassKeyProperties,
			"scheme "+tpm2.AlgorithmName(public.Scheme.Algorithm), "none, as template "+known.name+" has it")
	}
	if err := CheckEndorsementKey(public.Key); err != nil {
		return refuse(ReasonKey, attestd.ClassKeyProperties, err.Error(), "the key of template "+known.name)
	}
	return nil
}

func sizeName(public tpm2.Public) string {
	if public.Type == tpm2.AlgECC {
		return tpm2.CurveName(public.Curve)
	}
	return fmt.Sprintf("%d-bit", public.KeyBits)
}
