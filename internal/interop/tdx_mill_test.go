package interop

import (
	"bytes"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/binary"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd/testvectors/forge"
)

// pckMutant is a PCK certificate and who issued it.
type pckMutant struct {
	forge.PCK
	processor, impostor bool
}

// tdxMutant is a quote in the making with all that it is judged by.
type tdxMutant struct {
	quote forge.TDQuote
	pck   pckMutant
	parts func(*forge.TDParts) error
	sent  func([]byte) []byte
	have  collateral
	at    time.Time
}

// tdxMill makes mutants out of parts that are dear to make, and that serve many of them. The first of
// each pool is good.
type tdxMill struct {
	t                    testing.TB
	dice                 *rand.Rand
	authority, impostor  *forge.Intel
	pcks                 []pckMutant
	tcbInfos, identities [][]byte
	signers              [][]byte
	rootLists, pckLists  [][]byte
	processorLists       [][]byte
}

func (m *tdxMill) one(of int) bool { return m.dice.IntN(of) == 0 }

// must ends the test where a part could not be made.
func must[T any](m *tdxMill, made T, err error) T {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
	return made
}

func newTDXMill(t testing.TB, count int) *tdxMill {
	t.Helper()
	m := &tdxMill{t: t, dice: rand.New(rand.NewPCG(20261123, 7))}
	m.authority = must2(t, forge.IntelConfig{})
	m.impostor = must2(t, forge.IntelConfig{})
	for index := range count {
		m.pcks = append(m.pcks, m.newPCK(index))
		m.tcbInfos = append(m.tcbInfos, m.newTCBInfo(index))
		m.identities = append(m.identities, m.newIdentity(index))
	}
	m.lists()
	m.signers = [][]byte{m.authority.Signing.Raw, m.impostor.Signing.Raw, m.authority.Platform.Raw}
	return m
}

func must2(t testing.TB, config forge.IntelConfig) *forge.Intel {
	t.Helper()
	made, err := forge.NewIntel(config)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// newPCK makes a certificate that is mostly not quite right.
func (m *tdxMill) newPCK(index int) pckMutant {
	config := forge.NewPCKConfig()
	from, out := m.authority, pckMutant{}
	edit := func(change func(*x509.Certificate)) { config.Edit = change }
	if index > 0 {
		switch index % 16 {
		case 0, 1, 2:
			config.CPUSVN[m.dice.IntN(8)] = byte(m.dice.IntN(7))
		case 3:
			config.PCESVN = uint16(m.dice.IntN(14)) //nolint:gosec // below 14
		case 4:
			config.FMSPC[m.dice.IntN(6)] ^= 1
		case 5:
			config.PCEID[m.dice.IntN(2)] = 1
		case 6, 7:
			config.Processor, out.processor = true, true
		case 8:
			from, out.impostor = m.impostor, true
		case 9:
			config.Omit = 1 + m.dice.IntN(7)
		case 10:
			edit(func(c *x509.Certificate) { c.NotAfter = forge.IntelTime.AddDate(0, 0, -1) })
		case 11:
			edit(func(c *x509.Certificate) { c.NotBefore = forge.IntelTime.AddDate(0, 0, 1) })
		case 12:
			edit(func(c *x509.Certificate) { c.IsCA = true })
		case 13:
			edit(func(c *x509.Certificate) { c.SerialNumber = big.NewInt(revokedSerial) })
		case 14:
			edit(func(c *x509.Certificate) { c.Subject = forge.IntelName("Intel SGX PCK") })
		default:
			config.Rewrite = func(value []byte) []byte {
				value[m.dice.IntN(len(value))] ^= 1 << m.dice.IntN(8)
				return value
			}
		}
	}
	change := config.Edit
	config.Edit = func(c *x509.Certificate) {
		c.SubjectKeyId = []byte("a key's name of Intel's") // go-tdx-guest counts extensions
		if change != nil {
			change(c)
		}
	}
	made, err := from.IssuePCK(config)
	out.PCK = must(m, made, err)
	return out
}

// revokedSerial is on some lists.
const revokedSerial = 4711

// statuses are all words that Intel uses for levels, and one that it does not.
var statuses = []string{"UpToDate", "SWHardeningNeeded", "ConfigurationNeeded",
	"ConfigurationAndSWHardeningNeeded", "OutOfDate", "OutOfDateConfigurationNeeded", "Revoked", "Great"}

func (m *tdxMill) status() string { return statuses[m.dice.IntN(len(statuses))] }

// newTCBInfo makes TCB information with one or two things changed, signed afterwards.
func (m *tdxMill) newTCBInfo(index int) []byte {
	info := goodTCBInfo(forge.IntelTime)
	change := func() {
		at := m.dice.IntN(len(info.levels))
		switch m.dice.IntN(15) {
		case 0, 1, 2:
			info.levels[at].status = m.status()
		case 3:
			of := &info.modules[1].levels[m.dice.IntN(2)]
			of.status = m.status()
		case 4:
			info.levels[at].sgx[m.dice.IntN(8)] = byte(m.dice.IntN(6))
		case 5:
			info.levels[at].tdx[m.dice.IntN(3)] = byte(m.dice.IntN(8))
		case 6:
			info.levels[at].pcesvn = m.dice.IntN(14)
		case 7:
			info.issued = forge.IntelTime.AddDate(0, 0, m.dice.IntN(4)-2)
		case 8:
			info.next = forge.IntelTime.AddDate(0, 0, m.dice.IntN(4)-2)
		case 9:
			info.fmspc = []string{"b0c06f000000", "B0C06F000001", "50806F000000"}[m.dice.IntN(3)]
		case 10:
			info.id = []string{"SGX", "TDX", "tdx", ""}[m.dice.IntN(4)]
		case 11:
			info.version, info.kind = 2+m.dice.IntN(3), m.dice.IntN(2)
		case 12:
			info.components = 14 + m.dice.IntN(3)
		case 13:
			info.modules[m.dice.IntN(2)].id = []string{"TDX_01", "TDX_1", "TDX_02", "tdx_01"}[m.dice.IntN(4)]
		default:
			info.seam, info.signer = "0000000000000000", strings.Replace(zeros48, "0", "1", 1+m.dice.IntN(2))
		}
	}
	for range index % 4 {
		change()
	}
	if index%20 == 11 { // behind a module that is up to date
		info.levels[0].status = "Revoked"
	}
	return m.document("tcbInfo", info.text(), index)
}

// newIdentity makes an identity with one or two things changed.
func (m *tdxMill) newIdentity(index int) []byte {
	of := goodIdentity(forge.IntelTime)
	for range index % 3 {
		switch m.dice.IntN(9) {
		case 0, 1:
			of.levels[m.dice.IntN(2)].status = m.status()
		case 2:
			of.levels[m.dice.IntN(2)].svn = m.dice.IntN(9)
		case 3:
			of.signer = strings.Replace(of.signer, "D", "E", 1)
		case 4:
			of.product = m.dice.IntN(4)
		case 5:
			of.misc = []string{"00000001", "00000000", "0000"}[m.dice.IntN(3)]
		case 6:
			of.next = forge.IntelTime.AddDate(0, 0, m.dice.IntN(4)-2)
		case 7:
			of.id, of.version = []string{"QE", "TD_QE"}[m.dice.IntN(2)], 1+m.dice.IntN(3)
		default:
			of.issued = forge.IntelTime.AddDate(0, 0, m.dice.IntN(4)-2)
		}
	}
	return m.document("enclaveIdentity", of.text(), index)
}

// document signs an object and lays the answer out; every eighth is spoilt in a way that no signature
// or every signature sees.
func (m *tdxMill) document(name, body string, index int) []byte {
	from := m.authority
	if index%32 == 31 {
		from = m.impostor
	}
	if index%24 == 17 { // the same key twice, signed
		body = strings.Replace(body, `"version"`, `"version":3,"version"`, 1)
	}
	if index%24 == 21 { // a member that is not known
		body = strings.Replace(body, `{`, `{"new":{"a":[1]},`, 1)
	}
	out := signDocument(m, from, name, body)
	switch index % 40 {
	case 7:
		return append([]byte("\xef\xbb\xbf"), out...)
	case 13:
		return append(out, " {}"...)
	case 19: // the same object in other bytes
		return bytes.Replace(out, []byte(`,"version"`), []byte(`, "version"`), 1)
	case 27:
		return append(out, '\n')
	case 33:
		out[m.dice.IntN(len(out))] ^= 1
	}
	return out
}

// base is a quote that is right under collateral that is right.
func (m *tdxMill) base() tdxMutant {
	out := tdxMutant{
		quote: forge.NewTDQuote([]uint16{4, 4, 5}[m.dice.IntN(3)]), pck: m.pcks[0], at: forge.IntelTime,
		parts: func(*forge.TDParts) error { return nil },
		sent:  func(b []byte) []byte { return b },
	}
	if out.quote.Version == 5 && m.one(3) {
		out.quote.BodyType = forge.TDBody10
	}
	if !m.one(12) {
		out.have = collateral{tcbInfo: m.tcbInfos[0], identity: m.identities[0], signer: m.signers[0]}
		if !m.one(6) {
			out.have.rootList, out.have.pckList = m.rootLists[0], m.pckLists[0]
		}
	}
	return out
}

func pick[T any](m *tdxMill, from []T) T { return from[m.dice.IntN(len(from))] }

// next is a mutant: a good quote and up to two changes.
func (m *tdxMill) next() tdxMutant {
	out := m.base()
	for range m.dice.IntN(3) {
		[]func(*tdxMutant){
			m.field, m.free, m.levels, m.levels, m.enclave, m.layout, m.time, m.otherPCK, m.otherPCK,
			m.otherInfo, m.otherInfo, m.otherInfo, m.otherIdentity, m.otherLists, m.bytes,
		}[m.dice.IntN(15)](&out)
	}
	out.have.root = m.authority.Root.Raw
	out.have.issuer = out.pck.Issuer.Raw
	if out.pck.processor && len(out.have.pckList) > 0 && !m.one(4) {
		out.have.pckList = m.processorLists[0]
	}
	return out
}

func (m *tdxMill) field(out *tdxMutant) {
	q := &out.quote
	switch m.dice.IntN(9) {
	case 0:
		q.Version = uint16(m.dice.IntN(7)) //nolint:gosec // below 7
	case 1:
		q.KeyType = uint16(m.dice.IntN(4)) //nolint:gosec // below 4
	case 2:
		q.TEE = []uint32{0, 0x81, 0x82, 0x8100}[m.dice.IntN(4)]
	case 3:
		q.Vendor[m.dice.IntN(16)] ^= 1
	case 4:
		q.MRSignerSEAM[m.dice.IntN(48)] = 1
	case 5:
		q.SEAMAttributes = 1 << m.dice.IntN(64)
	case 6:
		q.BodyType = uint16(m.dice.IntN(5)) //nolint:gosec // below 5
	case 7:
		q.HeaderSVN[m.dice.IntN(4)] = 1
	default:
		q.TDAttributes = 1 << m.dice.IntN(64)
	}
}

// free are fields that a verifier only passes on.
func (m *tdxMill) free(out *tdxMutant) {
	q := &out.quote
	for _, field := range [][]byte{q.MRTD[:], q.MRConfigID[:], q.MROwner[:], q.RTMR[m.dice.IntN(4)][:],
		q.ReportData[:], q.UserData[:], q.MRSEAM[:], q.QE.MREnclave[:]} {
		if m.one(3) {
			field[m.dice.IntN(len(field))] = byte(m.dice.IntN(256))
		}
	}
}

// levels are what a status follows from.
func (m *tdxMill) levels(out *tdxMutant) {
	q := &out.quote
	switch m.dice.IntN(4) {
	case 0:
		q.TEETCBSVN[0] = byte(m.dice.IntN(8))
	case 1:
		q.TEETCBSVN[1] = byte([]int{0, 1, 1, 2, 3, 10}[m.dice.IntN(6)])
	case 2:
		q.TEETCBSVN[2+m.dice.IntN(2)] = byte(m.dice.IntN(5))
	default:
		q.QE.SVN = uint16(m.dice.IntN(7)) //nolint:gosec // below 7
	}
}

func (m *tdxMill) enclave(out *tdxMutant) {
	q := &out.quote.QE
	switch m.dice.IntN(7) {
	case 0:
		q.MRSigner[m.dice.IntN(32)] ^= 1
	case 1:
		q.ProdID = uint16(m.dice.IntN(4)) //nolint:gosec // below 4
	case 2:
		q.Attributes[m.dice.IntN(16)] ^= 1 << m.dice.IntN(8)
	case 3:
		q.MiscSelect = 1 << m.dice.IntN(32)
	case 4:
		q.Data = &[64]byte{}
	case 5:
		out.quote.Auth = make([]byte, m.dice.IntN(100))
	default:
		q.CPUSVN[m.dice.IntN(16)] = byte(m.dice.IntN(256))
	}
}

// layout changes the parts of a signed quote, or lets a length lie.
func (m *tdxMill) layout(out *tdxMutant) {
	lie := []uint32{0, 64, 130, 4, 1 << 20, 1<<32 - 1}[m.dice.IntN(6)]
	small := []uint16{0, 1, 31, 33, 0xffff}[m.dice.IntN(5)]
	kind, byteAt, value := m.dice.IntN(14), m.dice.IntN(1<<16), byte(m.dice.IntN(256))
	chain, pck := out.pck, out.pck.Key
	out.parts = func(p *forge.TDParts) error {
		switch kind {
		case 0:
			p.SignedDataSize = &lie
		case 1:
			p.CertSize = &lie
		case 2:
			p.ChainSize = &lie
		case 3:
			p.AuthSize = &small
		case 4:
			p.CertType = small
		case 5:
			p.ChainType = []uint16{1, 2, 3, 4, 5, 6, 7}[byteAt%7]
		case 6:
			p.Chain = forge.PEMChain(chain.DER, chain.Issuer.Raw)
		case 7:
			p.Chain = forge.PEMChain(chain.DER, chain.Issuer.Raw, chain.Root.Raw, chain.Root.Raw)
		case 8:
			p.Chain = forge.PEMChain(chain.Issuer.Raw, chain.DER, chain.Root.Raw)
		case 9:
			p.Chain = append(p.Chain, make([]byte, 1+byteAt%3)...)
		case 10:
			p.Trailing = bytes.Repeat([]byte{value & 1}, 1+byteAt%70)
		case 11:
			copy(p.Key[:], make([]byte, 64))
			return p.Rebind(pck)
		case 12: // the enclave's reserved bytes, signed
			p.QEReport[[]int{20, 47, 96, 160, 260, 319}[byteAt%6]] = value
			return p.SignQE(pck)
		default:
			p.Chain = []byte(strings.ReplaceAll(string(p.Chain), "\n", "\r\n"))
		}
		return nil
	}
}

func (m *tdxMill) time(out *tdxMutant) {
	days := []int{-5, -1, 1, 20, 26, 28, 400, -4 * 365, 5 * 365}[m.dice.IntN(9)]
	out.at = forge.IntelTime.AddDate(0, 0, days)
}

func (m *tdxMill) otherPCK(out *tdxMutant) { out.pck = pick(m, m.pcks) }

func (m *tdxMill) otherInfo(out *tdxMutant) {
	if len(out.have.tcbInfo) > 0 {
		out.have.tcbInfo = pick(m, m.tcbInfos)
		if m.one(12) {
			out.have.signer = pick(m, m.signers)
		}
	}
}

func (m *tdxMill) otherIdentity(out *tdxMutant) {
	if len(out.have.tcbInfo) > 0 {
		out.have.identity = pick(m, m.identities)
	}
}

func (m *tdxMill) otherLists(out *tdxMutant) {
	if len(out.have.rootList) == 0 {
		return
	}
	if m.one(2) {
		out.have.rootList = pick(m, m.rootLists)
	} else {
		out.have.pckList = pick(m, append(m.pckLists[:len(m.pckLists):len(m.pckLists)], m.processorLists...))
	}
}

// bytes changes what was sent, behind every signature: one bit, an end, or the other of the two
// signatures that everybody can make of one.
func (m *tdxMill) bytes(out *tdxMutant) {
	bit, kind := m.dice.IntN(1<<20), m.dice.IntN(4)
	out.sent = func(quote []byte) []byte {
		switch kind {
		case 0:
			return quote[:bit%len(quote)]
		case 1:
			body := len(quote) - bytesBehindBody(quote)
			if body < 0 || len(quote) < body+68 {
				return quote
			}
			field := quote[body+4+32 : body+4+64]
			other := new(big.Int).Sub(elliptic.P256().Params().N, new(big.Int).SetBytes(field))
			if other.Sign() > 0 {
				other.FillBytes(field)
			}
		default:
			quote[bit/8%len(quote)] ^= 1 << (bit % 8)
		}
		return quote
	}
}

// bytesBehindBody counts what follows header and body.
func bytesBehindBody(quote []byte) int {
	body := forge.TDHeaderSize + forge.TDBody10Size
	if len(quote) > 54 && binary.LittleEndian.Uint16(quote) == 5 {
		body = forge.TDHeaderSize + 6 + int(binary.LittleEndian.Uint32(quote[50:]))
	}
	return len(quote) - body
}
