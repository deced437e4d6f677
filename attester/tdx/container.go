package tdx

import "github.com/attestd/attestd/internal/tdxevidence"

// container lays quote and log together; a quote alone travels as it is.
func container(quote, log []byte) ([]byte, error) {
	if len(log) == 0 {
		return quote, nil
	}
	return tdxevidence.Evidence{Quote: quote, EventLog: log}.Marshal()
}
