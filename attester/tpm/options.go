package tpm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/attestd/attestd"
)

// Handles of persistent objects are the owner's below PlatformPersistent and the platform's from
// there on (TPM 2.0 Library, Part 2, revision 1.59, section 7.5).
const (
	// DefaultAKHandle is where the attestation key persists: among the handles for primary keys of the
	// endorsement hierarchy (TCG Registry of Reserved TPM 2.0 Handles and Localities), above those that
	// makers of TPMs use.
	DefaultAKHandle = 0x81010020

	firstPersistent    = 0x81000000
	platformPersistent = 0x81800000
)

// Off is the path of a log that is not to be read.
const Off = "off"

// Options say how to use a TPM. The zero Options are what a machine with one TPM wants.
type Options struct {
	// LockFile is the file whose lock lets one connection work at a time. Empty locks the device file
	// itself, or the file PATH.lock beside the socket PATH.
	LockFile string
	// StateDir is the folder in which keys are kept, as blobs that only this TPM can load. It must be
	// writable by nobody else. [Device.Key] needs it.
	StateDir string
	// AKHandle is where the attestation key persists; 0 for [DefaultAKHandle].
	AKHandle uint32
	// BootLog and IMALog are the logs' files. Empty takes the kernel's for a device file, and none for
	// a software TPM, whose machine this is not; Off takes none.
	BootLog, IMALog string
	// Intermediates are certificates in DER that the chain of the EK certificate needs and the TPM does
	// not hold.
	Intermediates [][]byte
	// OwnerAuth and EndorsementAuth are the passwords of the two hierarchies; empty where the owner set
	// none.
	OwnerAuth, EndorsementAuth []byte
	// SignTimeout is how long a signature by a [Key] may take; 0 for ten seconds.
	SignTimeout time.Duration
}

// Device is a TPM. It holds no connection: each call opens one and closes it, so that other programs
// get their turn. It is safe for concurrent use.
type Device struct {
	options  Options
	place    place
	bootLog  logFile
	imaLog   logFile
	turn     chan struct{} // has one token; who holds it may connect
	leftover *leftover     // what a broken connection may have left loaded; guarded by turn
}

// place is where a TPM is reached.
type place struct {
	socket bool
	path   string
}

// logFile is a log that the kernel keeps. Where required is not set its absence is no error.
type logFile struct {
	what, path string
	required   bool
	less       string // what to do where there is too much of it
}

// devicePattern matches the kernel's names, tpm0 and tpmrm0; the number is in the first group.
var devicePattern = regexp.MustCompile(`^tpm(?:rm)?([0-9]{1,3})$`)

// Open returns the TPM that spec names: the path of a device file, or "swtpm:" and the path of a
// software TPM's unix socket. Nothing is sent to it yet.
//
// Errors: a [*attestd.CallerError] of class CONFIG.
func Open(spec string, options Options) (*Device, error) {
	d := &Device{options: options, turn: make(chan struct{}, 1)}
	d.turn <- struct{}{}
	d.place.path, d.place.socket = strings.CutPrefix(spec, "swtpm:")
	switch {
	case d.place.path == "":
		return nil, refuse("give the device file, as in /dev/tpmrm0, or swtpm:PATH",
			fmt.Errorf("%q names no TPM", attestd.Excerpt(spec, 100)))
	case !d.place.socket && !strings.HasPrefix(d.place.path, "/"):
		return nil, refuse("give the whole path, as in /dev/tpmrm0, or swtpm:PATH for a software TPM",
			fmt.Errorf("%q is not the path of a device file", attestd.Excerpt(spec, 100)))
	case d.place.socket && len(d.place.path) > 107: // sun_path of unix(7)
		return nil, refuse("move the socket to a shorter path",
			fmt.Errorf("the socket's path has %d bytes, want at most 107", len(d.place.path)))
	}
	if d.options.AKHandle == 0 {
		d.options.AKHandle = DefaultAKHandle
	}
	if handle := d.options.AKHandle; handle < firstPersistent || handle >= platformPersistent {
		return nil, refuse("give a handle from 0x81000000 to 0x817fffff, those of the owner",
			fmt.Errorf("the attestation key's handle is 0x%08x", handle))
	}
	if d.options.SignTimeout == 0 {
		d.options.SignTimeout = 10 * time.Second
	}
	if d.place.socket && d.options.LockFile == "" {
		d.options.LockFile = d.place.path + ".lock"
	}
	number := ""
	if match := devicePattern.FindStringSubmatch(filepath.Base(d.place.path)); match != nil && !d.place.socket {
		number = match[1]
	}
	d.bootLog = chooseLog("boot log", options.BootLog, number,
		"/sys/kernel/security/tpm"+number+"/binary_bios_measurements")
	d.bootLog.less = "leave the boot log out: --event-log off"
	d.imaLog = chooseLog("IMA log", options.IMALog, number,
		"/sys/kernel/security/ima/binary_runtime_measurements")
	d.imaLog.less = "begin where the last accepted exchange of this boot ended (--ima-offset BYTES, fact " +
		"ima_offset), or leave the log out: --ima-log off"
	return d, nil
}

// chooseLog returns the log to read; one without a path is not read.
func chooseLog(what, asked, number, kernel string) logFile {
	switch {
	case asked == Off, asked == "" && number == "":
		return logFile{what: what}
	case asked == "":
		return logFile{what: what, path: kernel}
	default:
		return logFile{what: what, path: asked, required: true}
	}
}

// Format returns [attestd.FormatTPM].
func (d *Device) Format() attestd.Format { return attestd.FormatTPM }

func refuse(hint string, err error) error {
	return &attestd.CallerError{Class: attestd.ClassConfig, Hint: hint, Err: err}
}

// opened explains why the device or the socket could not be opened.
func (p place) opened(err error) error {
	path := attestd.Excerpt(p.path, 200)
	switch {
	case errors.Is(err, os.ErrNotExist) && p.socket:
		return refuse("name the socket of a swtpm that runs: swtpm socket --tpm2 --server type=unixio,path=PATH ..., "+
			"see docs/attester.md",
			fmt.Errorf("there is no socket %q", path))
	case errors.Is(err, os.ErrNotExist):
		return refuse("look for it with ls /dev/tpm*; a machine without one needs its TPM switched on in the "+
			"firmware's settings, or a vTPM", fmt.Errorf("there is no TPM at %q", path))
	case errors.Is(err, os.ErrPermission):
		return refuse("run as root or as a member of the group that owns it, often tss", fmt.Errorf(
			"the TPM at %q may not be used by this user", path))
	default:
		return refuse("check that the path names a TPM that is switched on",
			fmt.Errorf("open the TPM at %q: %w", path, err))
	}
}
