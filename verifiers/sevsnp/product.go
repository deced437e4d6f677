package sevsnp

import (
	"fmt"
	"strings"

	"github.com/attestd/attestd"
)

// line is a name under which AMD keeps a root: the ARK is "ARK-Milan", the ASK "SEV-Milan".
type line string

// The lines whose roots are pinned here.
const (
	lineMilan line = "Milan"
	lineGenoa line = "Genoa"
)

// model is a product as policies name it. Several are certified under one root, but each counts its
// microcode from a number of its own: a floor for one must not be applied to another.
type model struct {
	name string
	line line
}

var (
	modelMilan   = model{name: "Milan", line: lineMilan}
	modelMilanX  = model{name: "Milan-X", line: lineMilan}
	modelGenoa   = model{name: "Genoa", line: lineGenoa}
	modelGenoaX  = model{name: "Genoa-X", line: lineGenoa}
	modelBergamo = model{name: "Bergamo", line: lineGenoa}
)

// modelOf maps CPUID family, model and stepping, as combined in the report (AMD 56860 rev 1.58,
// section 7.3, Table 23, CPUID_FAM_ID to CPUID_STEP). What is not listed is unsupported: guessing a
// product means reading TCB bytes in the wrong order, as Turin (family 0x1A) shows.
//
// The parts with stacked cache differ in the stepping alone, and their microcode is 0x0A0012xx and
// 0x0A1012xx where the others' is 0x0A0011xx and 0x0A1011xx. The level in a TCB is the last byte, so
// the same level is mended firmware on one and open on the other.
func modelOf(family, number, stepping byte) (model, bool) {
	if family != 0x19 {
		return model{}, false
	}
	switch {
	case number == 0x01 && stepping == 2:
		return modelMilanX, true
	case number == 0x11 && stepping == 2:
		return modelGenoaX, true
	case number <= 0x0f:
		return modelMilan, true
	case number <= 0x1f:
		return modelGenoa, true
	case number >= 0xa0 && number <= 0xaf:
		return modelBergamo, true
	default:
		return model{}, false
	}
}

// checkProductKnown sets the product of a report that carries CPUID.
func (r *report) checkProductKnown() *fault {
	if !r.hasCPUID() {
		return nil
	}
	family, number, stepping := r.fms()
	known, ok := modelOf(family, number, stepping)
	if !ok {
		got := fmt.Sprintf("CPUID family 0x%02x model 0x%02x stepping %d", family, number, stepping)
		switch {
		case family == 0 && number == 0 && stepping == 0:
			got = "CPUID family, model and stepping are all zero"
		case family == 0x1a:
			got += " (Turin or later)"
		}
		return refuse(checkProduct, got, "Milan, Genoa, Bergamo or Siena")
	}
	r.model = known
	return nil
}

// lineOfName returns the line that a VCEK's product name belongs to: "Milan-B0" and "Genoa" are the
// forms that AMD's KDS has issued.
func lineOfName(name string) (line, bool) {
	base, stepping, cut := strings.Cut(name, "-")
	if cut && (len(stepping) != 2 || stepping[0] < 'A' || stepping[0] > 'Z' ||
		stepping[1] < '0' || stepping[1] > '9') {
		return "", false
	}
	switch line(base) {
	case lineMilan, lineGenoa:
		return line(base), true
	default:
		return "", false
	}
}

// checkVCEKProduct demands that certificate, issuer and report speak of one product line. Otherwise
// a key that AMD certified for one generation could speak for another.
func checkVCEKProductAgrees(r *report, key *vcek) *fault {
	named, ok := lineOfName(key.product)
	if !ok {
		return refuseAs(checkVCEKProduct, attestd.ClassUnsupported,
			fmt.Sprintf("product name %q", attestd.Excerpt(key.product, 32)), "Milan or Genoa")
	}
	if named != key.issuer.line {
		return refuse(checkVCEKProduct, "VCEK for "+string(named)+" issued by SEV-"+
			string(key.issuer.line), "issuer SEV-"+string(named))
	}
	if r.hasCPUID() && r.model.line != named {
		return refuse(checkVCEKProduct, "VCEK for "+string(named)+", CPUID says "+r.model.name,
			"VCEK for "+string(r.model.line))
	}
	return nil
}
