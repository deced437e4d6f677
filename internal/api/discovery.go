package api

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// discoveryDocument says what a verifier offers (github.com/veraison/docs, api/well-known).
type discoveryDocument struct {
	// Key verifies results that are signed now; /.well-known/jwks.json has those before as well.
	Key       json.RawMessage   `json:"ear-verification-key"`
	Media     []string          `json:"media-types"`
	Schemes   []string          `json:"attestation-schemes"`
	Version   string            `json:"version"`
	State     string            `json:"service-state"`
	Endpoints map[string]string `json:"api-endpoints"`
}

// States of a service there.
const (
	stateReady = "READY"
	stateDown  = "DOWN"
)

func (s *server) discovery(w http.ResponseWriter, r *http.Request) error {
	if err := s.servesVeraison(r, mediaDiscovery, mediaJSON); err != nil {
		return err
	}
	if _, err := query(r); err != nil {
		return err
	}
	var keys struct {
		Keys []json.RawMessage `json:"keys"`
	}
	document, _ := s.config.Results.JWKS()
	if err := json.Unmarshal(document, &keys); err != nil || len(keys.Keys) == 0 {
		return fmt.Errorf("the key set of results cannot be read: %w", err)
	}
	answer := discoveryDocument{
		Key: keys.Keys[0], Media: s.evidenceTypes(), Version: s.config.Version, State: stateReady,
		Endpoints: map[string]string{"newChallengeResponseSession": newSessionPath},
	}
	for _, format := range s.config.Service.Formats() {
		answer.Schemes = append(answer.Schemes, string(format))
	}
	if s.askReady(r.Context()) != nil {
		answer.State = stateDown
	}
	return writeAs(w, http.StatusOK, mediaDiscovery, answer)
}

func writeSession(w http.ResponseWriter, status int, document sessionDocument) error {
	return writeAs(w, status, mediaSession, document)
}
