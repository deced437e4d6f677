package worker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/internal/worker"
)

// compose gives a verdict two devices that a parent has nothing against.
func compose(a *attestd.Appraisal) {
	a.Claims = json.RawMessage(`{"weakest_edge":"simultaneous"}`)
	device := func(path string, format attestd.Format) attestd.DeviceAppraisal {
		return attestd.DeviceAppraisal{
			Freshness: a.Freshness, Trust: a.Trust,
			Path: path, Format: format, Summary: "one of two", Verdict: attestd.VerdictAccepted,
			Tier: attestd.TierLow, Risk: attestd.Risk(7), Claims: json.RawMessage(`{"debug":false}`),
			Handles: []attestd.Handle{{Kind: attestd.HandleHost, Value: "abcd"}},
		}
	}
	a.Devices = []attestd.DeviceAppraisal{
		device("cpu", attestd.FormatSEVSNP), device("vtpm", attestd.FormatTPM),
	}
	a.Devices[1].Handles = slices.Clone(a.Handles)
	a.Edges = []attestd.Edge{{From: "cpu", To: "vtpm", Grade: attestd.GradeSimultaneous, How: "one nonce"}}
	a.Checks[0].Device, a.Reasons[0].Device = "cpu", "cpu"
}

const (
	honestlyComposed = "composed, and honest"
	plainMachine     = "a machine of one device"
)

// fresh is a job for evidence that answers a nonce.
func fresh(t *testing.T, format attestd.Format, evidence string) service.Job {
	job := jobFor(t, evidence)
	job.Format = format
	job.Demand = service.DemandSpec{Mode: service.DemandNonce, Nonce: bytes.Repeat([]byte{1}, attestd.MinNonce)}
	return job
}

// composedLies are what a worker that was taken over could change in the devices of a verdict.
var composedLies = map[string]func(*attestd.Appraisal){
	honestlyComposed:          func(*attestd.Appraisal) {},
	"a device twice":          func(a *attestd.Appraisal) { a.Devices[1].Path, a.Edges = "cpu", nil },
	"a device without a path": func(a *attestd.Appraisal) { a.Devices[1].Path, a.Edges = "", nil },
	"a path that is none":     func(a *attestd.Appraisal) { a.Devices[1].Path, a.Edges = "../vtpm", nil },
	"a device of no format":   func(a *attestd.Appraisal) { a.Devices[1].Format = "sgx" },
	"a device that was rejected": func(a *attestd.Appraisal) {
		d := &a.Devices[1]
		d.Verdict, d.Tier, d.Risk = attestd.VerdictRejected, attestd.TierCritical, attestd.Risk(100)
	},
	"a device that is undecided": func(a *attestd.Appraisal) {
		a.Devices[1].Verdict, a.Devices[1].Tier = attestd.VerdictUndecided, attestd.TierUnknown
	},
	"a device of a higher risk":        func(a *attestd.Appraisal) { a.Devices[1].Risk = attestd.Risk(8) },
	"a device with a tier of its own":  func(a *attestd.Appraisal) { a.Devices[1].Tier = attestd.TierMedium },
	"a device without claims":          func(a *attestd.Appraisal) { a.Devices[1].Claims = nil },
	"a device with null claims":        func(a *attestd.Appraisal) { a.Devices[1].Claims = json.RawMessage("null") },
	"a device with broken claims":      func(a *attestd.Appraisal) { a.Devices[1].Claims = json.RawMessage(`{"a":`) },
	"a control character of a device":  func(a *attestd.Appraisal) { a.Devices[1].Summary = "\x1b[2J" },
	"a direction mark in its claims":   func(a *attestd.Appraisal) { a.Devices[1].Claims = json.RawMessage("{\"a\":\"\u202e\"}") },
	"a handle of a device with spaces": func(a *attestd.Appraisal) { a.Devices[1].Handles[0].Value = "a b" },
	"a handle of an unknown kind":      func(a *attestd.Appraisal) { a.Devices[1].Handles[0].Kind = "owner" },
	"too many devices": func(a *attestd.Appraisal) {
		for len(a.Devices) <= attestd.MaxDevices {
			one := a.Devices[0]
			one.Path = "gpu" + string(rune('a'+len(a.Devices)))
			a.Devices = append(a.Devices, one)
		}
	},
	"a machine without devices": func(a *attestd.Appraisal) {
		a.Devices, a.Edges, a.Checks[0].Device, a.Reasons[0].Device = nil, nil, "", ""
	},
	"a device with other freshness": func(a *attestd.Appraisal) {
		a.Devices[0].Freshness = attestd.FreshnessBinding
	},
	"a whole that is fresh by no device": func(a *attestd.Appraisal) {
		for i := range a.Devices {
			a.Devices[i].Freshness = attestd.FreshnessNotShown
		}
	},
	"a device that is less trusted than the whole": func(a *attestd.Appraisal) {
		a.Devices[0].Trust.Executables = 96
	},
	"edges that are better than the claims": func(a *attestd.Appraisal) {
		a.Edges[0].Grade = attestd.GradeCryptographic
	},
	"claims that are better than the edges": func(a *attestd.Appraisal) {
		a.Claims = json.RawMessage(`{"weakest_edge":"cryptographic"}`)
	},
	"a machine that no device names": func(a *attestd.Appraisal) {
		a.Devices[1].Handles[0].Value = "i-9876543210"
	},
	"a machine that hangs on nothing": func(a *attestd.Appraisal) {
		a.Edges[0].Grade, a.Claims = attestd.GradeNone, json.RawMessage(`{"weakest_edge":"none"}`)
	},
	"an edge from nowhere":                func(a *attestd.Appraisal) { a.Edges[0].From = "gpu0" },
	"an edge to nowhere":                  func(a *attestd.Appraisal) { a.Edges[0].To = "" },
	"an edge to itself":                   func(a *attestd.Appraisal) { a.Edges[0].To = "cpu" },
	"an edge of no grade":                 func(a *attestd.Appraisal) { a.Edges[0].Grade = 9 },
	"an edge that steers a terminal":      func(a *attestd.Appraisal) { a.Edges[0].How = "\x1b[2J" },
	"an edge without devices":             func(a *attestd.Appraisal) { a.Devices, a.Checks[0].Device, a.Reasons[0].Device = nil, "", "" },
	"a check of a device that is not":     func(a *attestd.Appraisal) { a.Checks[0].Device = "gpu0" },
	"a reason about a device that is not": func(a *attestd.Appraisal) { a.Reasons[0].Device = "gpu0" },
	"devices of what was not verified": func(a *attestd.Appraisal) {
		a.Verdict, a.Tier, a.Risk = attestd.VerdictRejected, attestd.TierCritical, attestd.Risk(100)
		a.Reasons[0].Effect, a.Claims, a.Handles = attestd.EffectRejects, json.RawMessage("null"), nil
	},
}

// TestALyingWorkerIsRefusedOverDevices: a verdict whose parts contradict the whole is a fault.
func TestALyingWorkerIsRefusedOverDevices(t *testing.T) {
	pool, _ := newPool(t, "test-worker", nil)
	for name := range composedLies {
		t.Run(name, func(t *testing.T) {
			job := fresh(t, attestd.FormatComposite, name)
			got, err := pool.Judge(context.Background(), job)
			var fault *worker.Fault
			if name == honestlyComposed {
				if err != nil || len(got.Devices) != 2 || len(got.Edges) != 1 {
					t.Errorf("got %+v, %v, want both devices", got.Devices, err)
				}
				return
			}
			if !errors.As(err, &fault) {
				t.Fatalf("got %v, %v, want a fault", got.Verdict, err)
			}
		})
	}
}

// TestNamesAreThoseOfTheFormat: a processor's report names no instance, and a machine of Azure's is named
// by its cloud; and what is composed is what its format says.
func TestNamesAreThoseOfTheFormat(t *testing.T) {
	pool, _ := newPool(t, "test-worker", nil)
	for format, evidence := range map[attestd.Format]string{
		attestd.FormatSEVSNP: plainMachine, attestd.FormatTDX: plainMachine, attestd.FormatNitro: honestlyComposed,
		attestd.FormatTPM: honestlyComposed, attestd.FormatAzureVTPM: honestlyComposed,
	} {
		job := fresh(t, format, evidence)
		var fault *worker.Fault
		if got, err := pool.Judge(context.Background(), job); !errors.As(err, &fault) {
			t.Errorf("%s: got %v, %v, want a fault", format, got.Handles, err)
		}
	}
}
