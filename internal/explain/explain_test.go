package explain_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/internal/explain"
	"github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/internal/subject"
)

func TestEveryCheckThatAVerdictCanContainIsExplained(t *testing.T) {
	specs := slices.Concat(newJudge(t).Specs(), appraisal.Checks(), judge.Checks())
	if len(specs) < 60 {
		t.Fatalf("got %d checks; the verifiers' tables are not in it", len(specs))
	}
	for _, spec := range specs {
		entry, ok := explain.Lookup(string(spec.ID))
		if !ok {
			t.Errorf("%s is not explained", spec.ID)
			continue
		}
		if entry.Kind != explain.KindCheck || entry.Class != spec.Class || entry.Group != spec.Group {
			t.Errorf("%s: got %+v, want a check of class %s, group %s", spec.ID, entry, spec.Class,
				spec.Group)
		}
		for what, text := range map[string]string{
			"proves": entry.Proves, "spec": entry.Spec, "class": string(entry.Class),
			"group": string(entry.Group),
		} {
			if text == "" {
				t.Errorf("%s has no %s", spec.ID, what)
			}
		}
		if _, ok := explain.Lookup("group/" + string(spec.Group)); !ok {
			t.Errorf("%s: its group %q is not explained", spec.ID, spec.Group)
		}
		if _, ok := explain.Lookup(string(spec.Class)); !ok {
			t.Errorf("%s: its class %q is not explained", spec.ID, spec.Class)
		}
	}
}

// TestEveryReasonOfASubjectsRiskIsExplained: what attestd subject show prints can be looked up.
func TestEveryReasonOfASubjectsRiskIsExplained(t *testing.T) {
	now := time.Now()
	for _, state := range []attestd.State{attestd.StateQuarantined, attestd.StateRevoked, attestd.StateSuspect} {
		one := subject.Subject{State: state}
		for _, code := range []subject.Code{
			subject.CodeOverdue, subject.CodeOwnership, subject.CodeClockBack, subject.CodeTwoKeys,
			subject.CodeKeyChurn, subject.CodeClone, subject.CodeTenantPivot, subject.CodeTwoPlaces,
			subject.CodeNovelScope, subject.CodeDenialBurst, subject.Kinds()[0].Code,
		} {
			one.Signals = append(one.Signals, subject.Signal{
				Code: code, Group: attestd.Group(code), Points: 10, Source: subject.SourceSelf, At: now,
			})
		}
		_, reasons := one.RiskAt(now)
		if len(reasons) < 7 {
			t.Errorf("%s: %d reasons", state, len(reasons))
		}
		for _, reason := range reasons {
			entry, ok := explain.Lookup(string(reason.Check))
			if !ok || entry.Kind != explain.KindSubject || entry.Why == "" || entry.Hint == "" {
				t.Errorf("%s is not explained: %+v", reason.Check, entry)
			}
		}
	}
}

func TestEveryFactIsExplained(t *testing.T) {
	for format, facts := range newJudge(t).Facts() {
		for _, fact := range facts {
			entry, ok := explain.Lookup(fact.Name)
			if !ok || !strings.Contains(entry.Why, "in "+string(format)+": "+fact.Meaning) {
				t.Errorf("%s of %s: got %+v, want its meaning in that format", fact.Name, format, entry)
			}
		}
	}
}

// constants returns the string constants whose names begin with prefix, from a source file of the
// vocabulary: a new class or group cannot be forgotten here.
func constants(t *testing.T, file, prefix string) []string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	ast.Inspect(parsed, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, prefix) || len(spec.Values) == 0 {
			return true
		}
		if literal, ok := spec.Values[0].(*ast.BasicLit); ok {
			value, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			values = append(values, value)
		}
		return true
	})
	return values
}

func TestEveryClassAndGroupOfTheVocabularyIsExplained(t *testing.T) {
	classes := constants(t, "../../errors.go", "Class")
	groups := constants(t, "../../check.go", "Group")
	if len(classes) != 29 || len(groups) != 9 {
		t.Fatalf("got %d classes and %d groups, want 29 and 9: mend the count, then explain the rest",
			len(classes), len(groups))
	}
	for _, class := range classes {
		if entry, ok := explain.Lookup(class); !ok || entry.Kind != explain.KindClass {
			t.Errorf("class %s is not explained", class)
		} else if !strings.Contains(entry.Why, "exit ") {
			t.Errorf("class %s does not say which exit code it leads to", class)
		}
	}
	for _, group := range groups {
		if _, ok := explain.Lookup("group/" + group); !ok {
			t.Errorf("group %s is not explained", group)
		}
	}
}

func TestEntriesAreWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, entry := range explain.All() {
		if seen[entry.ID] {
			t.Errorf("%s stands twice", entry.ID)
		}
		seen[entry.ID] = true
		if entry.Title == "" || entry.Why == "" || entry.Hint == "" {
			t.Errorf("%s has no title, why or hint: %+v", entry.ID, entry)
		}
		if len(entry.Title) > 100 {
			t.Errorf("%s: title of %d characters, want at most 100", entry.ID, len(entry.Title))
		}
		for _, text := range []string{entry.Title, entry.Proves, entry.Why, entry.Spec, entry.Hint} {
			for _, r := range text {
				if r < ' ' || r > '~' {
					t.Errorf("%s holds %q, want plain ASCII on one line", entry.ID, r)
				}
			}
			for _, word := range strings.Fields(text) {
				if len(word) > 80 {
					t.Errorf("%s: a word of %d characters breaks 100 columns", entry.ID, len(word))
				}
			}
		}
	}
}

func TestSuggestFindsNearMisses(t *testing.T) {
	for _, row := range []struct{ name, id, want string }{
		{"a letter left out", "sev-snp/tcb-flor", "sev-snp/tcb-floor"},
		{"the name without its format", "guest-policy-debug", "sev-snp/guest-policy-debug"},
		{"the wrong case", "Measurement/Known", "measurement/known"},
		{"a class in lower case", "replay", "REPLAY"},
		{"a part of the name", "alias", "sev-snp/alias-check"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := explain.Suggest(row.id); !slices.Contains(got, row.want) {
				t.Errorf("got %v, want it to contain %s", got, row.want)
			}
		})
	}
	for _, id := range []string{"", "zzzzzzzzzzzz", strings.Repeat("x", 10_000), "\x00"} {
		if got := explain.Suggest(id); len(got) != 0 {
			t.Errorf("%.20q: got %v, want nothing", id, got)
		}
	}
	if _, ok := explain.Lookup("sev-snp/tcb"); ok {
		t.Error("an id was found that is only a beginning")
	}
}

func TestAllCannotBeChangedFromOutside(t *testing.T) {
	explain.All()[0].Why = "changed"
	if explain.All()[0].Why == "changed" {
		t.Error("the table was changed")
	}
}
