package attestd_test

import (
	"testing"

	"github.com/attestd/attestd"
)

func TestTheWeakestEdgeIsTheOneThatHoldsThemTogether(t *testing.T) {
	edge := func(from, to string, grade attestd.Grade) attestd.Edge {
		return attestd.Edge{From: from, To: to, Grade: grade}
	}
	const weak, strong = attestd.GradeSimultaneous, attestd.GradeCryptographic
	for _, row := range []struct {
		name  string
		paths []string
		edges []attestd.Edge
		want  attestd.Grade
	}{
		{"no device", nil, nil, attestd.GradeNone},
		{"one device has nothing to be tied to", []string{"cpu"}, nil, strong},
		{"two devices and no edge", []string{"cpu", "vtpm"}, nil, attestd.GradeNone},
		{"an edge that shows nothing", []string{"cpu", "vtpm"},
			[]attestd.Edge{edge("cpu", "vtpm", attestd.GradeNone)}, attestd.GradeNone},
		{"a grade that does not exist", []string{"cpu", "vtpm"}, []attestd.Edge{edge("cpu", "vtpm", 9)},
			attestd.GradeNone},
		{"one edge", []string{"cpu", "vtpm"}, []attestd.Edge{edge("vtpm", "cpu", strong)}, strong},
		{"the weaker of two", []string{"cpu", "gpu0", "vtpm"},
			[]attestd.Edge{edge("cpu", "vtpm", strong), edge("vtpm", "gpu0", weak)}, weak},
		{"a weak edge beside a strong way", []string{"cpu", "gpu0", "vtpm"}, []attestd.Edge{
			edge("cpu", "gpu0", weak), edge("vtpm", "gpu0", strong), edge("cpu", "vtpm", strong),
		}, strong},
		{"a third device that hangs on nothing", []string{"cpu", "vtpm", "gpu0"},
			[]attestd.Edge{edge("cpu", "vtpm", strong)}, attestd.GradeNone},
		{"edges that lead elsewhere", []string{"cpu", "vtpm"},
			[]attestd.Edge{edge("gpu0", "gpu1", strong)}, attestd.GradeNone},
	} {
		if got := attestd.WeakestEdge(row.paths, row.edges); got != row.want {
			t.Errorf("%s: got %s, want %s", row.name, got, row.want)
		}
	}
}

func TestAPartIsTheOnlyOneOfItsFormat(t *testing.T) {
	device := func(path string, format attestd.Format) attestd.DeviceAppraisal {
		return attestd.DeviceAppraisal{Path: path, Format: format, Claims: []byte(path)}
	}
	one := attestd.Appraisal{Format: attestd.FormatComposite, Devices: []attestd.DeviceAppraisal{
		device("cpu", attestd.FormatSEVSNP), device("vtpm", attestd.FormatTPM),
	}}
	if claims, found := one.PartOf(attestd.FormatTPM); !found || string(claims) != "vtpm" {
		t.Errorf("got %q, %t, want the TPM's claims", claims, found)
	}
	if claims, found := one.PartOf(attestd.FormatTDX); found || claims != nil {
		t.Errorf("got %q of a format that is not there", claims)
	}
	one.Devices = append(one.Devices, device("vtpm2", attestd.FormatTPM))
	if claims, found := one.PartOf(attestd.FormatTPM); found || claims != nil {
		t.Errorf("got %q of two TPMs", claims)
	}
	plain := attestd.Appraisal{Format: attestd.FormatTPM, Claims: []byte("whole")}
	if claims, found := plain.PartOf(attestd.FormatTPM); !found || string(claims) != "whole" {
		t.Errorf("got %q, %t, want the whole", claims, found)
	}
}
