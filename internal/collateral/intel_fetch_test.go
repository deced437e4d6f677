package collateral_test

import (
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/collateral"
	"github.com/attestd/attestd/internal/compositeevidence"
	"github.com/attestd/attestd/testvectors/forge"
)

// Paths of Intel's service (PCS API version 4).
const (
	pcsRootList      = "/IntelSGXRootCA.der"
	pcsPlatformList  = "/sgx/certification/v4/pckcrl?ca=platform&encoding=der"
	pcsProcessorList = "/sgx/certification/v4/pckcrl?ca=processor&encoding=der"
	pcsIdentity      = "/tdx/certification/v4/qe/identity?update=standard"
	pcsInfo          = "/tdx/certification/v4/tcb?fmspc=b0c06f000000&update=standard"
	fmspcOfTests     = "b0c06f000000"
)

// newIntelFetching is a scene with a service that answers as Intel's does.
func newIntelFetching(t *testing.T, config collateral.IntelConfig) *fetching {
	t.Helper()
	f := &fetching{scene: newIntelScene(t), service: newService(t, "kdsintf.amd.com",
		"api.trustedservices.intel.com", "certificates.trustedservices.intel.com", "pccs.example.org")}
	f.only, f.beside = nil, []*x509.Certificate{f.only}
	f.store = f.open()
	f.intelAgain(config)
	f.intelAnswers()
	f.chains()
	f.service.on(milanList, body(f.crl(made(t, milan), forge.AMDCRLConfig{})))
	return f
}

func (f *fetching) intelAgain(config collateral.IntelConfig) {
	f.Helper()
	fetcher, err := collateral.NewFetcherFor(f.store, collateral.FetchConfig{
		Lines: []string{"Milan"}, Intel: config, Report: func(e collateral.Event) { f.events = append(f.events, e) },
	}, 0, 500*time.Millisecond, f.service.roots, f.service.dial)
	if err != nil {
		f.Fatal(err)
	}
	f.fetcher = fetcher
}

// chained answers with a chain in a header, as Intel's service does.
func chained(header string, content []byte, chain ...[]byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		var text []byte
		for _, der := range chain {
			text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
		}
		w.Header().Set(header, url.PathEscape(string(text)))
		_, _ = w.Write(content)
	}
}

func (f *fetching) intelList(ca forge.IntelCA) []byte {
	f.Helper()
	list, err := intelOf(f, santaClara).CRL(forge.IntelCRLConfig{CA: ca})
	if err != nil {
		f.Fatal(err)
	}
	return list
}

func (f *fetching) intelAnswers() {
	f.Helper()
	intel := intelOf(f, santaClara)
	root, signing := intel.Root.Raw, intel.Signing.Raw
	f.service.on(pcsRootList, body(f.intelList(forge.IntelRootCA)))
	f.service.on(pcsPlatformList, chained("SGX-PCK-CRL-Issuer-Chain", f.intelList(forge.IntelPlatformCA),
		intel.Platform.Raw, root))
	f.service.on(pcsProcessorList, chained("SGX-PCK-CRL-Issuer-Chain", f.intelList(forge.IntelProcessorCA),
		intel.Processor.Raw, root))
	f.service.on(pcsIdentity, chained("SGX-Enclave-Identity-Issuer-Chain", f.identity(17, 0), signing, root))
	f.service.on(pcsInfo, chained("TCB-Info-Issuer-Chain", f.info(17, 0), signing, root))
}

// askedIntel is what was asked for beside AMD's.
func (f *fetching) askedIntel() []string {
	return slices.DeleteFunc(f.service.requests(), func(path string) bool {
		return strings.HasPrefix(path, "/vcek") || strings.HasPrefix(path, "/vlek")
	})
}

func (f *fetching) quote() []byte {
	f.Helper()
	pck, err := intelOf(f, santaClara).IssuePCK(forge.NewPCKConfig())
	if err != nil {
		f.Fatal(err)
	}
	quote, err := forge.NewTDQuote(4).Sign(pck)
	if err != nil {
		f.Fatal(err)
	}
	return quote
}

func platformOf(t *testing.T, fmspc string) collateral.Platform {
	t.Helper()
	platform, err := collateral.ParsePlatform(fmspc)
	if err != nil {
		t.Fatal(err)
	}
	return platform
}

// TestIntelIsAskedOnlyForWhatIsNeeded: a site without TDX never talks to Intel, and its firewall need not know.
func TestIntelIsAskedOnlyForWhatIsNeeded(t *testing.T) {
	f := newIntelFetching(t, collateral.IntelConfig{})
	if err := f.fetcher.Pull(t.Context()); err != nil || len(f.askedIntel()) != 0 {
		t.Fatalf("%v asked for nothing's sake: %v", f.askedIntel(), err)
	}
	f.intelAgain(collateral.IntelConfig{Platforms: []collateral.Platform{platformOf(t, strings.ToUpper(fmspcOfTests))}})
	if err := f.fetcher.Pull(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{pcsRootList, pcsPlatformList, pcsProcessorList, pcsIdentity, pcsInfo}
	if got := f.askedIntel(); !slices.Equal(got, want) {
		t.Errorf("asked for %v, want %v", got, want)
	}
	for _, address := range f.service.dialled {
		if address != kdsName+":443" && address != "api.trustedservices.intel.com:443" && address != "certificates.trustedservices.intel.com:443" {
			t.Errorf("dialled %s", address)
		}
	}
	of := f.store.Sets()[attestd.FormatTDX]
	if len(of.Documents) != 2 || len(of.CRLs) != 3 {
		t.Errorf("%d documents and %d lists came", len(of.Documents), len(of.CRLs))
	}
	intels := slices.DeleteFunc(f.store.Health(f.now), func(row collateral.Row) bool {
		return row.Format != attestd.FormatTDX
	})
	if _, err := collateral.Judge(intels); err != nil || len(intels) < 5 {
		t.Errorf("health of %d rows: %v", len(intels), err)
	}
	// What is held is kept current without being named again, also by a later process.
	f.store = f.open()
	f.intelAgain(collateral.IntelConfig{})
	f.service.on(pcsInfo, chained("TCB-Info-Issuer-Chain", f.info(18, 1), f.signer()))
	if err := f.fetcher.Pull(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := f.floorOf(f.store, subjectOfTests); got.Evaluation != 18 {
		t.Errorf("floor %v", got)
	}
}

// TestEvidenceNamesThePlatformThatIsWanted, in whatever it is packed, and nothing of it is believed.
func TestEvidenceNamesThePlatformThatIsWanted(t *testing.T) {
	f := newIntelFetching(t, collateral.IntelConfig{})
	quote := f.quote()
	composite, err := (compositeevidence.Evidence{Devices: []compositeevidence.Device{
		{Path: "cpu", Format: attestd.FormatTDX, Evidence: quote},
		{Path: "vtpm", Format: attestd.FormatTPM, Evidence: []byte{1}},
	}}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for format, evidence := range map[attestd.Format][]byte{
		attestd.FormatTDX: quote, attestd.FormatComposite: composite,
	} {
		_, wanted := f.store.For(format, evidence)
		if wanted == nil || wanted.String() != "TDX "+fmspcOfTests {
			t.Fatalf("%s wants %v", format, wanted)
		}
		if err := f.store.Want("here", *wanted); err != nil {
			t.Fatal(err)
		}
	}
	if _, wanted := f.store.For(attestd.FormatTPM, quote); wanted != nil {
		t.Errorf("a TPM's evidence wants %v", wanted)
	}
	queue := f.open().Queue()
	if len(queue) != 1 || queue[0].Platform.FMSPC != fmspcOfTests {
		t.Fatalf("queue %+v", queue)
	}
	if err := f.fetcher.Pull(t.Context()); err != nil {
		t.Fatal(err)
	}
	if queue := f.store.Queue(); len(queue) != 0 {
		t.Errorf("still wanted: %+v", queue)
	}
	if _, wanted := f.store.For(attestd.FormatTDX, quote); wanted != nil {
		t.Errorf("wanted %v, which is held", wanted)
	}
	if requests := f.askedIntel(); len(requests) != 5 {
		t.Errorf("asked for %v", requests)
	}
}

// An early document is not what a site that follows the standard channel waits for.
func TestTheOtherChannelFulfilsNoWish(t *testing.T) {
	f := newIntelFetching(t, collateral.IntelConfig{})
	wanted := collateral.Wanted{Platforms: []collateral.Platform{platformOf(t, fmspcOfTests)}}
	if err := f.store.Want("here", wanted); err != nil {
		t.Fatal(err)
	}
	f.take(append(early(f.info(18, 0)), f.signer())...)
	if len(f.store.Queue()) != 1 {
		t.Error("an early document fulfilled a wish of the standard channel")
	}
	f.take(f.info(17, 0))
	if len(f.store.Queue()) != 0 {
		t.Error("the document did not fulfil its wish")
	}
}

// A report of a machine inside composed evidence is looked up as one alone.
func TestComposedEvidenceNamesItsMachine(t *testing.T) {
	s := newScene(t)
	report := forge.NewSNPReport("Milan", 3)
	evidence, err := (compositeevidence.Evidence{Devices: []compositeevidence.Device{
		{Path: "cpu", Format: attestd.FormatSEVSNP, Evidence: report.Bytes()},
		{Path: "vtpm", Format: attestd.FormatTPM, Evidence: []byte{1}},
	}}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	_, wanted := s.store.For(attestd.FormatComposite, evidence)
	if wanted == nil || len(wanted.Machines) != 1 {
		t.Fatalf("wanted %v", wanted)
	}
	s.take(made(t, milan).ASK.Raw, s.vcek(made(t, milan), report))
	if found, wanted := s.store.For(attestd.FormatComposite, evidence); len(found) != 1 || wanted != nil {
		t.Errorf("found %d, wanted %v", len(found), wanted)
	}
}

func TestAPlatformThatIntelDoesNotKnowIsLeftAlone(t *testing.T) {
	f := newIntelFetching(t, collateral.IntelConfig{})
	unknown := collateral.Wanted{Platforms: []collateral.Platform{platformOf(t, "00000000dead")}}
	if err := f.store.Want("here", unknown); err != nil {
		t.Fatal(err)
	}
	if err := f.fetcher.Pull(t.Context()); err != nil {
		t.Fatal(err)
	}
	queue := f.store.Queue()
	if len(queue) != 1 || !queue[0].Refused {
		t.Fatalf("queue %+v", queue)
	}
	asked := len(f.service.requests())
	if err := f.fetcher.Pull(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again := fmt.Sprint(f.service.requests()[asked:]); strings.Contains(again, "dead") {
		t.Errorf("asked again: %s", again)
	}
	if err := f.store.Want("here", collateral.Wanted{Platforms: []collateral.Platform{{FMSPC: "../x"}}}); err == nil {
		t.Error("what is no FMSPC is queued")
	}
}

// TestWhatIntelsServiceSaysIsVerified: whoever is between can send anything, and the store takes none of it.
func TestWhatIntelsServiceSaysIsVerified(t *testing.T) {
	intel, foreign := intelOf(t, santaClara), intelOf(t, otherIntel)
	forged, err := foreign.TCBInfo(forge.NewTCBInfoConfig())
	if err != nil {
		t.Fatal(err)
	}
	other := forge.NewTCBInfoConfig()
	other.FMSPC[5] = 9
	another, err := intel.TCBInfo(other)
	if err != nil {
		t.Fatal(err)
	}
	const header = "TCB-Info-Issuer-Chain"
	for name, row := range map[string]struct {
		path   string
		answer func(f *fetching) http.HandlerFunc
		words  string
	}{
		"forged under an impostor's root": {pcsInfo, func(*fetching) http.HandlerFunc {
			return chained(header, forged, foreign.Signing.Raw, foreign.Root.Raw)
		}, "Intel SGX Root CA"},
		"forged, with the genuine chain": {pcsInfo, func(*fetching) http.HandlerFunc {
			return chained(header, forged, intel.Signing.Raw)
		}, "not the TCB signing key's"},
		"of another platform": {pcsInfo, func(*fetching) http.HandlerFunc {
			return chained(header, another, intel.Signing.Raw)
		}, "the answer is about tcb-info/TDX/b0c06f000009"},
		"an identity for TCB information": {pcsInfo, func(f *fetching) http.HandlerFunc {
			return chained(header, f.identity(17, 0), intel.Signing.Raw)
		}, "the answer is about enclave-identity/TD_QE"},
		"without a chain": {pcsInfo, func(f *fetching) http.HandlerFunc { return body(f.info(17, 0)) },
			"no header TCB-Info-Issuer-Chain"},
		"with a broken chain": {pcsInfo, func(f *fetching) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set(header, "%zz")
				_, _ = w.Write(f.info(17, 0))
			}
		}, "header TCB-Info-Issuer-Chain"},
		"no JSON": {pcsInfo, func(*fetching) http.HandlerFunc { return body([]byte("<html>")) }, "cannot be read"},
		"too much": {pcsInfo, func(*fetching) http.HandlerFunc {
			return body(make([]byte, 300<<10))
		}, "more than 262144 bytes"},
		"a redirect": {pcsInfo, func(*fetching) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "https://example.org/", http.StatusFound)
			}
		}, "redirect, which is not followed"},
		"the other CA's list": {pcsPlatformList, func(f *fetching) http.HandlerFunc { // neg: 133
			return chained("SGX-PCK-CRL-Issuer-Chain", f.intelList(forge.IntelProcessorCA), intel.Processor.Raw)
		}, "the answer is the list of Intel SGX PCK Processor CA"},
		"no list": {pcsRootList, func(*fetching) http.HandlerFunc { return body([]byte("ab")) }, "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newIntelFetching(t, collateral.IntelConfig{
				Platforms: []collateral.Platform{platformOf(t, fmspcOfTests)},
			})
			f.service.on(row.path, row.answer(f))
			f.undecided(row.words)
			if row.path == pcsInfo {
				if f.floorOf(f.store, subjectOfTests).Evaluation != 0 {
					t.Error("it was taken")
				}
			}
		})
	}
}

// neg: 130
// TestAnOlderAnswerIsTold: what is held stays in use, and the condition says that the service goes back.
func TestAnOlderAnswerIsTold(t *testing.T) {
	f := newIntelFetching(t, collateral.IntelConfig{})
	f.take(f.signer(), f.info(18, 0))
	f.undecided("has number 17, and 18 was seen")
	if _, err := f.open().Fetching().Failing(); err == nil || !strings.Contains(err.Error(), "tcb-info TDX") {
		t.Errorf("the fetcher's state says %v", err)
	}
	if f.floorOf(f.store, subjectOfTests).Evaluation != 18 {
		t.Error("the floor went back")
	}
}

// TestAServiceThatFailsDoesNotSilenceTheOther.
func TestAServiceThatFailsDoesNotSilenceTheOther(t *testing.T) {
	f := newIntelFetching(t, collateral.IntelConfig{Platforms: []collateral.Platform{platformOf(t, fmspcOfTests)}})
	busy := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "600")
		w.WriteHeader(http.StatusTooManyRequests)
	}
	for _, path := range []string{milanList, milanChain, vlekChain} {
		f.service.on(path, busy)
	}
	f.undecided("answered 429")
	if requests := f.askedIntel(); len(requests) != 5 {
		t.Errorf("asked for %v alone", requests)
	}
	state := f.open().Fetching()
	if state.Failures != 1 || state.Intel == nil || state.Intel.Failures != 0 {
		t.Errorf("state %+v", state)
	}
}

// TestAPCCSIsAskedInIntelsPlace: with lists in hex, and by the operator's own authority.
func TestAPCCSIsAskedInIntelsPlace(t *testing.T) {
	where, err := url.Parse("https://pccs.example.org/cache/")
	if err != nil {
		t.Fatal(err)
	}
	f := newIntelFetching(t, collateral.IntelConfig{})
	intel := intelOf(t, santaClara)
	f.service.on("/cache/sgx/certification/v4/rootcacrl",
		body([]byte(hex.EncodeToString(f.intelList(forge.IntelRootCA)))))
	f.service.on("/cache"+pcsPlatformList, chained("SGX-PCK-CRL-Issuer-Chain",
		[]byte(hex.EncodeToString(f.intelList(forge.IntelPlatformCA))), intel.Platform.Raw))
	f.service.on("/cache"+pcsProcessorList, chained("SGX-PCK-CRL-Issuer-Chain",
		pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: f.intelList(forge.IntelProcessorCA)}),
		intel.Processor.Raw))
	f.service.on("/cache"+pcsIdentity, chained("SGX-Enclave-Identity-Issuer-Chain", f.identity(17, 0), f.signer()))
	f.service.on("/cache"+pcsInfo, chained("TCB-Info-Issuer-Chain", f.info(17, 0), f.signer()))
	f.intelAgain(collateral.IntelConfig{
		PCCS: where, Roots: f.service.roots, Platforms: []collateral.Platform{platformOf(t, fmspcOfTests)},
	})
	if err := f.fetcher.Pull(t.Context()); err != nil {
		t.Fatal(err)
	}
	if of := f.store.Sets()[attestd.FormatTDX]; len(of.Documents) != 2 || len(of.CRLs) != 3 {
		t.Errorf("%d documents and %d lists came", len(of.Documents), len(of.CRLs))
	}
	for _, address := range f.service.dialled {
		if address != "pccs.example.org:443" && address != kdsName+":443" {
			t.Errorf("dialled %s", address)
		}
	}
}

// TestBothChannelsAreFetchedApart.
func TestBothChannelsAreFetchedApart(t *testing.T) {
	f := newIntelFetching(t, collateral.IntelConfig{
		Channels: collateral.Channels(), Platforms: []collateral.Platform{platformOf(t, fmspcOfTests)},
	})
	ahead := func(path string) string { return strings.Replace(path, "standard", "early", 1) }
	f.service.on(ahead(pcsIdentity), chained("SGX-Enclave-Identity-Issuer-Chain", f.identity(18, 1), f.signer()))
	f.service.on(ahead(pcsInfo), chained("TCB-Info-Issuer-Chain", f.info(18, 1), f.signer()))
	if err := f.fetcher.Pull(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := f.floorOf(f.store, subjectOfTests).Evaluation; got != 17 {
		t.Errorf("the standard channel is at %d", got)
	}
	if got := f.floorOf(f.follow(f.open(), collateral.Early), subjectOfTests).Evaluation; got != 18 {
		t.Errorf("the early channel is at %d", got)
	}
}

func TestIntelsConfigurationIsChecked(t *testing.T) {
	f := newIntelFetching(t, collateral.IntelConfig{})
	at := func(text string) *url.URL {
		where, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return where
	}
	for name, config := range map[string]collateral.IntelConfig{
		"a PCCS in the clear":     {PCCS: at("http://a"), Roots: f.service.roots},
		"a PCCS with a user":      {PCCS: at("https://u@a"), Roots: f.service.roots},
		"a PCCS with a query":     {PCCS: at("https://a?b"), Roots: f.service.roots},
		"a PCCS without its CA":   {PCCS: at("https://a")},
		"a CA of no PCCS":         {Roots: f.service.roots},
		"a channel that is none":  {Channels: []collateral.Channel{"next"}},
		"a platform that is none": {Platforms: []collateral.Platform{{FMSPC: "B0C06F000000"}}},
	} {
		var caller *attestd.CallerError
		if _, err := collateral.NewFetcher(f.store, collateral.FetchConfig{Intel: config}); !errors.As(err, &caller) ||
			caller.Class != attestd.ClassConfig {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, bad := range []string{"", "b0c06f", "b0c06f00000000", "g0c06f000000"} {
		if _, err := collateral.ParsePlatform(bad); err == nil {
			t.Errorf("%q is an FMSPC", bad)
		}
	}
}
