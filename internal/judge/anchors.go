package judge

import (
	"slices"
	"sync"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/measurements"
	"github.com/attestd/attestd/verifiers"
)

// named remembers which keys reference values name. An inventory can have many thousand, and to
// collect them anew (20 ms for 20,000) would be what the cheapest nonsense costs.
type named struct {
	mutex sync.Mutex
	keys  map[indexed]keys
}

type indexed struct {
	index  *measurements.Index
	format attestd.Format
}

type keys struct{ attestation, endorsement [][32]byte }

// maxNamed bounds what is remembered. Indexes are few: those of the configuration, and one in a command.
const maxNamed = 16

// of returns the keys that the index names for the format; they must not be written to.
func (n *named) of(index *measurements.Index, format attestd.Format) keys {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	key := indexed{index, format}
	found, known := n.keys[key]
	if !known {
		found.attestation, found.endorsement = index.Keys(format)
		if n.keys == nil || len(n.keys) == maxNamed {
			n.keys = make(map[indexed]keys, maxNamed)
		}
		n.keys[key] = found
	}
	return found
}

// anchors returns the caller's anchors and the keys that the reference values name for the verifier's
// format, and for those of its parts: a TPM is the same one inside composed evidence.
func (j *Judge) anchors(request Request, verifier verifiers.Verifier) attestd.Anchors {
	anchors := request.Anchors
	for _, format := range formatsOf(verifier) {
		named := j.named.of(request.References, format)
		anchors.AttestationKeys = joined(anchors.AttestationKeys, named.attestation)
		anchors.EndorsementKeys = joined(anchors.EndorsementKeys, named.endorsement)
	}
	return anchors
}

// formatsOf lists the verifier's format and those of its parts, each once.
func formatsOf(verifier verifiers.Verifier) []attestd.Format {
	formats := []attestd.Format{verifier.Format()}
	composer, composes := verifier.(verifiers.Composer)
	if !composes {
		return formats
	}
	for _, part := range composer.Parts() {
		for _, format := range formatsOf(part) {
			if !slices.Contains(formats, format) {
				formats = append(formats, format)
			}
		}
	}
	return formats
}

// joined copies an inventory only where there are two.
func joined(given, named [][32]byte) [][32]byte {
	switch {
	case len(given) == 0:
		return named
	case len(named) == 0:
		return given
	}
	return slices.Concat(given, named)
}
