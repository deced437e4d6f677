package api

import (
	"sync"
	"time"

	"github.com/attestd/attestd"
)

// sessionState is how far a session is. Names are those of Veraison's published description.
type sessionState string

const (
	sessionWaiting    sessionState = "waiting"
	sessionProcessing sessionState = "processing"
	sessionComplete   sessionState = "complete"
	sessionFailed     sessionState = "failed"
)

// Bounds of the sessions that are remembered. How many may wait is the challenge store's to say; these
// hold for those that were answered and are remembered until they are over.
const (
	maxSessions          = 8192
	maxSessionsPerSource = 512
)

// session is what is remembered of one: who chose the nonce, and which appraisal came of it. Evidence
// and result are not: the result is signed anew when it is asked for again, so that none is given about
// a subject that is held by then.
type session struct {
	id, tenant, source string
	nonce              []byte
	chosen             bool
	state              sessionState
	// life is how long it lives, once to be answered and once more to be looked at; ends is by this
	// process's own clock, expires what is shown, by the store's.
	life          time.Duration
	ends, expires time.Time
	// appraisal is the id of what came of it; empty until it is complete.
	appraisal string
}

// sessions are lost with the process, as everything is that a client can ask for again.
type sessions struct {
	mu        sync.Mutex
	open      map[string]*session
	perSource map[string]int
}

// add remembers a session.
//
// Errors: a [*attestd.CallerError] of class RATE_LIMITED.
func (s *sessions) add(one session) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for id, old := range s.open {
		if !now.Before(old.ends) {
			s.drop(id)
		}
	}
	if len(s.open) >= maxSessions || s.perSource[one.source] >= maxSessionsPerSource {
		return edge.Refuse(attestd.ClassRateLimited, "too many sessions are open",
			"delete sessions whose result you have, or try again when they are over")
	}
	if s.open == nil {
		s.open, s.perSource = map[string]*session{}, map[string]int{}
	}
	one.state, one.ends = sessionWaiting, now.Add(one.life)
	s.open[one.id] = &one
	s.perSource[one.source]++
	return nil
}

// drop forgets a session and reports whether there was one. The caller holds mu.
func (s *sessions) drop(id string) bool {
	one := s.open[id]
	if one == nil {
		return false
	}
	delete(s.open, id)
	if s.perSource[one.source]--; s.perSource[one.source] <= 0 {
		delete(s.perSource, one.source)
	}
	return true
}

// remove forgets a session. One that is over is not there.
func (s *sessions) remove(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.open[id]
	return s.drop(id) && time.Now().Before(one.ends)
}

// get returns a copy of a session that is not over.
func (s *sessions) get(id string) (session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.open[id]
	if one == nil || !time.Now().Before(one.ends) {
		return session{}, false
	}
	return *one, true
}

// begin takes a waiting session for the one answer that it is good for.
func (s *sessions) begin(id string) (taken session, found, waiting bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.open[id]
	if one == nil || !time.Now().Before(one.ends) {
		return session{}, false, false
	}
	if one.state != sessionWaiting {
		return *one, true, false
	}
	one.state = sessionProcessing
	return *one, true, true
}

// end says what came of an answer. A session that was deleted meanwhile stays deleted.
func (s *sessions) end(id string, state sessionState, appraisal string) (session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.open[id]
	if one == nil {
		return session{}, false
	}
	one.state, one.appraisal = state, appraisal
	if state == sessionComplete {
		one.ends, one.expires = one.ends.Add(one.life), one.expires.Add(one.life)
	}
	return *one, true
}
