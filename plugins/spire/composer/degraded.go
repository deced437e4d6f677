package composer

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/link"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/plugins/spire/host"
)

// Bounds of what attestd hands out to go on by, beyond which it is not attestd that does.
const (
	// mostHoldover is how long one is of use, whatever it says of itself.
	mostHoldover = time.Minute
	mostParts    = 64
	mostRows     = 1 << 15
	// offPause is between questions where there is none, errorPause where no answer comes.
	offPause   = 10 * time.Second
	errorPause = 500 * time.Millisecond
	// askWithin is for one question, which waits at attestd until there is something new.
	askWithin = 20 * time.Second
)

// degradedClaim says that attestd could not be asked.
const degradedClaim = "attestd_degraded"

// keeper has what attestd handed out for the time in which it does not answer. Where spire.degraded
// is strict that is nothing, and the keeper grants nothing.
type keeper struct {
	logger hclog.Logger
	counts *host.Counts
	domain string
	now    func() time.Time

	mu sync.Mutex
	// key is the first that attestd named; another is refused until the plugin is configured again.
	key  ed25519.PublicKey
	held *held
	// refused are ids that attestd itself refused, by when: that weighs more than what it said
	// before.
	refused map[string]time.Time
	// off says that attestd hands out nothing and will not: no refusal need be remembered.
	off bool
	// heard is when attestd answered anything; told is when the log last had a line.
	heard, told time.Time
}

// held is one Holdover, whole.
type held struct {
	wire.Holdover

	rows map[string]wire.HoldoverRow
	// until is by this machine's own clock that only goes forward: ExpiresAt is by attestd's.
	until time.Time
}

func newKeeper(env host.Env, trustDomain string) *keeper {
	return &keeper{
		logger: env.Logger, counts: env.Counts, domain: trustDomain, now: time.Now,
		refused: map[string]time.Time{},
	}
}

// run asks attestd for what is new until ctx ends.
func (k *keeper) run(
	ctx context.Context,
	ask func(context.Context, wire.HoldoverRequest) (wire.HoldoverAnswer, error),
) {
	var parts []wire.Holdover
	for ctx.Err() == nil {
		call, cancel := context.WithTimeout(ctx, askWithin)
		answer, err := ask(call, k.wanted(parts))
		cancel()
		pause := time.Duration(0)
		switch {
		case err != nil:
			if !errors.Is(err, link.ErrUnreached) {
				k.hear()
			}
			parts, pause = nil, errorPause
			k.logger.Debug("attestd hands out nothing to go on by",
				"err", attestd.Excerpt(err.Error(), 200))
		case answer.Off:
			k.hear()
			k.drop()
			parts, pause = nil, offPause
		default:
			k.hear()
			if parts, err = k.take(answer, parts); err != nil {
				parts, pause = nil, offPause
				k.logger.Error("what attestd hands out to go on by is not used",
					"why", attestd.Excerpt(err.Error(), 200))
			}
		}
		if pause != 0 {
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	}
}

// wanted is the next question.
func (k *keeper) wanted(parts []wire.Holdover) wire.HoldoverRequest {
	if len(parts) != 0 {
		return wire.HoldoverRequest{Number: parts[0].Number, Part: len(parts) + 1}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held == nil {
		return wire.HoldoverRequest{}
	}
	return wire.HoldoverRequest{Number: k.held.Number}
}

func (k *keeper) drop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held, k.off = nil, true
	clear(k.refused)
}

func (k *keeper) hear() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.heard = k.now()
}

// take takes in one part: with the last of them what there was is replaced, whole. It returns the
// parts that wait for the others.
func (k *keeper) take(answer wire.HoldoverAnswer, parts []wire.Holdover) ([]wire.Holdover, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(answer.Key) != ed25519.PublicKeySize {
		return nil, errors.New("it names no key")
	}
	if k.key != nil && !bytes.Equal(k.key, answer.Key) {
		return nil, errors.New("it is signed by another key than the first was; " +
			"if attestd was set up anew, configure the plugin again")
	}
	signed := append([]byte(wire.HoldoverLabel), answer.Signed.Payload...)
	if !ed25519.Verify(answer.Key, signed, answer.Signed.Signature) {
		return nil, errors.New("its signature is not over it")
	}
	var one wire.Holdover
	if err := link.Decode(answer.Signed.Payload, &one); err != nil {
		return nil, err
	}
	if len(parts) != 0 && one.Number != parts[0].Number && one.Part == 1 {
		parts = nil // there is a newer one already
	}
	if err := k.check(&one, answer.Now, parts); err != nil {
		return nil, err
	}
	k.key, k.off = slices.Clone(answer.Key), false
	if parts = append(parts, one); one.Part < one.Parts {
		return parts, nil
	}
	next := &held{Holdover: one, rows: map[string]wire.HoldoverRow{}}
	next.until = k.now().Add(min(one.ExpiresAt.Sub(answer.Now), mostHoldover))
	for _, part := range parts {
		for _, row := range part.Rows {
			next.rows[row.ID] = row
		}
	}
	next.Rows = nil
	k.held = next
	return nil, nil
}

// check refuses what attestd does not hand out, what is over, and what is older than what there is.
func (k *keeper) check(one *wire.Holdover, now time.Time, parts []wire.Holdover) error {
	switch {
	case one.TrustDomain != k.domain:
		return errors.New("it is for the trust domain " + attestd.Excerpt(one.TrustDomain, 80))
	// Attestd numbers by its clock, which can be set back: what is over stands in nobody's way.
	case k.held != nil && one.Number <= k.held.Number && k.now().Before(k.held.until):
		return errors.New("it is not newer than what there is")
	case one.Parts < 1 || one.Parts > mostParts || one.Part != len(parts)+1 || one.Part > one.Parts:
		return errors.New("its parts are not in order")
	case one.ExpiresAt.Sub(one.IssuedAt) > mostHoldover:
		return errors.New("it is for longer than a minute")
	case !now.Before(one.ExpiresAt) || now.Before(one.IssuedAt):
		return errors.New("it is over, or not begun")
	}
	rows := len(one.Rows)
	for _, part := range parts {
		rows += len(part.Rows)
		if part.Number != one.Number || part.Parts != one.Parts ||
			!part.ExpiresAt.Equal(one.ExpiresAt) {
			return errors.New("its parts are not of one")
		}
	}
	if rows > mostRows {
		return errors.New("it has too many rows")
	}
	for _, row := range one.Rows {
		if row.ExpiresAt > one.ExpiresAt.Unix() || row.LivesSeconds < 1 ||
			!strings.HasPrefix(row.ID, "spiffe://"+k.domain+"/") {
			return errors.New("a row of it is none: " + attestd.Excerpt(row.ID, 80))
		}
	}
	return nil
}

// answered notes that attestd answered about an id, and how: a refusal, or that it cannot tell, is
// in force here too, until it grants again or whatever was handed out before is over. That can be on
// its way still.
func (k *keeper) answered(id string, granted bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.heard = k.now()
	if granted {
		delete(k.refused, id)
		return
	}
	if k.off {
		return
	}
	if len(k.refused) >= mostRows {
		maps.DeleteFunc(k.refused, func(_ string, at time.Time) bool {
			return k.heard.Sub(at) > mostHoldover
		})
	}
	if len(k.refused) >= mostRows {
		k.held = nil // rather nothing than what attestd refused
		return
	}
	k.refused[strings.Clone(id)] = k.heard
}

// grant answers in place of attestd, which did not answer since asked: JWT-SVIDs alone, since
// nothing shortens the life of an X.509-SVID here, and no agent's, which needs new evidence.
func (k *keeper) grant(request wire.GrantRequest, asked time.Time) (wire.Granted, bool) {
	if request.Kind != wire.GrantWorkloadJWT {
		return wire.Granted{}, false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	if k.held == nil || !now.Before(k.held.until) || !k.heard.Before(asked) {
		return wire.Granted{}, false
	}
	row, there := k.held.rows[request.ID]
	if at, no := k.refused[request.ID]; !there || no && now.Sub(at) <= mostHoldover {
		return wire.Granted{}, false
	}
	expires := min(request.ExpiresAt, row.ExpiresAt, now.Unix()+row.LivesSeconds)
	if expires <= now.Unix() {
		return wire.Granted{}, false
	}
	claims := maps.Clone(row.Claims)
	if claims == nil {
		return wire.Granted{}, false
	}
	if !k.held.tells(request.Audience) {
		for _, name := range k.held.RiskClaims {
			delete(claims, name)
		}
	}
	claims[degradedClaim] = true
	k.counts.Add("degraded_" + request.Kind)
	if now.Sub(k.told) >= quiet {
		k.told = now
		k.logger.Warn("attestd does not answer: JWT-SVIDs are issued by what it said last",
			"number", k.held.Number, "until", k.held.ExpiresAt.UTC().Format(time.RFC3339))
	}
	return wire.Granted{Claims: claims, ExpiresAt: expires}, true
}

// tells reports whether all of the audiences get claims about risk.
func (h *held) tells(audience []string) bool {
	if slices.Contains(h.Audiences, "*") {
		return true
	}
	for _, one := range audience {
		if !slices.Contains(h.Audiences, one) {
			return false
		}
	}
	return len(audience) != 0
}
