package crl

import (
	"bytes"
	"encoding/asn1"
	"errors"
	"slices"
	"strings"
	"testing"
)

// put writes one element of DER of up to 65,535 bytes.
func put(tag byte, parts ...[]byte) []byte { return element(tag, slices.Concat(parts...)) }

// plain is a list with nothing but what must be there; its signature is none.
func plain(edit func(parts map[string][]byte)) []byte {
	algorithm := put(tagSequence, []byte{6, 3, 0x55, 0x1d, 1})
	parts := map[string][]byte{
		"outer": algorithm, "inner": algorithm, "issuer": put(tagSequence),
		"behind": put(asn1.TagUTCTime, []byte("250501000000Z")), "tbs": {tagSequence},
	}
	edit(parts)
	body := put(parts["tbs"][0], []byte{2, 1, 1}, parts["inner"], parts["issuer"], parts["behind"])
	return put(tagSequence, body, parts["outer"], []byte{3, 2, 0, 0})
}

// TestEachPartOfAListIsDemanded has one fault a row, of which nothing else would notice. The reason
// shows that it is the part's own.
func TestEachPartOfAListIsDemanded(t *testing.T) {
	set := func(name string, value []byte) func(map[string][]byte) {
		return func(parts map[string][]byte) { parts[name] = value }
	}
	behind := func(more ...[]byte) func(map[string][]byte) {
		return func(parts map[string][]byte) {
			parts["behind"] = slices.Concat(append([][]byte{parts["behind"]}, more...)...)
		}
	}
	extension := func(last byte, value []byte) []byte {
		return put(tagSequence, []byte{6, 3, 0x55, 0x1d, last}, put(asn1.TagOctetString, value))
	}
	extended := func(all ...[]byte) func(map[string][]byte) {
		return behind(put(tagExtensions, put(tagSequence, all...)))
	}
	entries := bytes.Repeat(put(tagSequence, []byte{2, 1, 9},
		put(asn1.TagUTCTime, []byte("250501000000Z"))), 8)
	const der, two = "not DER", "two signature algorithms"
	for name, row := range map[string]struct {
		edit func(map[string][]byte)
		want string
	}{
		"a good one":             {func(map[string][]byte) {}, ""},
		"a signed part of a set": {set("tbs", []byte{0x31}), der},
		"an algorithm in a set":  {set("outer", []byte{0x31, 0}), der},
		"no second algorithm":    {set("inner", nil), two},
		"an issuer in a set":     {set("issuer", []byte{0x31, 0}), der},
		"a time of another tag":  {set("behind", put(2, []byte("250501000000Z"))), der},
		"an end of another form": {behind(put(asn1.TagUTCTime, []byte("2507010000000"))), der},
		"entries that are cut":   {behind([]byte{tagSequence, 5, 0}), der},
		"an entry in a set": {behind(put(tagSequence, put(0x31, []byte{2, 1, 9},
			put(asn1.TagUTCTime, []byte("250501000000Z"))))), der},
		"a length that another form has": {behind(put(tagSequence,
			[]byte{tagSequence, 0x81, 0x12, 2, 1, 9},
			put(asn1.TagUTCTime, []byte("250501000000Z")))), der},
		"entries behind a length of two octets": {behind(put(tagSequence, entries)), ""},
		"entries behind one with a zero in front": {behind(slices.Concat([]byte{tagSequence, 0x82, 0,
			byte(len(entries))}, entries)), der},
		"something behind the extensions": {behind(put(tagExtensions, put(tagSequence,
			extension(20, []byte{2, 1, 1})), []byte{5, 0})), der},
		"an extension in a set": {extended(put(0x31, []byte{6, 3, 0x55, 0x1d, 99},
			put(asn1.TagOctetString))), der},
		"an extension without its name": {extended(put(tagSequence, []byte{5, 0},
			put(asn1.TagOctetString))), der},
		"an extension without a value": {
			extended(put(tagSequence, []byte{6, 3, 0x55, 0x1d, 99})), der,
		},
		"an extension and more": {extended(put(tagSequence, []byte{6, 3, 0x55, 0x1d, 99},
			put(asn1.TagOctetString), []byte{5, 0})), der},
		"a key identifier": {
			extended(extension(35, put(tagSequence, put(0x80, []byte{1})))), "",
		},
		"one that is cut":       {extended(extension(35, put(tagSequence, []byte{0x80, 9}))), der},
		"one that is no struct": {extended(extension(35, []byte{4, 0})), der},
	} {
		list, err := ReadUnverified(plain(row.edit))
		if row.want == "" && (err != nil || list.Unusable != nil) ||
			row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: got %v, want %q", name, err, row.want)
		}
	}
	_, err := Read(make([]byte, MaxBytes+1))
	if err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("too long: %v", err)
	}
}

func TestADistributionPointIsReadWhole(t *testing.T) {
	uri := put(0x86, []byte("http://a"))
	point := func(names ...[]byte) []byte { return put(0xa0, put(0xa0, names...)) }
	for name, row := range map[string]struct {
		raw  []byte
		want int
	}{
		"one URI":               {put(tagSequence, point(uri)), 1},
		"as many as are read":   {put(tagSequence, point(bytes.Repeat(uri, maxPoints))), maxPoints},
		"one more":              {put(tagSequence, point(bytes.Repeat(uri, maxPoints+1))), 0},
		"no sequence":           {put(0x31, point(uri)), 0},
		"something behind it":   {append(put(tagSequence, point(uri)), 5, 0), 0},
		"no point":              {put(tagSequence), 0},
		"user certificates":     {put(tagSequence, point(uri), []byte{0x81, 1, 0xff}), 0},
		"a relative name":       {put(tagSequence, put(0xa0, put(0xa1, uri))), 0},
		"two names of a point":  {put(tagSequence, put(0xa0, put(0xa0, uri), put(0xa0, uri))), 0},
		"a name that is no URI": {put(tagSequence, point(put(0x82, []byte("a")))), 0},
		"no name":               {put(tagSequence, point()), 0},
	} {
		points, err := Points(row.raw)
		if len(points) != row.want || (err == nil) != (row.want > 0) {
			t.Errorf("%s: got %q, %v", name, points, err)
		}
	}
	if _, _, _, err := new(der).next(); !errors.Is(err, errDER) {
		t.Error(err)
	}
}
