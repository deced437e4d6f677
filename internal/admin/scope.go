package admin

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// Everything that keeps tenants apart is in this file: which tenants a read is narrowed down to, and
// that what comes back is looked at once more.

// tenants returns the tenants that a read is narrowed down to: those of whoever asks, or the one of
// the parameter. A tenant that is not theirs and one that does not exist are answered alike, without a
// look at the store.
func (c *call) tenants() ([]string, error) {
	asked, given := c.query["tenant"]
	switch {
	case !given:
		return slices.Clone(c.who.Tenants), nil
	case asked == "*" || !c.who.Sees(asked):
		return nil, notFound("tenant")
	default:
		return []string{asked}, nil
	}
}

// find returns the one subject with that id, or with an instance that begins so. The store is asked
// within the tenants of whoever asks, so that another tenant's row is not even read.
func (s *server) findSubject(c *call, target string) (subject.Subject, error) {
	if target == "" {
		return subject.Subject{}, malformed("the query parameter id is missing", "give a SPIFFE ID, or the beginning "+
			"of an instance's value")
	}
	found, err := s.config.Subjects.Find(c, slices.Clone(c.who.Tenants), target)
	if err != nil {
		return subject.Subject{}, err
	}
	// The store has been told; one that errs here would show another tenant's subject.
	found = slices.DeleteFunc(found, func(one subject.Subject) bool { return !c.who.Sees(one.Tenant) })
	switch len(found) {
	case 0:
		return subject.Subject{}, notFound("subject")
	case 1:
		return found[0], nil
	default:
		return subject.Subject{}, refuse(attestd.ClassConflict, "more than one subject begins so",
			"give more letters, or the whole id")
	}
}

// filter reads the parameters of a list.
func (c *call) filter() (filter subject.Filter, err error) {
	if filter.Tenants, err = c.tenants(); err != nil {
		return filter, err
	}
	if filter.Limit, err = c.limit(50); err != nil {
		return filter, err
	}
	filter.After, filter.Host, filter.Text = c.query["after"], c.query["host"], c.query["text"]
	filter.Format = attestd.Format(c.query["format"])
	if filter.Format != "" && !slices.Contains(attestd.Formats(), filter.Format) {
		return filter, malformed("the format is unknown", fmt.Sprintf("formats are %v", attestd.Formats()))
	}
	if filter.State, err = names[attestd.State](c.query["state"], "state"); err != nil {
		return filter, err
	}
	if filter.Tier, err = names[attestd.Tier](c.query["tier"], "tier"); err != nil {
		return filter, err
	}
	switch status := subject.Status(c.query["status"]); status {
	case "", subject.StatusPending, subject.StatusApproved, subject.StatusDenied:
		filter.Status = status
	default:
		return filter, malformed("the status is unknown", "statuses are pending, approved and denied")
	}
	return filter, nil
}

// names reads a list of names with commas between them, at most 16.
func names[T any, P interface {
	*T
	UnmarshalText([]byte) error
}](list, what string) (out []T, err error) {
	if list == "" {
		return nil, nil
	}
	parts := strings.Split(list, ",")
	if len(parts) > 16 {
		return nil, malformed("too many of "+what, "name each once")
	}
	for _, name := range parts {
		var one T
		if err := P(&one).UnmarshalText([]byte(name)); err != nil {
			return nil, malformed(fmt.Sprintf("%s %q is unknown", what, attestd.Excerpt(name, 40)),
				"separate names with commas")
		}
		out = append(out, one)
	}
	return out, nil
}

// maxPage is the most entries of one answer.
const maxPage = 1000

func (c *call) limit(otherwise int) (int, error) {
	number, err := c.number("limit", int64(otherwise))
	if err != nil || number < 1 || number > maxPage {
		return 0, malformed("limit is not a number from 1 to "+strconv.Itoa(maxPage), "leave it out, or mend it")
	}
	return int(number), nil
}

// number reads a decimal number in its one form.
func (c *call) number(name string, otherwise int64) (int64, error) {
	text, given := c.query[name]
	if !given {
		return otherwise, nil
	}
	number, err := strconv.ParseInt(text, 10, 64)
	if err != nil || number < 0 || strconv.FormatInt(number, 10) != text {
		return 0, malformed(name+" is not a number from 0 on", "leave it out, or mend it")
	}
	return number, nil
}

// plain reports whether a text can stand in a log or a terminal: no control characters, no
// direction marks, valid UTF-8.
func plain(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool {
		return unicode.IsControl(r) || !unicode.IsPrint(r)
	})
}

// demandPlain refuses texts that cannot stand in a log, or are longer than most bytes.
func demandPlain(most int, texts map[string]string) error {
	for name, text := range texts {
		if len(text) > most || !plain(text) {
			return malformed(fmt.Sprintf("%s is longer than %d bytes, or not plain text on one line", name, most),
				"leave out line ends and control characters")
		}
	}
	return nil
}
