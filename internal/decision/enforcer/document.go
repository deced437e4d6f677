package enforcer

import (
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
	"github.com/attestd/attestd/internal/yamldoc"
)

// Schema is that of the document that names enforcement points.
const Schema = "attestd.enforcers.v1"

// Limits of the document. Each token is compared with every digest, so there are not many.
const (
	maxDocument  = 1 << 20
	maxEnforcers = 1024
	maxTokens    = 256
	maxTenants   = 1024
	maxName      = 64
	maxRate      = 1_000_000
)

// What an enforcement point may ask where the document does not say: what one busy proxy asks.
const (
	defaultRate  = 10_000 // questions a second
	defaultBurst = 20_000 // questions at once
)

// LookupUser returns the uid of a local user.
type LookupUser func(name string) (uid uint32, err error)

// read reads the document and reports everything that is wrong with it.
//
// Errors: a [*attestd.CallerError] of class CONFIG.
func read(source string, document []byte, lookup LookupUser) ([]*Enforcer, error) {
	root, problems := yamldoc.Parse(source, document, maxDocument)
	var list []*Enforcer
	if root != nil {
		list = readAll(root, lookup)
	}
	if err := problems.Err(); err != nil {
		return nil, misconfigured(err)
	}
	return list, nil
}

func misconfigured(err error) error {
	return &attestd.CallerError{
		Class: attestd.ClassConfig, Hint: "docs/decisions/enforcers.md has the form", Err: err,
	}
}

func readAll(root *yamldoc.Node, lookup LookupUser) []*Enforcer {
	fields, _ := root.Fields([]string{"schema", "enforcers"}, nil)
	if schema := fields.Get("schema"); schema != nil && !schema.IsText(Schema) {
		schema.Problem("want %q", Schema)
	}
	node := fields.Get("enforcers")
	if node == nil {
		return nil
	}
	items, _ := node.Items()
	if len(items) > maxEnforcers {
		node.Problem("has %d enforcement points, want at most %d", len(items), maxEnforcers)
		return nil
	}
	known := uniques{}
	var list []*Enforcer
	tokens := 0
	for _, item := range items {
		one := readOne(item, lookup, known)
		if strings.HasPrefix(one.name, prefixToken) {
			tokens++
		}
		list = append(list, one)
	}
	if tokens > maxTokens {
		node.Problem("has %d tokens, want at most %d", tokens, maxTokens)
	}
	return list
}

// Beginnings of the names of enforcement points that have no SPIFFE ID.
const (
	prefixUser  = "user:"
	prefixToken = "token:"
)

// uniques are the marks by which enforcement points are told apart, with what has each.
type uniques map[string]string

func (u uniques) add(node *yamldoc.Node, mark, name string) {
	if first, double := u[mark]; double {
		node.Problem("is %s a second time; each enforcement point is named once", first)
		return
	}
	u[mark] = name
}

func readOne(item *yamldoc.Node, lookup LookupUser, known uniques) *Enforcer {
	one := &Enforcer{rate: defaultRate, burst: defaultBurst}
	fields, _ := item.Fields([]string{"may", "tenants"},
		[]string{"spiffe", "user", "token", "sha256", "vouches", "rate", "burst"})
	readName(item, fields, lookup, known, one)
	one.rights = readRights(fields.Get("may"))
	one.tenants = readTenants(fields.Get("tenants"))
	if node := fields.Get("vouches"); node != nil {
		one.vouches, _ = node.Flag()
	}
	one.rate = readNumber(fields.Get("rate"), one.rate)
	if fields.Get("rate") != nil {
		one.burst = min(2*one.rate, maxRate)
	}
	one.burst = readNumber(fields.Get("burst"), one.burst)
	one.pace = newPace(max(one.rate, 1), max(one.burst, 1))
	return one
}

// readName reads by what the enforcement point is known: one way, or two parties could be meant.
func readName(
	item *yamldoc.Node, fields yamldoc.Fields, lookup LookupUser, known uniques, into *Enforcer,
) {
	spiffe, user, token := fields.Get("spiffe"), fields.Get("user"), fields.Get("token")
	ways := 0
	for _, node := range []*yamldoc.Node{spiffe, user, token} {
		if node != nil {
			ways++
		}
	}
	if ways != 1 {
		item.Problem("got %d of spiffe, user and token, want one", ways)
		return
	}
	digest := fields.Get("sha256")
	if (token != nil) != (digest != nil) {
		item.Problem("want token and sha256 together")
		return
	}
	switch {
	case spiffe != nil:
		readSPIFFE(spiffe, known, into)
	case user != nil:
		readUser(user, lookup, known, into)
	default:
		readToken(token, digest, known, into)
	}
}

func readSPIFFE(node *yamldoc.Node, known uniques, into *Enforcer) {
	text, ok := node.Text()
	if !ok {
		return
	}
	id, err := subject.ParseID(text)
	if err != nil {
		node.Problem("%s", err)
		return
	}
	known.add(node, id.Fold(), text)
	into.name = text
}

func readUser(node *yamldoc.Node, lookup LookupUser, known uniques, into *Enforcer) {
	text, ok := node.Text()
	if !ok || !isName(node, text) {
		return
	}
	uid, err := lookup(text)
	if err != nil {
		node.Problem("%s", attestd.Excerpt(err.Error(), 120))
		return
	}
	known.add(node, "uid:"+strconv.FormatUint(uint64(uid), 10), prefixUser+text)
	into.name, into.uid = prefixUser+text, uid
}

func readToken(node, digest *yamldoc.Node, known uniques, into *Enforcer) {
	name, okName := node.Text()
	text, okDigest := digest.Text()
	if !okName || !okDigest || !isName(node, name) {
		return
	}
	sum, err := hex.DecodeString(text)
	if err != nil || len(sum) != len(into.digest) || hex.EncodeToString(sum) != text {
		digest.Problem("want the SHA-256 of the token as 64 lower-case hex digits")
		return
	}
	copy(into.digest[:], sum)
	known.add(node, prefixToken+name, prefixToken+name)
	known.add(digest, "sha256:"+text, prefixToken+name)
	into.name = prefixToken + name
}

func isName(node *yamldoc.Node, text string) bool {
	bad := len(text) > maxName || strings.ContainsFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') &&
			!strings.ContainsRune("._-", r)
	})
	if bad {
		node.Problem("want at most %d letters, digits, dots, dashes and underscores", maxName)
	}
	return !bad
}

func readRights(node *yamldoc.Node) []Right {
	var rights []Right
	for text, item := range texts(node) {
		right := Right(text)
		switch {
		case !slices.Contains(Rights(), right):
			var names []string
			for _, one := range Rights() {
				names = append(names, string(one))
			}
			item.Problem("unknown right%s", yamldoc.DidYouMean(text, names))
		case slices.Contains(rights, right):
			item.Problem("stands twice")
		default:
			rights = append(rights, right)
		}
	}
	return rights
}

func readTenants(node *yamldoc.Node) []string {
	var tenants []string
	for text, item := range texts(node) {
		switch {
		case len(text) > 128 || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }):
			item.Problem("want a tenant's name of at most 128 printable ASCII characters")
		case slices.Contains(tenants, text):
			item.Problem("stands twice")
		default:
			tenants = append(tenants, text)
		}
	}
	switch {
	case len(tenants) > maxTenants:
		node.Problem("has %d tenants, want at most %d", len(tenants), maxTenants)
	case len(tenants) > 1 && slices.Contains(tenants, AllTenants):
		node.Problem("want %q alone, or tenants", AllTenants)
	}
	return tenants
}

// texts yields the members of a list of texts.
func texts(node *yamldoc.Node) func(yield func(string, *yamldoc.Node) bool) {
	return func(yield func(string, *yamldoc.Node) bool) {
		if node == nil {
			return
		}
		items, _ := node.Items()
		for _, item := range items {
			if text, ok := item.Text(); ok && !yield(text, item) {
				return
			}
		}
	}
}

func readNumber(node *yamldoc.Node, otherwise int) int {
	if node == nil {
		return otherwise
	}
	number, ok := node.Uint()
	if ok && (number == 0 || number > maxRate) {
		node.Problem("got %d, want 1 to %d", number, maxRate)
		ok = false
	}
	if !ok {
		return otherwise
	}
	return int(number) //nolint:gosec // at most maxRate
}

// readFile reads the document; who else could write it would decide who asks.
func readFile(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat() // of what was opened, not of what has the name by now
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o022 != 0 {
		return nil, fmt.Errorf(
			"%s has mode %s, want a regular file that its owner alone can write: chmod go-w", filepath.Base(path),
			info.Mode())
	}
	return io.ReadAll(io.LimitReader(file, maxDocument+1))
}
