package tdx

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/attestd/attestd/verifiers/tdx/pcs"
)

// levels are the levels of the three parts of a TCB; nil where no document says.
type levels struct {
	platform *pcs.Level
	module   *pcs.SVNLevel // nil for modules of major version 0, which the platform's level covers
	enclave  *pcs.SVNLevel
	// running are those of the module and loader that run now (TEE_TCB_SVN_2) where they are others than
	// at launch; nil where they are the same, or the quote does not say.
	running *levels
}

// part is one part's level.
type part struct {
	name   string
	judged pcs.Judgement
}

func (l levels) parts() []part {
	out := make([]part, 0, 3)
	if l.platform != nil {
		out = append(out, part{"platform", l.platform.Judgement})
	}
	if l.module != nil {
		out = append(out, part{"TDX module", l.module.Judgement})
	}
	if l.enclave != nil {
		out = append(out, part{"quoting enclave", l.enclave.Judgement})
	}
	if l.running != nil {
		for _, one := range l.running.parts() {
			out = append(out, part{one.name + " as it runs now", one.judged})
		}
	}
	return out
}

// status is the worst of platform, module and enclave, at launch and now; none where one of them is not
// known.
func (l levels) status() pcs.Status {
	if l.platform == nil || l.enclave == nil {
		return pcs.StatusNone
	}
	parts := l.parts()
	all := make([]pcs.Status, 0, len(parts))
	for _, one := range parts {
		all = append(all, one.judged.Status)
	}
	return pcs.Converge(all...)
}

// platformStatus and moduleStatus are the worse of launch and now; none where it is not known.
func (l levels) platformStatus() pcs.Status {
	return worse(l, func(of levels) (pcs.Status, bool) {
		if of.platform == nil {
			return pcs.StatusNone, false
		}
		return of.platform.Status, true
	})
}

func (l levels) moduleStatus() pcs.Status {
	return worse(l, func(of levels) (pcs.Status, bool) {
		if of.module == nil {
			return pcs.StatusNone, false
		}
		return of.module.Status, true
	})
}

func worse(l levels, read func(levels) (pcs.Status, bool)) pcs.Status {
	var all []pcs.Status
	for _, of := range [...]*levels{&l, l.running} {
		if of == nil {
			continue
		}
		if status, known := read(*of); known {
			all = append(all, status)
		}
	}
	return pcs.Converge(all...)
}

// find finds the levels of platform and module.
func (l *levels) find(info *pcs.TCBInfo, pck pcs.PCK, svn [16]byte) *fault {
	level, found := platformLevel(info, pck, svn)
	if !found {
		got, want := missed(info, pck, svn)
		return refuse(checkLevel, got, want)
	}
	l.platform = &level
	if svn[1] == 0 {
		return nil
	}
	module, found := moduleOf(info, svn[1])
	if !found {
		return refuse(checkLevel, fmt.Sprintf("a TDX module of major version %d", svn[1]),
			"one of "+moduleNames(info))
	}
	of, found := svnLevel(module.Levels, uint16(svn[0]))
	if !found {
		return refuse(checkLevel, fmt.Sprintf("module %s with SVN %d", module.ID, svn[0]), fmt.Sprintf(
			"%d or more, as every level wants", module.Levels[len(module.Levels)-1].ISVSVN))
	}
	l.module = &of
	return nil
}

// platformLevel returns the first level whose every component the platform reaches (PCS API version 4,
// TCB Info V3, "Determining TCB level"): components of the CPUSVN and the PCESVN as the PCK states them,
// and those of TEE_TCB_SVN. Where TEE_TCB_SVN names a module of a later major version, its first two
// components are no levels but that version, and module identities judge it.
func platformLevel(info *pcs.TCBInfo, pck pcs.PCK, svn [16]byte) (pcs.Level, bool) {
	for _, level := range info.Levels {
		if _, _, below := firstBelow(level, pck, svn); !below {
			return level, true
		}
	}
	return pcs.Level{}, false
}

// firstBelow returns the first component of the platform that is below the level's, and both values.
func firstBelow(level pcs.Level, pck pcs.PCK, svn [16]byte) (component, [2]int, bool) {
	for _, one := range componentsOf(svn) {
		got, want := one.read(level, pck, svn)
		if got < want {
			return one, [2]int{got, want}, true
		}
	}
	return component{}, [2]int{}, false
}

// component is one number of a platform's TCB: of CPUSVN, of TEE_TCB_SVN, or PCESVN.
type component struct {
	name  string
	index int
}

const (
	nameSGX    = "CPU SVN component"
	nameTDX    = "TEE TCB SVN component"
	namePCESVN = "PCESVN"
)

// componentsOf lists what is compared, in Intel's order.
func componentsOf(svn [16]byte) []component {
	from := 0
	if svn[1] != 0 {
		from = 2
	}
	return componentLists[from/2]
}

var componentLists = [2][]component{listComponents(0), listComponents(2)}

func listComponents(from int) []component {
	out := make([]component, 0, 33)
	for i := range 16 {
		out = append(out, component{nameSGX, i})
	}
	out = append(out, component{namePCESVN, 0})
	for i := from; i < 16; i++ {
		out = append(out, component{nameTDX, i})
	}
	return out
}

// String counts components from 0, as bytes of the SVN.
func (c component) String() string {
	if c.name == namePCESVN {
		return c.name
	}
	return fmt.Sprintf("%s %d", c.name, c.index)
}

// read returns what the platform has and what the level wants.
func (c component) read(level pcs.Level, pck pcs.PCK, svn [16]byte) (got, want int) {
	switch c.name {
	case nameSGX:
		return int(pck.Components[c.index]), int(level.SGX[c.index])
	case nameTDX:
		return int(svn[c.index]), int(level.TDX[c.index])
	default:
		return int(pck.PCESVN), int(level.PCESVN)
	}
}

// missed says why no level matches: a component that is below what every level wants, else what the
// lowest level wants.
func missed(info *pcs.TCBInfo, pck pcs.PCK, svn [16]byte) (got, want string) {
	for _, one := range componentsOf(svn) {
		has, least := 0, 1<<16
		for _, level := range info.Levels {
			var wants int
			has, wants = one.read(level, pck, svn)
			least = min(least, wants)
		}
		if has < least {
			return fmt.Sprintf("%s is %d", one, has), fmt.Sprintf("every level wants %d or more", least)
		}
	}
	lowest := info.Levels[len(info.Levels)-1]
	one, values, _ := firstBelow(lowest, pck, svn)
	return fmt.Sprintf("%s is %d, and no level matches", one, values[0]),
		fmt.Sprintf("%d or more for the lowest level, of %s", values[1], lowest.Date.Format(time.DateOnly))
}

// moduleOf returns the identity of modules of that major version.
func moduleOf(info *pcs.TCBInfo, major uint8) (*pcs.ModuleIdentity, bool) {
	for i := range info.Modules {
		if info.Modules[i].Major == major {
			return &info.Modules[i], true
		}
	}
	return nil, false
}

func moduleNames(info *pcs.TCBInfo) string {
	names := []string{"TDX_00"}
	for _, module := range info.Modules {
		names = append(names, module.ID)
	}
	return strings.Join(names, ", ")
}

// svnLevel returns the first level that is not above the SVN; levels fall.
func svnLevel(all []pcs.SVNLevel, svn uint16) (pcs.SVNLevel, bool) {
	for _, level := range all {
		if svn >= level.ISVSVN {
			return level, true
		}
	}
	return pcs.SVNLevel{}, false
}

// relaunched returns the status that the TD would have after a relaunch: that of the module and loader
// that run now (TEE_TCB_SVN_2), in the place of those that it was launched with. A module that was
// updated under running TDs protects those launched before as it is, but what the old one had let out
// stays out.
func (f tcbFacts) relaunched() pcs.Status {
	if f.levels.running == nil {
		return f.levels.status() // nothing else runs than at launch
	}
	now := *f.levels.running
	now.enclave = f.levels.enclave
	return now.status()
}

// behind returns for how many days an update has been out that the platform has not: since the date of
// the earliest level that is newer than its own, for the part that is behind longest. Were it the
// latest level, each new recovery event would set the clock of those who never update back to 0.
func (f tcbFacts) behind() uint64 {
	since := f.at
	missed := func(of pcs.Judgement, above []pcs.Judgement) {
		if !of.Status.IsOutOfDate() {
			return
		}
		// Where no level is newer by its date, the platform is behind since its own.
		earliest, found := of.Date, false
		for _, level := range above {
			if level.Date.After(of.Date) && (!found || level.Date.Before(earliest)) {
				earliest, found = level.Date, true
			}
		}
		if earliest.Before(since) {
			since = earliest
		}
	}
	of := func(levels levels, major uint8) {
		if levels.platform != nil {
			missed(levels.platform.Judgement, judgements(f.info.Levels))
		}
		if levels.module != nil {
			module, _ := moduleOf(f.info, major)
			missed(levels.module.Judgement, svnJudgements(module.Levels))
		}
	}
	of(f.levels, f.launched[1])
	if f.levels.running != nil {
		of(*f.levels.running, f.running[1])
	}
	if f.levels.enclave != nil {
		missed(f.levels.enclave.Judgement, svnJudgements(f.identity.Levels))
	}
	return uint64(f.at.Sub(since) / (24 * time.Hour)) //nolint:gosec // since is never after at
}

func judgements(all []pcs.Level) []pcs.Judgement {
	out := make([]pcs.Judgement, 0, len(all))
	for _, level := range all {
		out = append(out, level.Judgement)
	}
	return out
}

func svnJudgements(all []pcs.SVNLevel) []pcs.Judgement {
	out := make([]pcs.Judgement, 0, len(all))
	for _, level := range all {
		out = append(out, level.Judgement)
	}
	return out
}

// date is the earliest date of the levels: the TCB as a whole has what was known by then.
func (l levels) date() time.Time {
	var out time.Time
	for i, one := range l.parts() {
		if i == 0 || one.judged.Date.Before(out) {
			out = one.judged.Date
		}
	}
	return out
}

// advisories are those of all levels, each once and sorted.
func (l levels) advisories() []string {
	var out []string
	for _, one := range l.parts() {
		out = append(out, one.judged.Advisories...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
