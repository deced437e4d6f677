package tdx_test

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/tdxevidence"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/tdx"
)

func newRoot(root *x509.Certificate) (*tdx.Verifier, *attestd.CallerError) {
	v, err := tdx.New(tdx.Config{InsecureRoots: []*x509.Certificate{root}})
	var refused *attestd.CallerError
	errors.As(err, &refused)
	return v, refused
}

func TestQuotesThatAreAccepted(t *testing.T) {
	v := forgedVerifier(t)
	for name, row := range map[string]struct {
		version uint16
		change  func(*scene)
		summary string
	}{
		"version 4":                       {4, func(*scene) {}, "TDX_01, quote v4"},
		"version 5 with a body of 1.5":    {5, func(*scene) {}, "TDX_01, quote v5"},
		"version 5 with a body of 1.0":    {5, quoted(func(q *forge.TDQuote) { q.BodyType = 2 }), "TDX_01, quote v5"},
		"a PCK of the CA over processors": {4, func(s *scene) { s.pck.Processor = true }, "TDX_01, quote v4"},
		"no authentication data":          {4, quoted(func(q *forge.TDQuote) { q.Auth = nil }), "TDX_01, quote v4"},
		"the zero that ends a text in C": {4, chain(func(k forge.PCK) []byte { return append(k.PEM(), 0) }),
			"TDX_01, quote v4"},
		"zeros of a buffer behind it": {4, parts(func(p *forge.TDParts) { p.Trailing = make([]byte, 70) }),
			"TDX_01, quote v4"},
		"in a container": {5, func(s *scene) { s.box = true }, "TDX_01, quote v5"},
	} {
		s := newScene(t, row.version)
		row.change(s)
		input := s.input(t)
		before := bytes.Clone(input.Evidence)
		claims := mustVerify(t, v, input)
		if claims.Summary() != row.summary || claims.Product() != "TDX_01" || !claims.InsecureRoots() {
			t.Errorf("%s: %q of %q, insecure roots %t", name, claims.Summary(), claims.Product(),
				claims.InsecureRoots())
		}
		if !v.Detect(input.Evidence) {
			t.Errorf("%s: not detected", name)
		}
		if _, err := v.Inspect(input.Evidence); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !bytes.Equal(before, input.Evidence) {
			t.Errorf("%s: the input was written to", name)
		}
	}
}

func TestFactsAreThoseOfTheQuote(t *testing.T) {
	v := forgedVerifier(t)
	s := newScene(t, 5)
	s.quote.TDAttributes = 1<<28 | 1<<63 | 1<<7
	s.quote.XFAM = 0x602e7 | 1<<19
	s.quote.MRServiceTD[0] = 9
	s.quote.MRConfigID[0] = 7
	claims := mustVerify(t, v, s.input(t))
	wide := func(value [48]byte) string { return hex.EncodeToString(value[:]) }
	for name, want := range map[string]string{
		"quote_version": "5", "report_layout": "1.5", "mrtd": wide(s.quote.MRTD),
		"rtmr0": wide(s.quote.RTMR[0]), "rtmr3": wide(s.quote.RTMR[3]),
		"report_data": hex.EncodeToString(s.quote.ReportData[:]), "mrconfigid": wide(s.quote.MRConfigID),
		"mrservicetd": wide(s.quote.MRServiceTD), "service_td_bound": "true",
		"mrseam": wide(s.quote.MRSEAM), "tee_tcb_svn": hex.EncodeToString(s.quote.TEETCBSVN[:]),
		"tee_tcb_svn_2": hex.EncodeToString(s.quote.TEETCBSVN2[:]),
		"debug":         "false", "sept_ve_disable": "true", "perfmon": "true", "pks": "false",
		"unknown_bits": "true", "unknown_attribute_bits": "128", "unknown_xfam_bits": "524288",
		"xfam_amx": "true", "xfam_cet": "false", "xfam_pkru": "true", "xfam_avx512": "true",
		"pck_ca": "platform", "fmspc": "b0c06f000000", "pceid": "0000",
		"ppid": hex.EncodeToString(s.pck.PPID[:]), "ppid_missing": "false",
		"piid": hex.EncodeToString(s.pck.PIID[:]), "dynamic_platform": "true", "cached_keys": "true",
		"smt_enabled": "true", "sgx_type": "scalable", "pcesvn": "11",
		"cpusvn": hex.EncodeToString(s.pck.CPUSVN[:]), "qe_isvsvn": "6", "event_log": "absent",
	} {
		if got := factOf(t, claims, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	registers := map[string]string{}
	for register := range claims.Registers() {
		registers[register.Name] = hex.EncodeToString(register.Digest)
	}
	if len(registers) != 8 || registers["MRTD"] != wide(s.quote.MRTD) ||
		registers["RTMR2"] != wide(s.quote.RTMR[2]) || registers["MRCONFIGID"] != wide(s.quote.MRConfigID) {
		t.Errorf("registers %v", registers)
	}
	for handle := range claims.Handles() {
		if handle.Kind != attestd.HandleHost || handle.Value != hex.EncodeToString(s.pck.PPID[:]) {
			t.Errorf("handle %v", handle)
		}
	}
}

// TestEachBitIsAFactOfItsOwn sets one bit at a time. neg: 122, 123
func TestEachBitIsAFactOfItsOwn(t *testing.T) {
	v := forgedVerifier(t)
	attributes := map[uint]string{0: "debug", 4: "profiling", 5: "profiling", 6: "profiling", 16: "icssd",
		27: "lass", 28: "sept_ve_disable", 29: "migratable", 30: "pks", 31: "key_locker",
		62: "provisioning_agent", 63: "perfmon"}
	xfam := map[uint]string{5: "xfam_avx512", 6: "xfam_avx512", 7: "xfam_avx512", 8: "xfam_pt",
		9: "xfam_pkru", 11: "xfam_cet", 12: "xfam_cet", 14: "xfam_uintr", 15: "xfam_lbr",
		17: "xfam_amx", 18: "xfam_amx", 0: "", 1: "", 2: ""}
	for bit := range uint(64) {
		for of, names := range map[string]map[uint]string{"attributes": attributes, "xfam": xfam} {
			s := newScene(t, 4)
			s.quote.TDAttributes, s.quote.XFAM = 0, 0
			if of == "xfam" {
				s.quote.XFAM = 1 << bit
			} else {
				s.quote.TDAttributes = 1 << bit
			}
			claims := mustVerify(t, v, s.input(t))
			name, known := names[bit]
			for _, all := range []map[uint]string{attributes, xfam} {
				for _, fact := range all {
					if fact == "" {
						continue
					}
					if got, want := factOf(t, claims, fact), fact == name; (got == "true") != want {
						t.Errorf("bit %d of %s: %s is %s", bit, of, fact, got)
					}
				}
			}
			if got := factOf(t, claims, "unknown_bits"); (got == "true") == known {
				t.Errorf("bit %d of %s: unknown_bits is %s", bit, of, got)
			}
		}
	}
}

// TestWhatIsNotThereIsNotANo: fields that a quote or a certificate does not have are not visible, and
// a platform without a name has no handle.
func TestWhatIsNotThereIsNotANo(t *testing.T) {
	s := newScene(t, 4)
	s.pck.Processor, s.pck.PPID = true, [16]byte{}
	claims := mustVerify(t, forgedVerifier(t), s.input(t))
	for _, name := range []string{"mrservicetd", "service_td_bound", "tee_tcb_svn_2", "ppid", "piid",
		"dynamic_platform", "cached_keys", "smt_enabled", "secure_boot", "rtmrs_unexplained"} {
		if value, _ := claims.Fact(name); value.Kind() != attestd.KindNotVisible {
			t.Errorf("%s is %s", name, value)
		}
	}
	if got := factOf(t, claims, "ppid_missing"); got != "true" {
		t.Errorf("ppid_missing is %s", got)
	}
	for handle := range claims.Handles() {
		t.Errorf("handle %v", handle)
	}
}

func TestReportDataIsComparedWhole(t *testing.T) { // neg: 21, 22
	v := forgedVerifier(t)
	s := newScene(t, 5)
	input := s.input(t)
	input.Demand = must(attestd.Fresh(s.quote.ReportData[:]))(t)
	if got := mustVerify(t, v, input).Freshness(); got != attestd.FreshnessNonce {
		t.Errorf("freshness %v", got)
	}
	for name, nonce := range map[string][]byte{
		"the first half":       s.quote.ReportData[:32],
		"the last bit changed": append(bytes.Clone(s.quote.ReportData[:63]), s.quote.ReportData[63]^1),
		"a byte more":          append(bytes.Clone(s.quote.ReportData[:]), 0),
	} {
		input.Demand = must(attestd.Fresh(nonce))(t)
		got := mustReject(t, v, input, "tdx/report-data", attestd.ClassBinding)
		if name == "" || got == nil {
			t.Error(name)
		}
	}
	binding := attestd.Binding{Format: attestd.FormatTDX, Nonce: bytes.Repeat([]byte{5}, 32)}
	digest := must(binding.Digest())(t)
	copy(s.quote.ReportData[:], digest)
	input = s.input(t)
	input.Demand = must(attestd.Bound(binding))(t)
	if got := mustVerify(t, v, input).Freshness(); got != attestd.FreshnessBinding {
		t.Errorf("freshness %v", got)
	}
}

// TestALogMustLeadToTheRegisters replays the guest's log. neg: 140
func TestALogMustLeadToTheRegisters(t *testing.T) {
	v := forgedVerifier(t)
	boot := forge.NewBoot(forge.BootOptions{Confidential: true, SecureBoot: true})
	s := newScene(t, 5)
	values := boot.Registers(forge.LogSHA384)
	for i, value := range values[1:5] {
		copy(s.quote.RTMR[i][:], value)
	}
	s.log = append(boot.Log(), bytes.Repeat([]byte{0xff}, 1000)...)
	claims := mustVerify(t, v, s.input(t))
	for name, want := range map[string]string{"event_log": "replayed", "secure_boot": "true",
		"rtmrs_unexplained": "0", "rtmrs_explained": "15", "exit_boot_services": "true"} {
		if got := factOf(t, claims, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	events := 0
	for event := range claims.Events() {
		if event.Log != "ccel" {
			t.Errorf("event of log %q", event.Log)
		}
		events++
	}
	if events == 0 {
		t.Error("no events")
	}

	good := s.quote
	for name, change := range map[string]func(){
		"RTMR0 is another": func() { s.quote.RTMR[0][0] ^= 1 },
		"RTMR1 is another": func() { s.quote.RTMR[1][0] ^= 1 },
		"RTMR2 is another": func() { s.quote.RTMR[2][47] ^= 1 },
		"RTMR3 holds what the log does not have, and the log is of RTMR3": func() {
			boot := forge.NewBoot(forge.BootOptions{Confidential: true})
			boot.InsertAfter("shim", forge.BootStep{Name: "workload", PCR: 4, Type: 6, Data: []byte("image")})
			s.log = boot.Log()
		},
	} {
		s.quote = good
		log := s.log
		change()
		got := mustReject(t, v, s.input(t), "tdx/event-log", attestd.ClassMeasurement)
		t.Logf("%s: %v", name, got)
		s.log = log
	}
	s.quote = good
	s.log = []byte("no log at all")
	mustReject(t, v, s.input(t), "tdx/event-log", attestd.ClassMalformed)

	// RTMR3 is left to software in the TD: what the log does not say is told, and is for a policy.
	s.quote.RTMR[3][0] ^= 1
	s.log = boot.Log()
	if got := factOf(t, mustVerify(t, v, s.input(t)), "rtmrs_unexplained"); got != "8" {
		t.Errorf("rtmrs_unexplained is %s", got)
	}
}

// TestAKnownEnclaveCostsOneSignature counts what a cold and a warm verification cost.
func TestAKnownEnclaveCostsOneSignature(t *testing.T) {
	v := forgedVerifier(t)
	s := newScene(t, 4)
	pck := must(s.authority.IssuePCK(s.pck))(t)
	parts := must(s.quote.Parts(pck))(t)
	input := attestd.Input{At: forge.IntelTime, Demand: attestd.Recorded(), Evidence: parts.Bytes()}
	spent := func() uint64 {
		before := v.SignaturesVerified()
		mustVerify(t, v, input)
		return v.SignaturesVerified() - before
	}
	if got := spent(); got != 4 { // CA, PCK, enclave, quote
		t.Errorf("%d signatures when nothing is known", got)
	}
	parts.Signed[48+520] ^= 1 // another REPORTDATA of the same machine
	if err := parts.SignQuote(); err != nil {
		t.Fatal(err)
	}
	input.Evidence = parts.Bytes()
	if got := spent(); got != 1 {
		t.Errorf("%d signatures for another quote of a known machine", got)
	}
}

func TestQuestionsThatCannotBeAsked(t *testing.T) {
	v := forgedVerifier(t)
	good := newScene(t, 4).input(t)
	for name, row := range map[string]struct {
		change func(*attestd.Input)
		class  attestd.Class
	}{
		"no time":   {func(i *attestd.Input) { i.At = (attestd.Input{}).At }, attestd.ClassMalformed},
		"no demand": {func(i *attestd.Input) { i.Demand = attestd.Demand{} }, attestd.ClassMalformed},
		"a key of its own": {func(i *attestd.Input) {
			i.Demand = must(attestd.Recorded().WithKey([]byte{1}))(t)
		}, attestd.ClassUnsupported},
	} {
		input := good
		row.change(&input)
		_, err := v.Verify(input)
		var refused *attestd.CallerError
		if !errors.As(err, &refused) || refused.Class != row.class || refused.Hint == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	flood := good
	flood.Endorsements.Certificates = make([][]byte, 257)
	mustReject(t, v, flood, "tdx/endorsements", attestd.ClassTooLarge)
	flood.Endorsements.Certificates = [][]byte{make([]byte, 2<<20)}
	mustReject(t, v, flood, "tdx/endorsements", attestd.ClassTooLarge)
}

// TestContainersThatAreRefused: one statement has one encoding.
func TestContainersThatAreRefused(t *testing.T) {
	v := forgedVerifier(t)
	s := newScene(t, 4)
	s.box = true
	input := s.input(t)
	good := input.Evidence
	input.Evidence = append(bytes.Clone(good), 0)
	mustReject(t, v, input, "tdx/container", attestd.ClassMalformed)
	input.Evidence = append(bytes.Clone(good), make([]byte, 3<<20)...)
	mustReject(t, v, input, "tdx/container", attestd.ClassTooLarge)
	quote := must(tdxevidence.Parse(good))(t).Quote
	input.Evidence = must(tdxevidence.Evidence{Quote: quote[:100]}.Marshal())(t)
	mustReject(t, v, input, "tdx/size", attestd.ClassMalformed)
}
