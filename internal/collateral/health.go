package collateral

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/tdx/pcs"
)

// Age is how far a list or certificate is into its time. The zero Age is Expired: what nobody looked at
// is not current.
type Age uint8

// Ages, from the worst to the best.
const (
	// Expired says that its time has passed, or that it is gone: evidence that needs it is undecided.
	Expired Age = iota
	// Grace is the last part of its time. It begins at another moment for each list and each installation,
	// so that neither all alarms nor all requests come at once, and it never reaches beyond the end.
	Grace
	// Due says that more than half of its time has passed: a successor should be there to be had.
	Due
	// Fresh is the first half of its time.
	Fresh
)

// String returns the word for it.
func (a Age) String() string {
	switch a {
	case Fresh:
		return "fresh"
	case Due:
		return "due"
	case Grace:
		return "grace"
	default:
		return "expired"
	}
}

// MarshalText writes the word.
func (a Age) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// Row is the state of one list or intermediate CA.
type Row struct {
	Format attestd.Format `json:"format"`
	Kind   string         `json:"kind"`
	Name   string         `json:"name"`
	// Number of a list in decimal, or the evaluation number of a document; Scope its distribution point,
	// Entries how many it revokes.
	Number  string `json:"number,omitempty"`
	Scope   string `json:"scope,omitempty"`
	Entries int    `json:"entries"`
	// Channel of a document. Idle says that judges are given another one, so that nobody waits for it.
	Channel Channel   `json:"channel,omitempty"`
	Idle    bool      `json:"idle,omitempty"`
	From    time.Time `json:"from"`
	Until   time.Time `json:"until"`
	// Refresh and GraceFrom are when it becomes Due and Grace.
	Refresh   time.Time `json:"refresh"`
	GraceFrom time.Time `json:"grace_from"`
	Age       Age       `json:"age"`
	// Problem says why it is not given out; empty where it is.
	Problem string    `json:"problem,omitempty"`
	Source  string    `json:"source"`
	Taken   time.Time `json:"taken"`
	SHA256  string    `json:"sha256"`
}

// Where grace begins: with the last eighth of the time, at most graceMost before the end, and earlier by a
// part of as much again that differs from list to list.
const (
	gracePart = 8
	graceMost = 45 * 24 * time.Hour
)

// Health returns the state of every list and intermediate CA at a time, in the order of formats and names,
// and of every product line of AMD's for which nothing is held. It says nothing about evidence: whether a
// list that is not current may be used is for the policy, and verifiers look at the time themselves.
func (s *Store) Health(at time.Time) []Row {
	s.mu.Lock()
	defer s.mu.Unlock()
	rows := []Row{}
	listed := map[string]bool{}
	for _, held := range s.ledger.Lists {
		row := Row{
			Format: held.Format, Kind: KindList, Name: held.IssuerName, Number: decimal(held.Number),
			Scope: held.Scope, Entries: held.Entries, From: held.From, Until: held.Until, Source: held.Source,
			Taken: held.Taken, SHA256: held.SHA256,
		}
		listed[held.IssuerName] = true
		if (&view{issuers: s.issuers, at: at}).retiredIssuer(held) {
			continue
		}
		rows = append(rows, s.aged(row, at, held.Issuer+held.IssuerName+held.Scope))
	}
	for _, line := range lines {
		// Only lines whose root this build knows can be judged at all.
		if root := "ARK-" + line; !listed[root] && knows(s.issuers, root) {
			rows = append(rows, Row{
				Format: attestd.FormatSEVSNP, Kind: KindList, Name: root, Problem: "no list was imported yet",
			})
		}
	}
	rows = append(rows, s.documentHealth(at, listed)...)
	for _, held := range s.ledger.Certificates {
		if retired(held.Format, held.Until, at) {
			continue
		}
		kind := KindCA
		if held.Format == attestd.FormatTDX && held.Name == pcs.NameSigner {
			kind = KindSigner
		}
		rows = append(rows, s.aged(Row{
			Format: held.Format, Kind: kind, Name: held.Name, From: held.From, Until: held.Until,
			Source: held.Source, Taken: held.Taken, SHA256: held.SHA256,
		}, at, held.SHA256))
	}
	return rows
}

// documentHealth returns the state of every document, and of what is missing beside them. The caller holds
// mu; listed are the issuers of which a list is held.
func (s *Store) documentHealth(at time.Time, listed map[string]bool) []Row {
	var rows []Row
	levels, identity := false, false
	for _, held := range s.ledger.Documents {
		idle := held.Channel != s.channel
		rows = append(rows, s.aged(Row{
			Format: attestd.FormatTDX, Kind: held.kind(), Name: held.name(), Channel: held.Channel, Idle: idle,
			Number: strconv.FormatUint(held.Evaluation, 10), From: held.From, Until: held.Until,
			Source: held.Source, Taken: held.Taken, SHA256: held.SHA256,
		}, at, held.key()))
		levels = levels || !idle && held.kind() == pcs.KindTCBInfo.String()
		identity = identity || !idle && held.kind() == pcs.KindIdentity.String()
	}
	missing := func(kind, name string, channel Channel) {
		rows = append(rows, Row{
			Format: attestd.FormatTDX, Kind: kind, Name: name, Channel: channel, Problem: "none was imported yet",
		})
	}
	// No quote can be judged with a part of it alone.
	if levels && !identity {
		missing(pcs.KindIdentity.String(), "TD_QE", s.channel)
	}
	if levels && !listed[pcs.NameRoot] {
		missing(KindList, pcs.NameRoot, "")
	}
	if levels && !listed[pcs.NamePlatform] && !listed[pcs.NameProcessor] {
		missing(KindList, pcs.NamePlatform, "")
	}
	return rows
}

func knows(issuers []*issuer, root string) bool {
	for _, known := range issuers {
		if known.root && known.certificate.Subject.CommonName == root {
			return true
		}
	}
	return false
}

// aged works out how far into its time a row is.
func (s *Store) aged(row Row, at time.Time, what string) Row {
	whole := row.Until.Sub(row.From)
	last := min(whole/gracePart, graceMost)
	row.Refresh = row.From.Add(whole / 2)
	row.GraceFrom = row.Until.Add(-last - s.jitter(what, last/2))
	switch {
	case at.After(row.Until):
	case !at.Before(row.GraceFrom):
		row.Age = Grace
	case !at.Before(row.Refresh):
		row.Age = Due
	default:
		row.Age = Fresh
	}
	if err := s.unusable[row.SHA256]; err != nil {
		row.Age, row.Problem = Expired, attestd.Excerpt(err.Error(), 160)
	} else if row.From.After(at.Add(maxAhead)) {
		row.Age, row.Problem = Expired, "it is yet to come: this machine's clock is behind"
	}
	return row
}

// jitter is a part of most that is always the same for a thing in one folder and differs elsewhere.
func (s *Store) jitter(what string, most time.Duration) time.Duration {
	seed, _ := hex.DecodeString(s.ledger.Seed)
	digest := sha256.Sum256(append(seed, what...))
	part := time.Duration(uint64(digest[0])<<8 | uint64(digest[1]))
	return most / (1 << 16) * part
}

// Judge returns the worst of rows that are in use as an error, nil where all are fresh or due, and whether
// it is a failure already: a list in its grace is only a warning.
func Judge(rows []Row) (failing bool, err error) {
	for _, row := range rows {
		switch {
		case row.Idle:
		case row.Problem != "":
			failing = true
			err = errors.Join(err, fmt.Errorf("%s %s: %s", row.Kind, row.Name, row.Problem))
		case row.Age == Expired:
			failing = true
			err = errors.Join(err, fmt.Errorf("%s %s was current until %s", row.Kind, row.Name,
				row.Until.Format(time.RFC3339)))
		case row.Age == Grace:
			err = errors.Join(err, fmt.Errorf("%s %s is current until %s", row.Kind, row.Name,
				row.Until.Format(time.RFC3339)))
		}
	}
	return failing, err
}
