package imports

import (
	"crypto"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/measurements"
)

// MaxFile is the largest file that is read, in bytes.
const MaxFile = 4 << 20

// Options say how a file is read.
type Options struct {
	// Name and Version of the set; the name is required.
	Name, Version string
	// Format of the evidence that the values are for; required where the file does not tell.
	Format attestd.Format
	// Bank of a TPM's registers, as in "sha256"; empty for that.
	Bank string
	// Key verifies a signed CoRIM: *ecdsa.PublicKey or ed25519.PublicKey. A signed one is not read
	// without.
	Key crypto.PublicKey
	// At is the time at which the file has to be valid.
	At time.Time
	// Parts takes values of which only a part of the conditions can be expressed. They match more
	// than their author meant; Left says what was not taken.
	Parts bool
}

// Left is something that a file says and that is not in the Set.
type Left struct {
	// Where it stands, as in "tag 1, reference triple 2, measurement 640".
	Where string
	// What it is, and why it was left.
	What string
	// Condition says that a value is without a condition that its author wrote; it stands in Results
	// of Options.Parts alone.
	Condition bool
}

// Result is what was read.
type Result struct {
	Set *measurements.Set
	// Signed says that a signature by Options.Key was verified.
	Signed bool
	Left   []Left
}

// maxLeft bounds what one file makes us tell.
const maxLeft = 4096

// reading is a file while it is read.
type reading struct {
	options Options
	result  Result
	names   map[string]bool
	seen    map[string]string
	dropped int
}

func read(options Options) (*reading, error) {
	if options.Name == "" {
		return nil, refuse("give --name NAME", "the reference values have no name")
	}
	if options.Bank == "" {
		options.Bank = "sha256"
	}
	return &reading{
		options: options, names: make(map[string]bool), seen: make(map[string]string),
		result: Result{Set: &measurements.Set{Name: options.Name, Version: options.Version}},
	}, nil
}

// left tells what is not taken.
func (r *reading) left(where, format string, args ...any) {
	if len(r.result.Left) == maxLeft {
		r.dropped++
		return
	}
	r.result.Left = append(r.result.Left, Left{
		Where: attestd.Excerpt(where, 200), What: attestd.Excerpt(fmt.Sprintf(format, args...), 200),
	})
}

// add takes a value, unless one with the same registers is there.
func (r *reading) add(where, wish string, value measurements.Value) {
	key := fmt.Sprint(value.Registers, value.Rules)
	if first, double := r.seen[key]; double {
		r.left(where, "is the same as %s", first)
		return
	}
	r.seen[key] = where
	value.Name, value.State = r.name(wish), measurements.StateProposed
	r.result.Set.Values = append(r.result.Set.Values, value)
}

var nameRest = regexp.MustCompile(`[^A-Za-z0-9._+-]+`)

// name makes a name of a wish that is not taken yet.
func (r *reading) name(wish string) string {
	wish = strings.Trim(nameRest.ReplaceAllString(wish, "-"), "-._+")
	if wish == "" {
		wish = "imported"
	}
	wish = wish[:min(len(wish), 56)]
	name := wish
	for count := 2; r.names[name]; count++ {
		name = wish + "-" + strconv.Itoa(count)
	}
	r.names[name] = true
	return name
}

// done returns the result, which is refused where nothing was taken.
func (r *reading) done() (*Result, error) {
	if r.dropped > 0 {
		r.result.Left = append(r.result.Left, Left{
			Where: "the file", What: strconv.Itoa(r.dropped) + " more things that were not taken",
		})
	}
	if len(r.result.Set.Values) == 0 {
		why := "it has none for this format"
		if at := slices.IndexFunc(r.result.Left, func(l Left) bool { return true }); at >= 0 {
			why = r.result.Left[at].Where + ": " + r.result.Left[at].What
		}
		return nil, refuse("attestd ref import --parts takes what can be expressed of a value; read what it "+
			"leaves before you make it active", "no reference value could be taken: %s", why)
	}
	if _, err := r.result.Set.YAML(); err != nil {
		return nil, err
	}
	return &r.result, nil
}

func refuse(hint, format string, args ...any) error {
	return &attestd.CallerError{
		Class: attestd.ClassConfig, Hint: hint, Err: fmt.Errorf(format, args...),
	}
}

// malformed says where a file is not what it should be.
func malformed(format string, args ...any) error {
	return refuse("check that this is the right file, and whole", format, args...)
}

var errTooLarge = errors.New("the file is too large")
