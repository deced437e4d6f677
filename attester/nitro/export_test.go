package nitro

import "unsafe"

// Over returns an enclave whose /dev/nsm is a fake one.
func Over(call func(command uint, argument unsafe.Pointer) error) *Enclave {
	return &Enclave{fake: call}
}
