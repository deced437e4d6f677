package enrol_test

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/enrol"
	"github.com/attestd/attestd/internal/subject"
)

// machine is the machine with a number, as it asks for a tenant from an address.
func machine(number int, tenant, source string) enrol.Machine {
	return enrol.Machine{
		Keys: []subject.Key{ek(number)}, Format: attestd.FormatTPM, Tenant: tenant, Source: source,
	}
}

// settle looks a machine up and settles it.
func (b *bench) settle(t testing.TB, m enrol.Machine) enrol.Settlement {
	t.Helper()
	known, err := b.store.Known(t.Context(), subject.Ask{Owners: m.Keys})
	if err != nil {
		t.Fatal(err)
	}
	return b.Settle(m, known.Owners)
}

// ask has a machine ask to be enrolled, as a verdict about it does.
func (b *bench) ask(t testing.TB, m enrol.Machine) (wrote, full bool) {
	t.Helper()
	write, full, err := b.Asks(t.Context(), m, b.settle(t, m))
	if err != nil {
		t.Fatal(err)
	}
	if write == nil {
		return false, full
	}
	err = b.store.Write(t.Context(), subject.Write{
		Owners: []subject.OwnershipWrite{*write}, Audit: []audit.Record{{Action: "verify"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return true, full
}

func TestTheQueueIsBoundedByTenantAndSource(t *testing.T) {
	b := newBench(t, nil) // five of a tenant, three of a source
	for i := range 3 {
		if wrote, full := b.ask(t, machine(i, "default", "192.0.2.1")); !wrote || full {
			t.Fatalf("machine %d: wrote %t, full %t", i, wrote, full)
		}
	}
	for _, row := range []struct {
		name        string
		machine     enrol.Machine
		wrote, full bool
	}{
		{"a fourth of the source", machine(10, "default", "192.0.2.1"), false, true},
		{"the same source for another tenant", machine(11, "blue", "192.0.2.1"), false, true},
		{"one of another source", machine(12, "default", "192.0.2.2"), true, false},
		{"its second", machine(13, "default", "192.0.2.2"), true, false},
		{"a sixth of the tenant", machine(14, "default", "192.0.2.3"), false, true},
		{"one of another tenant", machine(15, "blue", "192.0.2.3"), true, false},
		{"one for a tenant that there is not", machine(16, "red", "192.0.2.4"), false, false},
		{"one that waits already, again at once", machine(0, "default", "192.0.2.1"), false, false},
	} {
		if wrote, full := b.ask(t, row.machine); wrote != row.wrote || full != row.full {
			t.Errorf("%s: wrote %t, full %t", row.name, wrote, full)
		}
	}
	if got := b.store.count(); got != 6 {
		t.Errorf("%d wait, want 6", got)
	}
	// A decision makes room, and so does time.
	if _, err := b.Approve(t.Context(), root, wire.Decide{Key: ek(0).String()}); err != nil {
		t.Fatal(err)
	}
	if wrote, _ := b.ask(t, machine(20, "default", "192.0.2.1")); !wrote {
		t.Error("an approval makes no room")
	}
	b.now = b.now.Add(2 * time.Hour)
	if removed, err := b.Sweep(t.Context()); removed != 6 || err != nil || b.store.count() != 1 {
		t.Errorf("swept %d, %d left: %v", removed, b.store.count(), err)
	}
	if wrote, _ := b.ask(t, machine(21, "default", "192.0.2.1")); !wrote {
		t.Error("those who waited too long still take places")
	}
}

func TestAFloodOfOneMachineIsOneRow(t *testing.T) {
	b := newBench(t, nil)
	m := machine(1, "default", "192.0.2.1")
	for range 1000 {
		b.ask(t, m)
		m.Source = "192.0.2.99" // an address that it moved to
		b.now = b.now.Add(100 * time.Millisecond)
	}
	b.now = b.now.Add(time.Minute)
	b.ask(t, m)
	row := b.store.row(ek(1))
	if row.Seen != 1001 || b.store.writes > 4 || row.Source != "192.0.2.1" || !row.CreatedAt.Equal(clock) ||
		!row.ExpiresAt.Equal(b.now.Add(time.Hour)) {
		t.Errorf("seen %d times in %d writes, from %s since %s until %s", row.Seen, b.store.writes, row.Source,
			row.CreatedAt, row.ExpiresAt)
	}
}

func TestWhoIsDeniedOwnedOrNobodyDoesNotAsk(t *testing.T) {
	denied := approved(ek(1), "default")
	denied.Status = subject.StatusDenied
	expired := approved(ek(4), "default")
	expired.ExpiresAt, expired.Label = clock, "rack 4"
	b := newBench(t, nil, denied, approved(ek(2), "default"), approved(ek(3), "blue"), expired)
	for number := 1; number <= 3; number++ {
		if wrote, _ := b.ask(t, machine(number, "default", "192.0.2.1")); wrote {
			t.Errorf("machine %d asked", number)
		}
	}
	chip := machine(9, "default", "192.0.2.1")
	chip.Keys = []subject.Key{{Kind: "host", Value: strings.Repeat("9c", 64)}}
	if wrote, _ := b.ask(t, chip); wrote {
		t.Error("a machine without an instance asked: a host is shared and would be approved for everybody on it")
	}
	if wrote, _ := b.ask(t, machine(4, "default", "192.0.2.1")); !wrote || b.store.row(ek(4)).Label != "rack 4" ||
		b.store.row(ek(4)).Status != subject.StatusPending {
		t.Errorf("what expired: %+v", b.store.row(ek(4)))
	}
	b.store.err = errors.New("disk full")
	_, _, err := b.Asks(t.Context(), machine(7, "blue", "192.0.2.1"), enrol.Settlement{Standing: enrol.StandingNone})
	b.now = b.now.Add(time.Hour)
	_, _, later := b.Asks(t.Context(), machine(7, "blue", "192.0.2.1"), enrol.Settlement{Standing: enrol.StandingNone})
	if err != nil || later == nil { // the counts of a moment ago are still good
		t.Errorf("with a store that is down: %v, later %v", err, later)
	}
}

func TestRulesAndTheListOfEndorsementKeys(t *testing.T) {
	project := subject.Key{Kind: "gce-project", Value: "acme-prod"}
	b := newBench(t, func(c *enrol.Config) {
		c.Rules = []string{"blue=gce-project:acme-prod", "default=gce-project:acme-test"}
	})
	of := func(tenant string, listed bool, keys ...subject.Key) enrol.Machine {
		return enrol.Machine{Keys: keys, Format: attestd.FormatTPM, Tenant: tenant, Listed: listed}
	}
	denied := approved(ek(1), "blue")
	denied.Status = subject.StatusDenied
	for _, row := range []struct {
		name    string
		machine enrol.Machine
		rows    []subject.Ownership
		want    enrol.Standing
		method  subject.Method
	}{
		{"a machine of the project", of("blue", false, ek(1), project), nil, enrol.StandingOwned, subject.MethodCloud},
		{"judged for another tenant", of("default", false, ek(1), project), nil, enrol.StandingForeign, "none"},
		{"of the project, but denied", of("blue", false, ek(1), project), []subject.Ownership{denied},
			enrol.StandingDenied, "none"},
		{"of the project, and enrolled for another tenant", of("default", false, ek(1), project),
			[]subject.Ownership{approved(ek(1), "default")}, enrol.StandingOwned, subject.MethodInventory},
		{"in the list of endorsement keys", of("default", true, ek(1)), nil, enrol.StandingOwned,
			subject.MethodInventory},
		{"in that list, judged for another tenant than the first", of("blue", true, ek(1)), nil,
			enrol.StandingForeign, "none"},
		{"in that list, but denied", of("default", true, ek(1)), []subject.Ownership{denied},
			enrol.StandingDenied, "none"},
		{"in neither", of("default", false, ek(1)), nil, enrol.StandingNone, "none"},
	} {
		got := b.Settle(row.machine, row.rows)
		if got.Standing != row.want || got.Method() != row.method {
			t.Errorf("%s: got %s by %s", row.name, got.Standing, got.Method())
		}
	}
}

// token makes a token and returns what an operator is shown.
func token(t testing.TB, b *bench, edit func(*wire.TokenRequest)) wire.Token {
	t.Helper()
	ask := wire.TokenRequest{Tenant: "default", Label: "rack 3", Formats: []string{"tpm"}, Seconds: 3600}
	if edit != nil {
		edit(&ask)
	}
	made, err := b.NewToken(t.Context(), root, ask)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestATokenEnrolsOneMachineOnce(t *testing.T) {
	b := newBench(t, nil)
	made := token(t, b, nil)
	if doc, _ := json.Marshal(b.store.log); strings.Contains(string(doc), made.Token[30:]) { // neg: 166
		t.Error("the audit log holds the token")
	}
	redeem := func(m enrol.Machine) error {
		got, err := b.Redeem(t.Context(), m, b.settle(t, m), made.Token)
		if err != nil {
			return err
		}
		if got == nil {
			return errors.New("nothing to redeem")
		}
		if !got.Settled.Owned() || got.Settled.Method() != subject.MethodEnrolment || len(got.Settled.Expect) != 0 {
			t.Errorf("settled: %+v", got.Settled)
		}
		return b.store.Write(t.Context(), subject.Write{
			Token: &got.Use, Owners: []subject.OwnershipWrite{got.Owner}, Audit: []audit.Record{got.Audit},
		})
	}
	var wait sync.WaitGroup
	results := make(chan error, 64)
	for number := range 64 { // neg: 152
		wait.Go(func() { results <- redeem(machine(number, "default", "192.0.2.1")) })
	}
	wait.Wait()
	close(results)
	enrolled := 0
	for err := range results {
		var moved *subject.MovedError
		switch {
		case err == nil:
			enrolled++
		case !errors.As(err, &moved) && classOf(err) != attestd.ClassUnauthenticated:
			t.Error(err)
		}
	}
	if enrolled != 1 || b.store.count() != 1 {
		t.Errorf("64 machines at once: %d enrolled, %d rows", enrolled, b.store.count())
	}
	// The machine that is enrolled may go on sending it, and is not asked for another.
	for number := range 64 {
		m := machine(number, "default", "192.0.2.1")
		if !b.settle(t, m).Owned() {
			continue
		}
		if got, err := b.Redeem(t.Context(), m, b.settle(t, m), made.Token); got != nil || err != nil {
			t.Errorf("again: %+v, %v", got, err)
		}
	}
}

func TestTokensThatAreRefusedLookAlike(t *testing.T) {
	denied := approved(ek(7), "default")
	denied.Status = subject.StatusDenied
	b := newBench(t, nil, denied, approved(ek(8), "blue"))
	good, short := token(t, b, nil), token(t, b, func(r *wire.TokenRequest) { r.Seconds = 60 })
	other := token(t, b, func(r *wire.TokenRequest) { r.Tenant = "blue" })
	snp := token(t, b, func(r *wire.TokenRequest) { r.Formats = []string{"sev-snp"} })
	b.now = b.now.Add(time.Minute)
	flipped := []byte(good.Token)
	flipped[40] ^= 1
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	end := len(good.Token) - 1
	unused := digits[strings.IndexByte(digits, good.Token[end])|1]
	m := machine(1, "default", "192.0.2.1")
	words := ""
	for name, text := range map[string]string{
		"nothing": "", "no token": "let me in", "a space behind it": good.Token + " ",
		"another secret": string(flipped), "in capitals": strings.ToUpper(good.Token),
		"the secret of another": good.Token[:30] + short.Token[30:], "cut": good.Token[:60],
		"expired to the moment": short.Token, "another tenant's": other.Token, "for another format": snp.Token,
		"an unused bit of base64 set": good.Token[:end] + string(unused),
	} {
		_, err := b.Redeem(t.Context(), m, b.settle(t, m), text)
		if classOf(err) != attestd.ClassUnauthenticated {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if words != "" && err.Error() != words {
			t.Errorf("%s: %q is not what the others are told", name, err)
		}
		words = err.Error()
	}
	chip := enrol.Machine{Keys: []subject.Key{{Kind: "host", Value: strings.Repeat("9c", 64)}}, Format: attestd.FormatTPM,
		Tenant: "default"}
	for name, m := range map[string]enrol.Machine{
		"a denied machine": machine(7, "default", ""), "another tenant's machine": machine(8, "default", ""),
		"a machine without an instance": chip,
	} {
		if _, err := b.Redeem(t.Context(), m, b.settle(t, m), good.Token); classOf(err) != attestd.ClassForbidden {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := b.Redeem(t.Context(), m, b.settle(t, m), good.Token); err != nil || got == nil {
		t.Errorf("the good one: %v", err)
	}
	down := errors.New("disk full")
	b.store.err = down
	if _, err := b.Redeem(t.Context(), m, enrol.Settlement{Standing: enrol.StandingNone}, good.Token); !errors.Is(err, down) {
		t.Errorf("with a store that is down: %v", err) // neg: 179
	}
}

func TestTokensThatAreNotMade(t *testing.T) {
	for _, row := range []struct {
		name  string
		edit  func(*wire.TokenRequest)
		class attestd.Class
	}{
		{"no format", func(r *wire.TokenRequest) { r.Formats = nil }, attestd.ClassMalformed},
		{"a format that there is not", func(r *wire.TokenRequest) { r.Formats = []string{"any"} }, attestd.ClassMalformed},
		{"a format twice", func(r *wire.TokenRequest) { r.Formats = []string{"tpm", "tpm"} }, attestd.ClassMalformed},
		{"no life", func(r *wire.TokenRequest) { r.Seconds = 0 }, attestd.ClassMalformed},
		{"a life of a year", func(r *wire.TokenRequest) { r.Seconds = 365 * 86400 }, attestd.ClassMalformed},
		{"a label of a screen", func(r *wire.TokenRequest) { r.Label = strings.Repeat("x", 201) }, attestd.ClassMalformed},
		{"no tenant", func(r *wire.TokenRequest) { r.Tenant = "" }, attestd.ClassForbidden},
		{"a tenant that there is not", func(r *wire.TokenRequest) { r.Tenant = "red" }, attestd.ClassForbidden},
		{"every tenant", func(r *wire.TokenRequest) { r.Tenant = "*" }, attestd.ClassForbidden},
	} {
		b := newBench(t, nil)
		ask := wire.TokenRequest{Tenant: "default", Formats: []string{"tpm"}, Seconds: 3600}
		row.edit(&ask)
		if _, err := b.NewToken(t.Context(), root, ask); classOf(err) != row.class || len(b.store.tokens) != 0 {
			t.Errorf("%s: %v", row.name, err)
		}
	}
	b := newBench(t, nil)
	ask := wire.TokenRequest{Tenant: "default", Formats: []string{"tpm"}, Seconds: 3600}
	if _, err := b.NewToken(t.Context(), blue, ask); classOf(err) != attestd.ClassForbidden {
		t.Errorf("for another's tenant: %v", err)
	}
	b = newBench(t, func(c *enrol.Config) { c.Rand = strings.NewReader(strings.Repeat("r", 39)) })
	if _, err := b.NewToken(t.Context(), root, ask); err == nil || len(b.store.tokens) != 0 { // neg: 156
		t.Errorf("with a byte of randomness too few: %v", err)
	}
	b = newBench(t, nil)
	seen := map[string]bool{}
	for i := range 1000 {
		made := token(t, b, func(r *wire.TokenRequest) { r.Label = strconv.Itoa(i) })
		if seen[made.Token] || seen[made.ID] || len(made.Token) != len("attestd-enrol-")+16+1+43 {
			t.Fatalf("token %q", made.Token)
		}
		seen[made.Token], seen[made.ID] = true, true
	}
}
