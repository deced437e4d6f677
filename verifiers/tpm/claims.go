package tpm

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/claims"
	"github.com/attestd/attestd/verifiers/internal/tpm2"
	"github.com/attestd/attestd/verifiers/internal/tpmtrust"
)

// seal makes Claims of evidence that passed every check.
func (s *session) seal() *attestd.Claims {
	bound, _ := s.input.Demand.Key()
	return attestd.NewClaims(claims.Grant(), attestd.ClaimValues{
		Format:         attestd.FormatTPM,
		Summary:        s.summary(),
		Product:        s.manufacturer(),
		EvidenceDigest: sha256.Sum256(s.input.Evidence),
		Facts:          s.facts(),
		Registers:      s.quotedRegisters(),
		Handles:        s.handles(),
		Checks:         s.trail.Checks(),
		Freshness:      freshness(s.input.Demand),
		KeySPKI:        bytes.Clone(bound),
		InsecureRoots:  s.backing.insecure(),
		Events:         s.events(),
	})
}

func freshness(demand attestd.Demand) attestd.Freshness {
	switch {
	case demand.IsBinding():
		return attestd.FreshnessBinding
	case demand.IsRecorded():
		// A nonce may have matched, but nobody vouches that it was ours and new.
		return attestd.FreshnessNotShown
	default:
		return attestd.FreshnessNonce
	}
}

// tied returns what the EK certificate says, where an activation ties it to the quote.
func (b *backing) tied() *tpmtrust.EK {
	if !b.activated {
		return nil
	}
	return b.certificate
}

// manufacturer is empty where nothing that is tied to the quote names one.
func (s *session) manufacturer() string {
	switch ek := s.backing.tied(); {
	case ek != nil:
		return ek.Manufacturer
	case s.backing.ak != nil && s.backing.ak.Profile == tpmtrust.ProfileGCE:
		return "GOOG"
	case s.backing.ak != nil:
		return "MSFT"
	default:
		return ""
	}
}

func (s *session) summary() string {
	maker := "unknown maker"
	if ek := s.backing.tied(); ek != nil {
		maker = attestd.Excerpt(ek.Manufacturer+" "+ek.Model, 40)
	} else if s.backing.ak != nil {
		maker = s.backing.ak.Profile
	} else if s.backing.tee {
		maker = "inside a TEE"
	}
	return "TPM (" + maker + ", " + tpm2.AlgorithmName(s.quote.key.public.Type) + " AK)"
}

// quotedRegisters are one per quoted PCR and bank.
func (s *session) quotedRegisters() []attestd.Register {
	count, size := 0, 0
	for _, bank := range s.evidence.PCRs {
		count += len(bank.PCRs)
		for _, pcr := range bank.PCRs {
			size += len(pcr.Value)
		}
	}
	out, room := make([]attestd.Register, 0, count), make([]byte, 0, size)
	for _, bank := range s.evidence.PCRs {
		algorithm := tpm2.AlgorithmName(bank.Algorithm)
		for _, pcr := range bank.PCRs {
			from := len(room)
			room = append(room, pcr.Value...)
			out = append(out, attestd.Register{Name: pcrNames[pcr.Index], Algorithm: algorithm,
				Digest: room[from:len(room):len(room)]})
		}
	}
	return out
}

var pcrNames = func() (names [24]string) {
	for index := range names {
		names[index] = "PCR" + strconv.Itoa(index)
	}
	return names
}()

// handles name the instance by what its cloud calls it, or by its endorsement key. Whether a key also
// answers a credential is the machine's choice: a cloud's machine that had another name when it does
// would leave a hold by not answering. Without either a boot has no name: reset counts are small
// numbers that all machines share.
func (s *session) handles() []attestd.Handle {
	b, instance := &s.backing, ""
	switch {
	case b.ak != nil && b.ak.Profile == tpmtrust.ProfileGCE:
		instance = "gce:" + b.ak.Project + "/" + b.ak.Zone + "/" + b.ak.InstanceID
	case b.ak != nil:
		instance = "azure:" + b.ak.InstanceID
	case b.activated:
		instance = "ek:" + hex.EncodeToString(b.ek[:])
	default:
		return nil
	}
	out := []attestd.Handle{{Kind: attestd.HandleInstance, Value: instance}}
	if s.quote.hierarchy == hierarchyEndorsement {
		count := strconv.FormatUint(uint64(s.quote.attest.ResetCount), 10)
		out = append(out, attestd.Handle{Kind: attestd.HandleBoot, Value: instance + "/" + count})
	}
	return out
}

type adder func(name string, value attestd.Value)

// facts lists the facts in the order of factSpecs.
func (s *session) facts() []attestd.Fact {
	room := len(keyFacts) + len(ekFacts) + len(machineFacts) + 4
	if s.boot != nil || s.ima != nil {
		room = len(factSpecs)
	}
	out := make([]attestd.Fact, 0, room)
	add := func(name string, value attestd.Value) {
		out = append(out, attestd.Fact{Name: name, Value: value})
	}
	s.keyFacts(add)
	s.ekFacts(add)
	s.cloudFacts(add)
	s.machineFacts(add)
	s.bootFacts(add)
	s.imaFacts(add)
	return out
}

func (s *session) keyFacts(add adder) {
	key, b := s.quote.key, &s.backing
	add("ak_sha256", attestd.Bytes(key.spki[:]))
	add("ak_name", attestd.Bytes(key.name))
	add("ak_algorithm", attestd.Text(key.algorithm()))
	add("ak_hierarchy", attestd.Text(s.quote.hierarchy))
	add("ak_residency", attestd.Text(b.residency()))
	add("protection", attestd.Text(b.protection()))
	add("key_grade", attestd.Text(s.grade))
	if s.certified != nil {
		digest := sha256.Sum256(s.certified)
		add("certified_key", attestd.Bytes(digest[:]))
	}
	if b.activated && b.listed {
		add("ownership", attestd.Text("inventory"))
	}
}

// ekFacts say nothing of an endorsement key that no activation ties to the quote.
func (s *session) ekFacts(add adder) {
	b := &s.backing
	if !b.activated {
		add("ek_trust", attestd.Text("none"))
		add("ek_certificate", attestd.Text("absent"))
		add("ek_crl", attestd.Text("absent"))
		add("manufacturer", textOrHidden(s.manufacturer()))
		return
	}
	add("ek_sha256", attestd.Bytes(b.ek[:]))
	add("ek_trust", attestd.Text(b.trust()))
	ek := b.certificate
	if ek == nil {
		add("ek_certificate", attestd.Text("absent"))
		add("ek_crl", attestd.Text("absent"))
		add("manufacturer", attestd.NotVisible())
		return
	}
	state := "valid"
	if ek.Expired {
		state = "expired"
	}
	add("ek_certificate", attestd.Text(state))
	add("ek_crl", attestd.Text(ek.CRL))
	add("ek_not_after", attestd.Time(ek.NotAfter))
	add("ek_root", attestd.Text(ek.Root))
	add("manufacturer", attestd.Text(ek.Manufacturer))
	add("tpm_model", attestd.Text(ek.Model))
	add("tpm_version", attestd.Text(ek.Version))
}

func (s *session) cloudFacts(add adder) {
	ak := s.backing.ak
	switch {
	case ak == nil:
		add("gce_project", attestd.NotVisible())
	case ak.Profile == tpmtrust.ProfileGCE:
		add("gce_project", attestd.Text(ak.Project))
		add("gce_zone", attestd.Text(ak.Zone))
		add("gce_instance_id", attestd.Text(ak.InstanceID))
		add("gce_instance_name", attestd.Text(ak.InstanceName))
	default:
		add("gce_project", attestd.NotVisible())
		add("azure_vm_id", attestd.Text(ak.InstanceID))
	}
}

func textOrHidden(text string) attestd.Value {
	if text == "" {
		return attestd.NotVisible()
	}
	return attestd.Text(text)
}

func (s *session) machineFacts(add adder) {
	attest := &s.quote.attest
	add("clock", attestd.Uint(attest.Clock))
	add("reset_count", attestd.Uint(uint64(attest.ResetCount)))
	add("restart_count", attestd.Uint(uint64(attest.RestartCount)))
	add("clock_safe", attestd.Bool(attest.Safe))
	add("clock_order", attestd.Text(s.clockOrder()))
	add("firmware_version", attestd.Uint(attest.Firmware))
	add("firmware", s.firmware())
	add("firmware_vulnerable", s.vulnerable())
	add("pcrs", attestd.Uint(s.quote.pcrs()))
	names := make([]string, 0, 3)
	for _, bank := range attest.PCRs.Banks() {
		if bank.PCRs != 0 {
			names = append(names, tpm2.AlgorithmName(bank.Bank))
		}
	}
	add("pcr_banks", attestd.Text(strings.Join(names, ",")))
	add("extra_data", attestd.Bytes(attest.ExtraData))
}

// clockSlack is how far a TPM's clock may go back over a power cut: it keeps the time at least every
// 2^22 milliseconds (Part 1, section 36.3.2), and says by "safe" that it may have.
const clockSlack = 1 << 22

// clockOrder compares with the last accepted quote of this key. In the owner hierarchy the counters
// have an offset that is the same for as long as the key lives (Part 1, section 36.7), so that
// differences count, in the counters' own arithmetic.
func (s *session) clockOrder() string {
	last, now := s.input.Anchors.LastSeen, &s.quote.attest
	if last == nil {
		return "first"
	}
	resets := int32(now.ResetCount - last.ResetCount)       //nolint:gosec // the sign is what is asked for
	restarts := int32(now.RestartCount - last.RestartCount) //nolint:gosec // the same
	least := last.Clock
	if resets > 0 && !now.Safe {
		least -= min(least, clockSlack)
	}
	if resets < 0 || resets == 0 && restarts < 0 || now.Clock < least {
		return "backward"
	}
	return "forward"
}

// firmware splits the version as TPM_PT_FIRMWARE_VERSION_1 and _2 do, each into two numbers.
func (s *session) firmware() attestd.Value {
	if s.quote.hierarchy != hierarchyEndorsement {
		return attestd.NotVisible() // an offset is added to it
	}
	version := s.quote.attest.Firmware
	return attestd.Components(
		attestd.Component{Name: "major", Value: version >> 48},
		attestd.Component{Name: "minor", Value: version >> 32 & 0xffff},
		attestd.Component{Name: "build", Value: version >> 16 & 0xffff},
		attestd.Component{Name: "revision", Value: version & 0xffff},
	)
}

// vulnerable says whether a key or the firmware is known to be broken. Not to be known is not "no": it
// is what most TPMs are, and the policy's floor is for them. Where a maker has such versions and the
// hierarchy hides which this is, nothing can be said: whoever is root chooses the hierarchy.
func (s *session) vulnerable() attestd.Value {
	if s.quote.key.weak || s.backing.weak || s.certifiedWeak {
		return attestd.Bool(true)
	}
	broken, known := tpmtrust.FirmwareVulnerable(s.manufacturer(), s.quote.attest.Firmware)
	if known && s.quote.hierarchy != hierarchyEndorsement {
		return attestd.NotVisible()
	}
	return attestd.Bool(broken)
}
