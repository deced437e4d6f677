package enrol

import (
	"fmt"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// Kinds of lists.
const (
	ListCSV      = "csv"
	ListEK       = "ek-certificates"
	ListPlatform = "platform-certificates"
	ListAWS      = "aws"
	ListGCE      = "gce"
	ListAzure    = "azure"
)

// Lists names the kinds of lists that [ReadList] reads.
func Lists() []string {
	return []string{ListCSV, ListEK, ListPlatform, ListAWS, ListGCE, ListAzure}
}

// Bounds of a list: what is beyond is to be given in several.
const (
	MaxDocument = 32 << 20 // bytes
	MaxEntries  = 200_000
	maxProblems = 100
)

// Entry is one machine, or one group of machines, of a list.
type Entry struct {
	Key   subject.Key
	Label string
	// ExpiresAt ends it; zero for never.
	ExpiresAt time.Time
	// place says where in the document it stands, as in "line 3".
	place string
}

// list gathers the entries of a document and everything that is wrong with it.
type list struct {
	entries  []Entry
	problems []string
	more     int // problems beyond maxProblems
	places   map[subject.Key]string
}

// ReadList reads a list of one of the kinds in [Lists]. Problems are everything that is wrong with it,
// at most maxProblems and how many more there are; where there is one, no entry is to be enrolled: a
// list that is half understood is not what the operator meant.
func ReadList(kind string, document []byte) (entries []Entry, problems []string) {
	read := &list{places: map[subject.Key]string{}}
	readers := map[string]func([]byte){
		ListCSV: read.csv, ListEK: read.endorsementKeys, ListPlatform: read.platforms,
		ListAWS: read.aws, ListGCE: read.gce, ListAzure: read.azure,
	}
	reader, known := readers[kind]
	switch {
	case !known:
		read.problem("list", "%q is no kind of list", attestd.Excerpt(kind, 40))
	case len(document) > MaxDocument:
		read.problem("list", "has %d bytes, want at most %d: give it in parts", len(document), MaxDocument)
	default:
		reader(document)
		if len(read.entries) == 0 && len(read.problems) == 0 {
			// An empty list is most often the answer to a query that was wrong.
			read.problem("list", "names no machine")
		}
	}
	if read.more > 0 {
		read.problems = append(read.problems, fmt.Sprintf("and %d more", read.more))
	}
	if len(read.problems) > 0 {
		return nil, read.problems
	}
	return read.entries, nil
}

// problem notes what is wrong at a place of the document.
func (l *list) problem(place, format string, args ...any) {
	if len(l.problems) >= maxProblems {
		l.more++
		return
	}
	l.problems = append(l.problems, place+": "+fmt.Sprintf(format, args...))
}

// add takes an entry up, if there is nothing wrong with it.
func (l *list) add(entry Entry) {
	first, twice := l.places[entry.Key]
	switch wrong := checkKey(entry.Key); {
	case wrong != "":
		l.problem(entry.place, "%s", wrong)
	case twice:
		l.problem(entry.place, "is the machine of %s once more", first)
	case checkLabel(entry.Label) != nil:
		l.problem(entry.place, "the label is longer than %d bytes or not printable", maxLabel)
	case len(l.entries) >= MaxEntries:
		l.problem("list", "has more than %d machines: give it in parts", MaxEntries)
	default:
		l.places[entry.Key] = entry.place
		l.entries = append(l.entries, entry)
	}
}
