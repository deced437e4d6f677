package fuzz_test

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/attestd/attestd/internal/challenge"
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

func (m *memory) InsertAppraisal(_ context.Context, row challenge.Answered) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.appraisals) == most {
		clear(m.appraisals)
	}
	m.appraisals[row.ID] = row.Document
	return nil
}

func (m *memory) Appraisal(_ context.Context, id string) ([]byte, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	document, ok := m.appraisals[id]
	return document, ok, nil
}
