// Package figure has what was measured, with its bar and its gate, as a table and as JSON.
package figure

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
)

// Figure is one measured value.
type Figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// Target is the bar; AtLeast says on which side of it a figure is good.
	Target  float64 `json:"target"`
	AtLeast bool    `json:"at_least"`
	Met     bool    `json:"met"`
	// Gate is the value beyond which a build fails.
	Gate float64 `json:"gate"`
}

// AtMost is a figure that is good below its target; slack multiplies the target into the gate, 1 for
// counts, 5 for times.
func AtMost(name string, value float64, unit string, target, slack float64) Figure {
	return Figure{Name: name, Value: value, Unit: unit, Target: target, Gate: target * slack}
}

// AtLeast is a figure that is good above its target.
func AtLeast(name string, value float64, unit string, target, slack float64) Figure {
	return Figure{Name: name, Value: value, Unit: unit, Target: target, AtLeast: true, Gate: target / slack}
}

func (f Figure) within(bar float64) bool {
	if f.AtLeast {
		return f.Value >= bar
	}
	return f.Value <= bar
}

// Report writes the figures as a table, and as JSON into the file where one is named.
//
// Errors: those of writing, and with gate one where a figure is beyond its gate.
func Report(to io.Writer, figures []Figure, file string, gate bool) error {
	table, failed := tabwriter.NewWriter(to, 0, 4, 2, ' ', 0), 0
	for i := range figures {
		one := &figures[i]
		one.Met = one.within(one.Target)
		state, side := "met", "<="
		if one.AtLeast {
			side = ">="
		}
		if !one.Met {
			state = "missed"
		}
		if !one.within(one.Gate) {
			state = "BEYOND ITS GATE"
			failed++
		}
		fmt.Fprintf(table, "%s\t%.5g %s\t%s %.5g\t%s\n", one.Name, one.Value, one.Unit, side, one.Target, state)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if file != "" {
		document, err := json.MarshalIndent(figures, "", "  ")
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, append(document, '\n'), 0o644); err != nil {
			return err
		}
	}
	if gate && failed > 0 {
		return fmt.Errorf("%d figures are beyond their gate", failed)
	}
	return nil
}
