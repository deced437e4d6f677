package enrol_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/enrol"
	"github.com/attestd/attestd/internal/subject"
)

func TestSettle(t *testing.T) {
	key, project := ek(1), subject.Key{Kind: "gce-project", Value: "acme-prod"}
	with := func(row subject.Ownership, edit func(*subject.Ownership)) subject.Ownership {
		edit(&row)
		return row
	}
	denied := func(o *subject.Ownership) { o.Status, o.Method = subject.StatusDenied, subject.MethodNone }
	waiting := func(o *subject.Ownership) {
		o.Status, o.Method, o.ExpiresAt = subject.StatusPending, subject.MethodNone, clock.Add(time.Hour)
	}
	ended := func(o *subject.Ownership) { o.ExpiresAt = clock }
	for _, row := range []struct {
		name string
		rows []subject.Ownership
		want enrol.Standing
	}{
		{"nothing names it", nil, enrol.StandingNone},
		{"a row of another machine", []subject.Ownership{approved(ek(2), "default")}, enrol.StandingNone},
		{"approved", []subject.Ownership{approved(key, "default")}, enrol.StandingOwned},
		{"approved by a key that it shares", []subject.Ownership{approved(project, "default")},
			enrol.StandingOwned},
		{"approved until a moment ago", []subject.Ownership{with(approved(key, "default"), ended)},
			enrol.StandingExpired},
		{"another tenant's", []subject.Ownership{approved(key, "blue")}, enrol.StandingForeign},
		{"ours by one key and another tenant's by the other",
			[]subject.Ownership{approved(key, "default"), approved(project, "blue")}, enrol.StandingForeign},
		{"the other way round",
			[]subject.Ownership{approved(key, "blue"), approved(project, "default")}, enrol.StandingForeign},
		{"approved, but its project denied",
			[]subject.Ownership{approved(key, "default"), with(approved(project, "default"), denied)},
			enrol.StandingDenied},
		{"denied by another tenant", []subject.Ownership{with(approved(key, "blue"), denied)},
			enrol.StandingDenied},
		{"waiting", []subject.Ownership{with(approved(key, "default"), waiting)}, enrol.StandingPending},
		{"waiting for another tenant", []subject.Ownership{with(approved(key, "blue"), waiting)},
			enrol.StandingNone},
		{"waiting while its project is ours",
			[]subject.Ownership{with(approved(key, "default"), waiting), approved(project, "default")},
			enrol.StandingOwned},
		{"a method that there is not",
			[]subject.Ownership{with(approved(key, "default"), func(o *subject.Ownership) { o.Method = "hearsay" })},
			enrol.StandingNone},
		{"no tenant", []subject.Ownership{approved(key, "")}, enrol.StandingNone},
		{"no status", []subject.Ownership{with(approved(key, "default"),
			func(o *subject.Ownership) { o.Status = "" })}, enrol.StandingNone},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := enrol.Settle([]subject.Key{key, project}, row.rows, "default", clock)
			if got.Standing != row.want {
				t.Errorf("got %q, want %q", got.Standing, row.want)
			}
			if owned := row.want == enrol.StandingOwned; owned != got.Owned() ||
				owned != (got.Method() == subject.MethodInventory) || owned != (got.Tenant() == "default") ||
				owned == (got.Method() == subject.MethodNone) {
				t.Errorf("owned %t, method %q, tenant %q", got.Owned(), got.Method(), got.Tenant())
			}
			if strings.Contains(got.Enrolment(), "foreign") {
				t.Errorf("enrolment %q says that it is another tenant's", got.Enrolment())
			}
			if len(got.Expect) != 2 {
				t.Errorf("decided upon %d rows, want those of both keys", len(got.Expect))
			}
		})
	}
	if enrol.Settle(nil, []subject.Ownership{approved(key, "default")}, "default", clock).Owned() {
		t.Error("a machine without a key is owned")
	}
}

// TestNoRowsMoveAMachineToAnotherTenant: whatever rows there are, a machine is owned for at most one
// tenant, never beside a denial, and the order of the rows decides nothing.
func TestNoRowsMoveAMachineToAnotherTenant(t *testing.T) {
	keys := []subject.Key{ek(1), {Kind: "gce-project", Value: "acme-prod"}, {Kind: "host", Value: "i-0123456789abcdef0"}}
	rapid.Check(t, func(t *rapid.T) {
		var rows []subject.Ownership
		for _, key := range keys {
			if rapid.Bool().Draw(t, "there") {
				row := approved(key, rapid.SampledFrom([]string{"default", "blue", "", "*"}).Draw(t, "tenant"))
				row.Status = rapid.SampledFrom([]subject.Status{
					subject.StatusApproved, subject.StatusDenied, subject.StatusPending, "",
				}).Draw(t, "status")
				row.ExpiresAt = clock.Add(time.Duration(rapid.IntRange(-1, 1).Draw(t, "left")) * time.Second)
				rows = append(rows, row)
			}
		}
		owned := 0
		for _, tenant := range []string{"default", "blue"} {
			got := enrol.Settle(keys, rows, tenant, clock)
			turned := slices.Clone(rows)
			slices.Reverse(turned)
			if again := enrol.Settle(keys, turned, tenant, clock); again.Standing != got.Standing {
				t.Fatalf("%q, and turned round %q", got.Standing, again.Standing)
			}
			if !got.Owned() {
				continue
			}
			owned++
			for _, row := range rows {
				if row.Status == subject.StatusDenied || row.Owns(clock) && row.Tenant != tenant {
					t.Fatalf("owned by %s beside %+v", tenant, row)
				}
			}
		}
		if owned > 1 {
			t.Fatal("owned by two tenants")
		}
	})
}

func TestKeys(t *testing.T) {
	pcr4 := enrol.PCROf("i-0123456789abcdef0")
	other := enrol.PCROf("i-0fedcba9876543210")
	chip := strings.Repeat("9c", 64)
	for _, row := range []struct {
		name    string
		format  attestd.Format
		handles []attestd.Handle
		claims  string
		want    []string
	}{
		{name: "nothing verified", format: attestd.FormatTPM, claims: "null",
			handles: []attestd.Handle{{Kind: "instance", Value: ek(1).Value}}},
		{name: "no claims at all", format: attestd.FormatTPM, claims: "",
			handles: []attestd.Handle{{Kind: "instance", Value: ek(1).Value}}},
		{name: "a TPM", format: attestd.FormatTPM, claims: `{"gce_project":null}`,
			handles: []attestd.Handle{{Kind: "boot", Value: ek(1).Value + "/3"}, {Kind: "instance", Value: ek(1).Value}},
			want:    []string{ek(1).String()}},
		{name: "an endorsement key of zeros", format: attestd.FormatTPM, claims: `{}`,
			handles: []attestd.Handle{{Kind: "instance", Value: "ek:" + strings.Repeat("0", 64)}}},
		{name: "an instance of Google Cloud", format: attestd.FormatTPM, claims: `{"gce_project":"acme-prod"}`,
			handles: []attestd.Handle{{Kind: "instance", Value: "gce:acme-prod/europe-west4-a/123"}},
			want:    []string{"instance:gce:acme-prod/europe-west4-a/123", "gce-project:acme-prod"}},
		{name: "a machine of Azure, in capitals", format: attestd.FormatTPM, claims: `{}`,
			handles: []attestd.Handle{{Kind: "instance", Value: "azure:D1B3A1C0-0000-4000-8000-00000000AAAA"}},
			want:    []string{"instance:azure:d1b3a1c0-0000-4000-8000-00000000aaaa"}},
		{name: "a guest with a chip and no instance", format: attestd.FormatSEVSNP, claims: `{"chip_id":"x"}`,
			handles: []attestd.Handle{{Kind: "host", Value: chip}, {Kind: "boot", Value: "77"}},
			want:    []string{"host:" + chip}},
		{name: "a masked chip", format: attestd.FormatSEVSNP, claims: `{}`,
			handles: []attestd.Handle{{Kind: "host", Value: strings.Repeat("0", 128)}}},
		{name: "an enclave", format: attestd.FormatNitro,
			claims:  `{"instance_id":"i-0123456789abcdef0","pcr3":"` + other + `","pcr4":"` + pcr4 + `"}`,
			handles: []attestd.Handle{{Kind: "instance", Value: "i-0123456789abcdef0-enc0123"}},
			want: []string{"instance:i-0123456789abcdef0-enc0123", "aws-instance:i-0123456789abcdef0",
				"aws-role:" + other, "aws-pcr4:" + pcr4}},
		{name: "an enclave whose module id names another parent than PCR4", format: attestd.FormatNitro,
			claims: `{"instance_id":"i-0123456789abcdef0","pcr4":"` + other + `"}`,
			want:   []string{"aws-pcr4:" + other}},
		{name: "a NitroTPM, whose PCR 3 and 4 are firmware", format: attestd.FormatNitroTPM,
			claims: `{"instance_id":"i-0123456789abcdef0","pcr3":"` + other + `","pcr4":"` + pcr4 + `"}`,
			want:   []string{"aws-instance:i-0123456789abcdef0"}},
		{name: "a project in a format that has none", format: attestd.FormatSEVSNP,
			claims: `{"gce_project":"acme-prod","instance_id":"i-0123456789abcdef0"}`},
	} {
		t.Run(row.name, func(t *testing.T) {
			var got []string
			for _, key := range enrol.Keys(attestd.Appraisal{
				Format: row.format, Handles: row.handles, Claims: json.RawMessage(row.claims),
			}) {
				got = append(got, key.String())
				if again, err := enrol.ParseKey(key.String()); err != nil || again != key {
					t.Errorf("%s is not read back: %v", key, err)
				}
			}
			if !slices.Equal(got, row.want) {
				t.Errorf("got %q\nwant %q", got, row.want)
			}
		})
	}
}

// The example of the AWS Nitro Enclaves User Guide, "Where to get an enclave's measurements".
func TestTheRegisterOfARoleIsAsAWSHasIt(t *testing.T) {
	const want = "78fce75db17cd4e0a3fb8dad3ad128ca5e77edbb2b2c7f75329dccd99aa5f6ef4fc1f1a452e315b9e98f9e312e6921e6"
	if got := enrol.PCROf("arn:aws:iam::123456789012:role/Webserver"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
