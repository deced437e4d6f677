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
	lineTurin line = "Turin"
)

// lines are all of them.
var lines = [...]line{lineMilan, lineGenoa, lineTurin}

// turin says that reports and certificates of the line have Turin's shape: another TCB_VERSION, a
// CHIP_ID of eight bytes, and structure version 1 (AMD 57230 rev 0.50, section 3.1).
func (l line) turin() bool { return l == lineTurin }

// model is a product as policies name it. Several are certified under one root, but each counts its
// microcode from a number of its own: a floor for one must not be applied to another.
type model struct {
	name string
	line line
}

var (
	modelMilan      = model{name: "Milan", line: lineMilan}
	modelMilanX     = model{name: "Milan-X", line: lineMilan}
	modelGenoa      = model{name: "Genoa", line: lineGenoa}
	modelGenoaX     = model{name: "Genoa-X", line: lineGenoa}
	modelBergamo    = model{name: "Bergamo", line: lineGenoa}
	modelTurin      = model{name: "Turin", line: lineTurin}
	modelTurinDense = model{name: "Turin-Dense", line: lineTurin}
)

// models are all of them, in the order in which they appeared.
var models = [...]model{modelMilan, modelMilanX, modelGenoa, modelGenoaX, modelBergamo, modelTurin,
	modelTurinDense}

// productNames are the texts that the fact `product` can hold.
func productNames() []string {
	names := make([]string, 0, len(models))
	for _, known := range models {
		names = append(names, known.name)
	}
	return names
}

// wantProducts names the products for messages.
const wantProducts = "Milan, Genoa, Bergamo, Siena or Turin"

// Families of processors in CPUID.
const (
	familyZen3 = 0x19 // and Zen 4
	familyZen5 = 0x1a
)

// modelOf maps CPUID family, model and stepping, as combined in the report (AMD 56860 rev 1.58,
// section 7.3, Table 23, CPUID_FAM_ID to CPUID_STEP; AMD 57230 rev 0.50, section 3.1, Table 4). What
// is not listed is unsupported: guessing a product means reading TCB bytes in the wrong order, as
// Turin (family 0x1A, models 00 to 1F) and what follows it in the same family show.
//
// The parts with stacked cache differ in the stepping alone, and their microcode is 0x0A0012xx and
// 0x0A1012xx where the others' is 0x0A0011xx and 0x0A1011xx. The level in a TCB is the last byte, so
// the same level is mended firmware on one and open on the other.
func modelOf(family, number, stepping byte) (model, bool) {
	switch {
	case family == familyZen5 && number <= 0x0f:
		return modelTurin, true
	case family == familyZen5 && number <= 0x1f:
		return modelTurinDense, true
	case family != familyZen3:
		return model{}, false
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
	// A stepping has four bits (AMD 24594, CPUID Fn0000_0001_EAX); the report has a byte for it, and
	// readers that drop the others would see another chip.
	if !ok || stepping > 0x0f {
		got := fmt.Sprintf("CPUID family 0x%02x model 0x%02x stepping %d", family, number, stepping)
		switch {
		case family == 0 && number == 0 && stepping == 0:
			got = "CPUID family, model and stepping are all zero"
		case family == familyZen5:
			got += " (later than Turin)"
		}
		return refuse(checkProduct, got, wantProducts)
	}
	r.model = known
	return nil
}

// lineOfName returns the line that the product name of a VCEK or VLEK belongs to: "Milan-B0" and
// "Genoa" are the forms that AMD's KDS has issued.
func lineOfName(name string) (line, bool) {
	base, stepping, cut := strings.Cut(name, "-")
	if cut && (len(stepping) != 2 || stepping[0] < 'A' || stepping[0] > 'Z' ||
		stepping[1] < '0' || stepping[1] > '9') {
		return "", false
	}
	switch line(base) {
	case lineMilan, lineGenoa, lineTurin:
		return line(base), true
	default:
		return "", false
	}
}

// checkVCEKProductAgrees demands that certificate, issuer and report speak of one product line.
// Otherwise a key that AMD certified for one generation could speak for another.
func checkVCEKProductAgrees(r *report, key *vcek) *fault {
	named, ok := lineOfName(key.product)
	if !ok {
		return refuseAs(checkVCEKProduct, attestd.ClassUnsupported,
			fmt.Sprintf("product name %q", attestd.Excerpt(key.product, 32)), "Milan, Genoa or Turin")
	}
	kind := key.kind.String()
	if named != key.issuer.line {
		return refuse(checkVCEKProduct, kind+" for "+string(named)+" issued by "+
			key.kind.issuer(key.issuer.line), "issuer "+key.kind.issuer(named))
	}
	switch {
	case key.kind == kindVLEK && key.product != string(named):
		// A cloud's key is for a line; only a chip has a stepping (AMD 57230 rev 0.50, VLEK certificate).
		return refuse(checkVCEKProduct, fmt.Sprintf("VLEK for %q", attestd.Excerpt(key.product, 32)),
			"VLEK for "+string(named))
	case r.hasCPUID() && r.model.line != named:
		return refuse(checkVCEKProduct, kind+" for "+string(named)+", CPUID says "+r.model.name,
			kind+" for "+string(r.model.line))
	case !r.hasCPUID() && named.turin():
		// The levels were read in the order of the older products, since nothing named this one.
		return refuse(checkVCEKProduct, kind+" for Turin, and a report without CPUID",
			"report version 3 or later")
	default:
		return nil
	}
}
