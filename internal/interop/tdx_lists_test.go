package interop

import (
	"math/big"

	"github.com/attestd/attestd/testvectors/forge"
)

func signDocument(m *tdxMill, from *forge.Intel, name, body string) []byte {
	m.t.Helper()
	made, err := from.SignDocument(name, body)
	return must(m, made, err)
}

// lists makes the revocation lists: the first of each pool is good.
func (m *tdxMill) lists() {
	now := forge.IntelTime
	revoked := big.NewInt(revokedSerial).Int64()
	for _, of := range []struct {
		authority forge.IntelCA
		serials   []int64
		into      *[][]byte
	}{
		{forge.IntelRootCA, []int64{forge.SerialIntelPlatform, forge.SerialIntelProcessor,
			forge.SerialIntelSigning, forge.SerialIntelRoot}, &m.rootLists},
		{forge.IntelPlatformCA, []int64{forge.SerialPCK, revoked}, &m.pckLists},
		{forge.IntelProcessorCA, []int64{forge.SerialPCK, revoked}, &m.processorLists},
	} {
		configs := []forge.IntelCRLConfig{
			{}, {Serials: []int64{99, 98, 97}}, {At: now.AddDate(0, 0, -40)},
			{At: now.AddDate(0, 0, -30)}, {At: now.AddDate(0, 0, 1)}, {At: now.AddDate(0, 0, -29)},
			{Signer: m.impostor},
		}
		for _, serial := range of.serials {
			configs = append(configs, forge.IntelCRLConfig{Serials: []int64{5, serial}})
		}
		for _, config := range configs {
			config.CA = of.authority
			der, err := m.authority.CRL(config)
			*of.into = append(*of.into, must(m, der, err))
		}
		spoilt := append([]byte(nil), (*of.into)[0]...)
		spoilt[len(spoilt)/2] ^= 4
		*of.into = append(*of.into, spoilt)
	}
}
