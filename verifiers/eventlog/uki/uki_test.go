package uki_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/eventlog/uki"
)

var someDay = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// parts are the sections of the unified kernel image that the tests predict.
func parts() []forge.PESection {
	return []forge.PESection{
		{Name: ".pcrsig", Data: []byte("{}")}, {Name: ".pcrpkey", Data: []byte("a key")},
		{Name: ".osrel", Data: []byte("ID=test\nVERSION_ID=1\n")},
		{Name: ".cmdline", Data: []byte("root=/dev/vda ro")},
		{Name: ".splash", Data: []byte("a picture")}, {Name: ".dtb", Data: []byte("a device tree")},
		{Name: ".initrd", Data: []byte("an initrd")}, {Name: ".linux", Data: forge.Kernel("a kernel")},
	}
}

func parse(t testing.TB, name string, data []byte) uki.Named {
	t.Helper()
	image, err := uki.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return uki.Named{Name: name, Image: image}
}

func predict(t testing.TB, boot uki.Boot) map[int]uki.PCR {
	t.Helper()
	if boot.Bank == "" {
		boot.Bank = "sha256"
	}
	list, err := uki.Predict(boot)
	if err != nil {
		t.Fatal(err)
	}
	out := map[int]uki.PCR{}
	for _, pcr := range list {
		if (pcr.Value == nil) != (pcr.Why != "") {
			t.Fatalf("PCR %d has value %x and reason %q", pcr.Index, pcr.Value, pcr.Why)
		}
		out[pcr.Index] = pcr
	}
	return out
}

// The values are what systemd's own tool calculates of the same files: systemd-measure of Debian 12
// (systemd 252.38-1~deb12u1), run as
//
//	systemd-measure calculate --bank=sha256 --phase=: --phase=enter-initrd \
//	  --phase=enter-initrd:leave-initrd:sysinit:ready --linux=linux --osrel=osrel \
//	  --cmdline=cmdline --initrd=initrd --splash=splash --dtb=dtb --pcrpkey=pcrpkey
//
// and with --bank=sha384. An image that objcopy (binutils 2.40) made from the stub of package
// systemd-boot-efi 252.39-1~deb12u2 and four of the files came out equal as well.
func TestPCR11IsWhatSystemdMeasureCalculates(t *testing.T) {
	boot := uki.Boot{Image: parse(t, "uki.efi", forge.UKI(252, parts()...))}
	for _, row := range []struct{ bank, phases, want string }{
		{"sha256", "", "4e87ecfa2f8c6df46459415d7a21e1d3a860a0bd997d02a19ea5a617231f1422"},
		{"sha256", "enter-initrd", "343f609866fa44777b3238f41ed91a4472789b1e38c75f74c5da080a8e1e3dd3"},
		{"sha256", "enter-initrd:leave-initrd:sysinit:ready",
			"c1eb6d4ee5bca5a9a3831216c54865df4b71eb4c9ff34e96c33bae5b212c5803"},
		{"sha384", "", "f407f33a69f2ef474be62e467140f4beda97a3bddc4c07605514e1ece146561a" +
			"75dbff70e1caa851355fb1b56586c03e"},
		{"sha384", "enter-initrd:leave-initrd:sysinit:ready",
			"61ffa80e12a73dec854bcd8e69e79ee93f0b8bc29d72e0c5a1acd14e62ce2897" +
				"ebbc9ead06a1aae9cf5d89c9dd519e75"},
	} {
		boot.Bank, boot.Phases = row.bank, nil
		if row.phases != "" {
			boot.Phases = strings.Split(row.phases, ":")
		}
		if got := hex.EncodeToString(predict(t, boot)[11].Value); got != row.want {
			t.Errorf("%s %q: got %s, want %s", row.bank, row.phases, got, row.want)
		}
	}
}

// The digest is the one that sbsign (sbsigntool 0.9.4-3.1 of Debian 12) put into its signature:
// sbsign --key k.pem --cert c.pem --output signed.efi uki.efi.
func TestAuthenticodeIsWhatSbsignSigns(t *testing.T) {
	const want = "1bab5bd2be5b607d559dc0f415bbf1b7f1f6f7e67349635c50dc5be7cfd58774"
	image := forge.UKI(252, forge.PESection{Name: ".linux", Data: forge.Kernel("a kernel")})
	signer, err := forge.NewImageSigner("db", someDay)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(image)
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range [][]byte{image, signed} {
		if got := parse(t, "", data).Image.Authenticode(sha256.New()); hex.EncodeToString(got) != want {
			t.Errorf("got %x, want %s", got, want)
		}
	}
	if got := parse(t, "", image).Image.Authenticode(sha512.New384()); len(got) != 48 {
		t.Errorf("got %d bytes", len(got))
	}
}

func TestAuthenticodeCoversAllButChecksumAndCertificates(t *testing.T) {
	signer, err := forge.NewImageSigner("db", someDay)
	if err != nil {
		t.Fatal(err)
	}
	data, err := signer.Sign(append(forge.UKI(252, parts()...),
		"behind all sections"+strings.Repeat(" ", 13)...))
	if err != nil {
		t.Fatal(err)
	}
	whole := parse(t, "", data).Image.Authenticode(sha256.New())
	table := bytes.LastIndex(data, []byte("behind all sections")) + 32
	for offset := range data {
		data[offset] ^= 0x10
		image, err := uki.Parse(bytes.Clone(data))
		data[offset] ^= 0x10
		if err != nil {
			continue
		}
		free := offset >= 0x80+24+64 && offset < 0x80+24+68 || offset >= table
		if same := bytes.Equal(image.Authenticode(sha256.New()), whole); same != free {
			t.Fatalf("byte 0x%x: covered %v, want %v", offset, !same, !free)
		}
	}
}

func TestSectionsAreMeasuredAsTheyAreInMemory(t *testing.T) {
	grown := forge.PESection{Name: ".linux", Data: []byte("kernel"), Virtual: 1000}
	zeros := forge.PESection{Name: ".linux", Data: append([]byte("kernel"), make([]byte, 994)...)}
	cut := forge.PESection{Name: ".linux", Data: []byte("kernel and more"), Virtual: 6}
	short := forge.PESection{Name: ".linux", Data: []byte("kernel")}
	value := func(section forge.PESection) string {
		return fmt.Sprintf("%x", predict(t, uki.Boot{
			Image: parse(t, "", forge.UKI(252, section)),
		})[11].Value)
	}
	if value(grown) != value(zeros) || value(cut) != value(short) || value(grown) == value(short) {
		t.Error("a section's size in memory does not count")
	}
}

func TestPCR4IsTheChainOfImages(t *testing.T) {
	image := parse(t, "uki.efi", forge.UKI(258, parts()...))
	loader := parse(t, "loader.efi", forge.PE(0, forge.PESection{Name: ".text",
		Data: []byte("loader")}))
	pcr := predict(t, uki.Boot{Image: image, Before: []uki.Named{loader}})[4]
	digests := [][]byte{
		// Both are in every log of a firmware that boots by its boot options.
		unhex(t, "3d6772b4f84ed47595d72a2c4c5ffd15f5bb72c7507fe26f2aaee2c69d5633ba"),
		unhex(t, "df3f619804a92fdb4057192dc43dd748ea778adc52bc498ce80524c014b81119"),
		loader.Image.Authenticode(sha256.New()), image.Image.Authenticode(sha256.New()),
	}
	demandEvents(t, pcr, digests)
	inner, err := uki.Parse(forge.Kernel("a kernel"))
	if err != nil {
		t.Fatal(err)
	}
	pcr = predict(t, uki.Boot{
		Image: image, Before: []uki.Named{loader}, InnerKernel: uki.InnerMeasured,
	})[4]
	demandEvents(t, pcr, append(digests, inner.Authenticode(sha256.New())))
}

func demandEvents(t *testing.T, pcr uki.PCR, digests [][]byte) {
	t.Helper()
	value := make([]byte, 32)
	for i, digest := range digests {
		if i >= len(pcr.Events) || !bytes.Equal(pcr.Events[i].Digest, digest) {
			t.Fatalf("PCR %d, event %d: want %x in %+v", pcr.Index, i, digest, pcr)
		}
		sum := sha256.Sum256(append(value, digest...))
		value = sum[:]
	}
	if len(pcr.Events) != len(digests) || !bytes.Equal(pcr.Value, value) {
		t.Fatalf("PCR %d: got %x of %d events, want %x of %d", pcr.Index, pcr.Value, len(pcr.Events),
			value, len(digests))
	}
}

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	data, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestWhetherTheInnerKernelIsMeasured(t *testing.T) {
	off, on := &uki.Variables{}, &uki.Variables{On: true}
	shim := parse(t, "shim.efi", forge.PE(0, forge.PESection{
		Name: ".sbat", Data: []byte("sbat,1,SBAT Version\nshim,4,UEFI shim,shim,1,https://example.org\n"),
	}))
	old := []forge.PESection{{Name: ".linux", Data: forge.PE(0, forge.PESection{
		Name: ".text", Data: []byte("Linux 5.7"),
	})}}
	none := []forge.PESection{{Name: ".linux", Data: []byte("vmlinux")}}
	for _, row := range []struct {
		name    string
		version int
		do      func(b *uki.Boot)
		parts   []forge.PESection
		events  int // of PCR 4; 0 where it is not predicted
		why     string
	}{
		{name: "stub 257 without Secure Boot", version: 257, events: 4,
			do: func(b *uki.Boot) { b.Variables = off }},
		{name: "stub 257 under Secure Boot", version: 257, why: "depends on the firmware",
			do: func(b *uki.Boot) { b.Variables = on }},
		{name: "stub 257, Secure Boot unknown", version: 257, why: "depends on Secure Boot"},
		{name: "stub 257, as the operator says", version: 257, events: 3,
			do: func(b *uki.Boot) { b.InnerKernel = uki.InnerUnmeasured }},
		{name: "stub 252 with an old kernel", version: 252, why: "older than Linux 5.8", parts: old,
			do: func(b *uki.Boot) { b.Variables = off }},
		{name: "stub 252 with what is no image", version: 252, why: "no PE image", parts: none,
			do: func(b *uki.Boot) { b.Variables = off }},
		{name: "what is no image, and measured all the same", version: 252, why: "no PE image",
			parts: none, do: func(b *uki.Boot) { b.InnerKernel = uki.InnerMeasured }},
		{name: "stub 252 without a kernel", version: 252, why: "no section .linux",
			parts: []forge.PESection{{Name: ".osrel", Data: []byte("ID=x")}},
			do:    func(b *uki.Boot) { b.Variables = off }},
		{name: "stub 258", version: 258, events: 3},
		{name: "stub 258 behind shim", version: 258, why: "depends on shim's version",
			do: func(b *uki.Boot) { b.Before = []uki.Named{shim} }},
		{name: "stub 251", version: 251, why: "version 251"},
		{name: "stub 261", version: 261, why: "version 261"},
	} {
		t.Run(row.name, func(t *testing.T) {
			sections := row.parts
			if sections == nil {
				sections = parts()
			}
			boot := uki.Boot{Image: parse(t, "uki.efi", forge.UKI(row.version, sections...))}
			if row.do != nil {
				row.do(&boot)
			}
			pcr := predict(t, boot)[4]
			switch {
			case row.why == "" && (pcr.Value == nil || len(pcr.Events) != row.events):
				t.Errorf("got %d events, want %d: %s", len(pcr.Events), row.events, pcr.Why)
			case row.why != "" && !strings.Contains(pcr.Why, row.why):
				t.Errorf("got %q, want %q", pcr.Why, row.why)
			}
		})
	}
}

func TestSectionsDependOnTheStubsVersion(t *testing.T) {
	base := forge.PESection{Name: ".linux", Data: []byte("kernel")}
	for _, row := range []struct {
		section string
		version int
		counted bool
		why     string
	}{
		{".uname", 253, false, ""}, {".uname", 254, true, ""},
		{".sbat", 253, false, ""}, {".sbat", 254, false, "section .sbat is not known"}, {".sbat", 255,
			true, ""},
		{".ucode", 255, false, ""}, {".ucode", 256, true, ""},
		{".hwids", 256, false, ""}, {".hwids", 257, true, ""},
		{".profile", 256, false, ""}, {".profile", 257, true, ""},
		{".pcrsig", 260, false, ""}, {".other", 260, false, ""},
		{".dtbauto", 260, false, "by the machine's hardware"}, {".efifw", 260, false,
			"by the machine's hardware"},
	} {
		t.Run(fmt.Sprint(row.section, " ", row.version), func(t *testing.T) {
			image := forge.UKI(row.version, base, forge.PESection{Name: row.section, Data: []byte("x")})
			pcr := predict(t, uki.Boot{Image: parse(t, "", image)})[11]
			want := 2
			if row.counted {
				want = 4
			}
			if row.why == "" && len(pcr.Events) != want || !strings.Contains(pcr.Why, row.why) {
				t.Errorf("got %d events, %q", len(pcr.Events), pcr.Why)
			}
		})
	}
}

func TestTheFirstProfileIsPredicted(t *testing.T) {
	section := func(name, text string) forge.PESection {
		return forge.PESection{Name: name, Data: []byte(text)}
	}
	got := predict(t, uki.Boot{Image: parse(t, "", forge.UKI(257, section(".linux", "kernel"),
		section(".cmdline", "base"), section(".splash", "base"),
		section(".profile", "ID=main"), section(".cmdline", "main"), section(".splash", ""),
		section(".profile", "ID=debug"), section(".cmdline", "debug"),
		section(".splash", "of the second profile alone")))})[11]
	want := predict(t, uki.Boot{Image: parse(t, "", forge.UKI(257, section(".linux", "kernel"),
		section(".cmdline", "main"), section(".profile", "ID=main")))})[11]
	if want.Value == nil || !bytes.Equal(got.Value, want.Value) {
		t.Errorf("got %x, want %x", got.Value, want.Value)
	}
	if !strings.Contains(strings.Join(got.Assumes, " "), "first profile") {
		t.Errorf("assumes %q", got.Assumes)
	}
}

func TestPCR12IsWhatIsAddedFromOutside(t *testing.T) {
	bare := parts()[7:]
	for _, row := range []struct {
		name  string
		parts []forge.PESection
		do    func(b *uki.Boot)
		want  []byte // what is measured; nil for nothing
		why   string
	}{
		{name: "nothing", parts: parts()},
		{name: "a command line", parts: bare, do: func(b *uki.Boot) { b.CommandLine = "a" },
			want: []byte{'a', 0, 0, 0}},
		{name: "a command line beside one of the image", parts: parts(),
			do: func(b *uki.Boot) { b.CommandLine = "a" }, why: "Give --secure-boot-dir"},
		{name: "a command line beside one of the image, without Secure Boot", parts: parts(),
			do: func(b *uki.Boot) {
				b.CommandLine, b.Variables = "a", &uki.Variables{}
			}, want: []byte{'a', 0, 0, 0}},
		{name: "a command line that Secure Boot drops", parts: parts(),
			do: func(b *uki.Boot) {
				b.CommandLine, b.Variables = "a", &uki.Variables{On: true}
			}},
		{name: "a boot loader before", parts: parts(),
			do: func(b *uki.Boot) { b.Before = []uki.Named{b.Image} }, why: "boot loader"},
	} {
		t.Run(row.name, func(t *testing.T) {
			boot := uki.Boot{Image: parse(t, "uki.efi", forge.UKI(258, row.parts...))}
			if row.do != nil {
				row.do(&boot)
			}
			pcr := predict(t, boot)[12]
			if row.why != "" {
				if !strings.Contains(pcr.Why, row.why) {
					t.Errorf("got %q", pcr.Why)
				}
				return
			}
			var digests [][]byte
			if row.want != nil {
				digest := sha256.Sum256(row.want)
				digests = append(digests, digest[:])
			}
			demandEvents(t, pcr, digests)
		})
	}
}

func TestPredictRefuses(t *testing.T) {
	image := parse(t, "uki.efi", forge.UKI(258, parts()...))
	for _, row := range []struct {
		name string
		do   func(b *uki.Boot)
		want string
	}{
		{"the SHA-1 bank", func(b *uki.Boot) { b.Bank = "sha1" }, "sha1"},
		{"an empty phase", func(b *uki.Boot) { b.Phases = []string{""} }, "phase"},
		{"a phase with a colon", func(b *uki.Boot) { b.Phases = []string{"a:b"} }, "phase"},
		{"a command line with a newline", func(b *uki.Boot) { b.CommandLine = "a\nb" }, "command line"},
		{"a command line with a space before it", func(b *uki.Boot) { b.CommandLine = " a" },
			"command line"},
		{"a command line that chooses a profile", func(b *uki.Boot) { b.CommandLine = "@1 a" },
			"command line"},
		{"a command line that is no text", func(b *uki.Boot) { b.CommandLine = "\xff" }, "command line"},
	} {
		t.Run(row.name, func(t *testing.T) {
			boot := uki.Boot{Bank: "sha256", Image: image}
			row.do(&boot)
			list, err := uki.Predict(boot)
			if err == nil || list != nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, %v", list, err)
			}
		})
	}
}

func TestRolesAreThoseOfEvents(t *testing.T) {
	roles := map[attestd.Role]int{}
	for _, event := range predict(t, uki.Boot{Image: parse(t, "", forge.UKI(258,
		parts()...))})[11].Events {
		roles[event.Role]++
	}
	if roles[attestd.RoleKernel] != 1 || roles[attestd.RoleInitrd] != 1 ||
		roles[attestd.RoleCommandLine] != 1 || roles[attestd.RoleUKI] != 4 {
		t.Errorf("got %v", roles)
	}
}

func TestOtherStubsAreNotPredicted(t *testing.T) {
	section := func(name, text string) forge.PESection {
		return forge.PESection{Name: name, Data: []byte(text)}
	}
	linux := section(".linux", "kernel")
	for name, image := range map[string][]byte{
		"no .sdmagic":      forge.PE(0, linux),
		"another .sdmagic": forge.PE(0, section(".sdmagic", "#### some other stub ####"), linux),
		"a boot loader": forge.PE(0, section(".sdmagic",
			"#### LoaderInfo: systemd-boot 258 ####"), linux),
		"a version too early": forge.UKI(251, linux), "a version too late": forge.UKI(261, linux),
	} {
		for index, pcr := range predict(t, uki.Boot{Image: parse(t, "", image)}) {
			if pcr.Value != nil {
				t.Errorf("%s: PCR %d is predicted", name, index)
			}
		}
	}
	pcr := predict(t, uki.Boot{Image: parse(t, "", forge.UKI(258, section(".osrel", "ID=x")))})[11]
	if !strings.Contains(pcr.Why, "no unified kernel image") {
		t.Errorf("without a kernel: got %q", pcr.Why)
	}
}

func TestEmptySectionsAreNotMeasured(t *testing.T) {
	value := func(sections ...forge.PESection) []byte {
		return predict(t, uki.Boot{Image: parse(t, "", forge.UKI(258, sections...))})[11].Value
	}
	linux := forge.PESection{Name: ".linux", Data: []byte("kernel")}
	line := forge.PESection{Name: ".cmdline", Data: []byte("ro")}
	empty := forge.PESection{Name: ".cmdline"}
	if !bytes.Equal(value(linux, empty), value(linux)) || bytes.Equal(value(linux, line),
		value(linux)) {
		t.Error("an empty section counts")
	}
}

func TestSectionsThatReadAsTwo(t *testing.T) {
	linux := forge.PESection{Name: ".linux", Data: []byte("kernel")}
	section := func(name string) forge.PESection {
		return forge.PESection{Name: name,
			Data: []byte(name)}
	}
	for _, row := range []struct {
		version int
		names   []string
		known   bool
	}{
		{258, []string{".cmdline", ".cmdline"}, false},
		{252, []string{".cmdline", ".cmdline"}, false},
		{252, []string{".dtb", ".dtb2"}, false},
		{256, []string{".dtb2"}, false},
		{257, []string{".dtb", ".dtb2"}, true},
		{258, []string{".cmdline", ".profile", ".cmdline", ".profile", ".cmdline", ".cmdline"}, true},
		{258, []string{".profile", ".cmdline", ".cmdline"}, false},
	} {
		sections := []forge.PESection{linux}
		for _, name := range row.names {
			sections = append(sections, section(name))
		}
		pcr := predict(t, uki.Boot{Image: parse(t, "", forge.UKI(row.version, sections...))})[11]
		if known := pcr.Value != nil; known != row.known || !known && !strings.Contains(pcr.Why,
			"More than one") {
			t.Errorf("stub %d, %q: got %q", row.version, row.names, pcr.Why)
		}
	}
}

func TestAssumptionsSayWhenTheQuoteIsMade(t *testing.T) {
	boot := uki.Boot{Image: parse(t, "", forge.UKI(258, parts()...))}
	if got := predict(t, boot)[11].Assumes; len(got) != 1 || !strings.Contains(got[0], "--phase") {
		t.Errorf("got %q", got)
	}
	boot.Phases = []string{"enter-initrd"}
	if got := predict(t, boot)[11].Assumes; len(got) != 1 || !strings.Contains(got[0], "last phase") {
		t.Errorf("got %q", got)
	}
}
