package collateral

import (
	"errors"
	"fmt"

	"github.com/attestd/attestd"
)

// kdsHost is AMD's key distribution service (AMD 57230, chapter 4). There is no other: no configuration, no
// environment and no evidence names one.
const (
	kdsHost    = "kdsintf.amd.com"
	kdsAddress = "https://" + kdsHost
)

// maxChain bounds a chain of certificates.
const maxChain = 64 << 10

// listPath, chainPath and machinePath format what is asked from a closed list of names, hex and numbers.
func listPath(line string) (string, error) {
	if knownLine(line) == "" {
		return "", fmt.Errorf("no product line %q", attestd.Excerpt(line, 20))
	}
	return "/vcek/v1/" + knownLine(line) + "/crl", nil
}

func chainPath(kind Kind, line string) (string, error) {
	if knownLine(line) == "" || kind != VCEK && kind != VLEK {
		return "", fmt.Errorf("no chain of %q", attestd.Excerpt(line, 20))
	}
	return "/" + string(kind) + "/v1/" + knownLine(line) + "/cert_chain", nil
}

func machinePath(machine Machine) (string, error) {
	if err := machine.check(); err != nil {
		return "", err
	}
	if machine.Kind != VCEK {
		return "", errors.New("AMD gives VLEKs to cloud providers alone")
	}
	level := machine.Levels
	query := fmt.Sprintf("blSPL=%02d&teeSPL=%02d&snpSPL=%02d&ucodeSPL=%02d", level[1], level[2], level[3],
		level[4])
	if machine.Line == lineTurin {
		query = fmt.Sprintf("fmcSPL=%02d&", level[0]) + query
	}
	return "/vcek/v1/" + knownLine(machine.Line) + "/" + machine.Chip + "?" + query, nil
}
