package enforcer

import (
	"slices"
	"sync"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
)

// Right is an interface that an enforcement point may use. The empty Right is none.
type Right string

// Rights.
const (
	RightAuthZEN    Right = "authzen"
	RightExtAuthz   Right = "ext_authz"
	RightForward    Right = "forward-auth"
	RightIntrospect Right = "introspect"
	RightSignals    Right = "signals"
)

// Rights lists the rights there are.
func Rights() []Right {
	return []Right{RightAuthZEN, RightExtAuthz, RightForward, RightIntrospect, RightSignals}
}

// AllTenants is the tenant of an enforcement point that speaks for every one.
const AllTenants = "*"

// Enforcer is an enforcement point. The zero Enforcer may do nothing. It is safe for concurrent use.
type Enforcer struct {
	name    string
	uid     uint32
	digest  [32]byte
	rights  []Right
	tenants []string
	vouches bool
	rate    int
	burst   int
	pace    *pace
}

// Name is a SPIFFE ID, "user:NAME" for a local process, or "token:NAME".
func (e *Enforcer) Name() string { return e.name }

// May reports whether it has the right.
func (e *Enforcer) May(right Right) bool {
	return e.name != "" && right != "" && slices.Contains(e.rights, right)
}

// Speaks reports whether it may ask about resources of the tenant, and see how the tenant's callers
// stand. Nobody speaks for a tenant that is not known.
func (e *Enforcer) Speaks(tenant string) bool {
	return tenant != "" && tenant != AllTenants &&
		(slices.Contains(e.tenants, AllTenants) || slices.Contains(e.tenants, tenant))
}

// Tenants are those that it speaks for; [AllTenants] alone is every one.
func (e *Enforcer) Tenants() []string { return slices.Clone(e.tenants) }

// Vouches reports whether its word counts for a client certificate that it hands on in a header: it ended
// the caller's TLS connection, and saw that the caller has the key.
func (e *Enforcer) Vouches() bool { return e.vouches }

// Take counts one question; wait is above zero where there were too many, and says when to ask again.
func (e *Enforcer) Take(at time.Time) (wait time.Duration) { return e.TakeN(1, at) }

// TakeN counts several questions of one request, all of them or none. More at once than the whole burst
// are never taken.
func (e *Enforcer) TakeN(questions int, at time.Time) (wait time.Duration) {
	if e.pace == nil || questions <= 0 {
		return time.Second
	}
	return e.pace.take(questions, at)
}

// pace is a bucket of questions that fills with time.
type pace struct {
	rate, burst float64

	mu   sync.Mutex
	have float64
	last time.Time
}

func newPace(rate, burst int) *pace {
	return &pace{rate: float64(rate), burst: float64(burst), have: float64(burst)}
}

// take never fills by a clock that went back.
func (p *pace) take(questions int, at time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if passed := at.Sub(p.last).Seconds(); passed > 0 {
		if !p.last.IsZero() {
			p.have = min(p.burst, p.have+passed*p.rate)
		}
		p.last = at
	}
	want := float64(questions)
	if p.have < want {
		seconds := (want - p.have) / p.rate
		return max(time.Millisecond, time.Duration(seconds*float64(time.Second)))
	}
	p.have -= want
	return 0
}

// Sees reports whether it may learn how the caller of a question stands: it speaks for the tenant that
// the caller's hardware and its record say, as far as either does. Where neither does, it is several
// tenants' perhaps, and only who speaks for all may know; unless there is nothing to be known.
func (e *Enforcer) Sees(in *decision.Input) bool {
	standing, record := in.Standing.Tenant, ""
	if in.Record != nil {
		record = in.Record.Tenant
	}
	if standing == "" && record == "" {
		nothing := in.Who.ID == "" || !in.Standing.Attested && in.Standing.State == attestd.StateUnknown
		return nothing || slices.Contains(e.tenants, AllTenants)
	}
	return (standing == "" || e.Speaks(standing)) && (record == "" || e.Speaks(record))
}
