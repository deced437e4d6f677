package service_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/service"
)

// TestWhatIsRememberedIsReadStrictly: a fact that is missing, of another kind or about another key is
// an error, never a zero that the next exchange would be compared with.
func TestWhatIsRememberedIsReadStrictly(t *testing.T) {
	name, ek := append([]byte{0, 0x0B}, make([]byte, 32)...), sha256.Sum256([]byte("ek"))
	secret := []byte("the secret of a credential, whole")
	register := strings.Repeat("ab", 32)
	good := fmt.Sprintf(`{"ak_residency":"activated","ak_name":"%x","ek_sha256":"%x","clock":18446744073709551615,`+
		`"reset_count":4294967295,"restart_count":2,"firmware_version":3,"secure_boot":null,"ima":"replayed",`+
		`"ima_offset":9,"ima_entries":8,"ima_bank":"SHA256","ima_register":%q}`, name, ek, register)
	answered := attestd.Activation{AKName: name, EK: ek, Secret: sha256.Sum256(secret), Answer: secret}
	raw, _ := hex.DecodeString(register)
	want := attestd.TPMState{
		ResetCount: 1<<32 - 1, RestartCount: 2, Clock: 1<<64 - 1, Firmware: 3,
		IMA: &attestd.IMAState{Offset: 9, Entries: 8, Bank: "SHA256", Register: raw},
	}
	read := func(activation attestd.Activation, claims string) (attestd.TPMState, error) {
		return service.State(activation, attestd.Appraisal{Claims: json.RawMessage(claims)})
	}
	if got, err := read(answered, good); err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, %v; want %+v", got, err, want)
	}
	earlier := attestd.Activation{AKName: name, EK: ek, Earlier: true}
	if got, err := read(earlier, good); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("activated earlier: got %+v, %v; want %+v", got, err, want)
	}
	// Beside a processor the TPM's own claims count, and those of no other part.
	part := func(format attestd.Format, claims string) attestd.DeviceAppraisal {
		return attestd.DeviceAppraisal{Path: "p", Format: format, Claims: json.RawMessage(claims)}
	}
	for what, row := range map[string]struct {
		devices []attestd.DeviceAppraisal
		good    bool
	}{
		"a TPM beside a processor": {[]attestd.DeviceAppraisal{part("sev-snp", "{}"), part("tpm", good)}, true},
		"a processor that says so": {[]attestd.DeviceAppraisal{part("sev-snp", good), part("tpm", "{}")}, false},
		"no TPM":                   {[]attestd.DeviceAppraisal{part("sev-snp", good)}, false},
		"two TPMs":                 {[]attestd.DeviceAppraisal{part("tpm", good), part("tpm", good)}, false},
	} {
		got, err := service.State(answered, attestd.Appraisal{
			Format: attestd.FormatComposite, Claims: json.RawMessage(good), Devices: row.devices,
		})
		if (err == nil) != row.good || row.good && !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v", what, got, err)
		}
	}
	log := good[strings.Index(good, `,"ima_offset"`) : len(good)-1]
	want.IMA = nil
	for what, claims := range map[string]string{
		"no log":                    strings.Replace(good, log, "", 1),
		"a log that is not visible": strings.Replace(good, log, `,"ima_offset":null,"ima_entries":null,"ima_register":null`, 1),
	} {
		if got, err := read(answered, claims); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v; want %+v", what, got, err, want)
		}
	}
	for what, change := range map[string][2]string{
		"another residency":        {`"activated"`, `"certified"`},
		"no residency":             {`"ak_residency":"activated",`, ""},
		"another key":              {`"ak_name":"000b`, `"ak_name":"000c`},
		"no key":                   {`"ak_name"`, `"another_name"`},
		"a key that is not hex":    {`"ak_name":"000b`, `"ak_name":"zz0b`},
		"an empty key":             {fmt.Sprintf(`"ak_name":"%x"`, name), `"ak_name":""`},
		"another endorsement key":  {fmt.Sprintf("%x", ek), strings.Repeat("0", 64)},
		"no endorsement key":       {`"ek_sha256"`, `"ek"`},
		"no clock":                 {`"clock":18446744073709551615,`, ""},
		"a clock that is null":     {`"clock":18446744073709551615`, `"clock":null`},
		"a clock that is text":     {`"clock":18446744073709551615`, `"clock":"5"`},
		"a clock below zero":       {`"clock":18446744073709551615`, `"clock":-1`},
		"a clock with a fraction":  {`"clock":18446744073709551615`, `"clock":1.5`},
		"a clock that is too wide": {`"clock":18446744073709551615`, `"clock":18446744073709551616`},
		"a counter too wide":       {`"reset_count":4294967295`, `"reset_count":4294967296`},
		"no restarts":              {`"restart_count":2,`, ""},
		"no firmware":              {`"firmware_version":3,`, ""},
		"a log without an offset":  {`"ima_offset":9,`, ""},
		"a log without its bank":   {`"ima_bank":"SHA256",`, ""},
		"a short register":         {register, "abab"},
		"a long bank":              {"SHA256", strings.Repeat("S", 17)},
		"no claims":                {good, "null"},
		"broken claims":            {good, "{"},
	} {
		t.Run(what, func(t *testing.T) {
			claims := strings.Replace(good, change[0], change[1], 1)
			if claims == good {
				t.Fatal("nothing was changed")
			}
			for _, activation := range []attestd.Activation{answered, earlier} {
				if got, err := read(activation, claims); err == nil {
					t.Errorf("got %+v, want an error", got)
				}
			}
		})
	}
	for what, change := range map[string]func(*attestd.Activation){
		"no answer":       func(a *attestd.Activation) { a.Answer = nil },
		"another answer":  func(a *attestd.Activation) { a.Answer = secret[1:] },
		"no secret":       func(a *attestd.Activation) { a.Secret = [32]byte{} },
		"another key":     func(a *attestd.Activation) { a.AKName = name[:33] },
		"another machine": func(a *attestd.Activation) { a.EK = [32]byte{} },
	} {
		t.Run(what, func(t *testing.T) {
			activation := answered
			change(&activation)
			if got, err := read(activation, good); err == nil {
				t.Errorf("got %+v, want an error", got)
			}
		})
	}
}
