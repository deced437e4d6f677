package condition

import (
	"fmt"
	"strings"
	"time"
)

// Page returns the page of the documentation that has every condition.
func Page() string {
	var out strings.Builder
	out.WriteString(`# Conditions

Generated from the list in the code by ` + "`make docs`" + `; do not edit.

What can be wrong with a running attestd. ` + "`attestd doctor`" + ` and ` + "`attestd status`" + ` show it, ` +
		"`attestd explain ID`" + `
says more, the metric ` + "`attestd_condition{id}`" + ` has it as 0 ok, 1 warning, 2 failure and 3 unknown, and
[alerts.yaml](../deploy/alerts.yaml) has a rule for each that somebody is called for. A condition that
nobody looked at, or that could not be looked at in time, is unknown: never ok.

| Condition | What is the matter | Somebody is called |
|---|---|---|
`)
	for _, spec := range All() {
		fmt.Fprintf(&out, "| [`%s`](#%s) | %s | %s |\n", spec.Name, anchor(spec.Name), spec.Title, called(spec))
	}
	for _, spec := range All() {
		fmt.Fprintf(&out, "\n## %s\n\n%s: %s.\n\n%s\n\n- effect: %s\n- fix: %s\n", spec.Name, "What is the matter",
			spec.Title, spec.Why, spec.Effect, spec.Fix)
		if spec.Blocks {
			out.WriteString("- readiness: `/readyz` answers 503 until it is well\n")
		}
		if spec.Local {
			out.WriteString("- looked at by `attestd doctor` where it runs; not in the metrics\n")
		}
	}
	return out.String()
}

// anchor is the name of a heading in a link.
func anchor(name string) string { return strings.ReplaceAll(name, "/", "") }

func called(spec Spec) string {
	switch {
	case spec.Alert == Unknown:
		return "no"
	case spec.After == 0:
		return "at a " + spec.Alert.String()
	default:
		return fmt.Sprintf("at a %s that lasts %s", spec.Alert, lasting(spec.After))
	}
}

func lasting(after time.Duration) string {
	if after%time.Hour == 0 {
		return fmt.Sprintf("%dh", after/time.Hour)
	}
	return fmt.Sprintf("%dm", after/time.Minute)
}

// Alerts returns the rules for Prometheus.
func Alerts() string {
	var out strings.Builder
	out.WriteString(`# Generated from the list of conditions by "make docs"; do not edit.
# Alerting rules for Prometheus. Each names a condition of docs/reference/conditions.md.
groups:
  - name: attestd
    rules:
      - alert: AttestdAbsent
        expr: absent(attestd_condition)
        for: 5m
        labels:
          severity: critical
        annotations:
          summary: "attestd gives no metrics"
          effect: "whether it verifies, grants and holds is not known"
          fix: "systemctl status attestd, then attestd doctor"
`)
	for _, spec := range All() {
		if spec.Alert == Unknown {
			continue
		}
		severity := "warning"
		if spec.Blocks || spec.Alert == Failure && spec.After < 10*time.Minute {
			severity = "critical"
		}
		fmt.Fprintf(&out, `      - alert: %s
        expr: attestd_condition{id="%s"} >= %.0f
        for: %s
        labels:
          severity: %s
        annotations:
          summary: "%s"
          effect: "%s"
          fix: "%s"
          explain: "attestd explain %s"
`, camel(spec.Name), spec.Name, spec.Alert.value(), lasting(spec.After), severity, spec.Title, spec.Effect,
			spec.Fix, spec.Name)
	}
	return out.String()
}

// camel is the name of an alert: "store/space-low" is AttestdStoreSpaceLow.
func camel(name string) string {
	out := "Attestd"
	for _, word := range strings.FieldsFunc(name, func(r rune) bool { return r == '/' || r == '-' }) {
		out += strings.ToUpper(word[:1]) + word[1:]
	}
	return out
}
