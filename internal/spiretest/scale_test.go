package spiretest_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	agentv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/agent/v1"

	"github.com/attestd/attestd/testvectors/forge"
)

// The fleet that starts all at once, and what it may cost.
const (
	fleetSize     = 1000 // ATTESTD_FLEET says another number for long runs
	fleetEntries  = 3    // of each agent
	fleetTurn     = 100  // agents whose SVIDs are minted before it is the other server's turn
	fleetAtATime  = 16   // requests under way
	fleetSlower   = 1.10 // mints, times those of SPIRE without plugins: what the long run judges
	fleetLoaded   = 2.50 // what a run beside others may show
	fleetResident = 300  // MiB of attestd and its workers
)

// TestAFleetStartsCold: agents with TPMs attest all at once and have their X509-SVIDs minted. The
// composer is not what they wait for: the same fleet with tokens, at a SPIRE server without plugins, is
// hardly faster.
func TestAFleetStartsCold(t *testing.T) {
	ca, err := forge.NewTPMCA(forge.TPMCAConfig{})
	if err != nil {
		t.Fatal(err)
	}
	size := fromEnvironment(t, "ATTESTD_FLEET", fleetSize)
	fleet := simulatedFleet(t, ca, size)
	folder := t.TempDir()
	root := filepath.Join(folder, "root.pem")
	rootFile(t, ca, root)
	h := arrange(t, houseConfig{profile: fast, server: serverConfig{unlimited: true}})
	h.extend(t, root, forgedValues(t, folder, root, fleet[0]))
	h.quiet(t)
	h.start(t)
	h.delivered(t, fleet)
	plain := serve(t, serverConfig{profile: fast, unlimited: true})
	others := make([]*simulated, 0, len(fleet))
	for _, one := range fleet {
		token, err := plain.agents.CreateJoinToken(t.Context(), &agentv1.CreateJoinTokenRequest{Ttl: 600})
		if err != nil {
			t.Fatal(err)
		}
		others = append(others, &simulated{
			id: id("/spire/agent/join_token/" + token.GetValue()), token: token.GetValue(), key: one.key,
		})
	}
	with, without := h.spire.attested(t, fleet), plain.attested(t, others)
	// In turns, so that what else this host does falls on both; the turn in the middle is what counts.
	var mine, theirs spread
	for from := 0; from+fleetTurn <= size; from += fleetTurn {
		mine = append(mine, h.spire.minted(t, fleet[from:from+fleetTurn], from))
		theirs = append(theirs, plain.minted(t, others[from:from+fleetTurn], from))
	}
	resident := h.daemon.residentMiB(t)
	slower := mine.middle().Seconds() / theirs.middle().Seconds()
	turn := float64(fleetTurn * fleetEntries)
	t.Logf("%d agents: attested in %s, with tokens in %s; X509-SVIDs minted at %.0f a second, without attestd "+
		"at %.0f, medians of %d turns: %.3f times the time; attestd holds %.0f MiB", size, with, without,
		turn/mine.middle().Seconds(), turn/theirs.middle().Seconds(), len(mine), slower, resident)
	if slower > fleetLoaded {
		t.Errorf("mints take %.2f times as long as without attestd, want at most %.2f", slower, fleetLoaded)
	}
	if resident > fleetResident {
		t.Errorf("attestd holds %.0f MiB, want at most %d", resident, fleetResident)
	}
}

// fleetEntry is the id of one of an agent's entries.
func fleetEntry(agent, index int) string { return fmt.Sprintf("attestd.fleet-%d-%d", agent, index) }

// attested registers the fleet's entries, has all of it attest, and connects each with its SVID. It returns
// the time that attesting took.
func (s *spireServer) attested(t *testing.T, fleet []*simulated) time.Duration {
	t.Helper()
	var batch []entry
	for number, one := range fleet {
		for index := range fleetEntries {
			batch = append(batch, entry{
				id: fleetEntry(number, index), spiffeID: id(fmt.Sprintf("/fleet/%d/%d", number, index)),
				parent: one.id, selectors: []string{"unix:uid:0"},
			})
		}
		if len(batch) >= 500 || number == len(fleet)-1 {
			s.register(t, batch...)
			batch = nil
		}
	}
	s.cached(t)
	roots := x509.NewCertPool()
	document, err := s.bundle(t.Context())
	if err != nil || !roots.AppendCertsFromPEM(document) {
		t.Fatalf("the trust bundle: %v", err)
	}
	took := each(t, fleet, func(ctx context.Context, _ int, one *simulated) error {
		return one.attestOnce(ctx, s, roots)
	})
	each(t, fleet, func(_ context.Context, _ int, one *simulated) error { return one.dial(s, roots) })
	return took
}

// minted has the X509-SVIDs of all entries of a part of the fleet minted; the part begins at from.
func (s *spireServer) minted(t *testing.T, part []*simulated, from int) time.Duration {
	t.Helper()
	return each(t, part, func(ctx context.Context, number int, one *simulated) error {
		var entries []string
		for index := range fleetEntries {
			entries = append(entries, fleetEntry(from+number, index))
		}
		defer one.conn.Close() //nolint:errcheck // the answer decides
		return one.mint(ctx, entries)
	})
}

// each does something for each agent, some of them at a time, and returns how long all of it took.
func each(
	t *testing.T, fleet []*simulated, do func(ctx context.Context, number int, one *simulated) error,
) time.Duration {
	t.Helper()
	began := time.Now()
	turns := make(chan int)
	var working sync.WaitGroup
	for range fleetAtATime {
		working.Go(func() {
			for number := range turns {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				if err := do(ctx, number, fleet[number]); err != nil {
					t.Errorf("%s: %v", fleet[number].id, err)
				}
				cancel()
			}
		})
	}
	for number := range fleet {
		if t.Failed() {
			break
		}
		turns <- number
	}
	close(turns)
	working.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return time.Since(began)
}

// quiet has attestd log as it does where nobody looks for a fault.
func (d *daemon) quiet(t *testing.T) {
	t.Helper()
	document, err := os.ReadFile(d.configFile())
	if err != nil {
		t.Fatal(err)
	}
	write(t, d.configFile(), []byte(strings.Replace(string(document), "log_level: debug", "log_level: info", 1)))
}

// residentMiB adds up the resident memory of the process and those below it. Pages that they share are
// counted once for each, so the figure is an upper bound.
func (p *process) residentMiB(t *testing.T) float64 {
	t.Helper()
	total := 0.0
	for _, number := range append(p.children(), p.pid()) {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", number))
		if err != nil {
			continue // it has ended
		}
		for line := range strings.Lines(string(status)) {
			if text, ok := strings.CutPrefix(line, "VmRSS:"); ok {
				var kib float64
				if _, err := fmt.Sscan(text, &kib); err != nil {
					t.Fatal(err)
				}
				total += kib / 1024
			}
		}
	}
	return total
}
