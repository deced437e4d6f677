package controller

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestd/attestd"
)

// The rhythm of a ban. An attestation that began before it undoes it when its SVID is signed, which
// takes as long as the slowest plugin does: for as long as that can be, the ban is laid so often that
// what slips through lives for milliseconds.
const (
	banEvery = 20 * time.Millisecond
	// lookFirst bounds the look at who banned an agent before attestd did.
	lookFirst = 50 * time.Millisecond
	mostDelay = time.Second
	// Above so many bans laid again and again at once each of them waits longer: SPIRE's database has
	// one writer, and the agents that attest need it, too. 2 ms each are 500 a second for all.
	banShare = 2 * time.Millisecond
)

// readBacks are when a ban is read back after it was laid; with the last it is no longer repeated.
func readBacks() []time.Duration {
	return []time.Duration{time.Second, 5 * time.Second, 30 * time.Second}
}

// ban lays a ban and keeps it laid until ctx ends.
func (o *orders) ban(ctx context.Context, t *task) {
	id := t.target.id
	own := o.c.record.has(o.c.record.bans, id)
	// A ban that is there and not of attestd's record is a person's, and stays when the order goes.
	banned, seen := o.bannedBefore(ctx, id)
	// One that may be there is no ban that holds: a server that does not answer is one whose attestations
	// take long.
	slots, often := o.first, !banned || !seen
	for ctx.Err() == nil {
		if !o.burst(ctx, t, slots, own || !banned, often) {
			return
		}
		slots, often = o.repeat, true
		// Laid and read back. From here on each poll looks.
		for {
			select {
			case <-t.kick:
			case <-ctx.Done():
				return
			}
			if !o.stands(ctx, t, "poll") {
				break
			}
		}
	}
}

// bannedBefore reports whether the agent is banned already, and whether SPIRE said so just now. Where it
// cannot be seen it says yes: one ban too many stays, and none too few.
func (o *orders) bannedBefore(ctx context.Context, id string) (banned, seen bool) {
	ctx, cancel := context.WithTimeout(ctx, lookFirst)
	defer cancel()
	got, there, err := o.c.spire.getAgent(ctx, id)
	if err == nil {
		return there && got.Banned, true
	}
	if known, there, polled := o.c.fleet.agent(id); polled {
		return there && known.Banned, false
	}
	o.c.log.WarnContext(ctx, "a ban is laid and will not be lifted: who banned the agent before cannot be seen",
		"subject", id, "err", attestd.Excerpt(err.Error(), 200))
	return true, false
}

// burst lays the ban, from the first answer of SPIRE's on again and again for 30 s if often, and reads
// it back. It returns false where ctx has ended.
func (o *orders) burst(ctx context.Context, t *task, slots chan struct{}, mine, often bool) bool {
	o.bursts.Add(1)
	defer o.bursts.Add(-1)
	var began time.Time
	looks, delay := o.c.readBacks, banEvery
	for {
		if began.IsZero() || often {
			if o.layOnce(ctx, t, slots, mine) {
				delay = max(banEvery, time.Duration(o.bursts.Load())*banShare)
				if began.IsZero() {
					began = time.Now()
				}
			} else {
				delay = min(2*delay, mostDelay)
			}
			slots = o.repeat
		}
		if !often && !began.IsZero() {
			delay = time.Until(began.Add(looks[0]))
		}
		if !pause(ctx, delay) {
			return false
		}
		if began.IsZero() {
			continue
		}
		if time.Since(began) >= looks[0] {
			looks = looks[1:]
			switch {
			case !o.stands(ctx, t, "read back"):
				// What undid it may come again.
				began, looks, often = time.Now(), o.c.readBacks, true
			case len(looks) == 0:
				return true
			}
		}
	}
}

// layOnce lays the ban once, and reports whether SPIRE answered.
func (o *orders) layOnce(ctx context.Context, t *task, slots chan struct{}, mine bool) bool {
	id := t.target.id
	err := o.with(ctx, slots, func(ctx context.Context) error { return o.c.spire.banAgent(ctx, id) })
	switch code := status.Code(err); {
	case code == codes.OK:
		if mine {
			o.c.record.set(o.c.record.bans, id, true)
		}
		o.say(t, true, "")
		return true
	case code == codes.NotFound:
		o.say(t, false, absent)
		return true
	case ctx.Err() == nil:
		o.say(t, false, "SPIRE: "+attestd.Excerpt(err.Error(), 200))
	}
	return false
}

const absent = "SPIRE has no such agent: attestd gives it no identity, and bans it as soon as it is there"

// stands looks whether a ban is there, and reports whether there is nothing to lay. An agent that is
// gone cannot be banned: the order stays open.
func (o *orders) stands(ctx context.Context, t *task, seen string) bool {
	id := t.target.id
	var got agent
	var there bool
	err := o.with(ctx, o.repeat, func(ctx context.Context) (err error) {
		got, there, err = o.c.spire.getAgent(ctx, id)
		return err
	})
	switch {
	case ctx.Err() != nil:
		return true
	case err != nil:
		o.say(t, false, "SPIRE: "+attestd.Excerpt(err.Error(), 200))
		return false
	case !there:
		o.say(t, false, absent)
		return true
	case !got.Banned:
		_, was := t.status()
		if was {
			o.c.log.WarnContext(ctx, "a ban was undone in SPIRE and is laid again",
				"subject", id, "seen", seen)
			o.say(t, false, "the ban was undone in SPIRE and is laid again")
		}
		return false
	}
	o.say(t, true, "")
	return true
}

// unban lifts a ban of attestd's own: SPIRE knows no other way than to forget the agent, which then
// attests again.
func (o *orders) unban(ctx context.Context, t *task) {
	id := t.target.id
	for delay := banEvery; ctx.Err() == nil; delay = min(2*delay, mostDelay) {
		var got agent
		var there bool
		err := o.with(ctx, o.first, func(ctx context.Context) (err error) {
			got, there, err = o.c.spire.getAgent(ctx, id)
			return err
		})
		switch {
		case err != nil:
		case !there || !got.Banned:
			o.c.record.set(o.c.record.bans, id, false)
			o.finish(t, true, "")
			return
		case !o.c.record.has(o.c.record.bans, id):
			o.finish(t, false, "somebody else banned it: lift it with spire-server agent evict")
			return
		case !o.releases.take(time.Now(), o.c.fleet.size()):
			o.say(t, false, "waits for its turn: a release makes the agent attest again")
			delay = mostDelay
		default:
			err = o.with(ctx, o.first, func(ctx context.Context) error {
				return o.c.spire.deleteAgent(ctx, id)
			})
			if err == nil {
				o.c.record.set(o.c.record.bans, id, false)
				o.finish(t, true, "")
				return
			}
		}
		if err != nil && ctx.Err() == nil {
			o.say(t, false, "SPIRE: "+attestd.Excerpt(err.Error(), 200))
		}
		if !pause(ctx, delay) {
			return
		}
	}
}

// with makes one call of SPIRE when one of the slots is free.
func (o *orders) with(ctx context.Context, slots chan struct{}, ask func(context.Context) error) error {
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-slots }()
	// A call that is given up may still be carried out, after the next one was.
	return call(context.WithoutCancel(ctx), ask)
}
