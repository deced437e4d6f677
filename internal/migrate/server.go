package migrate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	agentv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/agent/v1"
	entryv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/entry/v1"
	"github.com/spiffe/spire-api-sdk/proto/spire/api/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/attestd/attestd"
)

// Bounds of what is read of SPIRE.
const (
	pageSize   = 500
	maxPages   = 20_000
	maxMessage = 32 << 20
	pageTime   = 10 * time.Second
)

// Server is a SPIRE server's API on its unix socket.
type Server struct {
	conn    *grpc.ClientConn
	agents  agentv1.AgentClient
	entries entryv1.EntryClient
}

// Dial returns the server at an address as in unix:/run/spire/api.sock. It does not wait for it.
//
// Errors: a [*attestd.CallerError] of class MALFORMED for what is no address.
func Dial(address string) (*Server, error) {
	path, found := strings.CutPrefix(address, "unix:")
	if !found || !strings.HasPrefix(path, "/") {
		return nil, &attestd.CallerError{
			Class: attestd.ClassMalformed, Hint: "as in unix:/tmp/spire-server/private/api.sock",
			Err: fmt.Errorf("SPIRE's server is %q, want unix: and a whole path", attestd.Excerpt(address, 120)),
		}
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)))
	if err != nil {
		return nil, err
	}
	return &Server{conn, agentv1.NewAgentClient(conn), entryv1.NewEntryClient(conn)}, nil
}

// Close ends the connection.
func (s *Server) Close() error { return s.conn.Close() }

// Read reads every agent and every entry.
//
// Errors: an [*attestd.UndecidedError] where SPIRE does not answer, a [*attestd.CallerError] of class
// FORBIDDEN where it refuses.
func (s *Server) Read(ctx context.Context) (World, error) {
	var world World
	err := pages(ctx, func(ctx context.Context, token string) (string, error) {
		page, err := s.agents.ListAgents(ctx, &agentv1.ListAgentsRequest{PageSize: pageSize, PageToken: token})
		for _, one := range page.GetAgents() {
			world.Agents = append(world.Agents, agentOf(one))
		}
		return page.GetNextPageToken(), err
	})
	if err != nil {
		return World{}, unanswered("agents", err)
	}
	err = pages(ctx, func(ctx context.Context, token string) (string, error) {
		page, err := s.entries.ListEntries(ctx, &entryv1.ListEntriesRequest{PageSize: pageSize, PageToken: token})
		for _, one := range page.GetEntries() {
			world.Entries = append(world.Entries, entryOf(one))
		}
		return page.GetNextPageToken(), err
	})
	if err != nil {
		return World{}, unanswered("entries", err)
	}
	return world, nil
}

// pages reads until there is no next page. Half of a list is none.
func pages(ctx context.Context, read func(ctx context.Context, token string) (string, error)) error {
	token := ""
	for range maxPages {
		one, stop := context.WithTimeout(ctx, pageTime)
		next, err := read(one, token)
		stop()
		if err != nil || next == "" {
			return err
		}
		if next == token {
			break
		}
		token = next
	}
	return errors.New("the list does not end")
}

// Apply gives entries the selectors that they have here, one after the other; it can be done again.
//
// Errors: as of Read, of the first that SPIRE did not take.
func (s *Server) Apply(ctx context.Context, entries []Entry) error {
	for number, entry := range entries {
		if err := s.SetSelectors(ctx, entry); err != nil {
			return fmt.Errorf("%d of %d entries were changed before this: %w", number, len(entries), err)
		}
	}
	return nil
}

// SetSelectors replaces the selectors of an entry and touches no other field.
//
// Errors: as of Read.
func (s *Server) SetSelectors(ctx context.Context, entry Entry) error {
	ctx, stop := context.WithTimeout(ctx, pageTime)
	defer stop()
	next := &types.Entry{Id: entry.ID}
	for _, one := range entry.Selectors {
		next.Selectors = append(next.Selectors, &types.Selector{Type: one.Type, Value: one.Value})
	}
	reply, err := s.entries.BatchUpdateEntry(ctx, &entryv1.BatchUpdateEntryRequest{
		Entries: []*types.Entry{next}, InputMask: &types.EntryMask{Selectors: true}, OutputMask: &types.EntryMask{},
	})
	if err == nil && len(reply.GetResults()) != 1 {
		err = fmt.Errorf("SPIRE answered %d updates, want 1", len(reply.GetResults()))
	}
	if err == nil && reply.GetResults()[0].GetStatus().GetCode() != int32(codes.OK) {
		said := reply.GetResults()[0].GetStatus()
		err = status.Error(codes.Code(said.GetCode()), said.GetMessage()) //nolint:gosec // a gRPC code
	}
	if err != nil {
		return unanswered("entry "+entry.ID, err)
	}
	return nil
}

func unanswered(what string, err error) error {
	text := fmt.Errorf("SPIRE, %s: %s", what, attestd.Excerpt(err.Error(), 200))
	switch status.Code(err) {
	case codes.PermissionDenied, codes.Unauthenticated:
		return &attestd.CallerError{
			Class: attestd.ClassForbidden, Err: text, Hint: "SPIRE's policy lets attestd change entries of its own " +
				"prefix alone: write the change with --out FILE, then spire-server entry update -data FILE",
		}
	case codes.InvalidArgument, codes.NotFound:
		return &attestd.CallerError{Class: attestd.ClassMalformed, Err: text, Hint: "ask again: it has changed since"}
	}
	return &attestd.UndecidedError{
		Check: "spire", Class: attestd.ClassStoreUnavailable, Got: "no answer", Want: what, Err: text,
		Hint: "see whether spire-server runs and whether this user may open its socket",
	}
}
