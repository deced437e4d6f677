package faults_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
)

var policyCells = []cell{
	{"policy", "error", "a policy that is gone leaves the one in force, and starts nothing", false, func(w *world) {
		w.must(os.Remove(w.path("policy.yaml")))
		w.refusesPolicy()
	}},
	{"policy", "timeout", "a policy that never comes is not waited for", false, func(w *world) {
		w.must(os.Remove(w.path("policy.yaml")))
		w.must(unix.Mkfifo(w.path("policy.yaml"), 0o600))
		w.refusesPolicy()
	}},
	{"policy", "slow", "a verdict that is late is by the one policy that it names", false, slowPolicy},
	{"policy", "corrupt", "a policy that the disk changed is none", false, func(w *world) {
		good := policy(w, "second")
		for seed := range uint64(20) {
			random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // which byte is changed is no secret
			bad := bytes.Clone(good)
			bad[bytes.Index(bad, []byte("\n  nitro:"))+random.IntN(200)] = 0xff
			w.write(w.path("policy.yaml"), bad)
			if w.reloads() {
				w.Errorf("a policy with a broken byte is in force: %q", bad)
			}
		}
		w.refusesPolicy()
	}},
	{"policy", "partial", "half of a policy demands no less than the whole", false, partialPolicy},
	{"policy", "flap", "each verdict is by one of the policies that were whole", false, flappingPolicy},
}

// reloads has the daemon read its policies, and returns whether it took them.
func (w *world) reloads() (taken bool) {
	w.Helper()
	const yes, no = "policies were read", "policies were not replaced"
	before := [2]int{w.log.count(yes), w.log.count(no)}
	w.within(5*time.Second, "reading a policy", func() {
		w.reload <- os.Interrupt
		for w.log.count(yes) == before[0] && w.log.count(no) == before[1] {
			time.Sleep(time.Millisecond)
		}
	})
	return w.log.count(yes) > before[0]
}

// refusesPolicy demands that the policy on the disk is not taken, and that the one before stays; that
// nothing starts with it; and that the next good one is taken.
func (w *world) refusesPolicy() {
	w.Helper()
	if w.reloads() {
		w.Error("a policy that will not do is in force")
	}
	if got := w.attest(); !got.accepted() || got.verdict.Policy.ID != "first" {
		w.Errorf("by the policy before: %s", got)
	}
	w.wants("somebody else's machine", w.stranger(), attestd.ClassPolicyDeny)
	w.end()
	if got := classOfError(w.start()); got != attestd.ClassConfig {
		w.Errorf("it starts without a policy, or says %q, want CONFIG", got)
	}
	w.must(os.RemoveAll(w.path("policy.yaml")))
	w.write(w.path("policy.yaml"), policy(w, "second"))
	w.must(w.start())
	if got := w.attest(); !got.accepted() || got.verdict.Policy.ID != "second" {
		w.Errorf("after the fault: %s", got)
	}
	w.recovers()
}

// stranger is evidence of an enclave that is nobody's, which every policy here rejects.
func (w *world) stranger() answer {
	w.Helper()
	other, err := w.aws.Sibling(forge.AWSOptions{ModuleID: "i-0fedcba9876543210-enc0123456789abcdef"})
	w.must(err)
	apart := *w
	apart.aws = other
	return apart.verify(apart.evidence(w.challenge()))
}

func slowPolicy(w *world) {
	evidence := w.evidence(w.challenge())
	end := w.slows("INSERT", "appraisals", time.Second)
	late := make(chan answer, 1)
	go func() { late <- w.verify(evidence) }()
	time.Sleep(300 * time.Millisecond) // it is being kept, or on its way there
	w.write(w.path("policy.yaml"), policy(w, "second"))
	reloaded := make(chan bool, 1)
	go func() { reloaded <- w.reloads() }()
	got := <-late
	if id := got.verdict.Policy.ID; !got.accepted() || id != "first" && id != "second" {
		w.Errorf("a late verdict: %s", got)
	}
	if !<-reloaded {
		w.Error("the other policy was not taken")
	}
	end()
	if got := w.attest(); !got.accepted() || got.verdict.Policy.ID != "second" {
		w.Errorf("after the fault: %s", got)
	}
	w.recovers()
}

// formatLine is the line that begins what a policy demands of one format.
var formatLine = regexp.MustCompile(`\n  [a-z-]+:\n`)

func partialPolicy(w *world) {
	whole := policy(w, "second")
	lines := bytes.SplitAfter(whole, []byte("\n"))
	taken := 0
	for n := range len(lines) - 1 {
		cut := bytes.Join(lines[:n], nil)
		if n%3 != 0 && !bytes.HasSuffix(cut, []byte("\n\n")) {
			continue // every third line, and wherever a section ends
		}
		w.write(w.path("policy.yaml"), cut)
		if !w.reloads() {
			continue
		}
		taken++
		w.wants(fmt.Sprintf("somebody else's machine, by %d lines", n), w.stranger(), attestd.ClassPolicyDeny)
		for _, format := range formatLine.Split(string(cut), -1)[1:] {
			if !strings.Contains(format, "ownership/known") {
				w.Errorf("a format without its last demands is in force: %q", format)
			}
		}
	}
	w.Logf("%d beginnings of a policy are policies, for fewer formats", taken)
	w.write(w.path("policy.yaml"), whole)
	if !w.reloads() {
		w.Error("the whole policy was not taken")
	}
	w.recovers()
}

func flappingPolicy(w *world) {
	documents := [][]byte{policy(w, "first"), []byte("schema: nothing\n"), policy(w, "second"), nil}
	stop := make(chan struct{})
	var flapping, asking sync.WaitGroup
	flapping.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			w.write(w.path("policy.yaml"), documents[n%len(documents)])
			if taken := w.reloads(); taken != (n%2 == 0) {
				w.Errorf("document %d was taken: %t", n%len(documents), taken)
			}
		}
	})
	var mu sync.Mutex
	seen := map[attestd.PolicyRef]int{}
	for range 4 {
		asking.Go(func() {
			for range 30 {
				got := w.attest()
				if !got.accepted() {
					w.Errorf("while policies change: %s", got)
				}
				mu.Lock()
				seen[got.verdict.Policy]++
				mu.Unlock()
			}
		})
	}
	w.within(patience, "asking by policies that flap", asking.Wait)
	close(stop)
	flapping.Wait()
	for ref, n := range seen {
		if ref.ID != "first" && ref.ID != "second" || len(seen) > 2 {
			w.Errorf("%d verdicts are by %+v", n, ref)
		}
	}
	w.write(w.path("policy.yaml"), policy(w, "second"))
	w.recovers()
}
