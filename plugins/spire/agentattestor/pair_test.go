package agentattestor_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	agentv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/agent/nodeattestor/v1"
	serverv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/server/nodeattestor/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/plugins/spire/attestwire"
	"github.com/attestd/attestd/plugins/spire/keysocket"
)

// between is whoever sits between node and server, as SPIRE does; nil passes everything on as it
// is.
type between func(toServer []byte, turn int) []byte

// attest carries the messages of one attestation, as SPIRE's agent and server do.
func (w *world) attest(a *agent, change between) (*serverv1.AgentAttributes, error) {
	w.Helper()
	if change == nil {
		change = func(text []byte, _ int) []byte { return text }
	}
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	node, err := a.AidAttestation(ctx)
	must(w.T, err)
	server, err := w.server.Attest(metadata.AppendToOutgoingContext(ctx, "X-Forwarded-Client-IP",
		"192.0.2.9"))
	must(w.T, err)
	first, err := node.Recv()
	if err != nil {
		return nil, err
	}
	must(w.T, server.Send(&serverv1.AttestRequest{
		Request: &serverv1.AttestRequest_Payload{Payload: change(first.GetPayload(), 0)},
	}))
	for turn := 1; ; turn++ {
		said, err := server.Recv()
		if err != nil {
			return nil, err
		}
		if got := said.GetAgentAttributes(); got != nil {
			return got, nil
		}
		must(w.T, node.Send(&agentv1.Challenge{Challenge: said.GetChallenge()}))
		heard, err := node.Recv()
		if err != nil {
			return nil, err
		}
		if len(heard.GetChallengeResponse()) == 0 {
			w.Fatal("SPIRE's agent takes no empty response")
		}
		must(w.T, server.Send(&serverv1.AttestRequest{
			Request: &serverv1.AttestRequest_ChallengeResponse{
				ChallengeResponse: change(heard.GetChallengeResponse(), turn),
			},
		}))
	}
}

// grant asks as the composer does before SPIRE signs the agent's X509-SVID.
func (w *world) grant(id string, spki []byte) error {
	digest := sha256.Sum256(spki)
	_, err := w.office.Grant(w.Context(), wire.GrantRequest{
		Kind: wire.GrantAgentX509, ID: id, KeySHA256: digest[:],
	})
	return err
}

func TestAMeasuredNodeIsAttested(t *testing.T) {
	for _, row := range []struct{ keys, grade string }{{"tpm", "resident"}, {"memory", "bound"}} {
		t.Run(row.keys, func(t *testing.T) {
			w, m := newWorld(t), newMachine(t)
			ek := w.own(m, "blue")
			keys, a := m.keyManager(row.keys), newAgent(t, m.config())
			first := keys.generate("agent-svid-A")
			id := "spiffe://example.org/spire/agent/attestd/tpm/" + ek
			if err := w.grant(id, first); err == nil {
				t.Error("an identity was granted before the node attested")
			}
			began := time.Now()
			got, err := w.attest(a, nil)
			must(t, err)
			t.Logf("attested in %s", time.Since(began).Round(time.Millisecond))
			if got.GetSpiffeId() != id || !got.GetCanReattest() {
				t.Errorf("attributes %v", got)
			}
			for _, want := range []string{"format:tpm", "tenant:blue", "state:trusted", "key:" +
				row.grade} {
				if !slices.Contains(got.GetSelectorValues(), want) {
					t.Errorf("%s is not among %v", want, got.GetSelectorValues())
				}
			}
			must(t, w.grant(id, first))
			// neg: 141
			stranger := newMachine(t).keyManager("memory").generate("agent-svid-A")
			if err := w.grant(id, stranger); err == nil {
				t.Error("an identity was granted for a key that no evidence binds")
			}
			client, err := keysocket.Dial(m.runtimeDir)
			must(t, err)
			defer client.Close() //nolint:errcheck // only read
			_, enlist, err := client.Certificate(t.Context())
			if err != nil || enlist.AgentID != id {
				t.Errorf("the node's plugins have %v, %v", enlist.AgentID, err)
			}
			// The next time the TPM's key is known, and the agent has another one.
			second := keys.generate("agent-svid-B")
			began = time.Now()
			again, err := w.attest(a, nil)
			must(t, err)
			t.Logf("attested again in %s", time.Since(began).Round(time.Millisecond))
			if again.GetSpiffeId() != id {
				t.Errorf("it became %s", again.GetSpiffeId())
			}
			must(t, w.grant(id, second))
		})
	}
}

// TestEvidenceOfOneNodeIsNoGoodForAnother: whoever relays a node's evidence gets nothing for a key
// of his own, and whoever keeps it gets nothing for another challenge. neg: 141
func TestEvidenceOfOneNodeIsNoGoodForAnother(t *testing.T) {
	w, m := newWorld(t), newMachine(t)
	ek := w.own(m, "blue")
	m.keyManager("tpm").generate("agent-svid-A")
	a := newAgent(t, m.config())
	own := newMachine(t).keyManager("memory").generate("agent-svid-A")
	var kept []byte
	answering := func(change func(*attestwire.Answer)) between {
		return func(text []byte, turn int) []byte {
			if turn != 1 {
				return text
			}
			var answer attestwire.Answer
			must(t, attestwire.Decode(text, &answer))
			change(&answer)
			return written(t, &answer)
		}
	}
	for _, row := range []struct {
		name   string
		change between
		want   codes.Code
	}{
		{"with the relay's own key", answering(func(a *attestwire.Answer) { a.KeySPKI = own }),
			codes.PermissionDenied},
		{"with no key", answering(func(a *attestwire.Answer) { a.KeySPKI = nil }),
			codes.PermissionDenied},
		{"without the credential's answer",
			answering(func(a *attestwire.Answer) { a.ActivationSecret = nil }),
			codes.PermissionDenied},
		{"with another answer",
			answering(func(a *attestwire.Answer) { a.ActivationSecret[0] ^= 1 }),
			codes.PermissionDenied},
		{"with a key that is none", answering(func(a *attestwire.Answer) { a.KeySPKI = []byte{1} }),
			codes.InvalidArgument},
		{"one bit off",
			answering(func(a *attestwire.Answer) { a.Evidence[len(a.Evidence)/2] ^= 1 }),
			codes.PermissionDenied},
		{"as it should be", func(text []byte, turn int) []byte {
			if turn == 1 {
				kept = text
			}
			return text
		}, codes.OK},
		{"once more for another challenge", func(text []byte, turn int) []byte {
			if turn == 1 {
				var answer, old attestwire.Answer
				must(t, attestwire.Decode(text, &answer))
				must(t, attestwire.Decode(kept, &old))
				answer.Evidence = old.Evidence
				return written(t, &answer)
			}
			return text
		}, codes.PermissionDenied},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := w.attest(a, row.change)
			if status.Code(err) != row.want || (got != nil) != (row.want == codes.OK) {
				t.Errorf("got %v, %v; want %s", got, err, row.want)
			}
			if strings.Contains(status.Convert(err).Message(), "tpm/") {
				t.Errorf("the reason is told: %v", err)
			}
		})
	}
	if err := w.grant("spiffe://example.org/spire/agent/attestd/tpm/"+ek, own); err == nil {
		t.Error("the relay's key got an identity")
	}
}

func TestANodeThatIsNobodysOrAnothersGetsNothing(t *testing.T) {
	w, m := newWorld(t), newMachine(t)
	m.keyManager("memory").generate("agent-svid-A")
	a := newAgent(t, m.config())
	if got, err := w.attest(a, nil); got != nil || status.Code(err) != codes.PermissionDenied {
		t.Errorf("nobody's: %v, %v", got, err)
	}
	w.own(m, "red")
	if got, err := w.attest(a, nil); got != nil || err == nil {
		t.Errorf("another tenant's: %v, %v", got, err)
	}
	b := newAgent(t, strings.Replace(m.config(), `"blue"`, `"green"`, 1))
	if got, err := w.attest(b, nil); got != nil || status.Code(err) != codes.PermissionDenied {
		t.Errorf("a tenant that is not known: %v, %v", got, err)
	}
}

// TestTheNodeSeesTheEnd: an agent whose server refused does not wait.
func TestTheNodeSeesTheEnd(t *testing.T) {
	m := newMachine(t)
	m.keyManager("memory").generate("agent-svid-A")
	a := newAgent(t, m.config())
	talk := a.aid(t)
	_, err := talk.opening()
	must(t, err)
	must(t, talk.stream.CloseSend())
	if err := talk.hear(&attestwire.Answer{}); status.Code(err) != codes.Aborted ||
		errors.Is(err, io.EOF) {
		t.Errorf("got %v, want Aborted", err)
	}
}
