package tpm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/attestd/attestd"
)

// connection is a transport.TPM over one wire for the length of one call. It knows what was loaded
// through it, and flushes what is left when it closes.
type connection struct {
	ctx    context.Context //nolint:containedctx // lives as long as the call whose context it is
	wire   *wire
	loaded []uint32
	// broken is why nothing more can be sent; the wire is out of step then.
	broken error
	// closing lets flushes through after the context is over.
	closing bool
}

// leftover is what must be looked for after a connection broke with a command under way: the TPM may
// have finished it and keep an object that nobody has the handle of.
type leftover struct {
	// before are the handles that were loaded before that connection; they are somebody else's.
	before []uint32
}

// Command codes, TPM 2.0 Library, Part 2, revision 1.59, section 6.5.2.
const (
	commandCreatePrimary    = 0x00000131
	commandLoad             = 0x00000157
	commandFlushContext     = 0x00000165
	commandStartAuthSession = 0x00000176
)

// Response codes that ask for the same command again (Part 2, section 6.6.3).
var again = []uint32{
	0x908, // TPM_RC_YIELDED
	0x90A, // TPM_RC_TESTING
	0x920, // TPM_RC_NV_RATE
	0x922, // TPM_RC_RETRY
}

// with waits for its turn, opens a connection, runs use and closes the connection.
func (d *Device) with(ctx context.Context, use func(*connection) error) (err error) {
	select {
	case <-d.turn:
		defer func() { d.turn <- struct{}{} }()
	case <-ctx.Done():
		return refuse("wait until the other call is done", fmt.Errorf("the TPM is in use: %w", ctx.Err()))
	}
	if d.options.LockFile != "" {
		release, err := lock(ctx, d.options.LockFile, -1)
		if err != nil {
			return err
		}
		defer release()
	}
	wire, err := dial(ctx, d.place)
	if err != nil {
		return err
	}
	defer wire.close() // which also gives back a lock on its own descriptor
	if d.options.LockFile == "" {
		if _, err := lock(ctx, "", wire.fd); err != nil {
			return err
		}
	}
	c := &connection{ctx: ctx, wire: wire}
	before, err := d.sweep(c)
	if err != nil {
		return err
	}
	defer func() {
		flushed := c.flushAll()
		if c.broken != nil && !wire.managed {
			d.leftover = &leftover{before: before}
		}
		if err == nil {
			err = flushed
		}
	}()
	return use(c)
}

// sweep flushes what an earlier connection of ours left behind when it broke, and returns what is
// loaded now. The kernel's resource manager does that by itself.
func (d *Device) sweep(c *connection) (before []uint32, err error) {
	if c.wire.managed {
		return nil, nil
	}
	for _, first := range []uint32{firstTransient, firstLoadedSession} {
		handles, err := c.handles(first)
		if err != nil {
			return nil, err
		}
		before = append(before, handles...)
	}
	if d.leftover == nil {
		return before, nil
	}
	kept := slices.DeleteFunc(slices.Clone(before), func(handle uint32) bool {
		return !slices.Contains(d.leftover.before, handle) && c.flush(handle) == nil
	})
	d.leftover = nil
	return kept, nil
}

// Send implements transport.TPM.
func (c *connection) Send(command []byte) ([]byte, error) {
	if c.broken != nil {
		return nil, c.broken
	}
	code := binary.BigEndian.Uint32(command[6:])
	if err := c.ctx.Err(); err != nil && !c.closing && code != commandFlushContext {
		return nil, fmt.Errorf("stopped before the TPM was done: %w", err)
	}
	for wait := time.Millisecond; ; wait = min(2*wait, time.Second) {
		response, err := c.wire.exchange(c.ctx, command)
		if err != nil {
			c.broken = refuse("look whether the TPM still answers (attestd evidence tpm --identity, with the same --tpm), "+
				"and that no other program holds it: swtpm and /dev/tpm0 serve one at a time", err)
			return nil, c.broken
		}
		result := binary.BigEndian.Uint32(response[6:])
		if slices.Contains(again, result) {
			if err := pause(c.ctx, wait); err != nil {
				return nil, fmt.Errorf("the TPM is busy: %w", err)
			}
			continue
		}
		if result == 0 {
			c.account(code, command, response)
		}
		return response, nil
	}
}

// account keeps the list of what is loaded, from what went over the wire.
func (c *connection) account(code uint32, command, response []byte) {
	switch code {
	case commandCreatePrimary, commandLoad, commandStartAuthSession:
		if len(response) >= headerSize+4 {
			c.loaded = append(c.loaded, binary.BigEndian.Uint32(response[headerSize:]))
		}
	case commandFlushContext:
		if len(command) >= headerSize+4 {
			gone := binary.BigEndian.Uint32(command[headerSize:])
			c.loaded = slices.DeleteFunc(c.loaded, func(handle uint32) bool { return handle == gone })
		}
	}
}

func (c *connection) flush(handle uint32) error {
	_, err := tpm2.FlushContext{FlushHandle: tpm2.TPMHandle(handle)}.Execute(c)
	return err
}

// flushAll flushes everything that this connection loaded and nothing else.
func (c *connection) flushAll() error {
	c.closing = true
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), settle)
	defer cancel()
	c.ctx = ctx
	var problems []error
	for _, handle := range slices.Backward(slices.Clone(c.loaded)) {
		if err := c.flush(handle); err != nil {
			problems = append(problems, fmt.Errorf("flush 0x%08x: %w", handle, err))
		}
	}
	return errors.Join(problems...)
}

// First handles of each kind (TPM 2.0 Library, Part 2, revision 1.59, section 7.2, and PC Client
// Platform TPM Profile).
const (
	firstNVIndex       = 0x01000000
	firstLoadedSession = 0x02000000
	firstTransient     = 0x80000000
	maxHandles         = 254
)

// handles lists the handles in use from first on, of first's kind. TPM_CAP_HANDLES takes the kind from
// the top byte, where 0x02 stands for loaded sessions of either sort (Part 3, section 30.2).
func (c *connection) handles(first uint32) ([]uint32, error) {
	var found []uint32
	for next := first; ; {
		answer, err := tpm2.GetCapability{
			Capability: tpm2.TPMCapHandles, Property: next, PropertyCount: maxHandles,
		}.Execute(c)
		if err != nil {
			return nil, explain("list handles", err)
		}
		list, err := answer.CapabilityData.Data.Handles()
		if err != nil {
			return nil, fmt.Errorf("list handles: %w", err)
		}
		for _, handle := range list.Handle {
			found = append(found, uint32(handle))
		}
		if !answer.MoreData || len(list.Handle) == 0 {
			return found, nil
		}
		next = found[len(found)-1] + 1
	}
}

// explain adds to a TPM's response code what was being done and, for those that people can mend, how.
func explain(doing string, err error) error {
	hint := ""
	switch {
	case errors.Is(err, tpm2.TPMRCInitialize):
		hint = "start the TPM up: swtpm needs --flags not-need-init,startup-clear; firmware does it for a real one"
	case errors.Is(err, tpm2.TPMRCObjectMemory), errors.Is(err, tpm2.TPMRCSessionMemory),
		errors.Is(err, tpm2.TPMRCObjectHandles), errors.Is(err, tpm2.TPMRCSessionHandles):
		hint = "another program left objects in the TPM: use /dev/tpmrm0, which keeps programs apart, or " +
			"flush them (tpm2_flushcontext --transient-object)"
	case errors.Is(err, tpm2.TPMRCAuthFail), errors.Is(err, tpm2.TPMRCBadAuth):
		hint = "a hierarchy has a password, or another one, or none: give it with --owner-auth-file FILE or " +
			"--endorsement-auth-file FILE, or have the owner clear it"
	case errors.Is(err, tpm2.TPMRCLockout):
		hint = "the TPM is locked after wrong passwords; wait, or clear it: tpm2_dictionarylockout"
	case errors.Is(err, tpm2.TPMRCNVSpace):
		hint = "no room for another persistent object: evict one that nobody needs (tpm2_evictcontrol -C o -c HANDLE)"
	case errors.Is(err, tpm2.TPMRCFailure):
		hint = "the TPM failed until it is started anew; swtpm needs an absolute folder (--tpmstate dir=/...)"
	case errors.Is(err, tpm2.TPMRCHierarchy):
		hint = "a hierarchy is switched off in the firmware's settings: switch it on"
	}
	err = fmt.Errorf("%s: %w", doing, err)
	if hint == "" {
		return err
	}
	return &attestd.CallerError{Class: attestd.ClassConfig, Hint: hint, Err: err}
}
