package sevsnp_test

import (
	"bytes"
	"crypto/x509"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
)

// TestRevokedAndRefused has lists that end a verification.
//
//nolint:maintidx // a table
func TestRevokedAndRefused(t *testing.T) {
	const vlek = 0x4711
	now := forge.AMDTime
	revoking := func(line string, number int64, at time.Time, serials ...int64) []byte {
		return list(t, line, forge.AMDCRLConfig{Number: number, At: at, Serials: serials})
	}
	fresh := list(t, "Milan", forge.AMDCRLConfig{Number: 6})
	uri := []byte{0x30, 9, 0xa0, 7, 0xa0, 5, 0x86, 3, 'u', 'r', 'i'}
	noNumber := func(tbs []byte) []byte {
		return bytes.Replace(tbs, []byte{6, 3, 0x55, 0x1d, 20}, []byte{6, 3, 0x55, 0x1d, 99}, 1)
	}
	const invalid, revoked, tooLarge = attestd.ClassCollateralInvalid, attestd.ClassRevokedCert,
		attestd.ClassTooLarge
	for name, row := range map[string]struct {
		line   string // Milan where empty
		vlek   bool
		crls   [][]byte
		floors []attestd.CRLFloor
		class  attestd.Class
	}{
		"the ASK": {
			"", false, [][]byte{revoking("Milan", 6, time.Time{}, 1<<30, forge.SerialASK)},
			nil, revoked,
		},
		// neg: 105
		"the ASVK": {
			"", true, [][]byte{revoking("Milan", 6, time.Time{}, forge.SerialASVK)}, nil, revoked,
		},
		"the VLEK": {
			"", true, [][]byte{revoking("Milan", 6, time.Time{}, vlek)}, nil, revoked,
		},
		"the VCEK": {
			"", false, [][]byte{revoking("Milan", 6, time.Time{}, 0)}, nil, revoked,
		},
		"the ARK by itself": {
			"", false, [][]byte{revoking("Milan", 6, time.Time{}, forge.SerialARK)}, nil, revoked,
		},
		"Genoa's ASK": {
			"Genoa", false, [][]byte{revoking("Genoa", 6, time.Time{}, forge.SerialASK)},
			nil, revoked,
		},
		"Genoa's ASVK": {
			"Genoa", true, [][]byte{revoking("Genoa", 6, time.Time{}, forge.SerialASVK)},
			nil, revoked,
		},
		"Turin's ASK": {
			"Turin", false, [][]byte{revoking("Turin", 6, time.Time{}, forge.SerialASK)},
			nil, revoked,
		},
		"Turin's ASVK": {
			"Turin", true, [][]byte{revoking("Turin", 6, time.Time{}, forge.SerialASVK)},
			nil, revoked,
		},
		"on an old list": {
			"", false, [][]byte{revoking("Milan", 2, now.AddDate(-4, 0, 0), forge.SerialASK)},
			nil, revoked,
		},
		"on one of tomorrow": {
			"", false, [][]byte{revoking("Milan", 2, now.AddDate(0, 0, 1), forge.SerialASK)},
			nil, revoked,
		},
		"on the older of two": {
			"", false,
			[][]byte{fresh, revoking("Milan", 2, now.AddDate(-4, 0, 0), forge.SerialASK)},
			nil, revoked,
		},
		"below the floor, revoked": {
			"", false, [][]byte{revoking("Milan", 2, time.Time{}, forge.SerialASK)},
			[]attestd.CRLFloor{floor(t, "Milan", 6)}, revoked},

		// neg: 106
		"a list that was put back": {
			"", false, [][]byte{fresh}, []attestd.CRLFloor{floor(t, "Milan", 7)}, invalid,
		},
		"put back, a large number": {
			"", false, [][]byte{fresh}, []attestd.CRLFloor{floor(t, "Milan", 1, 0)}, invalid,
		},
		"put back, among floors": {"", false, [][]byte{fresh},
			[]attestd.CRLFloor{{Number: []byte{1}}, floor(t, "Milan", 5), floor(t, "Milan", 7)},
			invalid},
		"put back, spelled with zeros": {
			"", false, [][]byte{fresh}, []attestd.CRLFloor{floor(t, "Milan", 0, 0, 7)}, invalid,
		},
		// neg: 106
		"signed by Genoa's ARK in Milan's name": {"", false, [][]byte{
			list(t, "Milan", forge.AMDCRLConfig{Signer: authority(t, "impostor")})}, nil, invalid},
		"a made-up list beside a good one": {"", false, [][]byte{fresh,
			list(t, "Milan", forge.AMDCRLConfig{Signer: authority(t, "impostor")})}, nil, invalid},
		"with another signature": {"", false, [][]byte{flipped(fresh, len(fresh)-9)}, nil, invalid},
		"with another number": {"", false, [][]byte{flipped(fresh,
			bytes.LastIndex(fresh, []byte{2, 1, 6})+2)}, nil, invalid},
		"no list":      {"", false, [][]byte{{1, 2, 3}}, nil, invalid},
		"an empty one": {"", false, [][]byte{{}}, nil, invalid},
		"something behind it": {
			"", false, [][]byte{append(bytes.Clone(fresh), 0)}, nil, invalid,
		},
		"a delta": {
			"", false, [][]byte{extended(t, 27, true, []byte{2, 1, 1})}, nil, invalid,
		},
		"a delta that is not critical": {
			"", false, [][]byte{extended(t, 27, false, []byte{2, 1, 1})}, nil, invalid,
		},
		"for one point": {
			"", false, [][]byte{extended(t, 28, true, uri)}, nil, invalid,
		},
		"for one point, not critical": {
			"", false, [][]byte{extended(t, 28, false, uri)}, nil, invalid,
		},
		"indirect": {
			"", false, [][]byte{extended(t, 28, true, []byte{0x30, 3, 0x84, 1, 0xff})},
			nil, invalid,
		},
		"for CAs alone": {
			"", false, [][]byte{extended(t, 28, true, []byte{0x30, 3, 0x82, 1, 0xff})},
			nil, invalid,
		},
		"something unknown": {
			"", false, [][]byte{extended(t, 99, true, []byte{5, 0})}, nil, invalid,
		},
		"without a number": {
			"", false, [][]byte{list(t, "Milan", forge.AMDCRLConfig{Rewrite: noNumber})},
			nil, invalid,
		},
		"with a number of nine bytes": {"", false, [][]byte{list(t, "Milan", forge.AMDCRLConfig{
			Edit: func(l *x509.RevocationList) { l.Number = new(big.Int).SetBit(l.Number, 64, 1) }})},
			nil, invalid},
		"signed with another hash": {"", false, [][]byte{list(t, "Milan", forge.AMDCRLConfig{
			Edit: func(l *x509.RevocationList) { l.SignatureAlgorithm = x509.SHA512WithRSAPSS }})},
			nil, invalid},
		"signed with PKCS #1": {"", false, [][]byte{list(t, "Milan", forge.AMDCRLConfig{
			Edit: func(l *x509.RevocationList) { l.SignatureAlgorithm = x509.SHA384WithRSA }})},
			nil, invalid},

		"65 lists":    {"", false, slices.Repeat([][]byte{fresh}, 65), nil, tooLarge},
		"17 MiB":      {"", false, slices.Repeat([][]byte{make([]byte, 1<<20)}, 17), nil, tooLarge},
		"five of one": {"", false, fiveLists(t), nil, tooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			line, serial := row.line, int64(0)
			if line == "" {
				line = "Milan"
			}
			if row.vlek {
				serial = vlek
			}
			input := signedReport(t, line, serial)
			v := listVerifier(t)
			if _, err := v.Verify(input); err != nil {
				t.Fatalf("without lists: %v", err)
			}
			input.Endorsements.CRLs, input.Anchors.CRLFloors = row.crls, row.floors
			check := attestd.CheckID("sev-snp/revocation-list")
			if row.class == revoked {
				check = "sev-snp/revoked"
			}
			for range 2 { // what was refused is not kept
				before := v.SignaturesVerified()
				claims, err := v.Verify(input)
				wantFailure(t, claims, err, check, row.class)
				if cost := v.SignaturesVerified() - before; cost > 8 {
					t.Errorf("%d signature verifications, want at most 8", cost)
				}
			}
		})
	}
}
