package swtpm

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
)

// Extend extends a PCR with digests by their hash algorithm (TPM_ALG_ID), as firmware and boot loaders
// do. The TPM ignores those of banks that it does not keep. No client may hold a connection.
func (t *TPM) Extend(pcr uint32, digests map[uint16][]byte) error {
	// TPM2_PCR_Extend (TCG TPM 2.0 Library, Part 3, 22.2) with the empty password of a PCR.
	big := binary.BigEndian
	body := big.AppendUint32(nil, pcr)
	body = append(big.AppendUint32(body, 9), 0x40, 0, 0, 9, 0, 0, 0, 0, 0) // TPM_RS_PW
	body = big.AppendUint32(body, uint32(len(digests)))                    //nolint:gosec // a handful
	for _, algorithm := range slices.Sorted(maps.Keys(digests)) {
		body = append(big.AppendUint16(body, algorithm), digests[algorithm]...)
	}
	command := []byte{0x80, 2}
	command = big.AppendUint32(command, uint32(10+len(body))) //nolint:gosec // some 200 bytes
	command = append(big.AppendUint32(command, 0x182), body...)
	if _, err := exchange(t.Socket(), command); err != nil {
		return fmt.Errorf("extend PCR %d of %s: %w", pcr, t.name, err)
	}
	return nil
}
