package spiretest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/testvectors/forge"
)

// What a quarantine through attestd may take. The figures are printed, and the long run judges them; a
// short run beside others fails where one of them is exceeded so far that no load explains it.
const (
	refusedAfter = 100 * time.Millisecond // from the acknowledgement to the refusal, in the middle
	callOver     = 100 * time.Millisecond // over the same change through SPIRE's own API, in the middle
	loaded       = 5                      // times
)

// drills is how often each quarantine is measured; ATTESTD_DRILLS says another number for long runs.
func drills(t *testing.T) int { return fromEnvironment(t, "ATTESTD_DRILLS", 3) }

// fromEnvironment is a number of repetitions.
func fromEnvironment(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text, given := os.LookupEnv(name)
	if !given {
		return otherwise
	}
	number, err := strconv.Atoi(text)
	if err != nil || number < 1 {
		t.Fatalf("%s is %q, want a number", name, text)
	}
	return number
}

// spread is what several measurements are told as.
type spread []time.Duration

func (s spread) middle() time.Duration { return slices.Sorted(slices.Values(s))[len(s)/2] }
func (s spread) most() time.Duration   { return slices.Max(s) }
func (s spread) String() string {
	return fmt.Sprintf("%s in the middle, %s at most", s.middle().Round(10*time.Microsecond),
		s.most().Round(10*time.Microsecond))
}

// effects is what all drills of one profile showed. Drills of one kind run beside each other.
type effects struct {
	refused, ended spread // on honest nodes: since the acknowledgement, since the order
}

// TestTimeToEffect measures how soon a quarantine takes effect: of honest nodes and of hostile ones, of
// single ids, and beside each the same change made through SPIRE's own interfaces.
func TestTimeToEffect(t *testing.T) {
	for _, profile := range []profile{fast, defaults} {
		t.Run(profile.name, func(t *testing.T) { drill(t, profile, drills(t)) })
	}
}

func drill(t *testing.T, profile profile, count int) {
	ca, err := forge.NewTPMCA(forge.TPMCAConfig{})
	if err != nil {
		t.Fatal(err)
	}
	hostile := simulatedFleet(t, ca, 3*count)
	folder := t.TempDir()
	root := filepath.Join(folder, "root.pem")
	rootFile(t, ca, root)
	h := arrange(t, houseConfig{profile: profile})
	h.extend(t, root, forgedValues(t, folder, root, hostile[0]))
	h.start(t)
	h.delivered(t, hostile)
	nodes := h.fleetOf(t, count)
	h.spire.connected(t, hostile)
	h.drillHostile(t, hostile)
	h.drillEntries(t, nodes[0], count)
	nodes[0].workload = nil
	var all effects
	honest := make(chan outcome, count)
	t.Run("honest", func(t *testing.T) {
		for _, n := range nodes {
			t.Run(filepath.Base(n.folder), func(t *testing.T) {
				t.Parallel()
				n.start(t)
				honest <- n.quarantined(t)
				n.agent.stop(t)
			})
		}
	})
	close(honest)
	for one := range honest {
		all.refused, all.ended = append(all.refused, one.refused), append(all.ended, one.ended)
	}
	if len(all.refused) < count {
		t.Fatalf("%d of %d quarantines were measured", len(all.refused), count)
	}
	t.Logf("%s, honest nodes: %d quarantines; the next JWT-SVID refused %s; the agent ended %s", profile.name,
		count, all.refused, all.ended)
	wantWithin(t, "the next JWT-SVID after the acknowledgement was refused", all.refused.middle(), refusedAfter)
	wantBound(t, "the agent of an honest node ended", all.ended, profile)
}

// wantWithin judges a figure whose target the long run judges exactly.
func wantWithin(t *testing.T, what string, took, target time.Duration) {
	t.Helper()
	if took > loaded*target {
		t.Errorf("%s %s later, want at most %s", what, took, target)
	}
}

// wantBound wants each of the times to be within what SPIRE itself takes, with half of it for the load.
func wantBound(t *testing.T, what string, took spread, profile profile) {
	t.Helper()
	if took.most() > profile.bound*3/2 {
		t.Errorf("%s after %s, want at most %s", what, took.most(), profile.bound)
	}
}

// fleetOf makes nodes of the lab that were not started yet.
func (h *house) fleetOf(t *testing.T, count int) []*node {
	t.Helper()
	nodes := make([]*node, 0, count)
	for number := range count {
		n := h.node(t, newMachine(t, likeNumber(number), goldenBoot()), "memory")
		h.owns(t, n.machine)
		nodes = append(nodes, n)
	}
	h.spire.cached(t)
	return nodes
}

// likeNumber names TPMs, the first ones as other tests do: each takes a while to make.
func likeNumber(number int) string {
	if names := []string{"first", "second", "third"}; number < len(names) {
		return names[number]
	}
	return fmt.Sprint("machine-", number+1)
}

// wantReceipt wants an order to have taken effect in all its channels, and its receipt to count what was
// granted before: at least that many, the last of which ends no earlier.
func wantReceipt(t *testing.T, receipt wire.Receipt, grants int, until time.Time, channels ...string) {
	t.Helper()
	if receipt.Grants < grants || receipt.GrantsUntil.Before(until) {
		t.Errorf("the acknowledgement counts %d grants until %s; %d are out, until %s", receipt.Grants,
			receipt.GrantsUntil, grants, until)
	}
	for name, state := range map[string]string{"grants": "effective", "store": "durable"} {
		wantChannel(t, receipt, name, state)
	}
	for _, name := range channels {
		wantChannel(t, receipt, name, "effective")
	}
}

func wantChannel(t *testing.T, receipt wire.Receipt, name, state string) {
	t.Helper()
	at := slices.IndexFunc(receipt.Channels, func(c wire.Channel) bool { return c.Name == name })
	if at < 0 || receipt.Channels[at].State != state {
		t.Errorf("channel %s is not %s: %+v", name, state, receipt.Channels)
	}
}

// effective is how long after the order a channel of its receipt took effect.
func effective(receipt wire.Receipt, name string) time.Duration {
	for _, channel := range receipt.Channels {
		if channel.Name == name {
			return time.Duration(channel.After) * time.Microsecond
		}
	}
	return 0
}
