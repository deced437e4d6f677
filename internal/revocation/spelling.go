package revocation

import (
	"strings"

	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/subject"
)

// spelled returns the order with the hardware of its target as verifiers spell it.
//
// Errors: a [*attestd.CallerError] of class MALFORMED for what none of them would state: it would be
// acknowledged and hold nothing.
func spelled(order wire.Order) (wire.Order, error) {
	kind, value, _ := strings.Cut(order.Target, ":")
	switch subject.BarKind(kind) {
	case subject.BarInstance, subject.BarHost:
		value, err := subject.SpellHardware(subject.BarKind(kind), value)
		if err != nil {
			return wire.Order{}, err
		}
		order.Target = kind + ":" + value
	}
	return order, nil
}
