package snp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"time"
	"unsafe"

	"github.com/attestd/attestd/attester/internal/ioctl"
)

// Commands of /dev/sev-guest and the sizes of their structures (include/uapi/linux/sev-guest.h):
// snp_guest_request_ioctl has 32 bytes, snp_report_req 96, snp_ext_report_req 112, snp_report_resp
// 4,000.
const (
	getReport         = 0xc0205300 // _IOWR('S', 0x0, struct snp_guest_request_ioctl)
	getExtendedReport = 0xc0205302 // _IOWR('S', 0x2, struct snp_guest_request_ioctl)

	messageVersion = 1
	requestSize    = 32
	reportAskSize  = 96
	extendedSize   = 112
	answerSize     = 4000
	answerHeader   = 32

	// certificateRoom is what the kernel lets a host fill: SEV_FW_BLOB_MAX_SIZE.
	certificateRoom = 0x4000

	// The upper half of exitinfo2 is the hypervisor's word (SNP_GUEST_VMM_ERR_*).
	vmmNoRoom = 1
	vmmBusy   = 2
)

// device asks by way of /dev/sev-guest.
type device struct {
	path string
	// fake stands for the device in tests.
	fake ioctl.Control
}

func (d *device) report(
	ctx context.Context, data [reportDataSize]byte,
) (report, table []byte, err error) {
	call, done, err := d.open()
	if err != nil {
		return nil, nil, err
	}
	defer done()
	report, table, err = ask(ctx, call, getExtendedReport, data)
	var failed *callError
	if errors.As(err, &failed) && failed.hypervisor == vmmNoRoom {
		// More certificates than the kernel takes: the report can be had without them.
		report, table, err = ask(ctx, call, getReport, data)
	}
	return report, table, err
}

func (d *device) open() (ioctl.Control, func(), error) {
	if d.fake != nil {
		return d.fake, func() {}, nil
	}
	call, done, err := ioctl.Open(d.path)
	if err != nil {
		hint := "run this inside an SEV-SNP guest; modprobe sev-guest"
		if errors.Is(err, fs.ErrPermission) {
			hint = "run as root, or give this user rights on the device file"
		}
		return nil, nil, refuse(hint, fmt.Errorf("guest device: %w", err))
	}
	return call, done, nil
}

// callError is what the firmware or the hypervisor said to a request.
type callError struct {
	firmware, hypervisor uint32
	err                  error
}

func (e *callError) Error() string {
	return fmt.Sprintf("ask for a report: %v (firmware 0x%x, hypervisor 0x%x)", e.err, e.firmware, e.hypervisor)
}

func (e *callError) Unwrap() error { return e.err }

// ask sends one request, again and again while the hypervisor is busy. A request under way cannot be
// stopped: the kernel holds the sequence number of its messages to the firmware.
func ask(
	ctx context.Context, call ioctl.Control, command uint, data [reportDataSize]byte,
) (report, table []byte, err error) {
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		if err := ctx.Err(); err != nil {
			return nil, nil, fmt.Errorf("stopped before a report was asked for: %w", err)
		}
		report, table, err = askOnce(call, command, data)
		var failed *callError
		if !errors.As(err, &failed) || failed.hypervisor != vmmBusy {
			return report, table, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

func askOnce(call ioctl.Control, command uint, data [reportDataSize]byte) (report, table []byte, err error) {
	// The kernel reads and writes these by address, so they must not move until it is done.
	var pinner runtime.Pinner
	defer pinner.Unpin()
	address := func(buffer []byte) uint64 {
		pinner.Pin(&buffer[0])
		return uint64(uintptr(unsafe.Pointer(&buffer[0])))
	}
	question := make([]byte, reportAskSize, extendedSize) // the report's VMPL stays 0
	copy(question, data[:])
	certificates := make([]byte, certificateRoom)
	if command == getExtendedReport {
		question = binary.NativeEndian.AppendUint64(question, address(certificates))
		question = binary.NativeEndian.AppendUint32(question, certificateRoom)
		question = question[:extendedSize]
	}
	answer := make([]byte, answerSize)
	request := make([]byte, requestSize)
	request[0] = messageVersion
	binary.NativeEndian.PutUint64(request[8:], address(question))
	binary.NativeEndian.PutUint64(request[16:], address(answer))
	pinner.Pin(&request[0])
	if err := call(command, unsafe.Pointer(&request[0])); err != nil {
		return nil, nil, &callError{
			firmware:   binary.NativeEndian.Uint32(request[24:]),
			hypervisor: binary.NativeEndian.Uint32(request[28:]), err: err,
		}
	}
	// MSG_REPORT_RSP: status, size, then the report (AMD 56860, revision 1.58, section 7.3).
	status, size := binary.LittleEndian.Uint32(answer), binary.LittleEndian.Uint32(answer[4:])
	if status != 0 {
		return nil, nil, fmt.Errorf("the firmware refused to make a report: status 0x%x", status)
	}
	if size > answerSize-answerHeader {
		return nil, nil, fmt.Errorf("the firmware says that the report has %d bytes, want %d", size, reportSize)
	}
	if command == getReport {
		certificates = nil
	}
	return answer[answerHeader : answerHeader+size], certificates, nil
}
