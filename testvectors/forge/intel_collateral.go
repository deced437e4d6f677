package forge

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// IntelLevel is one level of a platform's TCB.
type IntelLevel struct {
	SGX, TDX   [16]uint8
	PCESVN     uint16
	Status     string
	Date       time.Time
	Advisories []string
}

// IntelSVNLevel is one level of a TDX module or of the quoting enclave.
type IntelSVNLevel struct {
	SVN        uint16
	Status     string
	Date       time.Time
	Advisories []string
}

// IntelModule is one major version of the TDX module.
type IntelModule struct {
	ID       string
	MRSigner [48]byte
	Levels   []IntelSVNLevel
}

// TCBInfoConfig says what TCB information says. NewTCBInfoConfig gives one by which the platform of
// NewPCKConfig and the module of NewTDQuote are up to date.
type TCBInfoConfig struct {
	FMSPC      [6]byte
	PCEID      [2]byte
	Evaluation int
	// Issued is issueDate; Next nextUpdate.
	Issued, Next time.Time
	Modules      []IntelModule
	Levels       []IntelLevel
	// Edit changes the text of the object before it is signed, Rewrite the whole document afterwards.
	Edit, Rewrite func(string) string
	// Signer signs it with its key in the place of this one's.
	Signer *Intel
}

// Dates of the levels of NewTCBInfoConfig: the newest, and the one before it.
var (
	IntelLevelDate    = time.Date(2024, 11, 13, 0, 0, 0, 0, time.UTC)
	IntelOldLevelDate = time.Date(2024, 3, 13, 0, 0, 0, 0, time.UTC)
)

// NewTCBInfoConfig returns TCB information from the day before IntelTime, for 30 days.
func NewTCBInfoConfig() TCBInfoConfig {
	pck := NewPCKConfig()
	old := []string{"INTEL-SA-01036", "INTEL-SA-01079"}
	return TCBInfoConfig{
		FMSPC: pck.FMSPC, PCEID: pck.PCEID, Evaluation: 18,
		Issued: IntelTime.AddDate(0, 0, -1), Next: IntelTime.AddDate(0, 0, 29),
		Modules: []IntelModule{
			{ID: "TDX_03", Levels: []IntelSVNLevel{{SVN: 3, Status: "UpToDate", Date: IntelLevelDate}}},
			{ID: "TDX_01", Levels: []IntelSVNLevel{
				{SVN: 6, Status: "UpToDate", Date: IntelLevelDate},
				{SVN: 4, Status: "OutOfDate", Date: IntelOldLevelDate,
					Advisories: []string{"INTEL-SA-01036", "INTEL-SA-01099"}},
			}},
		},
		Levels: []IntelLevel{
			{SGX: pck.CPUSVN, TDX: [16]uint8{5, 0, 3}, PCESVN: pck.PCESVN, Status: "UpToDate",
				Date: IntelLevelDate},
			{SGX: [16]uint8{2, 2, 2, 2, 3, 1, 0, 5}, TDX: [16]uint8{5, 0, 2}, PCESVN: pck.PCESVN,
				Status: "OutOfDate", Date: IntelOldLevelDate, Advisories: old},
			{SGX: [16]uint8{2, 2, 2, 2, 3, 1, 0, 5}, TDX: [16]uint8{5, 0, 2}, PCESVN: 5,
				Status: "OutOfDate", Date: time.Date(2018, 1, 4, 0, 0, 0, 0, time.UTC),
				Advisories: append([]string{"INTEL-SA-00106"}, old...)},
		},
	}
}

// TCBInfo writes TCB information for TDX as the PCS answers it.
func (i *Intel) TCBInfo(config TCBInfoConfig) ([]byte, error) {
	modules := make([]string, 0, len(config.Modules))
	for _, module := range config.Modules {
		modules = append(modules, fmt.Sprintf(
			`{"id":"%s","mrsigner":"%x","attributes":"0000000000000000","attributesMask":"FFFFFFFFFFFFFFFF",`+
				`"tcbLevels":%s}`, module.ID, module.MRSigner, svnLevels(module.Levels)))
	}
	levels := make([]string, 0, len(config.Levels))
	for _, level := range config.Levels {
		levels = append(levels, fmt.Sprintf(
			`{"tcb":{"sgxtcbcomponents":%s,"pcesvn":%d,"tdxtcbcomponents":%s},%s}`,
			components(level.SGX), level.PCESVN, components(level.TDX),
			judgement(level.Status, level.Date, level.Advisories)))
	}
	identities := ""
	if len(modules) != 0 {
		identities = `"tdxModuleIdentities":[` + strings.Join(modules, ",") + `],`
	}
	object := fmt.Sprintf(`{"id":"TDX","version":3,%s,"fmspc":"%s","pceId":"%x","tcbType":0,`+
		`"tcbEvaluationDataNumber":%d,"tdxModule":{"mrsigner":"%s","attributes":"0000000000000000",`+
		`"attributesMask":"FFFFFFFFFFFFFFFF"},%s"tcbLevels":[%s]}`,
		dates(config.Issued, config.Next), strings.ToUpper(hex.EncodeToString(config.FMSPC[:])),
		config.PCEID, config.Evaluation, strings.Repeat("00", 48), identities, strings.Join(levels, ","))
	return i.document("tcbInfo", object, config.Signer, config.Edit, config.Rewrite)
}

// IdentityConfig says what the identity of the quoting enclave says. NewIdentityConfig gives one by
// which the enclave of NewTDQuote is up to date.
type IdentityConfig struct {
	Evaluation     int
	Issued, Next   time.Time
	MiscSelect     string
	MiscSelectMask string
	Attributes     string
	AttributesMask string
	MRSigner       [32]byte
	ProdID         uint16
	Levels         []IntelSVNLevel
	// Edit, Rewrite and Signer are those of TCBInfoConfig.
	Edit, Rewrite func(string) string
	Signer        *Intel
}

// NewIdentityConfig returns an identity from the day before IntelTime, for 30 days.
func NewIdentityConfig() IdentityConfig {
	return IdentityConfig{
		Evaluation: 18, Issued: IntelTime.AddDate(0, 0, -1), Next: IntelTime.AddDate(0, 0, 29),
		MiscSelect: "00000000", MiscSelectMask: "FFFFFFFF",
		Attributes:     "11000000000000000000000000000000",
		AttributesMask: "FBFFFFFFFFFFFFFF0000000000000000",
		MRSigner:       QESigner, ProdID: 2,
		Levels: []IntelSVNLevel{
			{SVN: 4, Status: "UpToDate", Date: IntelLevelDate},
			{SVN: 2, Status: "OutOfDate", Date: IntelOldLevelDate},
		},
	}
}

// Identity writes the identity of TD_QE as the PCS answers it.
func (i *Intel) Identity(config IdentityConfig) ([]byte, error) {
	object := fmt.Sprintf(`{"id":"TD_QE","version":2,%s,"tcbEvaluationDataNumber":%d,`+
		`"miscselect":"%s","miscselectMask":"%s","attributes":"%s","attributesMask":"%s",`+
		`"mrsigner":"%X","isvprodid":%d,"tcbLevels":%s}`,
		dates(config.Issued, config.Next), config.Evaluation, config.MiscSelect, config.MiscSelectMask,
		config.Attributes, config.AttributesMask, config.MRSigner, config.ProdID,
		svnLevels(config.Levels))
	return i.document("enclaveIdentity", object, config.Signer, config.Edit, config.Rewrite)
}

// SignDocument signs an object's bytes and writes the document around them: key is "tcbInfo" or
// "enclaveIdentity".
func (i *Intel) SignDocument(key, object string) ([]byte, error) {
	return i.document(key, object, nil, nil, nil)
}

func (i *Intel) document(
	key, object string, signer *Intel, edit, rewrite func(string) string,
) ([]byte, error) {
	if signer == nil {
		signer = i
	}
	if edit != nil {
		object = edit(object)
	}
	signature, err := rawP256([]byte(object), signer.signingKey)
	if err != nil {
		return nil, err
	}
	document := fmt.Sprintf(`{"%s":%s,"signature":"%x"}`, key, object, signature)
	if rewrite != nil {
		document = rewrite(document)
	}
	return []byte(document), nil
}

const intelDate = "2006-01-02T15:04:05Z"

func dates(issued, next time.Time) string {
	return fmt.Sprintf(`"issueDate":"%s","nextUpdate":"%s"`,
		issued.UTC().Format(intelDate), next.UTC().Format(intelDate))
}

func components(values [16]uint8) string {
	all := make([]string, 0, len(values))
	for _, value := range values {
		all = append(all, `{"svn":`+strconv.Itoa(int(value))+`}`)
	}
	return "[" + strings.Join(all, ",") + "]"
}

func svnLevels(levels []IntelSVNLevel) string {
	all := make([]string, 0, len(levels))
	for _, level := range levels {
		all = append(all, fmt.Sprintf(`{"tcb":{"isvsvn":%d},%s}`, level.SVN,
			judgement(level.Status, level.Date, level.Advisories)))
	}
	return "[" + strings.Join(all, ",") + "]"
}

func judgement(status string, date time.Time, advisories []string) string {
	out := fmt.Sprintf(`"tcbDate":"%s","tcbStatus":"%s"`, date.UTC().Format(intelDate), status)
	if len(advisories) != 0 {
		out += `,"advisoryIDs":["` + strings.Join(advisories, `","`) + `"]`
	}
	return out
}
