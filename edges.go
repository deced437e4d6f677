package attestd

// WeakestEdge returns the grade by which all the named devices hang together: the best one of which
// it is true that the edges of that grade and above lead, through other devices perhaps, from each to
// every other. It is GradeNone where there are no devices or one of them hangs on nothing, and
// GradeCryptographic where there is one device, which nothing has to be tied to.
func WeakestEdge(paths []string, edges []Edge) Grade {
	if len(paths) == 0 {
		return GradeNone
	}
	for grade := GradeCryptographic; grade > GradeNone; grade-- {
		if connected(paths, edges, grade) {
			return grade
		}
	}
	return GradeNone
}

// connected reports whether edges of at least that grade reach every device from the first.
func connected(paths []string, edges []Edge, least Grade) bool {
	reached := map[string]bool{paths[0]: true}
	for range paths { // each turn reaches one more at least, or there are none to reach
		for _, edge := range edges {
			if edge.Grade >= least && edge.Grade <= GradeCryptographic && (reached[edge.From] || reached[edge.To]) {
				reached[edge.From], reached[edge.To] = true, true
			}
		}
	}
	for _, path := range paths {
		if !reached[path] {
			return false
		}
	}
	return true
}

// WeakestEdge returns the grade by which the devices of a verdict hang together, as [WeakestEdge] has
// it; composed is false where the evidence was of one device.
func (a *Appraisal) WeakestEdge() (weakest Grade, composed bool) {
	paths := make([]string, len(a.Devices))
	for i := range a.Devices {
		paths[i] = a.Devices[i].Path
	}
	return WeakestEdge(paths, a.Edges), len(paths) != 0
}

// PartOf returns the claims of the one part of the verdict that is of the format: of the whole, or of
// the only device of that format. There is none where two devices are of it: whoever asks wants the
// machine's one TPM, and must not be given another's.
func (a *Appraisal) PartOf(format Format) (claims []byte, found bool) {
	if a.Format == format {
		return a.Claims, true
	}
	for i := range a.Devices {
		if a.Devices[i].Format != format {
			continue
		}
		if found {
			return nil, false
		}
		claims, found = a.Devices[i].Claims, true
	}
	return claims, found
}
