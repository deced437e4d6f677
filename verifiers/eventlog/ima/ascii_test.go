package ima_test

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors"
	"github.com/attestd/attestd/verifiers/eventlog/ima"
)

func TestASCIIIsReadAsTheKernelWritesIt(t *testing.T) {
	k := newKernel(t, crypto.SHA256).boot(10).file("/init")
	k.violation("/var/log/x")
	sig := lengthed(digestField("sha256", k.sum(crypto.SHA256, nil)), nameField("/bin/sh"),
		[]byte{3, 2})
	k.add("ima-sig", sig)
	none := lengthed(digestField("sha256", k.sum(crypto.SHA256, nil)), nameField("/bin/ls"), nil)
	k.add("ima-sig", none)
	var text bytes.Buffer
	fault := ima.Walk(k.list, func(e ima.Entry) bool {
		fmt.Fprintf(&text, "10 %x %s %s:%x %s", e.Digest, e.Template, e.Algorithm, e.FileDigest, e.Path)
		switch {
		case bytes.Equal(e.Data, sig):
			text.WriteString(" 0302")
		case bytes.Equal(e.Data, none):
			text.WriteString(" ")
		}
		text.WriteString("\n")
		return true
	})
	if fault != nil {
		t.Fatal(fault)
	}
	list, fault := ima.FromASCII(text.Bytes())
	if fault != nil {
		t.Fatal(fault)
	}
	if !bytes.Equal(list, k.list) {
		t.Errorf("got %x\nwant %x", list, k.list)
	}
}

func TestASCIIRefused(t *testing.T) {
	const digest = "1d8d532d463c9f8c205d0df7787669a85f93e260"
	for _, row := range []struct {
		name, text string
		class      attestd.Class
	}{
		{"a line without an end", "10 " + digest + " ima-ng sha1:" + digest + " /x",
			attestd.ClassMalformed},
		{"another PCR", "11 " + digest + " ima-ng sha1:" + digest + " /x\n", attestd.ClassMalformed},
		{"a digest that is no hex", "10 z ima-ng sha1:" + digest + " /x\n", attestd.ClassMalformed},
		{"a file digest that is no hex", "10 " + digest + " ima-ng sha1:z /x\n", attestd.ClassMalformed},
		{"a short digest", "10 1d ima-ng sha1:" + digest + " /x\n", attestd.ClassMalformed},
		{"no algorithm", "10 " + digest + " ima-ng " + digest + " /x\n", attestd.ClassMalformed},
		{"a word too many", "10 " + digest + " ima-ng sha1:" + digest + " /x y\n",
			attestd.ClassMalformed},
		{"two words", "10 " + digest + "\n", attestd.ClassMalformed},
		{"a signature that is no hex", "10 " + digest + " ima-sig sha1:" + digest + " /x z\n",
			attestd.ClassMalformed},
		{"another template", "10 " + digest + " ima sha1:" + digest + " /x\n", attestd.ClassUnsupported},
		{"33 MiB", string(make([]byte, 33<<20)), attestd.ClassTooLarge},
	} {
		t.Run(row.name, func(t *testing.T) {
			list, fault := ima.FromASCII([]byte(row.text))
			if list != nil {
				t.Error("a list beside a fault")
			}
			demandFault(t, fault, row.class, "")
		})
	}
}

// TestPublishedList turns a recorded list (a 4.4 kernel, whose boot aggregate is zero) into the
// binary form and replays it to the register that its own digests lead to.
func TestPublishedList(t *testing.T) {
	folder := os.Getenv(testvectors.ExtraVariable)
	if folder == "" {
		folder = filepath.Join("..", "..", "..", "..", "shared", "vectors")
	}
	text, err := os.ReadFile(filepath.Join(folder, "tpm", "rust-keylime__ascii_runtime_measurements"))
	if err != nil {
		if os.Getenv(testvectors.ExtraVariable) != "" {
			t.Fatal(err)
		}
		t.Logf("not available: %s names no folder of extra vectors", testvectors.ExtraVariable)
		return
	}
	const pinned = "322c852c84bedbaefae7da8b89d8bb813280240ef67c5552aa0805d8ab5366a6"
	if digest := sha256.Sum256(text); hex.EncodeToString(digest[:]) != pinned {
		t.Fatalf("the file has another digest: %x", digest)
	}
	list, fault := ima.FromASCII(text)
	if fault != nil {
		t.Fatal(fault)
	}
	padded := newKernel(t, crypto.SHA256)
	padded.padded = true
	perBank := newKernel(t, crypto.SHA256)
	fault = ima.Walk(list, func(e ima.Entry) bool {
		padded.add(e.Template, e.Data)
		perBank.add(e.Template, e.Data)
		return true
	})
	if fault != nil {
		t.Fatal(fault)
	}
	for _, k := range []*kernel{padded, perBank} {
		if !bytes.Equal(k.list, list) {
			t.Fatal("a template digest of the file is not that of its data")
		}
		out := k.demand()
		if out.Entries != 826 || out.Padded != k.padded || out.Aggregate != ima.AggregateZero {
			t.Errorf("got %+v", out)
		}
	}
}
