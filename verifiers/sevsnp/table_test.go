package sevsnp_test

import (
	"bytes"
	"encoding/binary"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
)

func chainEntries(v forge.VCEK, from *forge.AMD) []forge.SNPTableEntry {
	return []forge.SNPTableEntry{
		{GUID: forge.GUIDARK, Data: from.ARK.Raw}, {GUID: forge.GUIDASK, Data: from.ASK.Raw},
		{GUID: forge.GUIDVCEK, Data: v.DER},
	}
}

// withTable moves the endorsements into a table behind the report.
func withTable(s *scene, entries func(forge.VCEK) []forge.SNPTableEntry) {
	var table []byte
	s.given = func(v forge.VCEK, _ []byte) [][]byte {
		var err error
		if table, err = forge.SNPTable(entries(v)...); err != nil {
			s.t.Fatal(err)
		}
		return nil
	}
	s.table = &table
}

func armoured(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestCertificateTables(t *testing.T) {
	v := forgedVerifier(t)
	milan := authority(t, "Milan")
	whole := func(change func(table []byte) []byte) func(*scene) {
		return func(s *scene) {
			withTable(s, func(v forge.VCEK) []forge.SNPTableEntry { return chainEntries(v, milan) })
			s.changeTable = change
		}
	}
	entries := func(make func(v forge.VCEK) []forge.SNPTableEntry) func(*scene) {
		return func(s *scene) { withTable(s, make) }
	}
	with := func(more ...forge.SNPTableEntry) func(*scene) {
		return entries(func(v forge.VCEK) []forge.SNPTableEntry {
			return append(chainEntries(v, milan), more...)
		})
	}
	put := func(at int, value uint32) func([]byte) []byte {
		return func(table []byte) []byte {
			binary.LittleEndian.PutUint32(table[at:], value)
			return table
		}
	}
	const check = "sev-snp/certificate-table"
	for _, row := range []struct {
		name   string
		change func(*scene)
		check  attestd.CheckID // empty: accepted
	}{
		{"DER as the host's tools load it", whole(func(b []byte) []byte { return b }), ""},
		{"zeros up to a host page", whole(func(b []byte) []byte {
			return append(b, make([]byte, 4096-len(b)%4096)...)
		}), ""},
		{"PEM as AMD's KDS serves it", entries(func(v forge.VCEK) []forge.SNPTableEntry {
			out := chainEntries(v, milan)
			for i := range out {
				out[i].Data = armoured(out[i].Data)
			}
			return out
		}), ""},
		{"with a CRL that is none",
			with(forge.SNPTableEntry{GUID: forge.GUIDCRL, Data: []byte{1}}), check},
		{"one zero more", whole(func(b []byte) []byte { return append(b, 0) }), check},
		{"one byte more", whole(func(b []byte) []byte { return append(b, 9) }), check},
		{"a page with a byte in its padding", whole(func(b []byte) []byte {
			b = append(b, make([]byte, 4096-len(b)%4096)...)
			b[len(b)-1] = 1
			return b
		}), check},
		{"no entry of zeros at the end", whole(func(b []byte) []byte { return b[:72] }), check},
		{"nothing but an entry of zeros", whole(func([]byte) []byte { return make([]byte, 24) }), check},
		{"nothing but a page of zeros", whole(func([]byte) []byte { return make([]byte, 4096) }), check},
		{"an entry past the end", whole(put(20, 1<<20)), check},
		{"an offset and a length that wrap around", whole(func(b []byte) []byte {
			return put(20, 0xffffffff)(put(16, 0xffffff00)(b))
		}), check},
		{"an empty entry", whole(put(20, 0)), check},
		{"an entry that starts inside the header", whole(put(16, 24)), check},
		{"an entry that reaches into another", whole(func(b []byte) []byte {
			return put(20, binary.LittleEndian.Uint32(b[20:])+1)(b)
		}), check},
		{"an entry cut short, its rest hidden", whole(func(b []byte) []byte {
			return put(20, binary.LittleEndian.Uint32(b[20:])-1)(b)
		}), check},
		{"the same kind twice", with(forge.SNPTableEntry{GUID: forge.GUIDARK, Data: milan.ARK.Raw}), check},
		// neg: 114
		{"an entry of an unknown kind", with(forge.SNPTableEntry{
			GUID: "00112233445566778899aabbccddeeff", Data: []byte{1}}), check},
		{"seventeen entries", entries(func(v forge.VCEK) []forge.SNPTableEntry {
			var out []forge.SNPTableEntry
			for range 17 {
				out = append(out, forge.SNPTableEntry{GUID: forge.GUIDCRL, Data: []byte{1}})
			}
			return out
		}), check},
		{"neither DER nor PEM", entries(func(forge.VCEK) []forge.SNPTableEntry {
			return []forge.SNPTableEntry{{GUID: forge.GUIDVCEK, Data: []byte("certificate")}}
		}), check},
		{"PEM with something before it", entries(func(v forge.VCEK) []forge.SNPTableEntry {
			return []forge.SNPTableEntry{{GUID: forge.GUIDVCEK, Data: append([]byte("x\n"), armoured(v.DER)...)}}
		}), check},
		{"PEM with a header", entries(func(v forge.VCEK) []forge.SNPTableEntry {
			return []forge.SNPTableEntry{{GUID: forge.GUIDVCEK, Data: pem.EncodeToMemory(&pem.Block{
				Type: "CERTIFICATE", Bytes: v.DER, Headers: map[string]string{"a": "b"}})}}
		}), check},
		{"PEM longer than any certificate's", entries(func(forge.VCEK) []forge.SNPTableEntry {
			return []forge.SNPTableEntry{{GUID: forge.GUIDVCEK, Data: armoured(make([]byte, 15<<10))}}
		}), check},
		{"PEM in longer lines", entries(func(v forge.VCEK) []forge.SNPTableEntry {
			text := bytes.Replace(armoured(v.DER), []byte("\n"), []byte("\r\n"), 1)
			return []forge.SNPTableEntry{{GUID: forge.GUIDVCEK, Data: text}}
		}), check},
		{"an ASK of another line", entries(func(v forge.VCEK) []forge.SNPTableEntry {
			out := chainEntries(v, milan)
			out[1].Data = authority(t, "Genoa").ASK.Raw
			return out
		}), "sev-snp/chain"},
		{"an ARK that is not the chain's", entries(func(v forge.VCEK) []forge.SNPTableEntry {
			out := chainEntries(v, milan)
			out[0].Data = authority(t, "impostor").ARK.Raw
			return out
		}), "sev-snp/chain"},
		{"a VCEK entry that holds the ASK", entries(func(forge.VCEK) []forge.SNPTableEntry {
			return []forge.SNPTableEntry{{GUID: forge.GUIDVCEK, Data: milan.ASK.Raw}}
		}), "sev-snp/chain"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newScene(t, "Milan", 3)
			row.change(s)
			claims, err := s.verify(v)
			switch {
			case row.check == "" && err != nil:
				t.Fatal(err)
			case row.check == "":
				return
			case row.check == check:
				wantFailure(t, claims, err, check, attestd.ClassMalformed)
			default:
				wantFailure(t, claims, err, row.check, attestd.ClassChain)
			}
		})
	}
}

// TestTableRefusalsThatOthersWouldMask looks at the reason: another rule would refuse these, too.
func TestTableRefusalsThatOthersWouldMask(t *testing.T) {
	entry := func(offset, length uint32) []byte {
		out := bytes.Repeat([]byte{0x77}, 16)
		out = binary.LittleEndian.AppendUint32(out, offset)
		return binary.LittleEndian.AppendUint32(out, length)
	}
	crl, err := forge.SNPTable(forge.SNPTableEntry{GUID: forge.GUIDCRL, Data: []byte{1}})
	if err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint32(crl[16:], 24)
	for want, table := range map[string][]byte{
		"too many entries":         bytes.Repeat(entry(0, 1), 17),
		"starts inside the header": crl,
	} {
		input := sample(t)
		input.Evidence = append(bytes.Clone(input.Evidence), table...)
		claims, err := newVerifier(t).Verify(input)
		wantFailure(t, claims, err, "sev-snp/certificate-table", attestd.ClassMalformed)
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
