package measurements

import (
	"cmp"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/yamldoc"
)

// maxEvents bounds the events of one golden boot. Boots log some hundred.
const maxEvents = 4096

// maxShownText bounds type and description of a golden event, in characters.
const maxShownText = 160

// readEvents reads the events of the golden boot, and reports whether all of them will do.
func (v *Value) readEvents(node *yamldoc.Node, form shape) bool {
	items, whole := node.Items()
	if len(items) > maxEvents {
		node.Problem("got %d events, want at most %d", len(items), maxEvents)
		return false
	}
	for _, item := range items {
		event, ok := readEvent(item, form)
		switch last := len(v.Events) - 1; {
		case !ok:
			whole = false
		case last >= 0 && v.Events[last].Index >= event.Index:
			item.Problem("index %d is not after %d: events stand in the log's order",
				event.Index, v.Events[last].Index)
			whole = false
		default:
			v.Events = append(v.Events, event)
		}
	}
	return whole
}

func readEvent(node *yamldoc.Node, form shape) (attestd.Event, bool) {
	fields, ok := node.Fields([]string{"index", "register", "type", "role", "digest"}, []string{"what"})
	if !ok {
		return attestd.Event{}, false
	}
	event := attestd.Event{Log: "boot"}
	index, ok := fields.Get("index").Uint()
	if ok && index > 1<<30 {
		fields.Get("index").Problem("got %d, want the place of an event in its log", index)
		ok = false
	}
	event.Index = int(index) //nolint:gosec // bounded above
	text := func(key string) string {
		said, given := fields.Get(key).Text()
		if given && (len(said) > maxShownText || !readable(said)) {
			fields.Get(key).Problem("want at most %d characters, all of which show", maxShownText)
			given = false
		}
		ok = ok && given
		return said
	}
	event.Register, event.Type = text("register"), text("type")
	event.Role = attestd.Role(text("role"))
	if fields.Get("what") != nil {
		event.What = text("what")
	}
	if ok && !slices.Contains(form.names, event.Register) {
		fields.Get("register").Problem("unknown register%s", yamldoc.DidYouMean(event.Register, form.names))
		ok = false
	}
	if ok && !slices.Contains(attestd.Roles(), event.Role) {
		fields.Get("role").Problem("unknown role%s", yamldoc.DidYouMean(string(event.Role), ruledRoles()))
		ok = false
	}
	digits, given := fields.Get("digest").Text()
	if !ok || !given {
		return attestd.Event{}, false
	}
	digest, err := hex.DecodeString(digits)
	if err != nil || len(digest) != form.size {
		fields.Get("digest").Problem("want %d bytes in hex (%s)", form.size, form.algorithm)
		return attestd.Event{}, false
	}
	event.Digest = digest
	return event, true
}

// goldenOf copies the events of a boot log that belong to the registers: those a later boot is held
// against to name what differs.
func goldenOf(claims *attestd.Claims, size int, registers func(string) bool) (golden []attestd.Event) {
	for event := range claims.Events() {
		if event.Log == "ima" || !registers(event.Register) || len(event.Digest) != size {
			continue
		}
		if len(golden) == maxEvents {
			break
		}
		golden = append(golden, attestd.Event{
			Log: "boot", Index: event.Index, Register: event.Register, Role: event.Role,
			Type: cmp.Or(plain(event.Type, 60), "unknown"), What: plain(event.What, 76),
			Digest: slices.Clone(event.Digest),
		})
	}
	return golden
}

// plain returns text as it may stand in a document: printable ASCII, cut.
func plain(text string, limit int) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, attestd.Excerpt(text, limit)))
}
