package host

import (
	"context"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	configv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/service/common/config/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestd/attestd"
)

// Document is a plugin's configuration: a struct as [Decode] reads it, that says what is wrong with
// values that are well-formed each for itself.
type Document[T any] interface {
	*T
	// Check returns every problem, as in "timeout: got 0s, want 10ms to 30s".
	Check() []string
}

// Core is what SPIRE says of itself with a configuration.
type Core struct {
	// TrustDomain is SPIRE's own, without "spiffe://".
	TrustDomain string
}

// Configured answers SPIRE's Configure and Validate for a plugin, by the same code, and keeps what the
// plugin runs by: an immutable T with what was started for it. A call takes it once, by Acquire, and so
// sees one configuration from its beginning to its end, whatever is configured meanwhile.
type Configured[T any] struct {
	configv1.UnsafeConfigServer

	logger  hclog.Logger
	fresh   func() *T
	check   func(*T) []string
	start   func(context.Context, *T, Core) (func(), error)
	change  sync.Mutex
	current atomic.Pointer[active[T]]
}

// active is one configuration and the number of those who use it, the holder of the pointer included.
type active[T any] struct {
	document *T
	stop     func()
	users    atomic.Int64
}

func (a *active[T]) release() {
	if a.users.Add(-1) == 0 && a.stop != nil {
		a.stop()
	}
}

// NewConfigured returns the configuration of a plugin that has none yet.
//
// defaults returns a T as it is where no key is given. start is called for a configuration in which
// nothing is wrong, before it is used; it sets up what the configuration names (in fields of T without a
// tag), and returns what ends that again: called when the last call that uses it has returned. An error
// of start refuses the configuration, and the one before stays.
func NewConfigured[T any, P Document[T]](env Env, defaults func() T,
	start func(ctx context.Context, document *T, core Core) (stop func(), err error)) *Configured[T] {
	return &Configured[T]{
		logger: env.Logger,
		fresh:  func() *T { document := defaults(); return &document },
		check:  func(document *T) []string { return P(document).Check() },
		start:  start,
	}
}

// Acquire returns the configuration to run a call by, and what says that the call no longer needs it.
// Before the first configuration it is an error that SPIRE can be told.
func (c *Configured[T]) Acquire() (document *T, release func(), err error) {
	for {
		now := c.current.Load()
		if now == nil {
			return nil, nil, status.Error(codes.FailedPrecondition, "attestd: the plugin is not configured")
		}
		// Only what somebody uses can be taken: from 0 on it is being ended.
		if users := now.users.Load(); users > 0 && now.users.CompareAndSwap(users, users+1) {
			return now.document, now.release, nil
		}
	}
}

// read decodes and checks a configuration.
func (c *Configured[T]) read(core *configv1.CoreConfiguration, text string) (*T, Problems) {
	document := c.fresh()
	problems := Decode(text, document)
	domain := core.GetTrustDomain()
	if domain == "" {
		problems = append(problems, Problem{Text: "SPIRE named no trust domain"})
	}
	for _, one := range fieldsOf(reflect.ValueOf(document).Elem()) {
		if one.key != "trust_domain" || one.value.Kind() != reflect.String {
			continue
		}
		// Evidence is bound to the trust domain: a plugin of another one must not even start.
		if own := one.value.String(); own != "" && own != domain {
			problems = append(problems, Problem{Key: one.key, Text: "got \"" + attestd.Excerpt(own, 60) +
				"\", and SPIRE's own is \"" + attestd.Excerpt(domain, 60) + "\""})
		}
	}
	for _, text := range c.check(document) {
		// What could not be read is named already, and is not also out of bounds.
		if key, _, _ := strings.Cut(text, ":"); !hasKey(problems, key) {
			problems = append(problems, Problem{Text: text})
		}
	}
	return document, problems
}

func hasKey(problems Problems, key string) bool {
	for _, problem := range problems {
		if problem.Key == key || strings.HasPrefix(problem.Key, key+"[") {
			return true
		}
	}
	return false
}

// Configure makes a configuration the current one, whole, or leaves the one before.
func (c *Configured[T]) Configure(ctx context.Context, request *configv1.ConfigureRequest) (
	*configv1.ConfigureResponse, error) {
	document, problems := c.read(request.GetCoreConfiguration(), request.GetHclConfiguration())
	if len(problems) != 0 {
		return nil, status.Error(codes.InvalidArgument, "configuration: "+strings.Join(problems.Strings(), "; "))
	}
	c.change.Lock()
	defer c.change.Unlock()
	stop, err := c.start(ctx, document, Core{TrustDomain: request.GetCoreConfiguration().GetTrustDomain()})
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "configuration: "+attestd.Excerpt(err.Error(), 400))
	}
	next := &active[T]{document: document, stop: stop}
	next.users.Store(1)
	if before := c.current.Swap(next); before != nil {
		c.logger.Info("configured again")
		before.release()
	}
	return &configv1.ConfigureResponse{}, nil
}

// Validate says what Configure would find wrong, and starts nothing.
func (c *Configured[T]) Validate(_ context.Context, request *configv1.ValidateRequest) (
	*configv1.ValidateResponse, error) {
	_, problems := c.read(request.GetCoreConfiguration(), request.GetHclConfiguration())
	return &configv1.ValidateResponse{Valid: len(problems) == 0, Notes: problems.Strings()}, nil
}
