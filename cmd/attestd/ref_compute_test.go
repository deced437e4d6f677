package main

import (
	"os"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/attestd/attestd/testvectors/forge"
)

// forgeUKI writes uki.efi (systemd-stub 258), old.efi (252) and loader.efi, signed by one key, and
// folders with the variables of machines that start them: sb-on as efivarfs has them, sb-off as
// lists.
func forgeUKI(ts *testscript.TestScript) {
	write := func(name string, data []byte) {
		ts.Check(os.WriteFile(ts.MkAbs(name), data, 0o600))
	}
	signer, err := forge.NewImageSigner("db", time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	ts.Check(err)
	sections := []forge.PESection{
		{Name: ".osrel", Data: []byte("ID=test\n")}, {Name: ".cmdline", Data: []byte("ro")},
		{Name: ".initrd", Data: []byte("an initrd")}, {Name: ".linux", Data: forge.Kernel("a kernel")},
	}
	for name, image := range map[string][]byte{
		"uki.efi": forge.UKI(258, sections...), "old.efi": forge.UKI(252, sections...),
		"loader.efi": forge.PE(0, forge.PESection{Name: ".text", Data: []byte("a loader")}),
	} {
		signed, err := signer.Sign(image)
		ts.Check(err)
		write(name, signed)
	}
	const global, database = "-8be4df61-93ca-11d2-aa0d-00e098032b8c",
		"-d719b2cb-3d3a-4596-a3bc-dad00e67656f"
	list, attributes := forge.SignatureList(signer.Certificate()), []byte{0x27, 0, 0, 0}
	ts.Check(os.MkdirAll(ts.MkAbs("sb-on"), 0o755))
	ts.Check(os.MkdirAll(ts.MkAbs("sb-off"), 0o755))
	write("sb-on/SecureBoot"+global, append([]byte{6, 0, 0, 0}, 1))
	for _, name := range []string{"PK" + global, "KEK" + global, "db" + database} {
		write("sb-on/"+name, append(append([]byte{}, attributes...), list...))
	}
	write("sb-on/dbx"+database, attributes) // set, and of no entries
	write("sb-off/SecureBoot", []byte{0})
	for _, name := range []string{"PK", "KEK", "db.esl", "dbx"} {
		write("sb-off/"+name, nil)
	}
}

// forgePredictions writes amdsev.fd and plain.fd, firmware that does and does not measure a kernel;
// kernel and initrd; and enclave.eif and signed.eif.
func forgePredictions(ts *testscript.TestScript) {
	write := func(name string, data []byte) {
		ts.Check(os.WriteFile(ts.MkAbs(name), data, 0o600))
	}
	write("amdsev.fd", forge.AmdSevOVMF(1<<20).Image())
	write("plain.fd", forge.PlainOVMF(64<<10).Image())
	write("kernel", []byte("a kernel"))
	write("initrd", []byte("an initrd"))
	write("enclave.eif", forge.EIF(4, 0, forge.EIFParts()...))
	signer, err := forge.NewEIFSigner("release", time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	ts.Check(err)
	signed, err := signer.SignedEIF(forge.EIFParts()...)
	ts.Check(err)
	write("signed.eif", signed)
}
