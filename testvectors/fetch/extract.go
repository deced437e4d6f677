package fetch

import (
	"encoding/base64"
	"encoding/hex"
	"regexp"
	"strconv"

	"github.com/attestd/attestd/testvectors"
)

// maxContainer bounds the search: it takes one digest of the wanted size per offset.
const maxContainer = 256 << 10

var (
	hexText    = regexp.MustCompile(`[0-9A-Fa-f]{256,}`)
	base64Text = regexp.MustCompile(`[A-Za-z0-9+/]{256,}={0,2}`)
	byteList   = regexp.MustCompile(`(?:(?:0x[0-9A-Fa-f]{1,2}|[0-9]{1,3})\s*,\s*){255,}(?:0x[0-9A-Fa-f]{1,2}|[0-9]{1,3})?`)
	listedByte = regexp.MustCompile(`0x[0-9A-Fa-f]{1,2}|[0-9]{1,3}`)
)

// extract finds the wanted bytes inside a published file by their digest: anywhere in the file
// itself (a certificate, a protobuf), or in what a hex text, a base64 text or a list of byte
// literals in it spells. How the bytes are framed does not matter, because nothing but the pinned
// digest decides.
func extract(published []byte, want testvectors.ExtraSource) ([]byte, bool) {
	for _, candidate := range candidates(published) {
		if len(candidate) > maxContainer {
			continue
		}
		for from := 0; from+want.Size <= len(candidate); from++ {
			if window := candidate[from : from+want.Size]; digestIs(window, want.SHA256) {
				return window, true
			}
		}
	}
	return nil, false
}

// candidates returns what the file spells, the cheapest guesses first.
func candidates(published []byte) [][]byte {
	var found [][]byte
	for _, text := range hexText.FindAll(published, -1) {
		if data, err := hex.DecodeString(string(text[:len(text)&^1])); err == nil {
			found = append(found, data)
		}
	}
	for _, text := range base64Text.FindAll(published, -1) {
		if data, err := base64.StdEncoding.DecodeString(string(text)); err == nil {
			found = append(found, data)
		}
	}
	for _, list := range byteList.FindAll(published, -1) {
		data := make([]byte, 0, len(list)/6)
		for _, literal := range listedByte.FindAll(list, -1) {
			value, err := strconv.ParseUint(string(literal), 0, 8)
			if err != nil {
				break
			}
			data = append(data, byte(value))
		}
		found = append(found, data)
	}
	return append(found, published)
}
