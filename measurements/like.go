package measurements

import (
	"slices"
	"strings"

	"github.com/attestd/attestd"
)

// matches reports whether the text is like one of the rule's patterns.
func (r *Rule) matches(text string) bool {
	one := like
	if r.Role == attestd.RoleCommand {
		one = likeCommand
	}
	return slices.ContainsFunc(r.Texts, func(pattern string) bool { return one(pattern, text) })
}

// block stands in a pattern for a boot loader's block of commands.
const block = "{*}"

// definitions are the commands of grub's that take a block and do not run it (GRUB manual 2.12,
// sections "menuentry" and "submenu"). What they define is measured command by command once it runs.
var definitions = [...]string{"menuentry", "submenu"}

// defines returns what stands in front of the block of a pattern for definitions, and whether it is
// such a pattern.
func defines(pattern string) (head string, ok bool) {
	head, ok = strings.CutSuffix(pattern, " "+block)
	name, _, _ := strings.Cut(head, " ")
	return head, ok && slices.Contains(definitions[:], name)
}

// likeCommand is like, for commands: a definition may have any block.
func likeCommand(pattern, text string) bool {
	head, ok := defines(pattern)
	if !ok {
		return like(pattern, text)
	}
	front, body, found := strings.Cut(text, " {")
	return found && strings.HasSuffix(body, "}") && like(head, front)
}

// badCommand says what is wrong with a pattern for commands, or nothing. The role is the log's word:
// where a star is the first word, a kernel's command line is such a command whatever its kernel is
// called, if not by a path.
func badCommand(pattern string) string {
	head, ok := defines(pattern)
	switch {
	case strings.HasPrefix(strings.TrimLeft(pattern, " \t\n"), "*"):
		return "begins with a star, so that a kernel's command line may match; write the command's name"
	case !ok && strings.Contains(pattern, block), strings.Contains(head, block):
		return block + " stands for a block of commands at the end of " +
			strings.Join(definitions[:], " or ") + " alone"
	default:
		return ""
	}
}

// like reports whether text matches pattern as a whole; a * matches any run of characters of one
// word. Each part between two stars is looked for once, so that the time grows with the text alone:
// where a part can begin in more than one place, stars could fill what lies between them.
func like(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	rest, found := strings.CutPrefix(text, parts[0])
	if len(parts) == 1 || !found {
		return found && rest == ""
	}
	last := len(parts) - 1
	for _, part := range parts[1:last] {
		at := strings.Index(rest, part)
		if at < 0 || !oneWord(rest[:at]) {
			return false
		}
		rest = rest[at+len(part):]
	}
	rest, found = strings.CutSuffix(rest, parts[last])
	return found && oneWord(rest)
}

// oneWord reports whether text cannot end a parameter and begin another, whoever reads the line. The
// kernel splits it at white space, which for it includes the byte a0 of many UTF-8 characters
// (lib/ctype.c), and takes what stands in quotes for one word (lib/cmdline.c, next_arg): a quote in
// place of a star would turn the demanded parameters behind it into a part of its own. Others read
// single quotes and backslashes besides.
func oneWord(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool {
		return r <= ' ' || r > '~' || r == '"' || r == '\'' || r == '\\'
	})
}
