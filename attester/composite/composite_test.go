package composite_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester"
	"github.com/attestd/attestd/attester/composite"
	"github.com/attestd/attestd/internal/compositeevidence"
)

// device is an attester that gives back what it was asked, and keeps the question.
type device struct {
	format, gives attestd.Format
	size          int
	err           error
	asked         attester.Request
}

func (d *device) Format() attestd.Format { return d.format }

func (d *device) Collect(_ context.Context, request attester.Request) (attester.Evidence, error) {
	d.asked = request
	if d.err != nil {
		return attester.Evidence{}, d.err
	}
	out := attester.Evidence{
		Format: d.format, Bytes: append(bytes.Clone(request.Freshness), make([]byte, d.size)...),
		Notes: []string{"no certificates"},
		Endorsements: attestd.Endorsements{
			Certificates: [][]byte{[]byte("cert of " + string(d.format))},
			CRLs:         [][]byte{[]byte("list of " + string(d.format))},
			Documents:    [][]byte{[]byte("document")},
		},
	}
	if d.gives != "" {
		out.Format = d.gives
	}
	return out, nil
}

func pair() (cpu, vtpm *device) {
	return &device{format: attestd.FormatSEVSNP}, &device{format: attestd.FormatTPM}
}

func machine(t *testing.T, devices ...composite.Device) *composite.Machine {
	t.Helper()
	m, err := composite.New(devices...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

var root = bytes.Repeat([]byte{7}, 64)

func TestEachDeviceIsAskedForItsOwnValue(t *testing.T) {
	t.Parallel()
	cpu, vtpm := pair()
	m := machine(t, composite.Device{Path: composite.PathTPM, From: vtpm},
		composite.Device{Path: composite.PathCPU, From: cpu})
	if m.Format() != attestd.FormatComposite {
		t.Error(m.Format())
	}
	key := []byte("a key")
	out, err := m.Collect(t.Context(), attester.Request{Freshness: root, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := compositeevidence.Parse(out.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		path   string
		format attestd.Format
		size   int
	}{{"cpu", attestd.FormatSEVSNP, 64}, {"vtpm", attestd.FormatTPM, 32}} {
		value, err := attestd.DeviceFreshness(root, want.path, want.format)
		if err != nil {
			t.Fatal(err)
		}
		got := parsed.Devices[i]
		if got.Path != want.path || got.Format != want.format || len(value) != want.size ||
			!bytes.Equal(got.Evidence, value) {
			t.Errorf("device %d is %s of %s over %x, want %x", i, got.Path, got.Format, got.Evidence, value)
		}
	}
	if cpu.asked.Key != nil || !bytes.Equal(vtpm.asked.Key, key) {
		t.Errorf("keys %q and %q: the TPM alone has a field for one", cpu.asked.Key, vtpm.asked.Key)
	}
	if out.Format != attestd.FormatComposite ||
		!slices.Equal(out.Notes, []string{"cpu: no certificates", "vtpm: no certificates"}) ||
		len(out.Endorsements.Certificates) != 2 || len(out.Endorsements.CRLs) != 2 {
		t.Errorf("%s, notes %q, %d certificates", out.Format, out.Notes, len(out.Endorsements.Certificates))
	}
	if out.Endorsements.Documents != nil {
		t.Error("documents never come from a machine")
	}
}

func TestMachinesThatCannotBe(t *testing.T) {
	t.Parallel()
	cpu, vtpm := pair()
	many := make([]composite.Device, attestd.MaxDevices+1)
	for i := range many {
		many[i] = composite.Device{Path: "gpu" + string(rune('a'+i)), From: cpu}
	}
	for name, devices := range map[string][]composite.Device{
		"none": nil, "one": {{Path: "cpu", From: cpu}}, "too many": many,
		"a path twice":        {{Path: "cpu", From: cpu}, {Path: "cpu", From: vtpm}},
		"nobody":              {{Path: "cpu", From: cpu}, {Path: "vtpm"}},
		"no path":             {{Path: "", From: cpu}, {Path: "vtpm", From: vtpm}},
		"a machine in itself": {{Path: "cpu", From: &device{format: attestd.FormatComposite}}, {Path: "vtpm", From: vtpm}},
	} {
		m, err := composite.New(devices...)
		var refused *attestd.CallerError
		if m != nil || !errors.As(err, &refused) || refused.Class != attestd.ClassConfig || refused.Hint == "" {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestNothingIsLeftOut(t *testing.T) {
	t.Parallel()
	broken := errors.New("no such device")
	for name, row := range map[string]struct {
		cpu, vtpm device
		request   attester.Request
		cause     error
	}{
		"a processor that does not answer": {cpu: device{err: broken}, cause: broken},
		"a TPM that does not answer":       {vtpm: device{err: broken}, cause: broken},
		"evidence of another format":       {vtpm: device{gives: attestd.FormatNitroTPM}},
		"a short root":                     {request: attester.Request{Freshness: root[:31]}},
		"no root":                          {request: attester.Request{Freshness: []byte{}}},
		"more than a verifier takes":       {vtpm: device{size: composite.MaxEvidence}},
		"more than a container holds":      {vtpm: device{size: 9 << 20}},
	} {
		row.cpu.format, row.vtpm.format = attestd.FormatSEVSNP, attestd.FormatTPM
		if row.request.Freshness == nil {
			row.request.Freshness = root
		}
		m := machine(t, composite.Device{Path: "cpu", From: &row.cpu}, composite.Device{Path: "vtpm", From: &row.vtpm})
		out, err := m.Collect(t.Context(), row.request)
		if err == nil || out.Bytes != nil {
			t.Errorf("%s: collected", name)
		}
		if row.cause != nil && !errors.Is(err, row.cause) {
			t.Errorf("%s: %v", name, err)
		}
	}
	cpu, _ := pair()
	gpu := device{format: attestd.FormatTDX}
	m := machine(t, composite.Device{Path: "cpu", From: cpu}, composite.Device{Path: "gpu0", From: &gpu})
	var refused *attestd.CallerError
	_, err := m.Collect(t.Context(), attester.Request{Freshness: root, Key: []byte("a key")})
	if !errors.As(err, &refused) || refused.Class != attestd.ClassConfig || cpu.asked.Freshness != nil {
		t.Errorf("a key that nobody can carry: %v", err)
	}
}
