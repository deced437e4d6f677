package worker

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/attestd/attestd"
)

// checkWhole: what is said of a machine follows from its devices. Evidence is composed where its format
// says so and nowhere else; the devices have shown what the whole shows of freshness, and none is less
// trusted; the edges are those that the claims tell of; and the machine's name is one that its format
// gives.
func checkWhole(a attestd.Appraisal) error {
	weakest, composed := a.WeakestEdge()
	verified := strings.HasPrefix(string(a.Claims), "{")
	wanted := a.Format == attestd.FormatComposite || a.Format == attestd.FormatAzureVTPM
	if verified && composed != wanted {
		return fmt.Errorf("verdict of format %s has %d devices", a.Format, len(a.Devices))
	}
	if err := checkName(a, weakest); err != nil || !composed {
		return err
	}
	var claims struct {
		Weakest attestd.Grade `json:"weakest_edge"`
	}
	if err := json.Unmarshal(a.Claims, &claims); err != nil || claims.Weakest != weakest {
		return errors.New("verdict has other edges than its claims")
	}
	shown := false
	for i := range a.Devices {
		d := &a.Devices[i]
		shown = shown || d.Freshness == a.Freshness
		if d.Freshness != a.Freshness && d.Freshness != attestd.FreshnessNotShown {
			return errors.New("verdict has a device of another freshness")
		}
		whole, part := trustValues(&a.Trust), trustValues(&d.Trust)
		for at := range whole {
			if *part[at] > *whole[at] {
				return errors.New("verdict trusts the whole more than a device")
			}
		}
	}
	if !shown {
		return errors.New("verdict has a freshness that no device has shown")
	}
	return nil
}

// checkName: a processor's report names no instance; Azure's machines are named by their cloud; and a
// composite is named by a device that hangs together with the rest.
func checkName(a attestd.Appraisal, weakest attestd.Grade) error {
	at := slices.IndexFunc(a.Handles, func(h attestd.Handle) bool { return h.Kind == attestd.HandleInstance })
	if at < 0 {
		return nil
	}
	name, fine := a.Handles[at], true
	switch a.Format {
	case attestd.FormatSEVSNP, attestd.FormatTDX:
		fine = false
	case attestd.FormatAzureVTPM:
		fine = strings.HasPrefix(name.Value, "azure:")
	case attestd.FormatComposite:
		fine = weakest >= attestd.GradeSimultaneous &&
			slices.ContainsFunc(a.Devices, func(d attestd.DeviceAppraisal) bool {
				return slices.Contains(d.Handles, name)
			})
	}
	if !fine {
		return fmt.Errorf("verdict of format %s names a machine that its devices do not", a.Format)
	}
	return nil
}
