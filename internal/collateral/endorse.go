package collateral

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/attestd/attestd"
)

// maxSharing is how many providers' VLEKs of one line and level are offered to a verifier.
const maxSharing = 4

// machineFile is where the certificate of a machine lies. VLEKs of several providers share a line and a
// level; who it is for is part of their name.
func (s *Store) machineFile(machine Machine, csp string) string {
	name := machine.key()
	if machine.Kind == VLEK {
		digest := sha256.Sum256([]byte(csp))
		name += "-" + hex.EncodeToString(digest[:8])
	}
	return filepath.Join(s.folder, machineFolder, machine.Line, string(machine.Kind), name+".der")
}

// For returns the certificates that are held for the machines that evidence names, and what to look for of
// those that it names and that are not held, which is for [Store.Want]. Nothing in evidence is believed: it
// is read at fixed offsets, only to look something up, and whoever judges verifies what is found. Both
// results are empty for evidence without an SEV-SNP report or TD quote in it, that names no machine, or
// whose key AMD gives to cloud providers alone. What is held for a platform of Intel's is in [Store.Sets].
func (s *Store) For(format attestd.Format, evidence []byte) (certificates [][]byte, wanted *Wanted) {
	var missing Wanted
	for _, report := range reportsOf(format, evidence) {
		machines := machinesOf(report)
		var held [][]byte
		for _, machine := range machines {
			held = append(held, s.certificatesOf(machine)...)
		}
		certificates = append(certificates, held...)
		if len(held) == 0 && len(machines) > 0 && machines[0].Kind != VLEK && len(missing.Machines) == 0 {
			missing.Machines = machines
		}
	}
	missing.Platforms = s.missing(format, evidence)
	if len(missing.Machines)+len(missing.Platforms) == 0 {
		return certificates, nil
	}
	return certificates, &missing
}

func (s *Store) certificatesOf(machine Machine) (found [][]byte) {
	if machine.check() != nil {
		return nil
	}
	paths := []string{s.machineFile(machine, "")}
	if machine.Kind == VLEK {
		folder := filepath.Dir(paths[0])
		paths = nil
		entries, _ := os.ReadDir(folder)
		for _, entry := range entries {
			if strings.HasPrefix(entry.Name(), machine.key()+"-") && len(paths) < maxSharing {
				paths = append(paths, filepath.Join(folder, entry.Name()))
			}
		}
	}
	for _, path := range paths {
		if der, err := s.machineAt(path, machine); err == nil {
			found = append(found, der)
		}
	}
	return found
}

// machineAt reads the certificate of a machine and demands that it is that machine's: one that lies under
// another's name would make its evidence fail.
func (s *Store) machineAt(path string, machine Machine) ([]byte, error) {
	if der, known := s.machines.Get(path); known {
		return der, nil
	}
	der, err := readFile(path, maxCertificate)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	found, err := readMachine(certificate, machine.Kind, machine.Line)
	if err != nil {
		return nil, err
	}
	if found.machine != machine || s.machineFile(machine, found.csp) != path {
		return nil, errors.New("it is another machine's")
	}
	s.machines.Add(path, der)
	return der, nil
}
