package testvectors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"

	"github.com/attestd/attestd/internal/tdxevidence"
)

// The steps of this file turn what other projects publish of Intel's collateral into what Intel's
// service answers, and quotes with logs into the container of this project. They move signed bytes as
// they are and check nothing.

// combinedDocuments are the fields of the JSON in which verifiers exchange a set of collateral, and
// the name under which Intel's service ("Intel Trusted Services API", version 4) answers each: a
// document is kept there as text, since its signature is over its bytes.
var combinedDocuments = map[string]string{
	"tcb_info": "tcbInfo", "qe_identity": "enclaveIdentity",
}

// decodeCombined cuts one document out of combined collateral and puts its signature beside it.
func decodeCombined(words []string, in []byte) ([]byte, error) {
	name, known := combinedDocuments[words[0]]
	if !known {
		return nil, fmt.Errorf("no document is called %q", words[0])
	}
	var fields map[string]string
	if err := json.Unmarshal(in, &fields); err != nil {
		return nil, err
	}
	document, signature := fields[words[0]], fields[words[0]+"_signature"]
	if document == "" || signature == "" {
		return nil, fmt.Errorf("no %q with its signature", words[0])
	}
	var out bytes.Buffer
	// Not by an encoder, which would change the bytes that are signed.
	fmt.Fprintf(&out, "{%q:%s,\"signature\":%q}", name, document, signature)
	return out.Bytes(), nil
}

var escapedPEM = regexp.MustCompile(`"(-----BEGIN%20CERTIFICATE-----[A-Za-z0-9%+/=.-]+)"`)

// decodeEscaped takes the n-th chain out of a Go source file that has chains as Intel's service puts
// them into the headers of its answers: PEM, escaped as in a query.
func decodeEscaped(words []string, in []byte) ([]byte, error) {
	number, err := strconv.Atoi(words[0])
	if err != nil {
		return nil, err
	}
	found := escapedPEM.FindAllSubmatch(joined.ReplaceAll(in, nil), -1)
	if number < 1 || number > len(found) {
		return nil, fmt.Errorf("%d chains, want number %d", len(found), number)
	}
	text, err := url.QueryUnescape(string(found[number-1][1]))
	return []byte(text), err
}

// joinTDX puts a quote and the log of its guest (CCEL) into the container. Files of quotes end in the
// zeros of the buffer that the kernel gave, which are no part of the quote.
func joinTDX(_ []string, files [][]byte) ([]byte, error) {
	quote, err := cutTDQuote(files[0])
	if err != nil {
		return nil, err
	}
	return tdxevidence.Evidence{Quote: quote, EventLog: files[1]}.Marshal()
}

// cutTDQuote cuts a quote of version 4 at its own end ("Intel TDX DCAP: Quote Generation Library and
// Quote Verification Library", appendix A.3: header, body, length of what follows).
func cutTDQuote(in []byte) ([]byte, error) {
	const version, length, signed = 4, 48 + 584, 48 + 584 + 4
	if len(in) < signed || binary.LittleEndian.Uint16(in) != version {
		return nil, errors.New("no quote of version 4")
	}
	size := uint64(binary.LittleEndian.Uint32(in[length:]))
	if size > uint64(len(in)-signed) {
		return nil, fmt.Errorf("a quote with %d bytes behind its body, and %d are there", size,
			len(in)-signed)
	}
	return in[:signed+int(size)], nil //nolint:gosec // within in
}
