package crash_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/subject"
)

// perRound is how many subjects a child has to quarantine.
const perRound = 200

// victim is a process that is killed. It says what it does on stdout, a line in one write.
type victim struct {
	store *registry.Store
	index *live.Index
	first int
	// acknowledged says of each subject of the round whether its quarantine was.
	acknowledged [perRound]atomic.Bool
}

func child(folder string) error {
	ctx := context.Background()
	round, err := strconv.Atoi(os.Getenv("ROUND"))
	if err != nil {
		return err
	}
	v := &victim{index: live.New(), first: round * perRound}
	if v.store, err = openStore(ctx, filepath.Join(folder, "attestd.db"), v.index); err != nil {
		return err
	}
	fmt.Println("ready")
	if err := v.look(ctx, filepath.Join(folder, "acknowledged")); err != nil {
		return err
	}
	if os.Getenv("LAST") == "true" {
		return v.store.Close()
	}
	if err := v.seed(ctx); err != nil {
		return err
	}
	fmt.Println("seeded")
	failed := make(chan error)
	for part := range 4 {
		go func() { failed <- v.quarantineAll(ctx, part) }()
	}
	for part := range 2 {
		go v.grantAll(part)
	}
	return <-failed // it is killed before, or waits to be
}

// look says which acknowledged quarantines do not hold, and which of the last round are there by halves.
func (v *victim) look(ctx context.Context, name string) error {
	file, err := os.Open(name) //nolint:gosec // of the test
	if errors.Is(err, os.ErrNotExist) {
		return nil // the first round
	}
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	held := 0
	for lines := bufio.NewScanner(file); lines.Scan(); {
		n, err := strconv.Atoi(lines.Text())
		if err != nil {
			return err
		}
		_, err = v.index.Grant(machine(n).ID, 60, "x509-svid", v.store.Now())
		var refused *live.Refused
		if !errors.As(err, &refused) || refused.Class() != attestd.ClassQuarantined {
			fmt.Println("lost", n, err)
			continue
		}
		held++
	}
	for n := max(0, v.first-perRound); n < v.first; n++ {
		known, err := v.store.Known(ctx, subject.Ask{ID: machine(n).ID, Bars: keysOf(machine(n))})
		if err != nil {
			return err
		}
		quarantined := known.Subject != nil && known.Subject.State == attestd.StateQuarantined
		if quarantined && len(known.Bars) != 2 || !quarantined && len(known.Bars) != 0 {
			fmt.Println("torn", n, len(known.Bars))
		}
	}
	fmt.Println("held", held)
	return nil
}

// seed makes the round's subjects trusted.
func (v *victim) seed(ctx context.Context) error {
	now := v.store.Now()
	for start := 0; start < perRound; start += 100 {
		step := write(now, "verify")
		for n := start; n < start+100; n++ {
			one := machine(v.first + n)
			one.State, one.DueAt, one.EvidenceAt = attestd.StateTrusted, now.Add(time.Hour), now
			step.Subjects = append(step.Subjects, subject.SubjectWrite{Next: one})
		}
		if err := v.store.Write(ctx, step); err != nil {
			return err
		}
	}
	return nil
}

func (v *victim) quarantineAll(ctx context.Context, part int) error {
	for n := part; n < perRound; n += 4 {
		one := machine(v.first + n)
		now := v.store.Now()
		step := write(now, "quarantine")
		one.State = attestd.StateQuarantined
		step.Subjects = []subject.SubjectWrite{{Expect: 1, Next: one}}
		for _, on := range keysOf(one)[:2] {
			step.Bars = append(step.Bars, subject.BarWrite{
				Key: on, Next: bar(on, attestd.StateQuarantined, "", now),
			})
		}
		if err := v.store.Write(ctx, step); err != nil {
			return err
		}
		v.acknowledged[n].Store(true)
		fmt.Println("ack", v.first+n)
	}
	select {} // it waits to be killed
}

// grantAll asks for grants, and says where one is given though its question began after the
// acknowledgement of a quarantine.
func (v *victim) grantAll(part int) {
	for turn := 0; ; turn++ {
		granted, refused := 0, 0
		for n := part; n < perRound; n += 2 {
			after := v.acknowledged[n].Load()
			_, err := v.index.Grant(machine(v.first+n).ID, 60, "x509-svid", v.store.Now())
			switch {
			case err != nil:
				refused++
			case after:
				fmt.Println("granted after the acknowledgement", n)
			default:
				granted++
			}
		}
		fmt.Printf("grants %d\nrefusals %d\n", granted, refused)
		time.Sleep(time.Millisecond)
	}
}
