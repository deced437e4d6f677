package workloadattestor

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/exp/proto/spiffe/broker"
	"github.com/spiffe/spire-plugin-sdk/pluginsdk"
	workloadattestorv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/agent/workloadattestor/v1"
	configv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/service/common/config/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/attestd/attestd/plugins/spire/host"
	"github.com/attestd/attestd/plugins/spire/workloadattestor/ask"
)

// Name of the plugin, and of its sub-command.
const Name = "workloadattestor"

// looks is how many processes are looked at at once, of all users and of one: a file system that does
// not answer must hold up its own user's processes, not the agent.
const (
	looks       = 1024
	looksOfUser = 256
)

// configuration is the plugin's data in SPIRE's agent.conf.
type configuration struct {
	// RuntimeDir is the folder that attestd's plugins of one agent share; nobody else may enter it.
	RuntimeDir string `hcl:"runtime_dir,required"`
	// TrustDomain is compared with the agent's own.
	TrustDomain string `hcl:"trust_domain"`
	// WithholdAfter is how long selectors are given after attestd was heard last.
	WithholdAfter time.Duration `hcl:"withhold_after"`
	// LargestExecutable in MiB, and ReadRate in MiB a second for each user.
	LargestExecutable int `hcl:"largest_executable_mib"`
	ReadRate          int `hcl:"read_rate_mib"`

	engine    *engine
	inspector *inspector
}

func defaults() configuration {
	return configuration{WithholdAfter: 10 * time.Second, LargestExecutable: 512, ReadRate: 64}
}

// Check returns what is wrong with the values.
func (c *configuration) Check() []string {
	var problems []string
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if c.RuntimeDir != "" && !filepath.IsAbs(c.RuntimeDir) {
		wrong("runtime_dir: want an absolute path, as in /run/attestd-spire")
	}
	if c.WithholdAfter < 3*time.Second || c.WithholdAfter > time.Minute {
		wrong("withhold_after: got %s, want 3s to 60s: snapshots come every 2 s", c.WithholdAfter)
	}
	if c.LargestExecutable < 1 || c.LargestExecutable > 16<<10 {
		wrong("largest_executable_mib: got %d, want 1 to %d", c.LargestExecutable, 16<<10)
	}
	if c.ReadRate < 1 || c.ReadRate > 16<<10 {
		wrong("read_rate_mib: got %d, want 1 to %d", c.ReadRate, 16<<10)
	}
	return problems
}

// service is the plugin.
type service struct {
	workloadattestorv1.UnsafeWorkloadAttestorServer

	env        host.Env
	clock      clock
	proc       string
	ima        *measurementList
	between    func() // called while a process is looked at; nil but in tests
	configured *host.Configured[configuration]
	engines    engines
	looking    counter
}

// New returns the plugin. It starts nothing before it is configured.
func New(env host.Env) (host.Plugin, error) {
	return pluginOf(newService(env, systemClock{})), nil
}

func pluginOf(s *service) host.Plugin {
	return host.Plugin{
		Name:     Name,
		Server:   workloadattestorv1.WorkloadAttestorPluginServer(s),
		Services: []pluginsdk.ServiceServer{configv1.ConfigServiceServer(s.configured)},
	}
}

func newService(env host.Env, clock clock) *service {
	s := &service{env: env, clock: clock, proc: "/proc", ima: newMeasurementList(imaLog, clock)}
	s.configured = host.NewConfigured[configuration](env, defaults, s.start)
	return s
}

// start sets up what a configuration names.
func (s *service) start(ctx context.Context, document *configuration, core host.Core) (func(), error) {
	found, err := newDigests(s.clock, int64(document.LargestExecutable)<<20, int64(document.ReadRate)<<20)
	if err != nil {
		return nil, err
	}
	engine, done, err := s.engines.use(ctx, place{
		folder: filepath.Clean(document.RuntimeDir), domain: core.TrustDomain, env: s.env, clock: s.clock,
		answer: s.answer,
	})
	if err != nil {
		return nil, err
	}
	document.engine = engine
	document.inspector = &inspector{proc: s.proc, digests: found, ima: s.ima, between: s.between}
	// The kernel's list may be long: it is read before the first workload waits for it.
	go s.ima.holds(noDigest)
	return done, nil
}

// noDigest is asked for to have the list read; no file has it.
const noDigest = "0000000000000000000000000000000000000000000000000000000000000000"

// Attest tells SPIRE's agent what a process is. No selectors and no error is a clean answer: no
// identity by attestd's selectors.
func (s *service) Attest(ctx context.Context, request *workloadattestorv1.AttestRequest) (
	*workloadattestorv1.AttestResponse, error) {
	selectors, err := s.attest(ctx, request.GetPid())
	if err != nil {
		return nil, err
	}
	return &workloadattestorv1.AttestResponse{SelectorValues: selectors}, nil
}

// AttestReference does the same for a process that a broker of the SPIFFE Broker API names. References
// of other kinds (to a pod, say) name nothing that this node's kernel could tell about.
func (s *service) AttestReference(ctx context.Context, request *workloadattestorv1.AttestReferenceRequest) (
	*workloadattestorv1.AttestReferenceResponse, error) {
	var process broker.WorkloadPIDReference
	if !request.GetReference().MessageIs(&process) {
		return nil, status.Error(codes.InvalidArgument, "attestd: only references to a process id are known")
	}
	if err := anypb.UnmarshalTo(request.GetReference(), &process, proto.UnmarshalOptions{}); err != nil {
		return nil, status.Error(codes.InvalidArgument, "attestd: the reference cannot be read")
	}
	selectors, err := s.attest(ctx, process.GetPid())
	if err != nil {
		return nil, err
	}
	return &workloadattestorv1.AttestReferenceResponse{SelectorValues: selectors}, nil
}

func (s *service) attest(ctx context.Context, pid int32) ([]string, error) {
	document, release, err := s.configured.Acquire()
	if err != nil {
		return nil, err
	}
	defer release()
	if pid <= 0 {
		return nil, status.Errorf(codes.InvalidArgument, "attestd: %d is no process id", pid)
	}
	// Before anything is read: a node that is not admitted costs nothing, and the agent's question about
	// itself at its start is answered at once.
	if _, reason := document.engine.node.admitted(document.WithholdAfter); reason != "" {
		s.env.Counts.Add("withheld")
		s.env.Logger.Debug("no selectors", "pid", pid, "reason", reason)
		return nil, nil
	}
	process, err := s.look(ctx, document, pid)
	if errors.Is(err, errGone) {
		s.env.Counts.Add("gone")
		s.env.Logger.Debug("no selectors", "pid", pid, "reason", err.Error())
		return nil, nil
	}
	if err != nil {
		s.env.Counts.Add("failed")
		s.env.Logger.Warn("a process cannot be looked at", "pid", pid, "err", err)
		if status.Code(err) != codes.Unknown {
			return nil, err
		}
		return nil, status.Error(codes.Unavailable, "attestd: the process cannot be looked at now")
	}
	// Last, after all other work, which may have taken seconds: what attestd says now.
	admission, reason := document.engine.node.admitted(document.WithholdAfter)
	if reason != "" {
		s.env.Counts.Add("withheld")
		s.env.Logger.Debug("no selectors", "pid", pid, "reason", reason)
		return nil, nil
	}
	if len(process.reasons) > 0 {
		s.env.Logger.Debug("some selectors are missing", "pid", pid, "reasons", process.reasons)
	}
	s.env.Counts.Add("attested")
	return selectors(admission, process), nil
}

// look looks at a process where there are not too many already.
func (s *service) look(ctx context.Context, document *configuration, pid int32) (*facts, error) {
	uid, err := userOf(document.inspector.proc, pid)
	if err != nil {
		return nil, err
	}
	if !s.looking.enter(uid) {
		return nil, status.Error(codes.ResourceExhausted, "attestd: too many processes are looked at")
	}
	defer s.looking.leave(uid)
	return document.inspector.look(ctx, pid)
}

// counter counts what goes on, for all and for each user.
type counter struct {
	mu    sync.Mutex
	all   int
	users map[uint32]int
}

func (c *counter) enter(uid uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all >= looks || c.users[uid] >= looksOfUser {
		return false
	}
	if c.users == nil {
		c.users = make(map[uint32]int)
	}
	c.all++
	c.users[uid]++
	return true
}

func (c *counter) leave(uid uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all--
	if c.users[uid]--; c.users[uid] <= 0 {
		delete(c.users, uid)
	}
}

// answer tells people on this node what Attest would say, and why.
func (s *service) answer(ctx context.Context, engine *engine, question ask.Question) ask.Answer {
	out := ask.Answer{PID: question.PID, Selectors: []string{}, Reasons: []string{}}
	document, release, err := s.configured.Acquire()
	if err != nil {
		out.Reasons = append(out.Reasons, "the plugin is being configured")
		return out
	}
	defer release()
	var process *facts
	if question.PID > 0 {
		if process, err = s.look(ctx, document, question.PID); err != nil {
			out.Reasons = append(out.Reasons, fmt.Sprintf("process %d: %v", question.PID, err))
		}
	}
	admission, reason := engine.node.admitted(document.WithholdAfter)
	if reason != "" {
		out.Reasons = append(out.Reasons, reason)
	}
	out.Node = s.nodeOf(engine, document.WithholdAfter)
	out.Node.Admitted = reason == ""
	if process == nil {
		return out
	}
	out.Process = ask.Process{
		Alive: process.alive, Path: process.path, SHA256: process.digest, Container: process.container,
		MeasuredByKernel: process.measured,
	}
	out.Reasons = append(out.Reasons, process.reasons...)
	if current := engine.node.current.Load(); current != nil {
		out.Process.Workload = current.names[process.digest]
	}
	if reason == "" {
		out.Selectors = selectors(admission, process)
	}
	return out
}

func (s *service) nodeOf(engine *engine, bound time.Duration) ask.Node {
	var out ask.Node
	out.Address, out.Problem = engine.watcher.state()
	out.BoundMillis = bound.Milliseconds()
	if enlisted := engine.node.enlisted.Load(); enlisted != nil {
		out.AgentID = enlisted.AgentID
	}
	current := engine.node.current.Load()
	if current == nil {
		return out
	}
	snapshot := current.snapshot
	out.State, out.Tier, out.Risk, out.Tenant = snapshot.State, snapshot.Tier, snapshot.Risk, snapshot.Tenant
	out.IssuedAt, out.Names = snapshot.IssuedAt, len(current.names)
	out.AgeMillis = current.age(s.clock.steady()).Milliseconds()
	out.BoundMillis = min(bound, current.lifetime).Milliseconds()
	return out
}
