package registrytest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

func owned(name, tenant string) *subject.Ownership {
	return &subject.Ownership{
		Key: subject.Key{Kind: "instance", Value: "instance-" + name}, Tenant: tenant,
		Method: subject.MethodInventory, Status: subject.StatusApproved, Label: "rack " + name,
		Source: "list.csv", Format: "tpm", By: "ines", CreatedAt: morning, DecidedAt: morning.Add(1),
		SeenAt: morning.Add(2), Seen: 3, ExpiresAt: morning.Add(time.Hour),
	}
}

func own(one *subject.Ownership, expect uint64) subject.Write {
	return subject.Write{
		Owners: []subject.OwnershipWrite{{Key: one.Key, Expect: expect, Next: one}}, Audit: recorded("enroll"),
	}
}

func (w *world) owner(key subject.Key) subject.Ownership {
	w.Helper()
	known, err := w.Known(w.Context(), subject.Ask{Owners: []subject.Key{{Kind: "no", Value: "one"}, key}})
	w.must(err)
	if len(known.Owners) != 1 {
		return subject.Ownership{}
	}
	return known.Owners[0]
}

func owns(t *testing.T, w *world) {
	ctx := t.Context()
	one := owned("m", "a")
	w.write(own(one, 0))
	first := w.owner(one.Key)
	one.Generation = first.Generation
	w.same("as it was put", first, *one)
	w.moved(w.Write(ctx, own(one, 0)))
	relied := func(expect uint64) error {
		write := put(node("r", "a"), 0)
		write.Owned = []subject.OwnershipExpect{{Key: one.Key, Expect: expect}}
		return w.Write(ctx, write)
	}
	w.moved(relied(0))
	remove := subject.Write{
		Owners: []subject.OwnershipWrite{{Key: one.Key, Expect: first.Generation}}, Audit: recorded("enroll.remove"),
	}
	w.write(remove)
	w.moved(relied(first.Generation))
	w.moved(w.Write(ctx, remove))
	w.write(own(one, 0))
	// It is there again, and a decision upon the first one is not one upon the second.
	w.moved(relied(first.Generation))
	w.must(relied(w.owner(one.Key).Generation))
	for _, year := range []int{2300, 2600, 9999} { // who writes such a year means for ever
		ever := *one
		ever.ExpiresAt = time.Date(year, time.December, 31, 0, 0, 0, 0, time.UTC)
		w.write(own(&ever, w.owner(one.Key).Generation))
		if got := w.owner(one.Key); !got.Owns(morning.AddDate(200, 0, 0)) {
			w.Errorf("an enrolment until %d ends at %s", year, got.ExpiresAt)
		}
	}
	nobody := *one
	nobody.Tenant = ""
	w.class(w.Write(ctx, own(&nobody, w.owner(one.Key).Generation)), attestd.ClassMalformed)
}

// isolates: whoever may see one tenant finds nothing of another, however it is asked for.
func isolates(t *testing.T, w *world) {
	ctx := t.Context()
	for _, tenant := range []string{"a", "b"} {
		w.write(put(node("of-"+tenant, tenant), 0))
		bar := w.bar(subject.Key{Kind: "boot", Value: "held-" + tenant}, attestd.StateQuarantined)
		bar.Tenant = tenant
		w.write(lay(bar, 0))
		w.write(own(owned("of-"+tenant, tenant), 0))
		w.must(w.Keep(ctx, verdict("of-"+tenant, tenant, "v-"+tenant, 1)))
	}
	shared := w.bar(subject.Key{Kind: "host", Value: "shared"}, attestd.StateQuarantined)
	shared.Tenant = "*"
	w.write(lay(shared, 0))
	for _, row := range []struct {
		tenants []string
		want    string
	}{
		{[]string{"a"}, "1 1 1 1 1 0"},
		{[]string{"b"}, "1 1 1 1 0 1"},
		{[]string{"a", "b"}, "2 2 2 2 1 1"},
		{[]string{"*"}, "2 3 2 2 1 1"},
		{[]string{"A"}, "0 0 0 0 0 0"},
		{[]string{"a' OR '1'='1"}, "0 0 0 0 0 0"},
		{[]string{"%"}, "0 0 0 0 0 0"},
	} {
		filter := subject.Filter{Tenants: row.tenants, Limit: 10}
		subjects, _, err := w.Subjects(ctx, filter)
		bars, _, barErr := w.Bars(ctx, filter)
		owners, _, ownerErr := w.Ownerships(ctx, filter)
		stored, _, storedErr := w.Stored(ctx, row.tenants, "", 10)
		ofA, errA := w.Find(ctx, row.tenants, string(agent("of-a")))
		ofB, errB := w.Find(ctx, row.tenants, "instance-of-b")
		for _, err := range []error{err, barErr, ownerErr, storedErr, errA, errB} {
			w.must(err)
		}
		got := fmt.Sprint(len(subjects), len(bars), len(owners), len(stored), len(ofA), len(ofB))
		if got != row.want {
			t.Errorf("%q sees %s, want %s", row.tenants, got, row.want)
		}
	}
	for _, nobody := range [][]string{nil, {}, {""}, {"a", ""}} {
		_, _, err := w.Subjects(ctx, subject.Filter{Tenants: nobody, Limit: 10})
		w.class(err, attestd.ClassMalformed)
		_, _, err = w.Stored(ctx, nobody, "", 10)
		w.class(err, attestd.ClassMalformed)
		_, err = w.Find(ctx, nobody, "instance")
		w.class(err, attestd.ClassMalformed)
	}
}

func pages(t *testing.T, w *world) {
	const count = 23
	var want []string
	for number := range count {
		name := fmt.Sprintf("p%02d", number)
		write := put(node(name, "a"), 0)
		write.Owners = own(owned(name, "a"), 0).Owners
		bar := w.bar(subject.Key{Kind: "boot", Value: "b-" + name}, attestd.StateQuarantined)
		write.Bars = []subject.BarWrite{{Key: bar.Key, Next: &bar}}
		w.write(write)
		want = append(want, name)
	}
	for name, page := range map[string]func(subject.Filter) ([]string, string, error){
		"subjects": func(f subject.Filter) (ids []string, next string, err error) {
			list, next, err := w.Subjects(t.Context(), f)
			for _, one := range list {
				ids = append(ids, strings.TrimPrefix(string(one.ID), string(agent(""))))
			}
			return ids, next, err
		},
		"ownerships": func(f subject.Filter) (ids []string, next string, err error) {
			list, next, err := w.Ownerships(t.Context(), f)
			for _, one := range list {
				ids = append(ids, strings.TrimPrefix(one.Key.Value, "instance-"))
			}
			return ids, next, err
		},
		"bars": func(f subject.Filter) (ids []string, next string, err error) {
			list, next, err := w.Bars(t.Context(), f)
			for _, one := range list {
				ids = append(ids, strings.TrimPrefix(one.Key.Value, "b-"))
			}
			return ids, next, err
		},
	} {
		for _, limit := range []int{1, 7, 22, 23, 24} {
			var got []string
			filter := subject.Filter{Tenants: []string{"a"}, Limit: limit}
			for turns := 0; turns <= count; turns++ {
				ids, next, err := page(filter)
				if w.must(err); len(ids) > limit {
					t.Fatalf("%s: a page of %d, want at most %d", name, len(ids), limit)
				}
				got = append(got, ids...)
				if filter.After = next; next == "" {
					break
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s by %d: got %v", name, limit, got)
			}
		}
		for _, limit := range []int{-1, 0, 1001} {
			_, _, err := page(subject.Filter{Tenants: []string{"a"}, Limit: limit})
			w.class(err, attestd.ClassMalformed)
		}
	}
}

// neg: 183
func takesTextsLiterally(t *testing.T, w *world) {
	for _, name := range []string{"web-1", "web_1", "db-1"} {
		one := node(name, "a")
		one.State = attestd.StateSuspect
		w.write(put(one, 0))
		w.write(own(owned(name, "a"), 0))
	}
	for text, want := range map[string]int{
		"": 3, "web": 2, "WEB-1": 1, "web_1": 1, "%": 0, "_1": 1, "w*": 0, "[w]eb": 0, "' OR 1=1 --": 0,
		"\\": 0, "web-1'; DROP TABLE subjects; --": 0, "agent/db": 1,
	} {
		list, _, err := w.Subjects(t.Context(), subject.Filter{Tenants: everything, Text: text, Limit: 10})
		if w.must(err); len(list) != want {
			t.Errorf("%q finds %d subjects, want %d", text, len(list), want)
		}
	}
	for text, want := range map[string]int{"rack": 3, "rack_": 0, "%": 0, "instance-web-1": 1, "RACK DB": 1} {
		list, _, err := w.Ownerships(t.Context(), subject.Filter{Tenants: everything, Text: text, Limit: 10})
		if w.must(err); len(list) != want {
			t.Errorf("%q finds %d ownerships, want %d", text, len(list), want)
		}
	}
	for name, row := range map[string]struct {
		filter subject.Filter
		want   int
	}{
		"its state":      {subject.Filter{State: []attestd.State{attestd.StateTrusted, attestd.StateSuspect}}, 3},
		"another state":  {subject.Filter{State: []attestd.State{attestd.StateRevoked}}, 0},
		"its tier":       {subject.Filter{Tier: []attestd.Tier{attestd.TierLow}}, 3},
		"another tier":   {subject.Filter{Tier: []attestd.Tier{attestd.TierHigh, attestd.TierUnknown}}, 0},
		"its format":     {subject.Filter{Format: attestd.FormatTPM}, 3},
		"another format": {subject.Filter{Format: "tpm' OR '1'='1"}, 0},
		"its host":       {subject.Filter{Host: "host-db-1"}, 1},
		"a pattern":      {subject.Filter{Host: "host-%"}, 0},
		"due later":      {subject.Filter{Overdue: morning.Add(time.Hour)}, 0},
		"due before":     {subject.Filter{Overdue: morning.Add(time.Hour + 1)}, 3},
	} {
		row.filter.Tenants, row.filter.Limit = everything, 10
		list, _, err := w.Subjects(t.Context(), row.filter)
		if w.must(err); len(list) != row.want {
			t.Errorf("%s: %d subjects, want %d", name, len(list), row.want)
		}
	}
}

// neg: 183
func refusesTexts(t *testing.T, w *world) {
	for name, text := range map[string]string{
		"4 KB": strings.Repeat("x", 4096), "a NUL byte": "a\x00b", "no UTF-8": "a\xff",
	} {
		t.Run(name, func(*testing.T) {
			ctx := t.Context()
			_, _, err := w.Subjects(ctx, subject.Filter{Tenants: everything, Text: text, Limit: 1})
			w.class(err, attestd.ClassMalformed)
			_, _, err = w.Subjects(ctx, subject.Filter{Tenants: everything, After: text, Limit: 1})
			w.class(err, attestd.ClassMalformed)
			_, err = w.Find(ctx, everything, text)
			w.class(err, attestd.ClassMalformed)
			one := node("n", "a")
			one.ID = agent(text)
			w.class(w.Write(ctx, put(one, 0)), attestd.ClassMalformed)
			one = node("n", text)
			w.class(w.Write(ctx, put(one, 0)), attestd.ClassMalformed)
			one = node("n", "a")
			one.Instance.Value = text
			w.class(w.Write(ctx, put(one, 0)), attestd.ClassMalformed)
			w.class(w.Write(ctx, lay(w.bar(subject.Key{Kind: "boot", Value: text}, attestd.StateQuarantined), 0)),
				attestd.ClassMalformed)
			w.class(w.Write(ctx, own(owned(text, "a"), 0)), attestd.ClassMalformed)
		})
	}
	// None of it took anything else with it.
	w.write(put(node("n", "a"), 0))
}

func finds(t *testing.T, w *world) {
	for _, name := range []string{"web-1", "web-10", "db-1"} {
		w.write(put(node(name, "a"), 0))
	}
	digest := strings.Repeat("9c41", 16)
	chip := node("tpm", "a")
	chip.Instance.Value = "ek:" + digest
	w.write(put(chip, 0))
	for prefix, want := range map[string][]string{
		"9c419c":                {"tpm"}, // as its name ends, and as lists show it
		"9C419C":                {"tpm"},
		"EK:9C41":               {"tpm"},
		digest:                  {"tpm"},
		"c419c4":                {},
		string(agent("web-1")):  {"web-1"}, // exactly one name, though another begins with it
		"instance-web-1":        {"web-1"},
		string(agent("WEB-10")): {"web-10"},
		string(agent("web")):    {"web-1", "web-10"},
		string(agent("")):       {"db-1", "tpm"}, // at most two
		"instance-d":            {"db-1"},
		"instance-D":            {}, // handles have one case
		"nstance":               {},
		"%":                     {},
		"instance-_eb":          {},
	} {
		list, err := w.Find(t.Context(), everything, prefix)
		w.must(err)
		got := []string{}
		for _, one := range list {
			got = append(got, strings.TrimPrefix(string(one.ID), string(agent(""))))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q finds %v, want %v", prefix, got, want)
		}
	}
	_, err := w.Find(t.Context(), everything, "")
	w.class(err, attestd.ClassMalformed)
	for host, want := range map[string]int{"host-web-1": 1, "": 0, "host": 0} {
		if n, err := w.CountHost(t.Context(), host); err != nil || n != want {
			t.Errorf("%q has %d, %v; want %d", host, n, err, want)
		}
	}
}
