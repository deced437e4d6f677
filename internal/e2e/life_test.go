package e2e_test

import (
	"bytes"
	"encoding/pem"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/attestd/attestd"
	attestertpm "github.com/attestd/attestd/attester/tpm"
	"github.com/attestd/attestd/internal/admin/client"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/internal/subject"
)

// TestAMachineBecomesOurs in each way there is: an operator approves it, it brings a token, its
// endorsement certificate is in a list. It stops being ours when that is taken back.
func TestAMachineBecomesOurs(t *testing.T) {
	h := household(t)
	x, y := pair(t, "ours")

	first := h.enrolled(t, x, tenant(0))
	h.granted(t, first)
	if want := "spiffe://" + trustDomain + "/spire/agent/attestd/tpm/"; !strings.HasPrefix(first, want) {
		t.Errorf("the machine's name is %s, want it to begin with %s", first, want)
	}

	token, err := h.root.EnrolmentToken(t.Context(), wire.TokenRequest{
		Tenant: tenant(0), Formats: []string{"tpm"}, Seconds: 60, Label: "rack 3",
	})
	if err != nil {
		t.Fatal(err)
	}
	second := y.submit(t, h.server, tenant(0), token.Token).standing(t)
	if second.State != attestd.StateTrusted || second.Ownership != "enrolment" {
		t.Fatalf("with a token the machine stands as %+v", second)
	}
	h.granted(t, second.Subject)

	instance := h.root.wantState(t, first, attestd.StateTrusted).Instance
	if _, err := h.root.Remove(t.Context(), wire.Decide{
		Key: "instance:" + instance, Reason: "sold",
	}); err != nil {
		t.Fatal(err)
	}
	h.root.wantState(t, first, attestd.StateSuspect) // at once: a machine that was sold does not attest
	h.ungranted(t, first, attestd.ClassPolicyDeny, "not-enrolled")
	used := x.submit(t, h.server, tenant(0), token.Token)
	if used.status == 200 && used.standing(t).State == attestd.StateTrusted {
		t.Fatal("a token was good twice")
	}
	if got := x.submit(t, h.server, tenant(0), "").standing(t); got.State == attestd.StateTrusted {
		t.Fatalf("a machine that is nobody's any more stands as %+v", got)
	}
	h.ungranted(t, first, attestd.ClassPolicyDeny, "not-enrolled")

	list := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: x.identity(t).EKCertificate})
	imported, err := h.root.Import(t.Context(), wire.Import{
		Kind: "ek-certificates", Tenant: tenant(0), Document: list, Source: "delivery.pem",
	})
	if err != nil || imported.Added+imported.Updated != 1 {
		t.Fatalf("imported %+v: %v", imported, err)
	}
	if again := x.trusted(t, h.server, tenant(0)); again != first {
		t.Errorf("the machine is %s now, and was %s", again, first)
	}
	h.granted(t, first)

	if _, err := h.root.Deny(t.Context(), wire.Decide{Key: "instance:" + instance, Reason: "stolen"}); err != nil {
		t.Fatal(err)
	}
	h.root.wantState(t, first, attestd.StateSuspect)
	h.ungranted(t, first, attestd.ClassPolicyDeny, "denied")
	if got := x.submit(t, h.server, tenant(0), token.Token); got.status == 200 &&
		got.standing(t).State == attestd.StateTrusted {
		t.Fatal("a machine that was denied is trusted")
	}
}

// TestAQuarantineOutlastsARebirth: what is held gets no verdict and no grant, however often it boots;
// whoever held it cannot release it; somebody else can after a rebirth, and then evidence decides.
func TestAQuarantineOutlastsARebirth(t *testing.T) {
	h := household(t)
	ann := h.add(t, "ann", "security", "*")
	bob := h.add(t, "bob", "security", "*")
	m := newMachine(t, made.first, "held", goldenBoot())
	id := h.enrolled(t, m, tenant(0))
	h.granted(t, id)

	const reason = "alert-4471"
	order := wire.Order{Target: id, Reason: reason}
	receipt, err := ann.Quarantine(t.Context(), order)
	if err != nil || receipt.Grants != 1 {
		t.Fatalf("%d grants live on, want the one that was given: %v", receipt.Grants, err)
	}
	held := func() {
		t.Helper()
		m.submit(t, h.server, tenant(0), "").barred(t, attestd.ClassQuarantined, reason)
		h.ungranted(t, id, attestd.ClassQuarantined, "quarantined")
		h.root.wantState(t, id, attestd.StateQuarantined)
	}
	held()
	_, err = bob.Release(t.Context(), order)
	wantProblem(t, err, attestd.ClassConflict) // nothing was reborn
	m.reboot(t, goldenBoot())
	held()
	h.restart(t)
	ann, bob = h.as(t, ann.folder), h.as(t, bob.folder)
	held()
	_, err = ann.Release(t.Context(), order)
	wantProblem(t, err, attestd.ClassForbidden)
	held()
	receipt, err = bob.Release(t.Context(), order)
	if err != nil || len(receipt.Subjects) != 1 || receipt.Subjects[0].To != attestd.StateSuspect {
		t.Fatalf("released: %+v, %v", receipt, err)
	}
	h.ungranted(t, id, attestd.ClassPolicyDeny, "suspect")
	m.trusted(t, h.server, tenant(0))
	h.granted(t, id)
}

// TestARevocationIsForEver: neither another attestation key nor a restart nor another operator ends it.
func TestARevocationIsForEver(t *testing.T) {
	h := household(t)
	ann := h.add(t, "ann", "security", "*")
	m := newMachine(t, made.first, "revoked", goldenBoot())
	id := h.enrolled(t, m, tenant(0))
	order := wire.Order{Target: id, Reason: "stolen"}
	if _, err := h.root.Revoke(t.Context(), order); err != nil {
		t.Fatal(err)
	}
	revoked := func(m *machine) {
		t.Helper()
		m.submit(t, h.server, tenant(0), "").barred(t, attestd.ClassRevokedSubject, order.Reason)
		h.ungranted(t, id, attestd.ClassRevokedSubject, "revoked")
	}
	revoked(m)
	other := *m
	var err error
	other.device, err = attestertpm.Open("swtpm:"+m.tpm.Socket(), attestertpm.Options{
		StateDir: t.TempDir(), BootLog: m.bootLog(), IMALog: attestertpm.Off,
		Intermediates: intermediates(t), AKHandle: attestertpm.DefaultAKHandle + 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	if string(other.identity(t).AKPublic) == string(m.identity(t).AKPublic) {
		t.Fatal("the attestation key is the same")
	}
	revoked(&other)
	other.reboot(t, goldenBoot())
	h.restart(t)
	ann = h.as(t, ann.folder)
	revoked(&other)
	_, err = ann.Release(t.Context(), wire.Order{Target: id, Reason: "found", Reimaged: "OPS-1"})
	wantProblem(t, err, attestd.ClassConflict)
	// Whose the machine is changes nothing about it.
	if _, err = h.root.Approve(t.Context(), wire.Decide{
		Key: "instance:" + h.root.wantState(t, id, attestd.StateRevoked).Instance, Tenant: tenant(0),
	}); err != nil {
		t.Fatal(err)
	}
	revoked(m)
}

// TestAMachineOfAnotherTenantIsRefused, and is not told whose it is.
func TestAMachineOfAnotherTenantIsRefused(t *testing.T) {
	h := household(t)
	x, y := pair(t, "tenants")
	list := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: x.identity(t).EKCertificate})
	if _, err := h.root.Import(t.Context(), wire.Import{
		Kind: "ek-certificates", Tenant: tenant(7), Document: list, Source: "delivery.pem",
	}); err != nil {
		t.Fatal(err)
	}
	got := x.submit(t, h.server, tenant(8), "")
	wantRejected(t, got.verdict, "ownership/tenant")
	if strings.Contains(got.text, tenant(7)) || got.verdict.Standing == nil ||
		got.verdict.Standing.Subject != "" {
		t.Errorf("another tenant is told: %s", got.text)
	}
	token, err := h.root.EnrolmentToken(t.Context(), wire.TokenRequest{
		Tenant: tenant(8), Formats: []string{"tpm"}, Seconds: 60,
	})
	if err != nil {
		t.Fatal(err)
	}
	wantRejected(t, x.submit(t, h.server, tenant(8), token.Token).verdict, "ownership/tenant")
	// The token was not used up by a machine that is another's.
	if got := y.submit(t, h.server, tenant(8), token.Token).standing(t); got.State != attestd.StateTrusted {
		t.Errorf("with a token the machine stands as %+v", got)
	}
	x.trusted(t, h.server, tenant(7))
}

// TestEvidenceThatIsDueTakesTrustAway until there is fresh evidence.
func TestEvidenceThatIsDueTakesTrustAway(t *testing.T) {
	h := household(t, "subjects: {reattest: 5s, grace: 1s}")
	m := newMachine(t, made.first, "late", goldenBoot())
	id := h.enrolled(t, m, tenant(0))
	h.granted(t, id)
	h.root.await(t, id, attestd.StateSuspect)
	h.ungranted(t, id, attestd.ClassPolicyDeny, "overdue")
	h.root.awaitEvent(t, id, subject.EventOverdue) // grants end by themselves; the row follows
	h.root.wantState(t, id, attestd.StateSuspect)
	m.trusted(t, h.server, tenant(0))
	h.granted(t, id)
}

// TestAPolicyIsReadAnew when the process is told to: a bad file changes nothing but a condition; a
// stricter one takes trust away without the machine, and a milder one does not give it back.
func TestAPolicyIsReadAnew(t *testing.T) {
	builtin, err := appraisal.Builtin(appraisal.Laboratory)
	if err != nil {
		t.Fatal(err)
	}
	const rule = "protection: {want: [hardware, tee], otherwise: 5}"
	mild := string(builtin.Document())
	if !strings.Contains(mild, rule) {
		t.Fatalf("the laboratory's policy has no %q", rule)
	}
	policy := filepath.Join(t.TempDir(), "policy.yaml")
	write(t, policy, []byte(mild))
	h := opened(t, serverConfig{
		policy: policy, insecure: true, references: [][]byte{goldenValues(t)},
	})
	m := newMachine(t, made.first, "policies", goldenBoot())
	id := h.enrolled(t, m, tenant(0))
	replace := func(text string) {
		t.Helper()
		write(t, policy, []byte(text))
		if err := h.process.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	digest := m.submit(t, h.server, tenant(0), "").verdict.Policy.Digest

	replace(mild + "\nnonsense: [")
	h.root.awaitCondition(t, "policy/reload-failed", "failure")
	m.trusted(t, h.server, tenant(0))
	if got := m.submit(t, h.server, tenant(0), "").verdict.Policy.Digest; got != digest {
		t.Errorf("after a bad file the policy is %s, and was %s", got, digest)
	}
	h.granted(t, id)

	replace(strings.Replace(mild, rule, "protection: {want: [hardware], otherwise: reject}", 1))
	h.root.await(t, id, attestd.StateSuspect)
	h.root.awaitCondition(t, "policy/reload-failed", "ok")
	h.ungranted(t, id, attestd.ClassPolicyDeny, "evidence-rejected")
	wantRejected(t, m.submit(t, h.server, tenant(0), "").verdict, "tpm/protection")

	replace(mild)
	for verdict := m.submit(t, h.server, tenant(0), "").verdict; verdict.Policy.Digest != digest; {
		verdict = m.submit(t, h.server, tenant(0), "").verdict
	}
	m.trusted(t, h.server, tenant(0))
	h.granted(t, id)
}

// digests are those of a boot in reference values.
var digests = regexp.MustCompile(`[0-9a-f]{64,96}`)

// TestAReferenceValueIsReplaced: what ran the one before is not trusted any more, before it is asked.
func TestAReferenceValueIsReplaced(t *testing.T) {
	h := household(t)
	m := newMachine(t, made.first, "references", goldenBoot())
	id := h.enrolled(t, m, tenant(0))
	path := filepath.Join(h.state, "reference-0.yaml")
	values, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, digests.ReplaceAllFunc(values, func(digest []byte) []byte {
		return bytes.Repeat([]byte("7"), len(digest))
	}))
	if err := h.process.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	h.root.await(t, id, attestd.StateSuspect)
	h.ungranted(t, id, attestd.ClassPolicyDeny, "evidence-rejected")
	wantRejected(t, m.submit(t, h.server, tenant(0), "").verdict, "measurement/known")
}

// TestOperatorsSeeTheirOwnTenantAlone, over mTLS with certificates of attestd's own authority.
func TestOperatorsSeeTheirOwnTenantAlone(t *testing.T) {
	h := household(t)
	x, y := pair(t, "operators")
	red, blue := h.enrolled(t, x, tenant(1)), h.enrolled(t, y, tenant(2))
	ann, bob := h.add(t, "ann", "security", tenant(1)), h.add(t, "bob", "security", tenant(2))
	issuer := h.add(t, "red-gate", "issuer", tenant(1))
	for _, row := range []struct {
		who         desk
		own, others string
	}{{ann, red, blue}, {bob, blue, red}} {
		list, err := row.who.Subjects(t.Context(), client.Query{})
		if err != nil || len(list.Subjects) != 1 || string(list.Subjects[0].ID) != row.own {
			t.Errorf("the list has %+v: %v", list.Subjects, err)
		}
		status, err := row.who.Status(t.Context())
		if err != nil || status.States["trusted"] != 1 {
			t.Errorf("the status counts %v: %v", status.States, err)
		}
		never := strings.TrimRight(row.others, "0123456789abcdef") + strings.Repeat("0", 64)
		for _, ask := range []func(id string) error{
			func(id string) error { _, err := row.who.Subject(t.Context(), id); return err },
			func(id string) error { _, err := row.who.History(t.Context(), id, "", 10); return err },
			func(id string) error {
				_, err := row.who.Quarantine(t.Context(), wire.Order{Target: id, Reason: "spite"})
				return err
			},
			func(id string) error {
				_, err := row.who.Revoke(t.Context(), wire.Order{Target: id, Reason: "spite"})
				return err
			},
		} {
			others, none := ask(row.others), ask(never)
			if others == nil || none == nil ||
				strings.ReplaceAll(others.Error(), row.others, never) != none.Error() {
				t.Errorf("of another's machine: %v; of none: %v", others, none)
			}
		}
		row.who.wantWhy(t, row.others, "never-seen")
	}
	if _, err := issuer.grant(t, red); err != nil {
		t.Error(err)
	}
	if _, err := issuer.grant(t, blue); err == nil {
		t.Error("a grant was given for another tenant's machine")
	}
	h.granted(t, blue)

	// Who is revoked is nobody from the next request on, over a connection that is open as well.
	if _, err := h.root.RevokeOperator(t.Context(), "ann"); err != nil {
		t.Fatal(err)
	}
	_, err := ann.Subjects(t.Context(), client.Query{})
	wantProblem(t, err, attestd.ClassUnauthenticated)
	_, err = h.as(t, ann.folder).Subjects(t.Context(), client.Query{})
	if err == nil {
		t.Error("a revoked operator is answered")
	}
}

// TestYesterdaysDatabaseIsNotTaken: with it a hold would come off, and nobody would see it. Who says
// that it is meant to be used gets a server that says so.
func TestYesterdaysDatabaseIsNotTaken(t *testing.T) {
	h := household(t)
	m := newMachine(t, made.first, "restored", goldenBoot())
	id := h.enrolled(t, m, tenant(0))
	h.stop(t)
	past := map[string][]byte{}
	files, err := filepath.Glob(filepath.Join(h.state, "attestd.db*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		if strings.HasSuffix(path, ".db") || strings.HasSuffix(path, "-wal") {
			if past[path], err = os.ReadFile(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	h.start(t)
	h.gate = h.as(t, h.gate.folder)
	if _, err := h.root.Quarantine(t.Context(), wire.Order{Target: id, Reason: "alert"}); err != nil {
		t.Fatal(err)
	}
	h.stop(t)
	for path, data := range past {
		write(t, path, data)
	}
	for range 2 { // the first refusal must not make the second start pass
		if text := h.refused(t); !strings.Contains(text, "store.accept_rollback") {
			t.Fatalf("it does not say what is wrong: %s", text)
		}
	}
	h.set(t, "store: {accept_rollback: true}")
	h.start(t)
	h.gate = h.as(t, h.gate.folder)
	h.root.awaitCondition(t, "store/rolled-back", "warning")
	h.granted(t, id) // the hold is lost, as the condition says
	m.trusted(t, h.server, tenant(0))
}
