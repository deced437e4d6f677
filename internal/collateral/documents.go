package collateral

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/tdx/pcs"
)

// Channel is one of the two rows of documents that Intel publishes beside each other (PCS API version 4,
// query parameter "update"). After a TCB recovery event the early one counts up at once and the standard
// one some months later. They are two memories: an early document never raises the floor of the standard
// channel, and is never used by it.
type Channel string

// Channels. A document does not say which of them it is of; whoever brings it does.
const (
	Standard Channel = "standard"
	Early    Channel = "early"
)

// Channels returns both.
func Channels() []Channel { return []Channel{Standard, Early} }

// ParseChannel reads the name of a channel.
//
// Errors: a *attestd.CallerError of class CONFIG for any other name.
func ParseChannel(name string) (Channel, error) {
	channel := Channel(name)
	if !slices.Contains(Channels(), channel) {
		return "", unfit(fmt.Errorf("no channel %q of Intel's", attestd.Excerpt(name, 20)),
			"give standard or early")
	}
	return channel, nil
}

// maxJSON bounds one of Intel's documents; those of today have 4 to 20 KB.
const maxJSON = 256 << 10

// KindSigner is the certificate of the key that signs Intel's documents. Documents are of the kinds
// [pcs.KindTCBInfo] and [pcs.KindIdentity].
const KindSigner = "signer"

// earlyMark stands before a document of the early channel among the objects of an import or a bundle. No
// certificate, list or document begins with it.
var earlyMark = []byte("early\n")

// In marks the documents among objects as those of a channel. What carries a mark already keeps it.
func In(channel Channel, objects [][]byte) [][]byte {
	marked := slices.Clone(objects)
	for index, object := range marked {
		if channel == Early && isDocument(object) {
			marked[index] = slices.Concat(earlyMark, object)
		}
	}
	return marked
}

func isDocument(object []byte) bool { return pcs.KindOf(object) != pcs.KindNone }

// channelOf takes the mark off.
func channelOf(object []byte) (Channel, []byte) {
	if document, early := bytes.CutPrefix(object, earlyMark); early {
		return Early, document
	}
	return Standard, object
}

// documentRow is the newest document about one subject in one channel.
type documentRow struct {
	Channel    Channel   `json:"channel"`
	Subject    string    `json:"subject"`
	Evaluation uint64    `json:"evaluation"`
	From       time.Time `json:"issue_date"`
	Until      time.Time `json:"next_update"`
	// Body is the SHA-256 of what was signed, and SHA256 that of the whole document.
	Body   string    `json:"body_sha256"`
	SHA256 string    `json:"sha256"`
	Bytes  int       `json:"bytes"`
	Source string    `json:"source"`
	Taken  time.Time `json:"taken"`
}

// file is where its object lies.
func (d documentRow) file() string { return d.SHA256 + jsonFile }

// key tells documents apart that do not follow each other.
func (d documentRow) key() string { return string(d.Channel) + "\x00" + d.Subject }

// name is the subject as people read it, as in "TDX 50806f000000" or "TD_QE".
func (d documentRow) name() string {
	_, name, _ := strings.Cut(d.Subject, "/")
	return strings.ReplaceAll(name, "/", " ")
}

// kind is "tcb-info" or "enclave-identity".
func (d documentRow) kind() string {
	kind, _, _ := strings.Cut(d.Subject, "/")
	return kind
}

func (d documentRow) floor() attestd.DocumentFloor {
	return attestd.DocumentFloor{Subject: d.Subject, Evaluation: d.Evaluation, IssuedAt: d.From}
}

// FloorOf reads what one of Intel's documents says of its own age, without verifying it; false for what is
// no such document.
func FloorOf(document []byte) (floor attestd.DocumentFloor, is bool) {
	read, err := pcs.Parse(document)
	if err != nil {
		return attestd.DocumentFloor{}, false
	}
	head := read.Head()
	return attestd.DocumentFloor{
		Subject: head.Subject, Evaluation: head.Evaluation, IssuedAt: head.IssuedAt.UTC(),
	}, true
}

// check refuses a row that this package would not have written.
func (d documentRow) check() error {
	if _, err := ParseChannel(string(d.Channel)); err != nil {
		return errors.New("a document of no channel")
	}
	switch {
	case !isDigest(d.SHA256) || !isDigest(d.Body):
		return errors.New("a document without digests")
	case !isSubject(d.Subject) || d.From.Unix() <= 0 || d.Until.IsZero():
		return errors.New("a document without a subject or dates")
	}
	return nil
}

func isSubject(text string) bool {
	if text == pcs.SubjectOfIdentity {
		return true
	}
	_, ok := fmspcOf(text)
	return ok
}

// fmspcOf reads which family of platforms a subject is about.
func fmspcOf(subject string) (fmspc [6]byte, ok bool) {
	digits := subject[strings.LastIndexByte(subject, '/')+1:]
	raw, err := hex.DecodeString(digits)
	if err != nil || len(raw) != len(fmspc) {
		return fmspc, false
	}
	fmspc = [6]byte(raw)
	return fmspc, pcs.SubjectOfTCBInfo(fmspc) == subject
}

// newSigner returns the issuer that a certificate of Intel's TCB signing key is. It is no CA, and nothing
// but documents is verified with it.
func newSigner(issuers []*issuer, der []byte, at time.Time) (*authority, error) {
	certificate, err := parseCertificate(der)
	if err != nil {
		return nil, err
	}
	failed := untrusted("issuer %q is not known", certificate.Issuer.CommonName)
	tried := 0
	for _, root := range issuers {
		if root.format != attestd.FormatTDX || !root.root {
			continue
		}
		if tried++; tried > maxTried {
			break
		}
		signer, bad := pcs.NewSigner(certificate, root.certificate)
		if bad != nil {
			failed = invalid("get it from Intel's service again", "the certificate of %q: %w", pcs.NameSigner, bad)
			continue
		}
		if err := checkValidity(certificate, pcs.NameSigner, at); err != nil {
			return nil, err
		}
		found := newIssuer(certificate, attestd.FormatTDX, false)
		found.signs = signer
		return &authority{found, der}, nil
	}
	return nil, failed
}

// authenticDocument verifies one of Intel's documents. One whose time has passed is taken: what it revokes
// stays revoked, and that it is stale is told.
func authenticDocument(issuers []*issuer, channel Channel, document []byte, at time.Time) (documentRow, error) {
	if len(document) > maxJSON {
		return documentRow{}, tooMuch("a document of %d bytes, want at most %d", len(document), maxJSON)
	}
	read, err := pcs.Parse(document)
	if err != nil {
		return documentRow{}, invalid("get it from Intel's service again, as it answers it",
			"a document that cannot be read: %s", attestd.Excerpt(err.Error(), 160))
	}
	head := read.Head()
	name := documentRow{Subject: head.Subject}.name()
	bad := errors.New("the certificate of its signer is not known")
	tried := 0
	for _, candidate := range issuers {
		if candidate.signs == nil {
			continue
		}
		if tried++; tried > maxTried {
			break
		}
		if bad = read.SignedBy(candidate.signs); bad == nil {
			break
		}
	}
	if bad != nil {
		return documentRow{}, invalid("import the issuer chain that Intel's service sends in a header together with it",
			"%s of %s: %w", head.Kind, name, bad)
	}
	if head.IssuedAt.After(at.Add(maxAhead)) {
		return documentRow{}, invalid("look at this machine's clock", "%s of %s is of %s, which is yet to come",
			head.Kind, name, head.IssuedAt.UTC().Format(time.RFC3339))
	}
	whole, body := sha256.Sum256(document), sha256.Sum256(bodyOf(document))
	return documentRow{
		Channel: channel, Subject: head.Subject, Evaluation: head.Evaluation, From: head.IssuedAt.UTC(),
		Until: head.NextUpdate.UTC(), Body: hex.EncodeToString(body[:]), SHA256: hex.EncodeToString(whole[:]),
		Bytes: len(document),
	}, nil
}

// bodyOf returns the object that is signed, of a document that was read: no key stands in it twice.
func bodyOf(document []byte) []byte {
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(document, &parts); err != nil {
		return document
	}
	for _, key := range []string{"tcbInfo", "enclaveIdentity"} {
		if body, there := parts[key]; there {
			return body
		}
	}
	return document
}

// follows says whether a document may come after the newest that was seen of its channel and subject, and
// whether it changes anything.
func (d documentRow) follows(last documentRow) (changes bool, err error) {
	if err := d.isBehind(last); err != nil {
		return false, invalid("this is an older document than one that was imported before: get the current one",
			"the %s", err)
	}
	if d.Evaluation == last.Evaluation && d.From.Equal(last.From) && d.Body != last.Body {
		return false, invalid("report it to Intel: its key may have signed for two audiences",
			"the %s of %s has number and date of another one that was seen", d.kind(), d.name())
	}
	return d.Body != last.Body, nil
}

// isBehind says in what a document is behind another one of the same channel and subject. The number comes
// first: what Intel issued later under a lower number knows less.
func (d documentRow) isBehind(last documentRow) error {
	which := fmt.Sprintf("%s of %s in the %s channel", d.kind(), attestd.Excerpt(d.name(), 80), d.Channel)
	switch {
	case d.Evaluation < last.Evaluation:
		return fmt.Errorf("%s has number %d, and %d was seen already", which, d.Evaluation, last.Evaluation)
	case d.Evaluation == last.Evaluation && d.From.Before(last.From):
		return fmt.Errorf("%s is of %s, and one of %s was seen already", which, d.From.Format(time.RFC3339),
			last.From.Format(time.RFC3339))
	}
	return nil
}

// takeDocument takes a document into the channel that its mark names.
func (t *taking) takeDocument(object []byte) error {
	channel, document := channelOf(object)
	row, err := authenticDocument(t.issuers, channel, document, t.at)
	if err != nil {
		return err
	}
	row.Source, row.Taken = t.source, t.at.UTC()
	item := Item{
		Kind: row.kind(), Format: attestd.FormatTDX, Name: row.name(), Number: fmt.Sprint(row.Evaluation),
		Channel: channel, From: row.From, Until: row.Until, SHA256: row.SHA256, Outcome: Held,
	}
	place := slices.IndexFunc(t.next.Documents, func(last documentRow) bool { return last.key() == row.key() })
	changes := true
	if place >= 0 {
		last := t.next.Documents[place]
		if changes, err = row.follows(last); err != nil {
			return err
		}
		// The same document comes back where its file was lost.
		_, lost := t.store.readObject(last.file(), maxJSON)
		_, coming := t.objects[last.file()]
		changes = changes || lost != nil && !coming
	}
	if changes {
		item.Outcome, t.changed, t.objects[row.file()] = Taken, true, document
		if place >= 0 {
			t.next.Documents[place] = row
		} else {
			t.next.Documents = append(t.next.Documents, row)
		}
	}
	if fmspc, is := fmspcOf(row.Subject); is && channel == t.store.following() {
		t.wishes = append(t.wishes, Platform{FMSPC: hex.EncodeToString(fmspc[:])}.key())
	}
	t.items = append(t.items, item)
	return nil
}
