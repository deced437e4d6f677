package nodeattestor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spiffe/spire-plugin-sdk/pluginsdk"
	"github.com/spiffe/spire-plugin-sdk/plugintest"
	nodeattestorv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/server/nodeattestor/v1"
	configv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/service/common/config/v1"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/spire/link"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/plugins/spire/attestwire"
	"github.com/attestd/attestd/plugins/spire/host"
	"github.com/attestd/attestd/plugins/spire/nodeattestor"
)

const (
	trustDomain = "example.org"
	agentID     = "spiffe://example.org/spire/agent/attestd/tpm/m1"
)

// answers is what stands behind a link in place of attestd's own brain; what is nil answers as
// attestd does when all is well.
type answers struct {
	begin  func(wire.NodeBegin) (any, error)
	finish func(wire.NodeFinish) (any, error)
}

// office answers over real links.
type office struct {
	t       *testing.T
	signer  *challenge.Signer
	address string

	mu    sync.Mutex
	given answers
	asked []wire.NodeBegin
	ended []wire.NodeFinish
}

func newOffice(t *testing.T, given answers) *office {
	t.Helper()
	signer, err := challenge.NewEphemeralSigner()
	must(t, err)
	o := &office{t: t, signer: signer, given: given}
	path := filepath.Join(shortDir(t), "attestd.sock")
	o.address = "unix:" + path
	serveLink(t, path, o.handle)
	return o
}

// shortDir is a folder for sockets, whose paths have 107 bytes at most.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "na")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func serveLink(t *testing.T, path string, handle link.Handler) {
	t.Helper()
	listener, err := net.Listen("unix", path)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- link.Serve(ctx, listener, func(net.Conn) (link.Peer, link.Handler, error) {
			return link.Peer{UID: os.Getuid(), HasUID: true}, handle, nil
		}, link.Limits{})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("link: %v", err)
		}
	})
}

func (o *office) handle(_ context.Context, _ link.Peer, method string, body json.RawMessage) (any,
	error) {
	o.mu.Lock()
	given := o.given
	o.mu.Unlock()
	switch method {
	case wire.MethodReport:
		return wire.Empty{}, nil
	case wire.MethodNodeBegin:
		var ask wire.NodeBegin
		if err := link.Decode(body, &ask); err != nil {
			return nil, err
		}
		o.mu.Lock()
		o.asked = append(o.asked, ask)
		o.mu.Unlock()
		if given.begin != nil {
			return given.begin(ask)
		}
		return o.challenge(ask, nil), nil
	case wire.MethodNodeFinish:
		var ask wire.NodeFinish
		if err := link.Decode(body, &ask); err != nil {
			return nil, err
		}
		o.mu.Lock()
		o.ended = append(o.ended, ask)
		o.mu.Unlock()
		if given.finish != nil {
			return given.finish(ask)
		}
		return verdict(ask, nil), nil
	}
	return nil, &attestd.CallerError{Class: attestd.ClassForbidden, Hint: "none",
		Err: os.ErrPermission}
}

// challenge is a signed challenge for what was asked; change may be nil.
func (o *office) challenge(ask wire.NodeBegin, change func(*attestd.Challenge)) wire.NodeChallenge {
	o.t.Helper()
	now := time.Now()
	issued := attestd.Challenge{
		ID: "0190", Nonce: bytes.Repeat([]byte{3}, 32), TrustDomain: trustDomain,
		VerifierKeyID: o.signer.KeyID(),
		Tenant:        ask.Tenant, Purpose: "svid", Format: ask.Format, IssuedAt: now,
		ExpiresAt: now.Add(time.Minute),
	}
	if change != nil {
		change(&issued)
	}
	reply := challenge.Reply{Schema: challenge.Schema, Challenge: issued}
	var err error
	reply.Signature, err = o.signer.Sign(issued)
	must(o.t, err)
	var out wire.NodeChallenge
	out.Challenge, err = json.Marshal(reply)
	must(o.t, err)
	out.Keys, err = o.signer.KeySet()
	must(o.t, err)
	return out
}

// verdict is an accepting one for what was handed in; change may be nil.
func verdict(ask wire.NodeFinish, change func(*wire.NodeVerdict)) wire.NodeVerdict {
	out := wire.NodeVerdict{
		AgentID: agentID, AppraisalID: "0191", Grade: wire.GradeNone,
		Selectors: []string{"format:" + string(ask.Format), "tenant:" + ask.Tenant, "tier:low"},
	}
	if len(ask.KeySPKI) > 0 {
		out.Grade, out.Enlist = wire.GradeBound, &wire.Enlist{AgentID: agentID,
			Certificates: [][]byte{{1}}}
	}
	if change != nil {
		change(&out)
	}
	return out
}

// plugin is the server's plugin as SPIRE has it: behind gRPC.
type plugin struct {
	nodeattestorv1.NodeAttestorPluginClient
	config configv1.ConfigServiceClient
	log    *journal
}

// journal is a log that can be read while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(line []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(line)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func newEnv(name string) (host.Env, *journal) {
	log := &journal{}
	return host.Env{
		Name: name, Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: log}),
		Starts:  1,
		Started: time.Now(), Version: "test", Counts: &host.Counts{},
	}, log
}

// load serves a plugin that make returns; it is not configured.
func load(t *testing.T, make func(host.Env) (host.Plugin, error)) *plugin {
	t.Helper()
	env, log := newEnv("nodeattestor-server")
	made, err := make(env)
	must(t, err)
	p := &plugin{log: log}
	plugintest.ServeInBackground(t, plugintest.Config{
		PluginServer: made.Server, PluginClient: &p.NodeAttestorPluginClient,
		ServiceServers: made.Services, ServiceClients: []pluginsdk.ServiceClient{&p.config},
	})
	return p
}

func (p *plugin) configure(hcl string) error {
	_, err := p.config.Configure(context.Background(), &configv1.ConfigureRequest{
		CoreConfiguration: &configv1.CoreConfiguration{TrustDomain: trustDomain},
		HclConfiguration:  hcl,
	})
	return err
}

// serverPlugin is a plugin that is linked to the office.
func serverPlugin(t *testing.T, o *office, more ...string) *plugin {
	t.Helper()
	return configured(t, nodeattestor.New, o, more...)
}

func configured(t *testing.T, make func(host.Env) (host.Plugin, error), o *office,
	more ...string) *plugin {
	t.Helper()
	p := load(t, make)
	must(t, p.configure("addresses = [\""+o.address+"\"]\n"+strings.Join(more, "\n")))
	return p
}

// node is the node's end of an attestation, message by message.
type node struct {
	t      *testing.T
	stream nodeattestorv1.NodeAttestor_AttestClient
}

func (p *plugin) attest(t *testing.T) *node {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	stream, err := p.Attest(ctx)
	must(t, err)
	return &node{t, stream}
}

func (n *node) payload(text []byte) {
	n.t.Helper()
	_ = n.stream.Send(&nodeattestorv1.AttestRequest{ // what became of it, the next receive says
		Request: &nodeattestorv1.AttestRequest_Payload{Payload: text},
	})
}

func (n *node) respond(text []byte) {
	n.t.Helper()
	_ = n.stream.Send(&nodeattestorv1.AttestRequest{
		Request: &nodeattestorv1.AttestRequest_ChallengeResponse{ChallengeResponse: text},
	})
}

func (n *node) hear(into attestwire.Document) error {
	n.t.Helper()
	got, err := n.stream.Recv()
	if err != nil {
		return err
	}
	if got.GetAgentAttributes() != nil {
		n.t.Fatalf("attributes came before the exchange was over: %v", got)
	}
	must(n.t, attestwire.Decode(got.GetChallenge(), into))
	return nil
}

func (n *node) attributes() (*nodeattestorv1.AgentAttributes, error) {
	n.t.Helper()
	got, err := n.stream.Recv()
	if err != nil {
		return nil, err
	}
	return got.GetAgentAttributes(), nil
}

func written(t *testing.T, document attestwire.Document) []byte {
	t.Helper()
	text, err := attestwire.Encode(document)
	must(t, err)
	return text
}

func opening(t *testing.T) []byte {
	t.Helper()
	return written(t, &attestwire.Opening{V: 1, Format: attestd.FormatTPM, Tenant: "blue"})
}

func answer(t *testing.T) []byte {
	t.Helper()
	return written(t, &attestwire.Answer{V: 1, Evidence: []byte("evidence")})
}

func receipt(t *testing.T) []byte {
	t.Helper()
	return written(t, &attestwire.Receipt{V: 1, Received: true})
}

// whole is an attestation as it goes when nothing is wrong.
func (p *plugin) whole(t *testing.T) (*nodeattestorv1.AgentAttributes, error) {
	t.Helper()
	n := p.attest(t)
	n.payload(opening(t))
	if err := n.hear(&attestwire.Challenge{}); err != nil {
		return nil, err
	}
	n.respond(answer(t))
	if err := n.hear(&attestwire.Outcome{}); err != nil {
		return nil, err
	}
	n.respond(receipt(t))
	return n.attributes()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newPlugin(env host.Env) (host.Plugin, error) { return nodeattestor.New(env) }

func over(way nodeattestor.Caller) func(host.Env) (host.Plugin, error) {
	return func(env host.Env) (host.Plugin, error) { return nodeattestor.NewOver(env, way) }
}
