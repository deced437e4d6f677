package collateral

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/azureevidence"
	"github.com/attestd/attestd/internal/compositeevidence"
	"github.com/attestd/attestd/verifiers/tdx/pcs"
)

// Platform names a family of Intel's platforms, for which Intel publishes TCB information.
type Platform struct {
	// FMSPC is six bytes in lower-case hex: family, model, stepping, platform type and custom SKU.
	FMSPC string `json:"fmspc"`
}

// ParsePlatform reads an FMSPC.
//
// Errors: a *attestd.CallerError of class MALFORMED where it is none.
func ParsePlatform(fmspc string) (Platform, error) {
	raw, err := hex.DecodeString(fmspc)
	if err != nil || len(raw) != 6 {
		return Platform{}, usage("give 12 hex digits, as in 50806f000000; attestd inspect QUOTE shows a quote's",
			"%q is no FMSPC", attestd.Excerpt(fmspc, 40))
	}
	return Platform{hex.EncodeToString(raw)}, nil
}

func (p Platform) check() error {
	if same, err := ParsePlatform(p.FMSPC); err != nil || same != p {
		return errors.New("a platform without an FMSPC")
	}
	return nil
}

// key names the platform's wish.
func (p Platform) key() string {
	digest := sha256.Sum256(fmt.Appendf(nil, "platform %s", p.FMSPC))
	return hex.EncodeToString(digest[:16])
}

// String is the platform in one line.
func (p Platform) String() string { return "TDX " + p.FMSPC }

func (p Platform) subject() string {
	raw, _ := hex.DecodeString(p.FMSPC)
	return pcs.SubjectOfTCBInfo([6]byte(raw))
}

// Limits of what is looked through in evidence.
const (
	maxPEM       = 16
	maxPlatforms = 4
)

// platformsOf reads which platforms evidence names: a TD quote brings the certificate of its platform in
// PEM, in whatever it is packed. Nothing of it is believed: it says what to look up.
func platformsOf(evidence []byte) []Platform {
	var found []Platform
	for range maxPEM {
		index := bytes.Index(evidence, []byte("-----BEGIN CERTIFICATE-----"))
		if index < 0 || len(found) == maxPlatforms {
			break
		}
		block, rest := pem.Decode(evidence[index:])
		if block == nil {
			break
		}
		evidence = rest
		if fmspc, is := pcs.FindFMSPC(block.Bytes); is {
			if one := (Platform{hex.EncodeToString(fmspc[:])}); !slices.Contains(found, one) {
				found = append(found, one)
			}
		}
	}
	return found
}

// offHCLReport is where the CPU's report begins in the report of Azure's paravisor.
const offHCLReport = 32

// reportsOf returns the SEV-SNP reports inside evidence, unread.
func reportsOf(format attestd.Format, evidence []byte) [][]byte {
	switch format {
	case attestd.FormatSEVSNP:
		return [][]byte{evidence}
	case attestd.FormatAzureVTPM:
		read, err := azureevidence.Parse(evidence)
		if err != nil || read.TDQuote != nil || len(read.HCLReport) <= offHCLReport {
			return nil
		}
		return [][]byte{read.HCLReport[offHCLReport:]}
	case attestd.FormatComposite:
		read, err := compositeevidence.Parse(evidence)
		if err != nil {
			return nil
		}
		var found [][]byte
		for _, device := range read.Devices {
			if device.Format != attestd.FormatComposite {
				found = append(found, reportsOf(device.Format, device.Evidence)...)
			}
		}
		return found
	default:
		return nil
	}
}

// quotes are the formats whose evidence can have a TD quote in it.
var quotes = []attestd.Format{attestd.FormatTDX, attestd.FormatAzureVTPM, attestd.FormatComposite}

// missing returns the platforms that evidence names and of which the channel that is followed has nothing.
func (s *Store) missing(format attestd.Format, evidence []byte) []Platform {
	if !slices.Contains(quotes, format) {
		return nil
	}
	named := platformsOf(evidence)
	if len(named) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(named, func(p Platform) bool { return s.has(s.channel, p.subject()) })
}

// has says whether a channel has a usable document about a subject. The caller holds mu.
func (s *Store) has(channel Channel, subject string) bool {
	return slices.ContainsFunc(s.ledger.Documents, func(row documentRow) bool {
		return row.Channel == channel && row.Subject == subject && s.unusable[row.SHA256] == nil
	})
}
