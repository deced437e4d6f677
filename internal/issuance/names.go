package issuance

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// Paths of ids that SPIRE keeps for itself (SPIFFE-ID, section 2.2, reserves none; SPIRE does).
const (
	spirePath  = "/spire/"
	agentPath  = "/spire/agent/"
	ourPath    = "/spire/agent/attestd/"
	serverPath = "/spire/server"
	// healthPath is signed by SPIRE's server for itself, to see that it can.
	healthPath = "/for/health/check/only"
)

// escape writes a value so that it is one word of a selector or a claim: what is not a lower-case
// letter, a digit, a dot, a dash or an underscore is %XX. Two values never give the same word, and no
// value gives a word with a colon, a slash or a newline: none forges another selector.
func escape(value string) string {
	const plain = "abcdefghijklmnopqrstuvwxyz0123456789._-"
	var out strings.Builder
	for i := range len(value) {
		if at := value[i]; strings.IndexByte(plain, at) >= 0 {
			out.WriteByte(at)
		} else {
			fmt.Fprintf(&out, "%%%02X", at)
		}
	}
	return out.String()
}

// maxWord is the longest value of a selector or a claim before it is escaped.
const maxWord = 80

// word is the value as escape writes it. Of a longer one the beginning is left and its digest takes
// the place of the rest, behind an escaped dot, which escape never writes.
func word(value string) string {
	if len(value) <= maxWord {
		return escape(value)
	}
	digest := sha256.Sum256([]byte(value))
	return escape(value[:maxWord/2]) + "%2E" + hex.EncodeToString(digest[:16])
}

// name is a SPIFFE ID of this trust domain.
type name struct {
	id subject.ID
	// path begins with a slash.
	path string
}

func (n name) agent() bool { return strings.HasPrefix(n.path, agentPath) }
func (n name) ours() bool  { return strings.HasPrefix(n.path, ourPath) }

// under reports whether the id lies below one of the prefixes, in whatever case: another spelling is
// another id for SPIRE, and must not be the way round.
func (n name) under(prefixes []string) bool {
	for _, prefix := range prefixes {
		if len(n.path) > len(prefix) && strings.EqualFold(n.path[:len(prefix)], prefix) {
			return true
		}
	}
	return false
}

// parse reads a SPIFFE ID that something is to be issued for.
//
// Errors: a [*attestd.CallerError] of class MALFORMED for what is none or another trust domain's, and
// of class FORBIDDEN for the server's own.
func (o *Office) parse(text string) (name, error) {
	id, err := subject.ParseID(text)
	if err != nil {
		return name{}, err
	}
	path, ours := strings.CutPrefix(text, "spiffe://"+o.config.TrustDomain)
	if !ours || path == "" || path[0] != '/' {
		return name{}, &attestd.CallerError{
			Class: attestd.ClassMalformed,
			Hint:  "attestd answers for " + o.config.TrustDomain + " alone",
			Err:   fmt.Errorf("%q is of another trust domain", attestd.Excerpt(text, 80)),
		}
	}
	n := name{id: id, path: path}
	reserved := path == healthPath || path == "/spire" ||
		strings.HasPrefix(path, spirePath) && !n.agent()
	if reserved || n.agent() && strings.Count(path, "/") < 4 {
		return name{}, &attestd.CallerError{
			Class: attestd.ClassForbidden,
			Hint:  "SPIRE's own ids are answered by the plugin, and never asked for here",
			Err:   fmt.Errorf("%q is SPIRE's own", attestd.Excerpt(text, 80)),
		}
	}
	return n, nil
}

// agentID checks the id that the registry gave a node: it is below the path of this plugin and of the
// evidence's format, and in one segment.
func (o *Office) agentID(text string, format attestd.Format) (subject.ID, error) {
	n, err := o.parse(text)
	if err != nil {
		return "", err
	}
	rest, found := strings.CutPrefix(n.path, ourPath+string(format)+"/")
	if !found || rest == "" || strings.Contains(rest, "/") {
		return "", errors.New("the registry's id is no agent's id of this format")
	}
	return n.id, nil
}
