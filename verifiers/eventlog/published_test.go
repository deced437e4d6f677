package eventlog_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors"
	"github.com/attestd/attestd/verifiers/eventlog"
)

// summary is a Boot in one line: what it found of a published log.
func summary(b eventlog.Boot) string {
	secureBoot := "?"
	if b.SecureBoot.Known {
		secureBoot = map[bool]string{true: "on", false: "off"}[b.SecureBoot.On]
	}
	exit := map[bool]string{true: "left", false: "-"}[b.ExitBootServices]
	if b.ExitSupplied {
		exit = "supplied"
	}
	return fmt.Sprintf("sb=%s pk=%d kek=%d db=%d dbx=%d auth=%d app=%d early=%d drv=%d late=%d "+
		"sep=%02x exit=%s kernel=%d initrd=%d line=%d dma=%t gce=%s version=%q", secureBoot,
		b.PK.Entries(), b.KEK.Entries(), b.DB.Entries(), b.DBX.Entries(), b.Authorities,
		b.Applications, b.Early, b.Drivers, b.Late, b.Separators, exit, b.Kernels, b.Initrds,
		b.CommandLines, b.DMAUnprotected, b.GCETechnology, b.FirmwareVersion)
}

// publishedFacts are the facts of published logs, by the record's name below logs/. A log without
// registers of its own is replayed against what it leads to, as its machine would have quoted it.
var publishedFacts = map[string]string{
	"go-attestation-coreos-36-shielded-vm-no-secure-boot": "" +
		`sb=off pk=1 kek=1 db=2 dbx=186 auth=0 app=2 early=0 drv=0 late=0 sep=ff ` +
		`exit=left kernel=1 initrd=1 line=1 dma=false gce=sev version="GCE Virtual ` +
		`Firmware v1"`,
	"go-attestation-crypto-agile": "" +
		`sb=off pk=1 kek=1 db=3 dbx=77 auth=0 app=2 early=2 drv=0 late=7 sep=ff exit=- ` +
		`kernel=0 initrd=0 line=0 dma=false gce= version=""`,
	"go-attestation-sb-cert": "" +
		`MEASUREMENT PCR0 without a separator, want the separator that ends the ` +
		`firmware's measurements`,
	"go-eventlog-cos-113-separator-twice": "" +
		`sb=off pk=1 kek=1 db=1 dbx=4 auth=0 app=2 early=0 drv=0 late=0 sep=01 exit=left ` +
		`kernel=1 initrd=0 line=1 dma=false gce= version=""`,
	"go-eventlog-cos-113-separator-twice-unpadded": "" +
		`sb=off pk=1 kek=1 db=1 dbx=4 auth=0 app=2 early=0 drv=0 late=0 sep=01 exit=left ` +
		`kernel=1 initrd=0 line=1 dma=false gce= version=""`,
	"go-eventlog-event-log": "" +
		`sb=off pk=0 kek=0 db=0 dbx=0 auth=0 app=3 early=3 drv=0 late=0 sep=03 exit=left ` +
		`kernel=0 initrd=0 line=0 dma=false gce= version=""`,
	"go-eventlog-intel-sample": "" +
		`sb=off pk=0 kek=0 db=0 dbx=0 auth=0 app=1 early=1 drv=0 late=0 sep=01 exit=left ` +
		`kernel=0 initrd=0 line=1 dma=false gce= version=""`,
	"go-tdx-guest-cos-113": "" +
		`sb=off pk=1 kek=1 db=1 dbx=4 auth=0 app=2 early=0 drv=0 late=0 sep=03 exit=left ` +
		`kernel=1 initrd=0 line=1 dma=false gce= version=""`,
	"go-tpm-tools-arch-linux-workstation": "" +
		`sb=off pk=1 kek=2 db=12 dbx=77 auth=0 app=2 early=2 drv=1 late=4 sep=ff exit=- ` +
		`kernel=0 initrd=0 line=1 dma=false gce= version=""`,
	"go-tpm-tools-confidential-gke-debug-251000": "" +
		`sb=on pk=1 kek=1 db=1 dbx=4 auth=2 app=3 early=0 drv=0 late=0 sep=ff exit=left ` +
		`kernel=1 initrd=0 line=1 dma=false gce=none version="GCE Virtual Firmware v2"`,
	"go-tpm-tools-cos-101-amd-sev": "" +
		`sb=on pk=1 kek=1 db=1 dbx=4 auth=2 app=4 early=0 drv=0 late=0 sep=ff exit=left ` +
		`kernel=1 initrd=0 line=1 dma=false gce=sev version="GCE Virtual Firmware v1"`,
	"go-tpm-tools-cos-85-amd-sev": "" +
		`sb=on pk=1 kek=1 db=1 dbx=4 auth=3 app=3 early=0 drv=0 late=0 sep=ff exit=left ` +
		`kernel=1 initrd=0 line=1 dma=false gce=sev version="GCE Virtual Firmware v1"`,
	"go-tpm-tools-cos-93-amd-sev": "" +
		`sb=on pk=1 kek=1 db=1 dbx=4 auth=3 app=3 early=0 drv=0 late=0 sep=ff exit=left ` +
		`kernel=1 initrd=0 line=1 dma=false gce=sev version="GCE Virtual Firmware v1"`,
	"go-tpm-tools-eventlogwithsp800155": "" +
		`sb=on pk=1 kek=1 db=1 dbx=4 auth=2 app=3 early=0 drv=0 late=0 sep=ff exit=left ` +
		`kernel=1 initrd=0 line=1 dma=false gce=none version="GCE Virtual Firmware v2"`,
	"go-tpm-tools-gdc-host": "" +
		`sb=off pk=1 kek=1 db=5 dbx=460 auth=0 app=3 early=1 drv=35 late=1 sep=ff ` +
		`exit=left kernel=1 initrd=2 line=1 dma=true gce= version=""`,
	"go-tpm-tools-glinux-alex": "" +
		`sb=off pk=1 kek=1 db=4 dbx=77 auth=0 app=1 early=1 drv=1 late=8 sep=ff exit=- ` +
		`kernel=0 initrd=0 line=0 dma=false gce= version=""`,
	"go-tpm-tools-rhel8-uefi": "" +
		`sb=on pk=1 kek=1 db=2 dbx=186 auth=2 app=3 early=0 drv=0 late=0 sep=ff ` +
		`exit=left kernel=1 initrd=1 line=1 dma=false gce=none version="GCE Virtual ` +
		`Firmware v1"`,
	"go-tpm-tools-ubuntu-1804-amd-sev": "" +
		`sb=off pk=1 kek=1 db=2 dbx=77 auth=0 app=2 early=0 drv=0 late=0 sep=ff ` +
		`exit=left kernel=1 initrd=1 line=1 dma=false gce=sev version="GCE Virtual ` +
		`Firmware v1"`,
	"go-tpm-tools-ubuntu-2104-no-dbx": "" +
		`sb=off pk=1 kek=1 db=2 dbx=0 auth=0 app=2 early=0 drv=0 late=0 sep=ff exit=left ` +
		`kernel=1 initrd=0 line=1 dma=false gce=none version="GCE Virtual Firmware v1"`,
	"go-tpm-tools-ubuntu-2104-no-secure-boot": "" +
		`sb=off pk=1 kek=1 db=2 dbx=186 auth=0 app=2 early=0 drv=0 late=0 sep=ff ` +
		`exit=left kernel=1 initrd=0 line=1 dma=false gce=none version="GCE Virtual ` +
		`Firmware v1"`,
	"go-tpm-tools-ubuntu-2404-amd-sevsnp": "" +
		`sb=off pk=1 kek=1 db=2 dbx=371 auth=0 app=2 early=0 drv=0 late=0 sep=ff ` +
		`exit=left kernel=1 initrd=0 line=1 dma=false gce=sev-snp version="GCE Virtual ` +
		`Firmware v2"`,
	"keylime-bios": "" +
		`sb=off pk=1 kek=2 db=4 dbx=460 auth=0 app=3 early=1 drv=3 late=2 sep=ff exit=- ` +
		`kernel=1 initrd=1 line=1 dma=false gce= version="N40ET41W"`,
	"keylime-bios-secureboot": "" +
		`sb=on pk=1 kek=3 db=4 dbx=371 auth=2 app=3 early=0 drv=1 late=0 sep=ff ` +
		`exit=left kernel=1 initrd=1 line=1 dma=false gce= version="edk2-20240524-7.el9"`,
	"openpcc-gce": "" +
		`sb=? pk=0 kek=0 db=0 dbx=0 auth=0 app=2 early=0 drv=2 late=2 sep=3f exit=left ` +
		`kernel=0 initrd=0 line=1 dma=false gce=tdx version="GCE Virtual Firmware v2"`,
	"rust-keylime-uefi": "" +
		`sb=off pk=1 kek=3 db=4 dbx=482 auth=0 app=2 early=0 drv=8 late=3 sep=ff ` +
		`exit=left kernel=1 initrd=1 line=1 dma=false gce= version="N3VET59W"`,
}

// TestPublishedLogs replays every published log against the registers that were published with it.
func TestPublishedLogs(t *testing.T) {
	t.Parallel()
	corpus, err := testvectors.Load(testvectors.FromEnvironment())
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, log := range corpus.Logs {
		if log.Kind != "boot" && log.Kind != "ccel" || log.Expect == "refused" {
			continue
		}
		seen++
		name := strings.TrimPrefix(log.Name, "logs/")
		t.Run(name, func(t *testing.T) {
			boot, fault := replayPublished(t, log)
			got := ""
			if fault != nil {
				got = fmt.Sprintf("%s %s", fault.Class, fault)
			} else {
				got = summary(boot)
			}
			if want := publishedFacts[name]; got != want {
				t.Errorf("\n got %s\nwant %s", got, want)
			}
			if fault == nil {
				wantCovered(t, boot)
			}
		})
	}
	t.Logf("%s; %d boot logs replayed", corpus.Report(), seen)
	if len(corpus.Missing) == 0 && seen != len(publishedFacts) {
		t.Errorf("%d logs, %d with facts", seen, len(publishedFacts))
	}
}

func replayPublished(t *testing.T, log testvectors.Log) (eventlog.Boot, *eventlog.Fault) {
	t.Helper()
	if log.Kind == "ccel" {
		var quoted eventlog.RTMRs
		for index := range quoted {
			quoted[index] = log.Registers["RTMR"+strconv.Itoa(index)]
		}
		if len(log.Registers) == 0 {
			quoted = rtmrs(t, log.Data)
		}
		return eventlog.ReplayCCEL(log.Data, quoted)
	}
	bank := map[string]eventlog.Bank{
		"": eventlog.SHA256, "sha256": eventlog.SHA256, "sha384": eventlog.SHA384,
	}[log.Bank]
	quoted, fault := eventlog.Replay(log.Data, bank)
	if fault != nil {
		t.Fatal(fault)
	}
	for pcr := range quoted.Values {
		if len(log.Registers) > 0 {
			quoted.Values[pcr] = log.Registers["PCR"+strconv.Itoa(pcr)]
		}
	}
	return eventlog.ReplayBoot(log.Data, quoted)
}

// wantCovered wants every word of an event to come from data that its digest covers.
func wantCovered(t *testing.T, boot eventlog.Boot) {
	t.Helper()
	for event := range boot.Events() {
		if event.Role == attestd.RoleApplication && event.What != "" {
			t.Errorf("words about an image, which no digest covers: %+v", event)
		}
		if event.Role == attestd.RoleCommand && event.Text == "" {
			t.Errorf("a command without text: %+v", event)
		}
		if event.Text != "" && (event.Role == attestd.RoleCommandLine || event.Role == attestd.RoleCommand) {
			text := []byte(event.Text)
			wide := utf16(event.Text)
			if !covers(boot.Bank, event.Digest, text, append(text, 0), wide, append(wide, 0, 0)) {
				t.Errorf("a text that the digest does not cover: %+v", event)
			}
		}
	}
}

func covers(bank eventlog.Bank, digest []byte, texts ...[]byte) bool {
	for _, text := range texts {
		if string(bank.Sum(nil, text)) == string(digest) {
			return true
		}
	}
	return false
}

func utf16(ascii string) []byte {
	var out []byte
	for index := range len(ascii) {
		out = append(out, ascii[index], 0)
	}
	return out
}

// rtmrs is a replay of its own, by what Walk shows.
func rtmrs(t testing.TB, log []byte) eventlog.RTMRs {
	t.Helper()
	var out eventlog.RTMRs
	for index := range out {
		out[index] = make([]byte, eventlog.SHA384.Size())
	}
	fault := eventlog.WalkCCEL(log, func(e eventlog.Entry) bool {
		if e.Type != "EV_NO_ACTION" {
			index, err := strconv.Atoi(strings.TrimPrefix(e.Register, "RTMR"))
			if err != nil {
				t.Fatal(err)
			}
			for _, one := range e.Digests {
				if one.Algorithm == "SHA384" {
					out[index] = eventlog.SHA384.Sum(nil, append(out[index], one.Value...))
				}
			}
		}
		return true
	})
	if fault != nil {
		t.Fatal(fault)
	}
	return out
}
