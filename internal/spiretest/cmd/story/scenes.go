package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/spiretest/asked"
	"github.com/attestd/attestd/internal/spiretest/stage"
	"github.com/attestd/attestd/plugins/spire/svidext"
)

// extension is the OID of attestd's extension where the configuration names none.
const extension = "1.3.6.1.4.1.32473.1.1"

func (s *story) arrive(ctx context.Context) (string, error) {
	var err error
	if s.machine, err = stage.NewMachine(ctx, s.folder); err != nil {
		return "", err
	}
	if s.site, err = stage.NewSite(ctx, s.programs, s.folder, s.machine); err != nil {
		return "", errors.Join(err, s.machine.TPM.Close())
	}
	if s.decisions, err = s.site.Decide(); err != nil {
		return "", err
	}
	s.fact("TPM", "swtpm, a synthetic boot of shim, GRUB and a kernel measured into it")
	s.fact("keys.yaml", "its endorsement key: this machine is ours")
	s.fact("golden.yaml", "PCR 0-9 and 14: this is what it should have booted")
	return "whose it is and what it should boot are written down", nil
}

func (s *story) open(ctx context.Context) (string, error) {
	if err := s.site.StartServer(ctx); err != nil {
		return "", err
	}
	if err := s.site.StartAttestd(ctx); err != nil {
		return "", err
	}
	s.fact("attestd", "policy laboratory, which a software TPM can meet; unattested: deny")
	s.fact("SPIRE", "server with attestd's NodeAttestor and CredentialComposer")
	if agent, err := s.agent(ctx); err != nil || agent != nil {
		return "", fmt.Errorf("SPIRE knows agents already: %v, %w", agent, err)
	}
	return "both answer; SPIRE knows no node", nil
}

func (s *story) attest(ctx context.Context) (string, error) {
	began := time.Now()
	if err := s.site.StartAgent(); err != nil {
		return "", err
	}
	var agent *stage.Agent
	if err := stage.Until(ctx, soon, func() (err error) {
		if agent, err = s.agent(ctx); err == nil && agent == nil {
			err = errors.New("SPIRE knows no node")
		}
		return err
	}); err != nil {
		return "", err
	}
	took := time.Since(began)
	s.node = agent.ID
	subject, err := s.subject(ctx)
	if err != nil {
		return "", err
	}
	s.fact("node", "%s", agent.ID)
	s.fact("selectors", "%s", strings.Join(agent.Selectors, " "))
	s.fact("attestd", "state %s, risk %d %s", subject.State, subject.Risk.Int(), subject.Tier)
	s.risk = subject.Risk.Int()
	if subject.State != attestd.StateTrusted || !slices.Contains(agent.Selectors, "attestd:key:resident") ||
		!slices.Contains(agent.Selectors, "attestd:measurement:golden") {
		return "", errors.New("the node is not trusted, known and with its key in the TPM")
	}
	return fmt.Sprintf("measured, with the agent's key in the TPM, %d ms after the agent's start",
		took.Milliseconds()), nil
}

func (s *story) identify(ctx context.Context) (string, error) {
	if err := s.enter(ctx, "attestd.payments", payments); err != nil {
		return "", err
	}
	var err error
	if s.workload, err = s.site.StartWorkload(); err != nil {
		return "", err
	}
	jwt, err := s.granted(ctx)
	if err != nil {
		return "", err
	}
	s.fact("JWT-SVID", "%s", claims(jwt))
	score, ok := jwt.Claims["risk_score"].(float64)
	if !ok || int(score) != s.risk || jwt.Claims["attested"] != true || jwt.ID != payments {
		return "", fmt.Errorf("the JWT-SVID says %v, and the node's risk is %d", jwt.Claims, s.risk)
	}
	x, err := s.workload.Ask(ctx, asked.Question{Do: asked.X509, Persist: true, Within: soon})
	if err != nil {
		return "", err
	}
	if !x.OK || len(x.SVIDs) == 0 || len(x.SVIDs[0].Certificates) == 0 {
		return "", fmt.Errorf("no X509-SVID: %s", x.Error)
	}
	certificate, err := x509.ParseCertificate(x.SVIDs[0].Certificates[0])
	if err != nil {
		return "", err
	}
	info, found, err := svidext.Of(certificate, extension)
	if err != nil || !found || !info.Attested || info.Risk.Int() != s.risk {
		return "", fmt.Errorf("the X509-SVID's extension says %+v, %w", info, err)
	}
	s.fact("X509-SVID", "%s until %s; extension %s: attested, risk_score=%d risk_tier=%s tee=%s key_grade=%s",
		x.SVIDs[0].ID, certificate.NotAfter.UTC().Format(time.TimeOnly), extension, info.Risk.Int(), info.Tier,
		info.TEE, info.KeyGrade)
	return "both are signed by SPIRE, taken by go-spiffe, and carry the node's risk", nil
}

// enter makes the entry of a workload on the node.
func (s *story) enter(ctx context.Context, entry, name string) error {
	me, err := user.Current()
	if err != nil {
		return err
	}
	words := []string{"entry", "create", "-entryID", entry, "-parentID", s.node, "-spiffeID", name}
	selectors := []string{
		"unix:uid:" + me.Uid, "attestd:admitted:yes", "attestd:tier:low", "attestd:workload:" + stage.WorkloadName,
	}
	for _, selector := range selectors {
		words = append(words, "-selector", selector)
	}
	if _, err := s.site.Server(ctx, words...); err != nil {
		return err
	}
	s.fact("entry", "%s for who has %s", name, strings.Join(selectors, " "))
	return nil
}

// claims are those of attestd in a JWT-SVID, in a fixed order.
func claims(jwt asked.Answer) string {
	out := fmt.Sprintf("sub=%v", jwt.Claims["sub"])
	for _, name := range []string{
		"attested", "risk_score", "risk_tier", "ear_status", "attested_at", "tee", "key_grade", "measurement",
	} {
		if value, ok := jwt.Claims[name]; ok {
			out += fmt.Sprintf(" %s=%v", name, value)
		}
	}
	return out + fmt.Sprintf("; until %s", jwt.Expires.UTC().Format(time.TimeOnly))
}

func (s *story) tamper(ctx context.Context) (string, error) {
	if err := s.machine.Measure("/boot/unknown.mod"); err != nil {
		return "", err
	}
	s.fact("PCR 9", "extended by /boot/unknown.mod, and the boot log has it")
	if _, err := s.site.Server(ctx, "agent", "evict", "-spiffeID", s.node); err != nil {
		return "", err
	}
	s.fact("SPIRE", "asks the node to attest again (spire-server agent evict)")
	if err := s.ended(ctx); err != nil {
		return "", err
	}
	answer, err := s.refused(ctx)
	if err != nil {
		return "", err
	}
	agent, err := s.agent(ctx)
	if err != nil || agent != nil {
		return "", fmt.Errorf("SPIRE still knows the node: %v, %w", agent, err)
	}
	subject, err := s.subject(ctx)
	if err != nil {
		return "", err
	}
	s.fact("attestd", "state %s, risk %d -> %d %s", subject.State, s.risk, subject.Risk.Int(), subject.Tier)
	s.fact("SPIRE", "knows no agent of that name: its selectors and its entries are gone with it")
	s.fact("workload", "JWT-SVID refused: %s", answer.Code)
	if _, err := s.quoted(ctx, 3, "why", s.node); err != nil {
		return "", err
	}
	if subject.Risk.Int() <= s.risk || subject.State == attestd.StateTrusted {
		return "", fmt.Errorf("the node is %s with risk %d", subject.State, subject.Risk.Int())
	}
	return "the score is up, the selectors are gone, the workload is refused", nil
}

func (s *story) recover(ctx context.Context) (string, error) {
	if err := s.machine.Reboot(); err != nil {
		return "", err
	}
	if err := s.site.StartAgent(); err != nil {
		return "", err
	}
	jwt, err := s.granted(ctx)
	if err != nil {
		return "", err
	}
	s.fact("JWT-SVID", "%s", claims(jwt))
	subject, err := s.subject(ctx)
	if err != nil {
		return "", err
	}
	s.fact("attestd", "state %s, risk %d %s", subject.State, subject.Risk.Int(), subject.Tier)
	if subject.State != attestd.StateTrusted {
		return "", fmt.Errorf("the node is %s", subject.State)
	}
	return "good evidence, and nothing else, brought it back: nobody had held it", nil
}

func (s *story) hold(ctx context.Context) (string, error) {
	began := time.Now()
	if _, err := s.quoted(ctx, 0, "quarantine", s.node, "--reason", "alert-4471"); err != nil {
		return "", err
	}
	answered := time.Now()
	refusal, err := s.refused(ctx)
	if err != nil {
		return "", err
	}
	took := refusal.At.Sub(answered)
	if err := stage.Until(ctx, soon, func() error {
		agent, err := s.agent(ctx)
		if err == nil && (agent == nil || !agent.Banned) {
			err = errors.New("SPIRE has not banned the node")
		}
		return err
	}); err != nil {
		return "", err
	}
	if err := s.ended(ctx); err != nil {
		return "", err
	}
	s.fact("workload", "JWT-SVID refused (%s) at the first time it asked, %d ms after the answer", refusal.Code,
		max(took.Milliseconds(), 0))
	s.fact("SPIRE", "the agent is banned and has ended, %.1f s after the order", time.Since(began).Seconds())
	return "refused from the acknowledgement on; what still works elsewhere, and until when, is said", nil
}

func (s *story) release(ctx context.Context) (string, error) {
	order := []string{"release", s.node, "--reason", "re-imaged"}
	if err := s.site.StartAgent(); err != nil {
		return "", err
	}
	if err := s.ended(ctx); err != nil {
		return "", err
	}
	s.fact("agent", "started again: refused, its evidence as good as ever")
	if err := s.machine.Reboot(); err != nil {
		return "", err
	}
	if err := s.site.StartAgent(); err != nil {
		return "", err
	}
	if err := s.ended(ctx); err != nil {
		return "", err
	}
	s.fact("agent", "after a new boot: refused, and attestd has seen that boot")
	if _, err := s.quoted(ctx, 2, order...); err != nil {
		return "", err
	}
	if err := s.secondOperator(ctx); err != nil {
		return "", err
	}
	if _, err := s.quoted(ctx, 0, append(order, "--identity", s.bob(), "--server", s.site.Operators())...); err != nil {
		return "", err
	}
	jwt, err := s.granted(ctx)
	if err != nil {
		return "", err
	}
	s.fact("JWT-SVID", "%s", claims(jwt))
	return "released by somebody else after a rebirth, attested anew, identified again", nil
}

// secondOperator names bob, who logs in with a token of his own.
func (s *story) secondOperator(ctx context.Context) error {
	said, err := s.attestd(ctx, "operator", "add", "bob", "--role", "security", "-o", "json")
	if err != nil {
		return err
	}
	var added wire.OperatorAdded
	if err := json.Unmarshal([]byte(said), &added); err != nil {
		return err
	}
	token := filepath.Join(s.folder, "bob.token")
	if err := os.WriteFile(token, []byte(added.Token), 0o600); err != nil {
		return err
	}
	_, err = s.attestd(ctx, "login", "--server", s.site.Operators(), "--identity", s.bob(),
		"--token-file", token)
	return err
}
