package fuzz_test

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/subject"
)

// most bounds what the store keeps, so that fuzzing for hours does not fill the memory.
const most = 1000

// memory is a store that forgets everything when it is full.
type memory struct {
	mu         sync.Mutex
	challenges map[string]challenge.Issued
	appraisals map[string][]byte
}

func newMemory() *memory {
	return &memory{challenges: map[string]challenge.Issued{}, appraisals: map[string][]byte{}}
}

func (*memory) Now() time.Time             { return time.Now().UTC() }
func (*memory) ClockBehind() time.Duration { return 0 }
func (*memory) Pulse(context.Context) error {
	return nil
}

// Room and KnowsKey: there is always room, and no key is known.
func (*memory) Room(context.Context, string, string) error { return nil }
func (*memory) KnowsKey(context.Context, string, []byte, [sha256.Size]byte) (bool, error) {
	return false, nil
}

func (m *memory) InsertChallenge(_ context.Context, made challenge.Issued) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.challenges) == most {
		clear(m.challenges)
	}
	m.challenges[made.ID] = made
	return nil
}

func (m *memory) Consume(_ context.Context, use challenge.Use) (challenge.Taken, challenge.Outcome, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	made, ok := m.challenges[use.ID]
	switch {
	case !ok:
		return challenge.Taken{}, challenge.Unknown, nil
	case made.Tenant != use.Tenant, made.Purpose != use.Purpose, made.Format != use.Format:
		return challenge.Taken{}, challenge.Foreign, nil
	}
	delete(m.challenges, use.ID)
	return challenge.Taken{Challenge: made.Challenge, Credential: made.Credential}, challenge.Consumed, nil
}

func (m *memory) Keep(_ context.Context, verdict registry.Verdict) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.appraisals) == most {
		clear(m.appraisals)
	}
	m.appraisals[verdict.ID] = verdict.Document
	return nil
}

// Nobody is known, and nothing is made of what would change that.
func (*memory) Known(context.Context, subject.Ask) (subject.Known, error) {
	return subject.Known{}, nil
}
func (*memory) Write(context.Context, subject.Write) error { return nil }
func (*memory) Note(audit.Record)                          {}
func (*memory) Ownerships(context.Context, subject.Filter) ([]subject.Ownership, string, error) {
	return nil, "", nil
}
func (*memory) Token(context.Context, string) (subject.Token, bool, error) {
	return subject.Token{}, false, nil
}

func (m *memory) Appraisal(_ context.Context, id string) ([]byte, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	document, ok := m.appraisals[id]
	return document, ok, nil
}
