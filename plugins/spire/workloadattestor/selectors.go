package workloadattestor

import (
	"slices"
	"strings"
)

// escape writes a value so that it cannot be read as another selector, or end a line: everything
// outside a-z, 0-9, '.', '_' and '-' becomes '%' and two hexadecimal digits of each byte.
func escape(value string) string {
	const digits = "0123456789ABCDEF"
	plain := func(b byte) bool {
		return 'a' <= b && b <= 'z' || '0' <= b && b <= '9' || b == '.' || b == '_' || b == '-'
	}
	if !slices.ContainsFunc([]byte(value), func(b byte) bool { return !plain(b) }) {
		return value
	}
	var out strings.Builder
	for i := range len(value) {
		if b := value[i]; plain(b) {
			out.WriteByte(b)
		} else {
			out.WriteByte('%')
			out.WriteByte(digits[b>>4])
			out.WriteByte(digits[b&15])
		}
	}
	return out.String()
}

// selectors says what holds for a process on a node that is admitted. The caller has made sure that it
// is, after it looked at the process.
func selectors(node *admission, process *facts) []string {
	out := []string{
		"admitted:yes",
		"state:" + escape(node.snapshot.State.String()),
		"tier:" + escape(node.snapshot.Tier.String()),
		"tenant:" + escape(node.snapshot.Tenant),
	}
	if process.container != "" {
		out = append(out, "container:"+escape(process.container))
	}
	if process.digest == "" {
		return out
	}
	out = append(out, "sha256:"+process.digest)
	if process.measured {
		out = append(out, "ima:"+process.digest)
	}
	// A digest without a name has no selector of an empty name, which an entry could be made to match.
	if name := node.names[process.digest]; name != "" {
		out = append(out, "workload:"+escape(name))
	}
	return out
}
