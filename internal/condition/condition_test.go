package condition_test

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/attestd/attestd/internal/condition"
)

var update = flag.Bool("update", false, "write the generated files anew")

// TestListIsWhole: every condition says what it does and what to do, under a name of its own.
func TestListIsWhole(t *testing.T) {
	form := regexp.MustCompile(`^[a-z]+/[a-z-]+$`)
	seen := map[string]bool{}
	for _, spec := range condition.All() {
		switch {
		case !form.MatchString(spec.Name) || seen[spec.Name]:
			t.Errorf("condition %d is called %q", spec.ID, spec.Name)
		case spec.Title == "" || spec.Effect == "" || spec.Fix == "" || spec.Why == "":
			t.Errorf("%s does not say everything", spec.Name)
		case spec.Local && (spec.Blocks || spec.Alert != condition.Unknown):
			t.Errorf("%s is local, and somebody is called for it", spec.Name)
		case spec.Alert == condition.OK || spec.Blocks && spec.Alert != condition.Failure:
			t.Errorf("%s calls somebody at %s", spec.Name, spec.Alert)
		case strings.ContainsAny(spec.Title+spec.Effect+spec.Fix, "\"\\\n"):
			t.Errorf("%s does not fit into an alert", spec.Name)
		}
		if got, known := condition.Lookup(spec.Name); !known || got.ID != spec.ID {
			t.Errorf("%s is found as %v, %t", spec.Name, got, known)
		}
		if spec.ID.String() != spec.Name {
			t.Errorf("%s has the id %s", spec.Name, spec.ID)
		}
		seen[spec.Name] = true
	}
	if len(seen) < 25 {
		t.Errorf("the list has %d conditions", len(seen))
	}
	if got := condition.Of(0); got.Name != "" {
		t.Errorf("zero is the condition %s", got.Name)
	}
	if _, known := condition.Lookup("store/made-up"); known {
		t.Error("a condition that is none was found")
	}
}

// TestFilesAreGenerated compares the documentation and the alerts with the list; -update writes them.
func TestFilesAreGenerated(t *testing.T) {
	for path, want := range map[string]string{
		"reference/conditions.md": condition.Page(), "deploy/alerts.yaml": condition.Alerts(),
	} {
		path = filepath.Join("..", "..", "docs", filepath.FromSlash(path))
		if *update {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != want {
			t.Errorf("%s is not what the list says (%v): run make docs", path, err)
		}
	}
}

func TestAlertsAreRules(t *testing.T) {
	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.UnmarshalWithOptions([]byte(condition.Alerts()), &rules, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, rule := range rules.Groups[0].Rules {
		if named[rule.Alert] || rule.Expr == "" || rule.Annotations["fix"] == "" || rule.Labels["severity"] == "" {
			t.Errorf("the rule %+v", rule)
		}
		if _, err := time.ParseDuration(rule.For); err != nil {
			t.Errorf("%s lasts %q", rule.Alert, rule.For)
		}
		named[rule.Alert] = true
	}
	called := 0
	for _, spec := range condition.All() {
		if spec.Alert != condition.Unknown {
			called++
		}
	}
	if len(named) != called+1 {
		t.Errorf("%d rules for %d conditions", len(named), called)
	}
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// worst makes every condition of one severity.
func worst(t *testing.T, set *condition.Set, severity condition.Severity) {
	t.Helper()
	for _, spec := range condition.All() {
		if err := set.Report(condition.Finding{ID: spec.ID, Severity: severity, Detail: "so"}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNotReadyUntilAllThatCountsIsWell: what nobody looked at is not well. neg: 179, 187
func TestNotReadyUntilAllThatCountsIsWell(t *testing.T) {
	now := noon
	set := condition.New(func() time.Time { return now })
	if set.Ready() == nil {
		t.Error("ready before anything was looked at")
	}
	worst(t, set, condition.Warning)
	if err := set.Ready(); err != nil {
		t.Errorf("warnings keep it from being ready: %v", err)
	}
	for _, spec := range condition.All() {
		for _, severity := range []condition.Severity{condition.Failure, condition.Unknown, 200} {
			worst(t, set, condition.OK)
			if err := set.Report(condition.Finding{ID: spec.ID, Severity: severity, Detail: "so"}); err != nil {
				t.Fatal(err)
			}
			if err := set.Ready(); (err != nil) != spec.Blocks {
				t.Errorf("%s is %s: %v", spec.Name, severity, err)
			}
		}
	}
	for _, name := range []string{"store/unavailable", "audit/unavailable", "workers/failing"} {
		if spec, _ := condition.Lookup(name); !spec.Blocks {
			t.Errorf("attestd is ready with %s", name)
		}
	}
	if set.Report(condition.Finding{ID: 0}) == nil || set.Report(condition.Finding{ID: 250}) == nil {
		t.Error("what is on no list was taken")
	}
}

func TestSinceIsWhenItCameToBeSo(t *testing.T) {
	now := noon
	set := condition.New(func() time.Time { return now })
	report := func(severity condition.Severity) condition.State {
		t.Helper()
		err := set.Report(condition.Finding{ID: condition.StoreSpace, Severity: severity, Detail: now.String()})
		if err != nil {
			t.Fatal(err)
		}
		return set.Snapshot()[condition.StoreSpace-1]
	}
	if got := set.Snapshot()[0]; got.Severity != condition.Unknown || !got.Since.IsZero() || got.Detail == "" {
		t.Errorf("before anything was looked at: %+v", got)
	}
	first := report(condition.Warning)
	now = noon.Add(time.Hour)
	if again := report(condition.Warning); !again.Since.Equal(first.Since) || again.Detail == first.Detail {
		t.Errorf("got %+v, want it since %v with new words", again, first.Since)
	}
	if worse := report(condition.Failure); !worse.Since.Equal(now) {
		t.Errorf("since %v, want %v", worse.Since, now)
	}
}

// TestSourcesThatDoNotAnswerAreUnknown: error, slowness, a panic and silence are never well. neg: 179
func TestSourcesThatDoNotAnswerAreUnknown(t *testing.T) {
	well := condition.Finding{ID: condition.StoreWAL, Severity: condition.OK}
	for name, look := range map[string]func(context.Context) []condition.Finding{
		"one that hangs": func(ctx context.Context) []condition.Finding {
			<-ctx.Done()
			time.Sleep(time.Hour)
			return nil
		},
		"one that panics":           func(context.Context) []condition.Finding { panic("no") },
		"one that says nothing":     func(context.Context) []condition.Finding { return nil },
		"one that speaks of others": func(context.Context) []condition.Finding { return []condition.Finding{well} },
		"one that makes things up": func(context.Context) []condition.Finding {
			return []condition.Finding{{ID: 99}, {ID: condition.StoreAnswers, Severity: condition.OK}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				set := condition.New(time.Now)
				worst(t, set, condition.OK)
				set.Refresh(t.Context(), time.Second, condition.Source{
					IDs: []condition.ID{condition.StoreAnswers}, Look: look,
				})
				got := set.Snapshot()[condition.StoreAnswers-1]
				if got.Severity != condition.Unknown || got.Detail == "" || set.Ready() == nil {
					t.Errorf("got %s, %q, ready %v", got.Severity, got.Detail, set.Ready())
				}
				time.Sleep(2 * time.Hour)
			})
		})
	}
}

// TestHangingSourceIsNotAskedAgain until it is back, and is unknown meanwhile.
func TestHangingSourceIsNotAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := condition.New(time.Now)
		var mu sync.Mutex
		asked, hang := 0, make(chan struct{})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			set.Run(ctx, 10*time.Second, time.Second, condition.Source{
				IDs: []condition.ID{condition.WorkersAnswer},
				Look: func(context.Context) []condition.Finding {
					mu.Lock()
					asked++
					second := asked == 2
					mu.Unlock()
					if second {
						<-hang
					}
					return []condition.Finding{condition.Workers(nil)}
				},
			})
		}()
		severity := func() condition.Severity {
			time.Sleep(5 * time.Second)
			synctest.Wait()
			return set.Snapshot()[condition.WorkersAnswer-1].Severity
		}
		if got := severity(); got != condition.OK {
			t.Errorf("at first it is %s", got)
		}
		time.Sleep(time.Minute)
		if got := severity(); got != condition.Unknown {
			t.Errorf("while it hangs it is %s", got)
		}
		mu.Lock()
		if asked != 2 {
			t.Errorf("it was asked %d times, want 2", asked)
		}
		mu.Unlock()
		close(hang)
		time.Sleep(20 * time.Second)
		if got := severity(); got != condition.OK {
			t.Errorf("when it is back it is %s", got)
		}
		stop()
		<-ended
	})
}

func TestMetricHasEveryCondition(t *testing.T) {
	set := condition.New(func() time.Time { return noon })
	if err := set.Report(condition.Finding{ID: condition.StoreWAL, Severity: condition.Warning}); err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(set)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, metric := range families[0].GetMetric() {
		values[metric.GetLabel()[0].GetValue()] = metric.GetGauge().GetValue()
	}
	if want := len(set.Snapshot()); len(families) != 1 || len(values) != want {
		t.Errorf("%d families with %d series, want one with %d", len(families), len(values), want)
	}
	if _, local := values["files/not-private"]; local {
		t.Error("a server reports what doctor looks at by itself")
	}
	if values["store/wal-large"] != 1 || values["store/unavailable"] != 3 {
		t.Errorf("got %v, want 1 for a warning and 3 for what is unknown", values)
	}
}

var errSo = errors.New("it is so")
