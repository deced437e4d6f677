package controller

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	agentv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/agent/v1"
	bundlev1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/bundle/v1"
	entryv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/entry/v1"
	svidv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/svid/v1"
	"github.com/spiffe/spire-api-sdk/proto/spire/api/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/wire"
)

// limits of what is read of SPIRE.
const (
	pageSize    = 500
	maxPages    = 20_000   // ten million of either, and a server that repeats itself is left
	maxMessage  = 32 << 20 // bytes of one page
	callTimeout = 5 * time.Second
)

// server is SPIRE's server API, as far as the controller uses it.
type server struct {
	domain  spiffeid.TrustDomain
	conn    *grpc.ClientConn
	source  *workloadapi.X509Source // nil over a unix socket
	agents  agentv1.AgentClient
	entries entryv1.EntryClient
	svids   svidv1.SVIDClient
	bundles bundlev1.BundleClient
}

// dialServer connects to SPIRE; over TCP it waits until the Workload API gave an SVID. Connections
// are made and mended in the background.
func dialServer(ctx context.Context, config Config, domain spiffeid.TrustDomain) (*server, error) {
	s := &server{domain: domain}
	target, secure := config.Server, insecure.NewCredentials()
	if config.WorkloadAPI != "" {
		source, err := workloadapi.NewX509Source(ctx,
			workloadapi.WithClientOptions(workloadapi.WithAddr("unix://"+config.WorkloadAPI[len("unix:"):])))
		if err != nil {
			return nil, fmt.Errorf("controller: no SVID of its own from the Workload API: %w", err)
		}
		id, err := spiffeid.FromPath(domain, "/spire/server")
		if err != nil {
			return nil, errors.Join(err, source.Close())
		}
		// Of the whole trust domain only the server itself is spoken to.
		mutual := tlsconfig.MTLSClientConfig(source, source, tlsconfig.AuthorizeID(id))
		mutual.MinVersion = tls.VersionTLS13
		s.source, target, secure = source, "dns:///"+config.Server, credentials.NewTLS(mutual)
	}
	conn, err := grpc.NewClient(target,
		grpc.WithTransportCredentials(secure),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		// gRPC's own limit of two minutes would keep bans waiting after SPIRE is back.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second,
			},
			MinConnectTimeout: 2 * time.Second,
		}))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("controller: SPIRE's server API: %w", err), s.close())
	}
	s.conn = conn
	s.agents, s.entries = agentv1.NewAgentClient(conn), entryv1.NewEntryClient(conn)
	s.svids, s.bundles = svidv1.NewSVIDClient(conn), bundlev1.NewBundleClient(conn)
	return s, nil
}

func (s *server) close() error {
	var errs []error
	if s.conn != nil {
		errs = append(errs, s.conn.Close())
	}
	if s.source != nil {
		errs = append(errs, s.source.Close())
	}
	return errors.Join(errs...)
}

// identity reads a SPIFFE ID of the own trust domain.
func (s *server) identity(text string) (*types.SPIFFEID, error) {
	id, err := spiffeid.FromString(text)
	if err != nil {
		return nil, &attestd.CallerError{Class: attestd.ClassMalformed, Hint: "as in spiffe://example.org/path",
			Err: fmt.Errorf("SPIFFE ID %q: %w", attestd.Excerpt(text, 80), err)}
	}
	if id.TrustDomain() != s.domain || id.Path() == "" {
		return nil, &attestd.CallerError{Class: attestd.ClassMalformed, Hint: "an id below spiffe://" + s.domain.Name(),
			Err: fmt.Errorf("SPIFFE ID %q: got another trust domain or no path", attestd.Excerpt(text, 80))}
	}
	return &types.SPIFFEID{TrustDomain: id.TrustDomain().Name(), Path: id.Path()}, nil
}

func textOf(id *types.SPIFFEID) string {
	return "spiffe://" + id.GetTrustDomain() + id.GetPath()
}

// agent is an agent with what the controller decides by.
type agent struct {
	wire.Agent
	canReattest bool
}

var agentMask = &types.AgentMask{
	AttestationType: true, Selectors: true, Banned: true, X509SvidExpiresAt: true, CanReattest: true,
}

func agentOf(a *types.Agent) agent {
	return agent{canReattest: a.GetCanReattest(), Agent: wire.Agent{
		ID: textOf(a.GetId()), Type: a.GetAttestationType(), Selectors: selectorsOf(a.GetSelectors()),
		Banned: a.GetBanned(), ExpiresAt: a.GetX509SvidExpiresAt(),
	}}
}

func selectorsOf(from []*types.Selector) []wire.Selector {
	out := make([]wire.Selector, 0, len(from))
	for _, one := range from {
		out = append(out, wire.Selector{Type: one.GetType(), Value: one.GetValue()})
	}
	return out
}

// listAgents reads every agent, in pages.
func (s *server) listAgents(ctx context.Context) ([]agent, error) {
	var all []agent
	err := pages("agents", func(token string) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		page, err := s.agents.ListAgents(ctx, &agentv1.ListAgentsRequest{
			OutputMask: agentMask, PageSize: pageSize, PageToken: token,
		})
		for _, one := range page.GetAgents() {
			all = append(all, agentOf(one))
		}
		return page.GetNextPageToken(), err
	})
	return all, err
}

// getAgent reads one agent; there is none where the second result is false.
func (s *server) getAgent(ctx context.Context, id string) (agent, bool, error) {
	name, err := s.identity(id)
	if err != nil {
		return agent{}, false, err
	}
	got, err := s.agents.GetAgent(ctx, &agentv1.GetAgentRequest{Id: name, OutputMask: agentMask})
	switch status.Code(err) {
	case codes.OK:
		return agentOf(got), true, nil
	case codes.NotFound:
		return agent{}, false, nil
	}
	return agent{}, false, err
}

func (s *server) banAgent(ctx context.Context, id string) error {
	name, err := s.identity(id)
	if err != nil {
		return err
	}
	_, err = s.agents.BanAgent(ctx, &agentv1.BanAgentRequest{Id: name})
	return err
}

// deleteAgent removes an agent and its ban; that there is none is no error.
func (s *server) deleteAgent(ctx context.Context, id string) error {
	name, err := s.identity(id)
	if err != nil {
		return err
	}
	_, err = s.agents.DeleteAgent(ctx, &agentv1.DeleteAgentRequest{Id: name})
	if status.Code(err) == codes.NotFound {
		return nil
	}
	return err
}

var entryMask = &types.EntryMask{
	SpiffeId: true, ParentId: true, Selectors: true, X509SvidTtl: true, JwtSvidTtl: true, Admin: true,
	Downstream: true, ExpiresAt: true, RevisionNumber: true,
}

// listEntries reads every entry, or those of one SPIFFE ID, in pages.
func (s *server) listEntries(ctx context.Context, id string) ([]wire.Entry, error) {
	var filter *entryv1.ListEntriesRequest_Filter
	if id != "" {
		name, err := s.identity(id)
		if err != nil {
			return nil, err
		}
		filter = &entryv1.ListEntriesRequest_Filter{BySpiffeId: name}
	}
	var all []wire.Entry
	err := pages("entries", func(token string) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		page, err := s.entries.ListEntries(ctx, &entryv1.ListEntriesRequest{
			Filter: filter, OutputMask: entryMask, PageSize: pageSize, PageToken: token,
		})
		for _, one := range page.GetEntries() {
			all = append(all, wire.Entry{
				ID: one.GetId(), SPIFFEID: textOf(one.GetSpiffeId()), ParentID: textOf(one.GetParentId()),
				Selectors: selectorsOf(one.GetSelectors()), X509TTL: int(one.GetX509SvidTtl()),
				JWTTTL: int(one.GetJwtSvidTtl()), Admin: one.GetAdmin(), Downstream: one.GetDownstream(),
				Expires: one.GetExpiresAt(), Revision: one.GetRevisionNumber(),
			})
		}
		return page.GetNextPageToken(), err
	})
	return all, err
}

// pages reads until there is no next page. A list that does not end is an error: half of a map
// would look like entries that are gone.
func pages(what string, read func(token string) (next string, err error)) error {
	token := ""
	for range maxPages {
		next, err := read(token)
		if err != nil || next == "" {
			return err
		}
		if next == token {
			break
		}
		token = next
	}
	return fmt.Errorf("SPIRE's list of %s does not end", what)
}

// setSelectors replaces the selectors of an entry, and names no other field to SPIRE: without a
// mask it would take all of them.
func (s *server) setSelectors(ctx context.Context, entryID string, selectors []wire.Selector) error {
	next := make([]*types.Selector, 0, len(selectors))
	for _, one := range selectors {
		next = append(next, &types.Selector{Type: one.Type, Value: one.Value})
	}
	reply, err := s.entries.BatchUpdateEntry(ctx, &entryv1.BatchUpdateEntryRequest{
		Entries:    []*types.Entry{{Id: entryID, Selectors: next}},
		InputMask:  &types.EntryMask{Selectors: true},
		OutputMask: &types.EntryMask{},
	})
	if err != nil {
		return err
	}
	if len(reply.GetResults()) != 1 {
		return fmt.Errorf("SPIRE answered %d updates, want 1", len(reply.GetResults()))
	}
	got := reply.GetResults()[0].GetStatus()
	if got.GetCode() != int32(codes.OK) {
		return status.Error(codes.Code(got.GetCode()), got.GetMessage()) //nolint:gosec // a gRPC code
	}
	return nil
}
