package demands

import (
	"fmt"
	"strings"
)

// State says how far a demand is met.
type State string

// States.
const (
	Met   State = "met"
	Part  State = "part"
	Later State = "later"
	// Other says that it is for others to do, and how attestd meets them.
	Other State = "not attestd's"
)

// Demand is one row.
type Demand struct {
	ID, Demand string
	State      State
	// Tests are FOLDER:TestName, Pages paths from the root.
	Tests, Pages []string
	// Note says what is there, or what is missing.
	Note string
}

// Page is docs/demands.md.
func Page() string {
	var out strings.Builder
	out.WriteString(`# What the founding article demands, and where it is met

The system was described by an article on Zero Trust for AI systems before it was built. This page has
each of its demands in our words, with the test that shows it, the page that explains it, or "later". It
is generated (make docs); a test fails where a test or a page that it names is not there.

| | Demand | State | Shown by | What there is |
|---|---|---|---|---|
`)
	counts := map[State]int{}
	for _, one := range Demands() {
		counts[one.State]++
		var shown []string
		for _, test := range one.Tests {
			_, name, _ := strings.Cut(test, ":")
			shown = append(shown, "`"+name+"`")
		}
		for _, page := range one.Pages {
			name := strings.TrimPrefix(page, "docs/")
			shown = append(shown, fmt.Sprintf("[%s](%s)", name, relative(page)))
		}
		if len(shown) == 0 {
			shown = []string{"-"}
		}
		fmt.Fprintf(&out, "| %s | %s | %s | %s | %s |\n", one.ID, one.Demand, one.State,
			strings.Join(shown, ", "), one.Note)
	}
	fmt.Fprintf(&out, "\n%d demands: %d met, %d in part, %d later, %d for others to do.\n", len(Demands()),
		counts[Met], counts[Part], counts[Later], counts[Other])
	return out.String()
}

func relative(page string) string {
	if inside, found := strings.CutPrefix(page, "docs/"); found {
		return inside
	}
	return "../" + page
}
