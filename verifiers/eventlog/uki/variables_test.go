package uki_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/eventlog/uki"
)

// signed returns the image of the tests, signed, and the variables of a machine that starts it.
func signed(t *testing.T) (uki.Named, *uki.Variables, *forge.ImageSigner) {
	t.Helper()
	signer, err := forge.NewImageSigner("db", someDay)
	if err != nil {
		t.Fatal(err)
	}
	image, err := signer.Sign(forge.UKI(258, parts()...))
	if err != nil {
		t.Fatal(err)
	}
	list := forge.SignatureList(signer.Certificate())
	return parse(t, "uki.efi", image), &uki.Variables{On: true, PK: list, KEK: list, DB: list}, signer
}

func TestPCR7IsVariablesAndAuthorities(t *testing.T) {
	image, variables, _ := signed(t)
	if err := variables.Check(); err != nil {
		t.Fatal(err)
	}
	pcr := predict(t, uki.Boot{Image: image, Variables: variables})[7]
	entry := variables.DB[28:]
	authority := binary.LittleEndian.AppendUint64(unhex(t, "cbb219d73a3d9645a3bcdad00e67656f"), 2)
	authority = binary.LittleEndian.AppendUint64(authority, uint64(len(entry)))
	authority = append(append(authority, 'd', 0, 'b', 0), entry...)
	sum := sha256.Sum256(authority)
	if len(pcr.Events) != 7 || !bytes.Equal(pcr.Events[6].Digest, sum[:]) {
		t.Fatalf("got %+v", pcr)
	}
	var digests [][]byte
	for _, event := range pcr.Events {
		digests = append(digests, event.Digest)
	}
	demandEvents(t, pcr, digests)
	// These digests are in the logs of all machines in that state.
	const on = "ccfc4bb32888a345bc8aeadaba552b627d99348c767681ab3141f5b01e40a40e"
	const off = "115aa827dbccfb44d216ad9ecfda56bdea620b860a94bed5b7a27bba1c4d02d8"
	const separator = "df3f619804a92fdb4057192dc43dd748ea778adc52bc498ce80524c014b81119"
	if got := hex.EncodeToString(pcr.Events[0].Digest); got != on {
		t.Errorf("SecureBoot on: got %s", got)
	}
	if got := hex.EncodeToString(pcr.Events[5].Digest); got != separator {
		t.Errorf("separator: got %s", got)
	}
	variables.On = false
	pcr = predict(t, uki.Boot{Image: image, Variables: variables})[7]
	if got := hex.EncodeToString(pcr.Events[0].Digest); got != off || len(pcr.Events) != 6 {
		t.Errorf("SecureBoot off: got %s, %d events", got, len(pcr.Events))
	}
}

func TestEachAuthorityIsMeasuredOnce(t *testing.T) {
	image, variables, signer := signed(t)
	loader, err := signer.Sign(forge.PE(0, forge.PESection{Name: ".text", Data: []byte("loader")}))
	if err != nil {
		t.Fatal(err)
	}
	boot := uki.Boot{Image: image, Before: []uki.Named{parse(t, "", loader)}, Variables: variables}
	if pcr := predict(t, boot)[7]; len(pcr.Events) != 7 {
		t.Errorf("got %d events: %s", len(pcr.Events), pcr.Why)
	}
	// An image whose hash is in db needs no signature, and has an authority of its own.
	bare := forge.PE(0, forge.PESection{Name: ".text", Data: []byte("bare")})
	named := parse(t, "", bare)
	variables.DB = append(variables.DB,
		forge.SignatureList(named.Image.Authenticode(sha256.New()))...)
	boot.Before = []uki.Named{named}
	if pcr := predict(t, boot)[7]; len(pcr.Events) != 8 {
		t.Errorf("got %d events: %s", len(pcr.Events), pcr.Why)
	}
}

func TestPCR7IsNotGuessed(t *testing.T) {
	shim := forge.PE(0, forge.PESection{Name: ".sbat", Data: []byte("sbat,1\nshim,4,UEFI shim\n")})
	other, err := forge.NewImageSigner("other", someDay)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name string
		do   func(t *testing.T, b *uki.Boot)
		want string
	}{
		{"without variables", func(_ *testing.T, b *uki.Boot) { b.Variables = nil }, "--secure-boot-dir"},
		{"with shim", func(t *testing.T, b *uki.Boot) {
			b.Before = []uki.Named{parse(t, "shim.efi", shim)}
		}, "is shim"},
		{"with another signer", func(_ *testing.T, b *uki.Boot) {
			b.Variables.DB = forge.SignatureList(other.Certificate())
		}, "No entry of db"},
		{"with an image that nobody signed", func(t *testing.T, b *uki.Boot) {
			b.Image = parse(t, "uki.efi", forge.UKI(258, parts()...))
		}, "No entry of db"},
		{"with a signature of another image", func(t *testing.T, b *uki.Boot) {
			image, signer := forge.UKI(258, parts()...), other
			b.Variables.DB = forge.SignatureList(signer.Certificate())
			data, err := signer.Sign(image)
			if err != nil {
				t.Fatal(err)
			}
			data[len(image)-1] ^= 1
			b.Image = parse(t, "uki.efi", data)
		}, "No entry of db"},
		{"with two entries that vouch", func(_ *testing.T, b *uki.Boot) {
			digest := b.Image.Image.Authenticode(sha256.New())
			b.Variables.DB = append(bytes.Clone(b.Variables.DB), forge.SignatureList(digest)...)
		}, "More than one entry"},
		{"with a db that is none", func(_ *testing.T, b *uki.Boot) {
			b.Variables.DB = []byte("no list")
		}, "db cannot be read"},
	} {
		t.Run(row.name, func(t *testing.T) {
			image, variables, _ := signed(t)
			boot := uki.Boot{Image: image, Variables: variables}
			row.do(t, &boot)
			if pcr := predict(t, boot)[7]; !strings.Contains(pcr.Why, row.want) {
				t.Errorf("got %q, want %q", pcr.Why, row.want)
			}
		})
	}
}

func TestAuthorityIsTheSignerOrItsIssuer(t *testing.T) {
	_, variables, issuer := signed(t)
	signer, err := issuer.Issue("signer", someDay)
	if err != nil {
		t.Fatal(err)
	}
	data, err := signer.Sign(forge.UKI(258, parts()...))
	if err != nil {
		t.Fatal(err)
	}
	for _, certificate := range [][]byte{signer.Certificate(), issuer.Certificate()} {
		variables.DB = forge.SignatureList(certificate)
		pcr := predict(t, uki.Boot{Image: parse(t, "", data), Variables: variables})[7]
		if len(pcr.Events) != 7 {
			t.Errorf("got %d events: %s", len(pcr.Events), pcr.Why)
		}
	}
}

func TestCertificateTablesThatCannotBeRead(t *testing.T) {
	_, variables, signer := signed(t)
	plain := forge.UKI(258, parts()...)
	data, err := signer.Sign(plain)
	if err != nil {
		t.Fatal(err)
	}
	short := append(bytes.Clone(plain), 8, 0, 0, 0)
	binary.LittleEndian.PutUint32(short[peCerts:], uint32(len(plain)))
	binary.LittleEndian.PutUint32(short[peCerts+4:], 4)
	pcr := predict(t, uki.Boot{Image: parse(t, "", short), Variables: variables})[7]
	if !strings.Contains(pcr.Why, "cut off") {
		t.Errorf("got %q", pcr.Why)
	}
	for _, row := range []struct {
		name string
		do   func(table []byte)
		want string
	}{
		{"an entry beyond the table", func(b []byte) { b[3] = 1 }, "beyond its end"},
		{"an entry without a head", func(b []byte) { copy(b, []byte{4, 0, 0, 0}) }, "beyond its end"},
		{"another kind of entry", func(b []byte) { b[6] = 1 }, "no PKCS #7"},
		{"what is no DER", func(b []byte) { b[8] = 0 }, "cannot be read"},
		{"PKCS #7 of another kind", func(b []byte) {
			b[bytes.Index(b, []byte{0x86, 0xf7, 0x0d, 1, 7, 2})+5] = 3
		}, "cannot be read"},
		{"another content", func(b []byte) {
			b[bytes.Index(b, []byte{0x82, 0x37, 2, 1, 4})+4] = 5
		}, "cannot be read"},
		{"another digest algorithm", func(b []byte) {
			at := bytes.Index(b, []byte{0x82, 0x37, 2, 1, 15})
			b[at+bytes.Index(b[at:], []byte{0x65, 3, 4, 2, 1})+4] = 2
		}, "cannot be read"},
	} {
		t.Run(row.name, func(t *testing.T) {
			data := bytes.Clone(data)
			row.do(data[len(plain):])
			pcr := predict(t, uki.Boot{Image: parse(t, "uki.efi", data), Variables: variables})[7]
			if !strings.Contains(pcr.Why, row.want) {
				t.Errorf("got %q, want %q", pcr.Why, row.want)
			}
		})
	}
}

func TestVariablesRefused(t *testing.T) {
	list := forge.SignatureList(make([]byte, 32))
	change := func(at int, value uint32) []byte {
		out := bytes.Clone(list)
		binary.LittleEndian.PutUint32(out[at:], value)
		return out
	}
	good := func() *uki.Variables { return &uki.Variables{On: true, PK: list, DB: list} }
	if err := good().Check(); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name string
		do   func(v *uki.Variables)
		want string
	}{
		{"a list cut off in its head", func(v *uki.Variables) { v.KEK = list[:27] }, "KEK cut off"},
		{"a list beyond the end", func(v *uki.Variables) { v.DBX = change(16, 77) },
			"dbx with a list of 77"},
		{"a list smaller than its head", func(v *uki.Variables) { v.DBX = change(16, 27) }, "list of 27"},
		{"a header beyond the list", func(v *uki.Variables) { v.DBX = change(20, 1<<31) }, "list of 76"},
		{"entries of no size", func(v *uki.Variables) { v.DBX = change(24, 0) }, "entries of 0"},
		{"entries that are an owner alone", func(v *uki.Variables) { v.DBX = change(24, 16) },
			"entries of 16"},
		{"entries that do not fill the list", func(v *uki.Variables) { v.DBX = change(24, 17) },
			"entries of 17"},
		{"a variable of 5 MiB", func(v *uki.Variables) { v.DBX = make([]byte, 5<<20) }, "dbx of 5242880"},
		{"Secure Boot without PK", func(v *uki.Variables) { v.PK = nil }, "empty PK or db"},
		{"Secure Boot without db", func(v *uki.Variables) { v.DB = nil }, "empty PK or db"},
	} {
		t.Run(row.name, func(t *testing.T) {
			v := good()
			row.do(v)
			if err := v.Check(); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
}
