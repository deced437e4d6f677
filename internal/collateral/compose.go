package collateral

import (
	"errors"
	"slices"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/collateral/set"
)

// composedOf says whose collateral evidence of several devices is judged with.
var composedOf = map[attestd.Format][]attestd.Format{
	attestd.FormatAzureVTPM: {attestd.FormatSEVSNP, attestd.FormatTDX, attestd.FormatTPM},
	attestd.FormatComposite: {
		attestd.FormatSEVSNP, attestd.FormatTDX, attestd.FormatTPM, attestd.FormatNitroTPM,
	},
}

// compose gives formats of several devices what is held for each of their parts.
func (v *view) compose() {
	for format, parts := range composedOf {
		var whole set.Set
		for _, part := range parts {
			of := v.sets[part]
			whole.Certificates = append(whole.Certificates, of.Certificates...)
			whole.CRLs = append(whole.CRLs, of.CRLs...)
			whole.Floors = append(whole.Floors, of.Floors...)
			whole.Documents = append(whole.Documents, of.Documents...)
			whole.DocumentFloors = append(whole.DocumentFloors, of.DocumentFloors...)
		}
		if len(whole.Certificates)+len(whole.CRLs)+len(whole.Floors)+len(whole.DocumentFloors) > 0 {
			v.sets[format] = whole
		}
	}
}

// addDocument verifies a document once more and gives it out where it is of the channel that is followed.
func (v *view) addDocument(row documentRow, document []byte) error {
	found, err := authenticDocument(v.issuers, row.Channel, document, row.Taken)
	if err != nil {
		return err
	}
	found.Source, found.Taken = row.Source, row.Taken
	if found != row {
		return errors.New("it is not the document that was taken")
	}
	if row.Channel != v.channel {
		return nil
	}
	of := v.sets[attestd.FormatTDX]
	of.Documents = append(of.Documents, document)
	v.sets[attestd.FormatTDX] = of
	return nil
}

// addDocumentFloor says how far a subject had come in the channel that is followed.
func (v *view) addDocumentFloor(row documentRow) {
	if row.Channel == v.channel {
		v.raise(attestd.FormatTDX, row.floor())
	}
}

// listFloor is how far the lists of one of Intel's issuers had come. All of them have the number 1, so that
// only their dates tell an old one.
func listFloor(row listRow) attestd.DocumentFloor {
	return attestd.DocumentFloor{Subject: "crl/" + row.Issuer, IssuedAt: row.From}
}

// raise keeps the highest floor of a subject.
func (v *view) raise(format attestd.Format, floor attestd.DocumentFloor) {
	of := v.sets[format]
	place := slices.IndexFunc(of.DocumentFloors, func(other attestd.DocumentFloor) bool {
		return other.Subject == floor.Subject
	})
	switch {
	case place < 0:
		of.DocumentFloors = append(of.DocumentFloors, floor)
	case of.DocumentFloors[place].IssuedAt.Before(floor.IssuedAt):
		of.DocumentFloors[place] = floor
	}
	v.sets[format] = of
}

// Follow says which of Intel's channels judges are given, and reads the folder again. Without it that is
// [Standard].
//
// Errors: as Open; CONFIG where there is no such channel.
func (s *Store) Follow(channel Channel) error {
	if _, err := ParseChannel(string(channel)); err != nil {
		return err
	}
	s.mu.Lock()
	s.channel = channel
	s.mu.Unlock()
	return s.load()
}

func (s *Store) following() Channel {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.channel
}
