package nodeattestor_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	configv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/service/common/config/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/plugins/spire/attestwire"
	"github.com/attestd/attestd/plugins/spire/host"
	"github.com/attestd/attestd/plugins/spire/nodeattestor"
)

// impatient is the plugin with 0.4 s of patience for a silent node.
func impatient(env host.Env) (host.Plugin, error) {
	return nodeattestor.NewImpatient(env, 400*time.Millisecond)
}

// neg: 192
func TestTheRoundsAreExactlyThese(t *testing.T) {
	o := newOffice(t, answers{})
	p := configured(t, impatient, o)
	begun := func(n *node) { n.payload(opening(t)); must(t, n.hear(&attestwire.Challenge{})) }
	judged := func(n *node) {
		begun(n)
		n.respond(answer(t))
		must(t, n.hear(&attestwire.Outcome{}))
	}
	// A message that gRPC itself takes. Over its own limit it answers by itself, which host stands
	// before.
	big := append(answer(t), bytes.Repeat([]byte{' '}, 2<<20)...)
	for _, row := range []struct {
		name string
		do   func(n *node)
		want codes.Code
	}{
		{"a response before the payload", func(n *node) { n.respond(answer(t)) },
			codes.InvalidArgument},
		{"an empty payload", func(n *node) { n.payload(nil) }, codes.InvalidArgument},
		{"a payload of over 2 MiB", func(n *node) { n.payload(big) }, codes.InvalidArgument},
		{"a payload of 9 KiB", func(n *node) {
			n.payload(append(opening(t), make([]byte, 9<<10)...))
		}, codes.InvalidArgument},
		{"an answer for a payload", func(n *node) { n.payload(answer(t)) }, codes.InvalidArgument},
		{"a payload for an answer", func(n *node) { begun(n); n.payload(opening(t)) },
			codes.InvalidArgument},
		{"the opening once more", func(n *node) { begun(n); n.respond(opening(t)) },
			codes.InvalidArgument},
		{"an answer of over 2 MiB", func(n *node) { begun(n); n.respond(big) },
			codes.InvalidArgument},
		{"an empty answer", func(n *node) { begun(n); n.respond(nil) }, codes.InvalidArgument},
		{"a second answer", func(n *node) { judged(n); n.respond(answer(t)) },
			codes.InvalidArgument},
		{"an empty receipt", func(n *node) { judged(n); n.respond(nil) }, codes.InvalidArgument},
		{"the end after the payload", func(n *node) { begun(n); _ = n.stream.CloseSend() },
			codes.InvalidArgument},
		{"the end after the verdict", func(n *node) { judged(n); _ = n.stream.CloseSend() },
			codes.InvalidArgument},
		{"silence", func(*node) {}, codes.DeadlineExceeded},
		{"silence after the challenge", begun, codes.DeadlineExceeded},
		{"silence after the verdict", judged, codes.DeadlineExceeded},
		// neg: 193
		{"an id in the payload", func(n *node) {
			n.payload(bytes.Replace(opening(t), []byte("{"),
				[]byte(`{"agent_id":"spiffe://example.org/web",`), 1))
		}, codes.InvalidArgument},
		{"selectors in the answer", func(n *node) {
			begun(n)
			n.respond(bytes.Replace(answer(t), []byte("{"), []byte(`{"selectors":["tier:low"],`),
				1))
		}, codes.InvalidArgument},
		{"another challenge in the answer", func(n *node) {
			begun(n)
			n.respond(bytes.Replace(answer(t), []byte("{"), []byte(`{"challenge_id":"0191",`), 1))
		}, codes.InvalidArgument},
	} {
		t.Run(row.name, func(t *testing.T) {
			n := p.attest(t)
			n.t = t
			row.do(n)
			got, err := n.attributes()
			if got != nil || status.Code(err) != row.want {
				t.Errorf("got %v, %v; want %s", got, err, row.want)
			}
			said := strings.Contains(status.Convert(err).Message(), "out of turn")
			if said != (row.name == "a response before the payload" || row.name == "a payload for an answer") {
				t.Errorf("the node is told %v", err)
			}
		})
	}
	if got, err := p.whole(t); err != nil || got.GetSpiffeId() != agentID {
		t.Errorf("afterwards: %v, %v", got, err)
	}
}

// TestAMessageAfterTheLastIsNeverRead: the exchange is over with the attributes. neg: 192
func TestAMessageAfterTheLastIsNeverRead(t *testing.T) {
	o := newOffice(t, answers{})
	p := serverPlugin(t, o)
	n := p.attest(t)
	n.payload(opening(t))
	must(t, n.hear(&attestwire.Challenge{}))
	n.respond(answer(t))
	must(t, n.hear(&attestwire.Outcome{}))
	n.respond(receipt(t))
	for range 100 {
		n.respond(answer(t))
	}
	if got, err := n.attributes(); err != nil || got == nil {
		t.Fatalf("got %v, %v", got, err)
	}
	if _, err := n.attributes(); !errors.Is(err, io.EOF) {
		t.Errorf("afterwards %v, want the end", err)
	}
	if len(o.ended) != 1 {
		t.Errorf("attestd was handed %d pieces of evidence, want 1", len(o.ended))
	}
}

// neg: 192
func TestNothingIsLeftBehind(t *testing.T) {
	o := newOffice(t, answers{})
	p := configured(t, impatient, o)
	if _, err := p.whole(t); err != nil {
		t.Fatal(err)
	}
	before := goroutines()
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			stream, err := p.Attest(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			n := &node{t, stream}
			switch i % 4 {
			case 0: // says nothing at all
			case 1:
				n.payload(opening(t)) // and nothing more
				_, _ = stream.Recv()
			case 2:
				n.payload([]byte("{"))
			case 3:
				n.payload(opening(t))
				cancel() // and is gone
				return
			}
			if _, err := stream.Recv(); err == nil {
				t.Error("a node that broke the exchange off got an answer")
			}
		})
	}
	all.Wait()
	deadline := time.Now().Add(5 * time.Second)
	for goroutines() > before+5 {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, and there were %d", goroutines(), before)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func goroutines() int { return runtime.NumGoroutine() }

// TestConfiguringWhileNodesAttest: each exchange goes by one configuration from its beginning to
// its end. Its worth is under -race. neg: 200
func TestConfiguringWhileNodesAttest(t *testing.T) {
	first, second := newOffice(t, answers{}), newOffice(t, answers{})
	second.given.finish = func(ask wire.NodeFinish) (any, error) {
		return verdict(ask, func(v *wire.NodeVerdict) { v.AgentID += "-second" }), nil
	}
	second.given.begin = func(ask wire.NodeBegin) (any, error) {
		given := second.challenge(ask, nil)
		return given, nil
	}
	p := serverPlugin(t, first)
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				got, err := p.whole(t)
				if err != nil || !strings.HasPrefix(got.GetSpiffeId(), agentID) {
					t.Errorf("got %v, %v", got, err)
					return
				}
			}
		})
	}
	for i := range 40 {
		must(t, p.configure(`addresses = ["`+[]string{first.address, second.address}[i%2]+`"]`))
		time.Sleep(5 * time.Millisecond)
	}
	close(stop)
	all.Wait()
	for name, o := range map[string]*office{"first": first, "second": second} {
		o.mu.Lock()
		if len(o.asked) != len(o.ended) || len(o.ended) == 0 {
			t.Errorf("%s: %d challenges, %d answers", name, len(o.asked), len(o.ended))
		}
		o.mu.Unlock()
	}
}

// neg: 196
func TestConfigurationsThatAreRefused(t *testing.T) {
	p := load(t, newPlugin)
	if _, err := p.whole(t); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("before it is configured: %v", err)
	}
	const good = `addresses = ["unix:/run/attestd/spire.sock"]
`
	for _, row := range []struct {
		name, hcl, domain string
		want              []string
	}{
		{"an unknown key", good + "adresses = [\"x\"]\n", trustDomain,
			[]string{"line 2", "adresses"}},
		{"a key twice", good + good, trustDomain, []string{"line 2", "addresses"}},
		{"no address", "", trustDomain, []string{"addresses"}},
		{"an empty list", "addresses = []", trustDomain, []string{"addresses"}},
		{"an address of no kind", `addresses = ["http://x"]`, trustDomain,
			[]string{"addresses[0]"}},
		{"another trust domain", good + `trust_domain = "example.com"`, trustDomain,
			[]string{"trust_domain", "example.com"}},
		{"no trust domain of SPIRE's", good, "", []string{"trust domain"}},
		{"a tenant that is none", good + `canary_tenant = "a b"`, trustDomain,
			[]string{"canary_tenant"}},
		{"a timeout of a number", good + `timeout = 2`, trustDomain, []string{"line 2", "timeout"}},
		{"tcp without certificates", `addresses = ["tcp:a.example:1"]`, trustDomain,
			[]string{"certificate", "key", "ca"}},
		{
			"everything at once", "adresses = [\"x\"]\ncanary_tenant = \"A\"\ntimeout = \"1h\"\n",
			trustDomain,
			[]string{"adresses", "canary_tenant", "timeout", "addresses"},
		},
		{"no HCL", "addresses = [", trustDomain, []string{"line"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			core := &configv1.CoreConfiguration{TrustDomain: row.domain}
			_, err := p.config.Configure(t.Context(), &configv1.ConfigureRequest{
				CoreConfiguration: core, HclConfiguration: row.hcl,
			})
			checked, checkErr := p.config.Validate(t.Context(), &configv1.ValidateRequest{
				CoreConfiguration: core, HclConfiguration: row.hcl,
			})
			if status.Code(err) != codes.InvalidArgument || checkErr != nil || checked.GetValid() {
				t.Fatalf("got %v, and %v, %v of Validate", err, checked, checkErr)
			}
			for _, want := range row.want {
				if !strings.Contains(err.Error(), want) ||
					!strings.Contains(strings.Join(checked.GetNotes(), "\n"), want) {
					t.Errorf("%q is not in %v, or not in %v", want, err, checked.GetNotes())
				}
			}
		})
	}
	checked, err := p.config.Validate(t.Context(), &configv1.ValidateRequest{
		CoreConfiguration: &configv1.CoreConfiguration{TrustDomain: trustDomain},
		HclConfiguration:  good + `trust_domain = "example.org"`,
	})
	if err != nil || !checked.GetValid() {
		t.Errorf("a good one: %v, %v", checked, err)
	}
	if _, err := p.whole(t); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("after Validate alone: %v, want that it is not configured", err)
	}
}
