package spiretest_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	agentv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/agent/v1"
	svidv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/svid/v1"
	"github.com/spiffe/spire-api-sdk/proto/spire/api/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/subject"
	"github.com/attestd/attestd/plugins/spire/attestwire"
	"github.com/attestd/attestd/testvectors/forge"
)

// simulated is an agent of which only its words are there: its TPM is made of software inside the test,
// and what SPIRE's agent and attestd's plugin on a node say to the server the test says.
type simulated struct {
	id    string
	tpm   *forge.TPM
	chain [][]byte // of its endorsement key
	ek    []byte   // its certificate
	key   *ecdsa.PrivateKey
	token string // for a server without attestd
	svid  [][]byte
	conn  *grpc.ClientConn
}

// simulate makes an agent with a TPM of the maker.
func simulate(ca *forge.TPMCA) (*simulated, error) {
	ak, err := forge.NewTPMKey(forge.TPMKeyConfig{})
	if err != nil {
		return nil, err
	}
	ek, err := forge.NewTPMKey(forge.TPMKeyConfig{Endorsement: true})
	if err != nil {
		return nil, err
	}
	s := &simulated{tpm: forge.NewTPM(ak, ek), chain: ca.Bundle()}
	if s.ek, err = ca.EKCertificate(ek.Signer.Public(), forge.EKCertificateConfig{}); err != nil {
		return nil, err
	}
	if s.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	spki, err := ek.SPKI()
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(spki)
	name, err := subject.AgentID(trustDomain, attestd.FormatTPM, attestd.Handle{
		Kind: attestd.HandleInstance, Value: "ek:" + hex.EncodeToString(digest[:]),
	})
	s.id = string(name)
	return s, err
}

// evidence is the container for a value, with what the quote does not show.
func (s *simulated) evidence(freshness []byte) ([]byte, error) {
	evidence, err := s.tpm.Evidence(freshness, nil)
	if err != nil {
		return nil, err
	}
	evidence.EKCertificate, evidence.Intermediates = s.ek, s.chain
	return evidence.Marshal()
}

// dial connects to the server, with the agent's SVID where it has one.
func (s *simulated) dial(server *spireServer, roots *x509.CertPool) error {
	settings := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // the chain is checked below; SVIDs have no host name
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots})
			return err
		},
	}
	if s.svid != nil {
		settings.Certificates = []tls.Certificate{{Certificate: s.svid, PrivateKey: s.key}}
	}
	if s.conn != nil {
		_ = s.conn.Close()
	}
	var err error
	s.conn, err = grpc.NewClient(fmt.Sprintf("127.0.0.1:%d", server.port),
		grpc.WithTransportCredentials(credentials.NewTLS(settings)))
	return err
}

// attest is the whole exchange with the server; an agent with a token shows that alone.
func (s *simulated) attest(ctx context.Context) error {
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, s.key)
	if err != nil {
		return err
	}
	stream, err := agentv1.NewAgentClient(s.conn).AttestAgent(ctx)
	if err != nil {
		return err
	}
	kind, payload := "join_token", []byte(s.token)
	if s.token == "" {
		kind = "attestd"
		payload, err = attestwire.Encode(&attestwire.Opening{
			V: attestwire.Version, Format: attestd.FormatTPM, Tenant: tenant,
			AttestationKey: s.tpm.AK.Public, EndorsementKey: s.tpm.EK.Public,
		})
		if err != nil {
			return err
		}
	}
	if err := stream.Send(&agentv1.AttestAgentRequest{Step: &agentv1.AttestAgentRequest_Params_{
		Params: &agentv1.AttestAgentRequest_Params{
			Data:   &types.AttestationData{Type: kind, Payload: payload},
			Params: &agentv1.AgentX509SVIDParams{Csr: csr},
		},
	}}); err != nil {
		return err
	}
	for step := 0; ; step++ {
		message, err := stream.Recv()
		if err != nil {
			return err
		}
		if result := message.GetResult(); result != nil {
			s.svid = result.GetSvid().GetCertChain()
			return stream.CloseSend()
		}
		answer, err := s.answer(step, message.GetChallenge())
		if err != nil {
			return err
		}
		if err := stream.Send(&agentv1.AttestAgentRequest{
			Step: &agentv1.AttestAgentRequest_ChallengeResponse{ChallengeResponse: answer},
		}); err != nil {
			return err
		}
	}
}

// attestOnce dials and attests.
func (s *simulated) attestOnce(ctx context.Context, server *spireServer, roots *x509.CertPool) error {
	if err := s.dial(server, roots); err != nil {
		return err
	}
	defer s.conn.Close() //nolint:errcheck // the answer decides
	return s.attest(ctx)
}

// attested attests until it is done, and returns how many tries that took.
func (s *simulated) attested(
	ctx context.Context, server *spireServer, roots *x509.CertPool,
) (tries int, err error) {
	for {
		tries++
		if err = s.attestOnce(ctx, server, roots); err == nil || ctx.Err() != nil {
			return tries, err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// answer answers the server's first message with evidence, and its last one with a receipt.
func (s *simulated) answer(step int, message []byte) ([]byte, error) {
	if step > 0 {
		return attestwire.Encode(&attestwire.Receipt{V: attestwire.Version, Received: true})
	}
	var asked attestwire.Challenge
	if err := attestwire.Decode(message, &asked); err != nil {
		return nil, err
	}
	challenge, err := attester.Verifier{TrustDomain: trustDomain, KeySet: asked.Challenge.Keys}.
		Accept(asked.Challenge.Challenge, attestd.FormatTPM, time.Now())
	if err != nil {
		return nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(s.key.Public())
	if err != nil {
		return nil, err
	}
	freshness, err := challenge.Freshness(spki)
	if err != nil {
		return nil, err
	}
	answer := &attestwire.Answer{V: attestwire.Version, KeySPKI: spki}
	if blob, secret, ok := challenge.Activation(); ok {
		if answer.ActivationSecret, err = s.tpm.Activate(blob, secret); err != nil {
			return nil, err
		}
	}
	if answer.Evidence, err = s.evidence(freshness); err != nil {
		return nil, err
	}
	return attestwire.Encode(answer)
}

// mint asks for the X509-SVIDs of all its entries at once, as an agent does that starts.
func (s *simulated) mint(ctx context.Context, entries []string) error {
	request := &svidv1.BatchNewX509SVIDRequest{}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, s.key)
	if err != nil {
		return err
	}
	for _, one := range entries {
		request.Params = append(request.Params, &svidv1.NewX509SVIDParams{EntryId: one, Csr: csr})
	}
	answer, err := svidv1.NewSVIDClient(s.conn).BatchNewX509SVID(ctx, request)
	if err != nil {
		return err
	}
	for _, result := range answer.GetResults() {
		if result.GetStatus().GetCode() != int32(codes.OK) {
			return fmt.Errorf("X509-SVID: %s", result.GetStatus().GetMessage())
		}
	}
	return nil
}

// simulatedFleet makes agents with TPMs of one maker.
func simulatedFleet(t *testing.T, ca *forge.TPMCA, count int) []*simulated {
	t.Helper()
	var fleet []*simulated
	for range count {
		one, err := simulate(ca)
		if err != nil {
			t.Fatal(err)
		}
		fleet = append(fleet, one)
	}
	return fleet
}

func rootFile(t *testing.T, ca *forge.TPMCA, path string) {
	t.Helper()
	write(t, path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Root.Raw}))
}

// extend adds a root and reference values to attestd's configuration.
func (d *daemon) extend(t *testing.T, root, references string) {
	t.Helper()
	document, err := os.ReadFile(d.configFile())
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(document), "insecure_roots: [", "insecure_roots: ["+root+", ", 1)
	text = strings.Replace(text, "local_references: [", "local_references: ["+references+", ", 1)
	write(t, d.configFile(), []byte(text))
}

// delivered makes the fleet the tenant's, by the lists that came with it.
func (d *daemon) delivered(t *testing.T, fleet []*simulated) {
	t.Helper()
	for len(fleet) > 0 {
		count := min(len(fleet), 500)
		var list []byte
		for _, one := range fleet[:count] {
			list = append(list, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: one.ek})...)
		}
		done, err := d.root.Import(t.Context(), wire.Import{
			Kind: "ek-certificates", Tenant: tenant, Document: list, Source: "delivery.pem",
		})
		if err != nil || done.Added != count {
			t.Fatalf("imported %+v of %d: %v", done, count, err)
		}
		fleet = fleet[count:]
	}
}

// forgedValues makes reference values of one simulated TPM's PCRs, which all of them have.
func forgedValues(t *testing.T, folder, root string, one *simulated) string {
	t.Helper()
	nonce := make([]byte, 32)
	_, _ = rand.Read(nonce)
	evidence, err := one.evidence(nonce)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := one.tpm.AK.SPKI()
	if err != nil {
		t.Fatal(err)
	}
	file, keys := filepath.Join(folder, "one.tpm"), filepath.Join(folder, "keys.yaml")
	write(t, file, evidence)
	write(t, keys, fmt.Appendf(nil, "schema: attestd.reference-values.v1\nname: keys\nformat: tpm\n"+
		"attestation-keys:\n  one: \"%x\"\n", sha256.Sum256(spki)))
	var out, problems bytes.Buffer
	command := exec.CommandContext(t.Context(), attestdProgram.file(t), "measure", file, //nolint:gosec // built
		"--name", "forged", "--state", "active", "--pcrs", "0-7", "--reference", keys, "--insecure-roots", root)
	command.Stdout, command.Stderr = &out, &problems
	if err := command.Run(); err != nil {
		t.Fatalf("%v: %s%s", err, out.Bytes(), problems.Bytes())
	}
	path := filepath.Join(folder, "forged.yaml")
	write(t, path, out.Bytes())
	return path
}
