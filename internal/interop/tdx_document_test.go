package interop

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// svns are sixteen security versions.
type svns [16]byte

// level is one of TCB information.
type level struct {
	sgx, tdx     svns
	pcesvn       int
	status, date string
	advisories   []string
}

// svnLevel is one of a TDX module or of the quoting enclave.
type svnLevel struct {
	svn          int
	status, date string
}

// module is the identity of one major version of the TDX module.
type module struct {
	id, signer, attributes, mask string
	levels                       []svnLevel
}

// tcbInfo is TCB information to be written as Intel does, or nearly.
type tcbInfo struct {
	id                 string
	version, kind      int
	issued, next       time.Time
	fmspc, pceID       string
	evaluation         int
	signer, mask, seam string
	modules            []module
	levels             []level
	components         int // of each level; sixteen
}

// identity is that of the quoting enclave.
type identity struct {
	id                               string
	version                          int
	issued, next                     time.Time
	evaluation                       int
	misc, miscMask, attributes, mask string
	signer                           string
	product                          int
	levels                           []svnLevel
}

const zeros48 = "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"

// quoted is a JSON text.
func quoted(text string) string {
	out, _ := json.Marshal(text) //nolint:errchkjson // a text
	return string(out)
}

func listOf[T any](all []T, write func(T) string) string {
	out := make([]string, len(all))
	for i, one := range all {
		out[i] = write(one)
	}
	return "[" + strings.Join(out, ",") + "]"
}

func (l level) text(count int) string {
	components := func(of svns) string {
		return listOf(of[:min(count, len(of))], func(svn byte) string { return fmt.Sprintf(`{"svn":%d}`, svn) })
	}
	advisories := ""
	if len(l.advisories) > 0 {
		advisories = `,"advisoryIDs":` + listOf(l.advisories, quoted)
	}
	return fmt.Sprintf(`{"tcb":{"sgxtcbcomponents":%s,"pcesvn":%d,"tdxtcbcomponents":%s},"tcbDate":%s,`+
		`"tcbStatus":%s%s}`, components(l.sgx), l.pcesvn, components(l.tdx), quoted(l.date),
		quoted(l.status), advisories)
}

func (l svnLevel) text() string {
	return fmt.Sprintf(`{"tcb":{"isvsvn":%d},"tcbDate":%s,"tcbStatus":%s}`, l.svn, quoted(l.date),
		quoted(l.status))
}

func (m module) text() string {
	return fmt.Sprintf(`{"id":%s,"mrsigner":%s,"attributes":%s,"attributesMask":%s,"tcbLevels":%s}`,
		quoted(m.id), quoted(m.signer), quoted(m.attributes), quoted(m.mask), listOf(m.levels, svnLevel.text))
}

func (t tcbInfo) text() string {
	modules := ""
	if len(t.modules) > 0 {
		modules = `,"tdxModuleIdentities":` + listOf(t.modules, module.text)
	}
	return fmt.Sprintf(`{"id":%s,"version":%d,"issueDate":%s,"nextUpdate":%s,"fmspc":%s,"pceId":%s,`+
		`"tcbType":%d,"tcbEvaluationDataNumber":%d,"tdxModule":{"mrsigner":%s,"attributes":%s,`+
		`"attributesMask":%s}%s,"tcbLevels":%s}`, quoted(t.id), t.version, stamp(t.issued), stamp(t.next),
		quoted(t.fmspc), quoted(t.pceID), t.kind, t.evaluation, quoted(t.signer), quoted(t.seam),
		quoted(t.mask), modules, listOf(t.levels, func(l level) string { return l.text(t.components) }))
}

func (i identity) text() string {
	return fmt.Sprintf(`{"id":%s,"version":%d,"issueDate":%s,"nextUpdate":%s,"tcbEvaluationDataNumber":%d,`+
		`"miscselect":%s,"miscselectMask":%s,"attributes":%s,"attributesMask":%s,"mrsigner":%s,`+
		`"isvprodid":%d,"tcbLevels":%s}`, quoted(i.id), i.version, stamp(i.issued), stamp(i.next),
		i.evaluation, quoted(i.misc), quoted(i.miscMask), quoted(i.attributes), quoted(i.mask),
		quoted(i.signer), i.product, listOf(i.levels, svnLevel.text))
}

func stamp(at time.Time) string { return quoted(at.UTC().Format("2006-01-02T15:04:05Z")) }

// goodTCBInfo is TCB information under which the platform of forge.NewPCKConfig is up to date. at is
// the time at which it will be judged.
func goodTCBInfo(at time.Time) tcbInfo {
	return tcbInfo{
		id: "TDX", version: 3, issued: at.AddDate(0, 0, -3), next: at.AddDate(0, 0, 27),
		fmspc: "B0C06F000000", pceID: "0000", evaluation: 17,
		signer: zeros48, seam: "0000000000000000", mask: "FFFFFFFFFFFFFFFF", components: 16,
		modules: []module{
			{"TDX_03", zeros48, "0000000000000000", "FFFFFFFFFFFFFFFF",
				[]svnLevel{{3, "UpToDate", "2024-03-13T00:00:00Z"}}},
			{"TDX_01", zeros48, "0000000000000000", "FFFFFFFFFFFFFFFF", []svnLevel{
				{4, "UpToDate", "2024-03-13T00:00:00Z"}, {2, "OutOfDate", "2023-08-09T00:00:00Z"}}},
		},
		levels: []level{
			{svns{2, 2, 2, 2, 3, 1, 0, 5}, svns{5, 0, 2}, 11, "UpToDate", "2024-03-13T00:00:00Z", nil},
			{svns{2, 2, 2, 2, 3, 1, 0, 3}, svns{3, 0, 2}, 9, "OutOfDate", "2023-08-09T00:00:00Z",
				[]string{"INTEL-SA-00837"}},
			{svns{1, 1, 1, 1, 1, 1, 0, 1}, svns{1, 0, 1}, 5, "OutOfDate", "2018-01-04T00:00:00Z",
				[]string{"INTEL-SA-00106", "INTEL-SA-00837"}},
		},
	}
}

// goodIdentity is that of the enclave of forge.NewTDQuote.
func goodIdentity(at time.Time) identity {
	return identity{
		id: "TD_QE", version: 2, issued: at.AddDate(0, 0, -3), next: at.AddDate(0, 0, 27), evaluation: 17,
		misc: "00000000", miscMask: "FFFFFFFF", attributes: "11000000000000000000000000000000",
		mask:   "FBFFFFFFFFFFFFFF0000000000000000",
		signer: "DC9E2A7C6F948F17474E34A7FC43ED030F7C1563F1BABDDF6340C82E0E54A8C5", product: 2,
		levels: []svnLevel{{4, "UpToDate", "2024-03-13T00:00:00Z"}, {2, "OutOfDate", "2023-02-15T00:00:00Z"}},
	}
}
