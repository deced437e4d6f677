package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/strict"
)

// appendVerdict writes the bytes that json.Marshal returns for a verdict, in a fraction of its time.
// A verdict has some hundred texts: finding out what each field is, and scanning the claims over
// again, costs as much as a signature.
//
// Errors: those of json.Marshal.
func appendVerdict(out []byte, a *attestd.Appraisal) ([]byte, error) {
	e := encoder{out: out}
	e.text(`{"schema":`, a.Schema)
	e.given(`,"id":`, a.ID)
	e.text(`,"verdict":`, a.Verdict.String())
	e.text(`,"format":`, string(a.Format))
	e.given(`,"summary":`, a.Summary)
	e.text(`,"tier":`, a.Tier.String())
	e.number(`,"risk_score":`, a.Risk.Int())
	e.text(`,"freshness":`, a.Freshness.String())
	e.given(`,"nonce":`, a.Nonce)
	e.time(`,"at":`, a.At)
	e.reasons(a.Reasons)
	e.checks(a.Checks)
	e.claims(a.Claims)
	e.handles(a.Handles)
	e.devices(a.Devices)
	e.edges(a.Edges)
	if a.Standing != nil { // only where the store was written to, which costs much more
		e.any(`,"standing":`, a.Standing)
	}
	e.trust(a.Trust)
	e.text(`,"policy":{"id":`, a.Policy.ID)
	e.text(`,"digest":`, a.Policy.Digest)
	e.text(`},"evidence_sha256":`, a.EvidenceSHA256)
	return append(e.out, '}'), e.err
}

// writeVerdict answers with a verdict. Its memory is not used for another answer: HTTP/2 may still read
// what it was given to write when a caller reset the stream, and two callers are not of one tenant.
func writeVerdict(w http.ResponseWriter, given *attestd.Appraisal) error {
	document, err := appendVerdict(make([]byte, 0, roomFor(given)), given)
	if err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	sendDocument(w, http.StatusOK, mediaJSON, append(document, '\n'))
	return nil
}

// roomFor is about as much as a verdict takes.
func roomFor(a *attestd.Appraisal) int {
	room := 1024 + len(a.Claims)
	for i := range a.Reasons {
		room += 128 + len(a.Reasons[i].Detail) + len(a.Reasons[i].Remedy)
	}
	for i := range a.Checks {
		check := &a.Checks[i]
		room += 96 + len(check.ID) + len(check.Got) + len(check.Want) + len(check.Spec) + len(check.Hint)
	}
	for i := range a.Devices {
		room += 512 + len(a.Devices[i].Claims)
	}
	return room + room/32 // some characters are escaped
}

// encoder appends to out. Whatever it was given first, as in `,"key":`, stands in front of a value.
type encoder struct {
	out []byte
	err error
}

// any writes what is not written here, through encoding/json.
func (e *encoder) any(before string, value any) {
	written, err := json.Marshal(value)
	if err != nil && e.err == nil {
		e.err = fmt.Errorf("verdict: %w", err)
	}
	e.out = append(append(e.out, before...), written...)
}

// text writes a JSON string. Printable ASCII is written here, all other text by encoding/json.
func (e *encoder) text(before, text string) {
	start := len(e.out)
	e.out = append(append(e.out, before...), '"')
	for rest := text; ; {
		plain := strict.PlainLength(rest)
		e.out = append(e.out, rest[:plain]...)
		if plain == len(rest) {
			break
		}
		if rest[plain] != '"' && rest[plain] != '\\' {
			e.out = e.out[:start]
			e.any(before, text)
			return
		}
		e.out = append(e.out, '\\', rest[plain])
		rest = rest[plain+1:]
	}
	e.out = append(e.out, '"')
}

// given writes text that is left out where it is empty.
func (e *encoder) given(before, text string) {
	if text != "" {
		e.text(before, text)
	}
}

func (e *encoder) number(before string, number int) {
	e.out = strconv.AppendInt(append(e.out, before...), int64(number), 10)
}

func (e *encoder) time(before string, at time.Time) {
	if _, offset := at.Zone(); offset != 0 || at.Year() < 0 || at.Year() > 9999 {
		e.any(before, at) // encoding/json refuses some of these
		return
	}
	e.out = append(append(e.out, before...), '"')
	e.out = append(at.AppendFormat(e.out, time.RFC3339Nano), '"')
}

func (e *encoder) reasons(reasons []attestd.Reason) {
	if reasons == nil {
		e.out = append(e.out, `,"reasons":null`...)
		return
	}
	e.out = append(e.out, `,"reasons":[`...)
	for i := range reasons {
		reason := &reasons[i]
		e.text(opening(i, `{"check":`, `,{"check":`), string(reason.Check))
		e.given(`,"device":`, reason.Device)
		e.text(`,"group":`, string(reason.Group))
		e.number(`,"points":`, reason.Points)
		e.text(`,"effect":`, reason.Effect.String())
		e.text(`,"detail":`, reason.Detail)
		e.text(`,"remedy":`, reason.Remedy)
		e.out = append(e.out, '}')
	}
	e.out = append(e.out, ']')
}

func (e *encoder) checks(checks []attestd.Check) {
	if checks == nil {
		e.out = append(e.out, `,"checks":null`...)
		return
	}
	e.out = append(e.out, `,"checks":[`...)
	for i := range checks {
		check := &checks[i]
		e.text(opening(i, `{"id":`, `,{"id":`), string(check.ID))
		e.given(`,"device":`, check.Device)
		e.text(`,"result":`, check.Result.String())
		e.text(`,"got":`, check.Got)
		e.text(`,"want":`, check.Want)
		e.text(`,"spec":`, check.Spec)
		e.text(`,"hint":`, check.Hint)
		e.out = append(e.out, '}')
	}
	e.out = append(e.out, ']')
}

// opening is what stands in front of the first member of a list, and of the others.
func opening(index int, first, other string) string {
	if index == 0 {
		return first
	}
	return other
}

func (e *encoder) claims(claims json.RawMessage) {
	if !strict.PlainJSON(claims) {
		e.any(`,"claims":`, claims)
		return
	}
	e.out = append(append(e.out, `,"claims":`...), claims...)
}

func (e *encoder) handles(handles []attestd.Handle) {
	for i, handle := range handles {
		e.text(opening(i, `,"handles":[{"kind":`, `,{"kind":`), string(handle.Kind))
		e.text(`,"value":`, handle.Value)
		e.out = append(e.out, '}')
	}
	if len(handles) != 0 {
		e.out = append(e.out, ']')
	}
}

func (e *encoder) devices(devices []attestd.DeviceAppraisal) {
	for i := range devices {
		device := &devices[i]
		e.text(opening(i, `,"devices":[{"path":`, `,{"path":`), device.Path)
		e.text(`,"format":`, string(device.Format))
		e.given(`,"summary":`, device.Summary)
		e.text(`,"verdict":`, device.Verdict.String())
		e.text(`,"tier":`, device.Tier.String())
		e.number(`,"risk_score":`, device.Risk.Int())
		e.text(`,"freshness":`, device.Freshness.String())
		e.claims(device.Claims)
		e.handles(device.Handles)
		e.trust(device.Trust)
		e.out = append(e.out, '}')
	}
	if len(devices) != 0 {
		e.out = append(e.out, ']')
	}
}

func (e *encoder) edges(edges []attestd.Edge) {
	for i, edge := range edges {
		e.text(opening(i, `,"edges":[{"from":`, `,{"from":`), edge.From)
		e.text(`,"to":`, edge.To)
		e.text(`,"grade":`, edge.Grade.String())
		e.text(`,"how":`, edge.How)
		e.out = append(e.out, '}')
	}
	if len(edges) != 0 {
		e.out = append(e.out, ']')
	}
}

func (e *encoder) trust(v attestd.TrustVector) {
	e.number(`,"trust_vector":{"instance-identity":`, int(v.InstanceIdentity))
	e.number(`,"configuration":`, int(v.Configuration))
	e.number(`,"executables":`, int(v.Executables))
	e.number(`,"file-system":`, int(v.FileSystem))
	e.number(`,"hardware":`, int(v.Hardware))
	e.number(`,"runtime-opaque":`, int(v.RuntimeOpaque))
	e.number(`,"storage-opaque":`, int(v.StorageOpaque))
	e.number(`,"sourced-data":`, int(v.SourcedData))
	e.out = append(e.out, '}')
}
