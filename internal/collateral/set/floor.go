package set

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/attestd/attestd"
)

// A floor of a document is the length of its subject, the subject, the evaluation number and the seconds
// since 1970 of its date. The subject comes first, so that two floors of one subject stand side by side
// where the list is sorted.
const floorNumbers = 16

// maxIssued is the last second of the year 9999, behind which no date can be written (RFC 3339).
const maxIssued = 253402300799

func checkFloor(floor attestd.DocumentFloor) error {
	if seconds := floor.IssuedAt.Unix(); floor.IssuedAt.Nanosecond() != 0 || seconds <= 0 || seconds > maxIssued {
		return errors.New("a floor of a document has a date that no document has")
	}
	if len(floor.Subject) == 0 || len(floor.Subject) > MaxSubject {
		return errors.New("a floor of a document has no subject, or one that is too long")
	}
	for _, char := range []byte(floor.Subject) {
		if char <= ' ' || char > '~' {
			return errors.New("the subject of a floor is no word of ASCII")
		}
	}
	return nil
}

func appendFloor(out []byte, floor attestd.DocumentFloor) []byte {
	out = append(out, byte(len(floor.Subject))) //nolint:gosec // at most MaxSubject
	out = append(out, floor.Subject...)
	out = binary.BigEndian.AppendUint64(out, floor.Evaluation)
	return binary.BigEndian.AppendUint64(out, uint64(floor.IssuedAt.Unix())) //nolint:gosec // positive
}

func parseFloor(one []byte) (attestd.DocumentFloor, error) {
	bad := errors.New("collateral has a floor of a document that is none")
	if len(one) < 1+floorNumbers || len(one) != 1+int(one[0])+floorNumbers {
		return attestd.DocumentFloor{}, bad
	}
	subject, numbers := one[1:1+int(one[0])], one[1+int(one[0]):]
	seconds := binary.BigEndian.Uint64(numbers[8:])
	if seconds > maxIssued {
		return attestd.DocumentFloor{}, bad
	}
	floor := attestd.DocumentFloor{
		Subject: string(subject), Evaluation: binary.BigEndian.Uint64(numbers),
		IssuedAt: time.Unix(int64(seconds), 0).UTC(), //nolint:gosec // bounded above
	}
	return floor, checkFloor(floor)
}

func sameFloor(a, b attestd.DocumentFloor) bool {
	return a.Subject == b.Subject && a.Evaluation == b.Evaluation && a.IssuedAt.Equal(b.IssuedAt)
}
