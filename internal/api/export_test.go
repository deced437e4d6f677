package api

import "time"

// Routes lists the rows of the table of routes, for the test that compares it with docs/api.md.
func Routes() (rows [][2]string) {
	for _, row := range routes() {
		rows = append(rows, [2]string{row.method, row.path})
	}
	return rows
}

// ProblemTypes lists the types of problems with their statuses and titles.
func ProblemTypes() map[string][2]any {
	rows := map[string][2]any{}
	for class, known := range edge.Classes() {
		rows[known.Type] = [2]any{known.Status, string(class)}
	}
	return rows
}

// Sample is a request of the API's description.
type Sample struct {
	Method, Path, Query, Media, Body string
	Gives                            int
}

// Samples lists those of the table of routes.
func Samples() (rows []Sample) {
	for _, row := range routes() {
		if one := row.about.example; one != nil {
			rows = append(rows, Sample{row.method, row.path, one.query, one.media, one.body, one.gives})
		}
	}
	return rows
}

// Unwrap reads the envelope of evidence in a session.
func Unwrap(media string, body []byte) (format string, evidence []byte, err error) {
	found, evidence, err := unwrap(media, body, 1<<20)
	return string(found), evidence, err
}

// SessionLimits are the bounds of the sessions that are remembered.
const SessionLimits = maxSessionsPerSource

// Sessions are those of a server of their own.
type Sessions struct{ sessions }

// Add remembers a session.
func (s *Sessions) Add(id, source string, life time.Duration) error {
	return s.add(session{id: id, source: source, life: life})
}

// Get, Begin and End say whether there is the session, for what they are asked.
func (s *Sessions) Get(id string) bool { _, found := s.get(id); return found }

// Begin reports whether the session took an answer.
func (s *Sessions) Begin(id string) (found, waiting bool) {
	_, found, waiting = s.begin(id)
	return found, waiting
}

// Complete ends an answer.
func (s *Sessions) Complete(id string) bool {
	_, found := s.end(id, sessionComplete, "a")
	return found
}

// Remove forgets a session.
func (s *Sessions) Remove(id string) bool { return s.remove(id) }

// Remembered returns how many sessions are, and how many sources.
func (s *Sessions) Remembered() (open, sources int) { return len(s.open), len(s.perSource) }

// AppendVerdict is how the body of an answer is written.
var AppendVerdict = appendVerdict
