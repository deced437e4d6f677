package ima

import (
	"bytes"
	"encoding/hex"
	"iter"
	"strings"

	"github.com/attestd/attestd"
)

// Events yields the entries that were replayed, in order. Text is the name of what was measured,
// which the template digest covers. A violation has no text: nothing covers what it says.
//
// Every entry but the boot aggregate has the role of a file, buffers (template ima-buf) among them:
// only the template's name tells a signature from a buffer, and no digest covers that. A rule over
// files must not be escaped by writing another name.
func (l Log) Events() iter.Seq[attestd.Event] {
	return func(yield func(attestd.Event) bool) {
		r, fault := newReader(l.log, l.index)
		for fault == nil && r.more() {
			var entry Entry
			index := r.index
			if entry, fault = r.next(); fault != nil {
				return // it was read before, so this does not happen
			}
			digest, fault := l.bank.extension(&entry, l.Padded, index)
			if fault != nil || !yield(event(&entry, index, bytes.Clone(digest[:l.bank.size]))) {
				return
			}
		}
	}
}

func event(entry *Entry, index int, digest []byte) attestd.Event {
	out := attestd.Event{
		Log: "ima", Index: index, Register: "PCR10", Type: strings.Clone(entry.Template), Digest: digest,
		Role: attestd.RoleFile,
	}
	if entry.Violation {
		out.Role = attestd.RoleOther
		out.What = "violation: a file changed while it was measured"
		return out
	}
	if string(entry.Path) == aggregateName {
		out.Role = attestd.RoleOther
	} else {
		out.Text = string(entry.Path)
	}
	out.What = attestd.Excerpt(string(entry.Path), 200) + " " + entry.Algorithm + ":" +
		hex.EncodeToString(entry.FileDigest)
	return out
}
