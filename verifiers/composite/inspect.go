package composite

import (
	"fmt"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/internal/trail"
)

// Inspect decodes a container, and each device's evidence as far as its format is known and it can be
// read, and believes none of it.
func (v *Verifier) Inspect(evidence []byte) (attestd.Inspection, error) {
	parsed, bad := open(evidence)
	if bad != nil {
		s := &session{trail: trail.New(table)}
		if bad.check == checkEncoding {
			s.trail.Pass(checkSize, wantSize, wantSize)
		}
		return attestd.Inspection{}, s.end(bad)
	}
	out := attestd.Inspection{
		Format: attestd.FormatComposite, Summary: fmt.Sprintf("evidence of %d devices", len(parsed.Devices)),
	}
	for _, device := range parsed.Devices {
		format := attestd.InspectedField{
			Name: device.Path + ".format", Value: string(device.Format),
			Note: fmt.Sprintf("%d bytes", len(device.Evidence)),
		}
		var fields []attestd.InspectedField
		if bad := v.checkKnown(device); bad != nil {
			format.Note += ", not a device of a machine: want " + bad.want
		} else if inner, err := v.parts[device.Format].Inspect(device.Evidence); err != nil {
			format.Note += ", unreadable: " + attestd.Excerpt(err.Error(), 120)
		} else {
			fields = inner.Fields
			if inner.Summary != "" {
				format.Note += ", " + inner.Summary
			}
		}
		out.Fields = append(out.Fields, format)
		for _, field := range fields {
			field.Name = device.Path + "." + field.Name
			out.Fields = append(out.Fields, field)
		}
	}
	return out, nil
}
