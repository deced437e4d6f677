package eventlog

import (
	"fmt"
	"iter"

	"github.com/attestd/attestd"
)

// Events returns the events of matched registers, decoded while they are asked for from a copy of
// the log. Slices in them are shared by all callers and must not be written to.
func (b Boot) Events() iter.Seq[attestd.Event] {
	return func(yield func(attestd.Event) bool) {
		var events reader
		if events.open(b.log, b.layout, b.Bank) != nil {
			return // a zero Boot, which shows nothing
		}
		o := newObserver(b.layout, b.Bank)
		for e := (raw{}); ; {
			more, fault := events.next(&e)
			if fault != nil || !more {
				return
			}
			if e.kind == evNoAction || b.believed&(1<<e.register) == 0 {
				continue
			}
			seen := o.look(&e)
			event := attestd.Event{
				Log: b.Log, Index: e.index, Register: b.layout.name(e.register), Type: typeName(e.kind),
				Digest: e.digest, Role: seen.role,
			}
			describe(&event, &seen)
			if !yield(event) {
				return
			}
		}
	}
}

// whatLimit is how many characters of foreign text a description holds.
const whatLimit = 120

// describe fills What, Text and Entries from covered data.
func describe(event *attestd.Event, seen *sight) {
	switch {
	case seen.mark != markNone:
		event.What = markWords(seen.mark)
		return
	case seen.section != sectionNone:
		event.What = "name of section " + sectionNames[seen.section]
		return
	}
	switch seen.content {
	case contentSwitch:
		event.Text = "off"
		if len(seen.covered) == 1 && seen.covered[0] == 1 {
			event.Text = "on"
		}
		event.What = "Secure Boot " + event.Text
	case contentDatabase:
		describeDatabase(event, seen)
	case contentAuthority:
		name := variableName(&seen.name)
		event.What = "entry of " + name
		if entry, ok := authority(seen.covered); ok {
			event.Entries = [][]byte{entry.Digest()}
		} else {
			event.What = fmt.Sprintf("%s of %d bytes, no entry", name, len(seen.covered))
		}
	case contentVariable:
		event.What = "variable " + variableName(&seen.name)
	case contentUTF16:
		if text, ok := decodeUTF16(seen.covered); ok {
			describeText(event, text)
		}
	case contentText:
		text := string(seen.covered)
		if event.Role == attestd.RoleFirmware {
			if wide, ok := decodeUTF16(seen.covered); ok {
				text = wide
			}
		}
		describeText(event, text)
	}
}

func describeText(event *attestd.Event, text string) {
	switch {
	case event.Role == attestd.RoleCommandLine:
		event.Text = text
		event.What = attestd.Excerpt(text, whatLimit)
	case event.Role == attestd.RoleCommand:
		event.Text = text
		event.What = "grub: " + attestd.Excerpt(text, whatLimit)
	case printable(text):
		event.What = attestd.Excerpt(text, whatLimit)
	}
}

func describeDatabase(event *attestd.Event, seen *sight) {
	if problem := signatures(seen.covered, func(one Signature) {
		event.Entries = append(event.Entries, one.Digest())
	}); problem != nil {
		event.Entries = nil // not reached: such a log was refused
		return
	}
	event.What = fmt.Sprintf("%s with %d entries", seen.policy, len(event.Entries))
}

func variableName(v *variable) string {
	name, ok := decodeUTF16(v.name)
	if !ok {
		return fmt.Sprintf("%x", v.name)
	}
	return attestd.Excerpt(name, 40)
}

func markWords(m mark) string {
	switch m {
	case markSeparator, markSeparatorOnes:
		return "separator"
	case markSeparatorError:
		return "separator of an error"
	default:
		return markTexts[m]
	}
}

// printable reports whether text is something to show: ASCII without control characters.
func printable(text string) bool {
	for index := range len(text) {
		if text[index] < ' ' || text[index] > '~' {
			return false
		}
	}
	return text != ""
}
