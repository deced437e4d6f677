package mcp_test

import (
	"fmt"
	"os"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestd/attestd/client/mcp"
	"github.com/attestd/attestd/internal/decision"
)

// TestThePageHasTheRules: all of them, in the code's order, with actions of attestd's vocabulary.
func TestThePageHasTheRules(t *testing.T) {
	page, err := os.ReadFile("../../docs/decisions/mcp.md")
	if err != nil {
		t.Fatal(err)
	}
	got := regexp.MustCompile("(?m)^\\| `([a-zA-Z/]+)` \\| .* \\| `.*` \\|$").FindAllString(string(page), -1)
	var want []string
	vocabulary := map[string]bool{
		decision.ActionToolCall: true, decision.ActionToolList: true, decision.ActionDataRead: true,
		decision.ActionPromptAssemble: true,
	}
	for _, rule := range mcp.Rules() {
		action := "`" + rule.Action + "`"
		if rule.Action == "" {
			action = "by `ref`: `prompt.assemble` or `data.read`"
		} else if !vocabulary[rule.Action] {
			t.Errorf("%s: no policy knows the action %s", rule.Method, rule.Action)
		}
		want = append(want, fmt.Sprintf("| `%s` | %s | `%s` |", rule.Method, action, rule.Target))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rules of docs/decisions/mcp.md (-code +page):\n%s", diff)
	}
}
