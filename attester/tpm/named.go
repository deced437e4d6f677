package tpm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-tpm/tpm2"

	"github.com/attestd/attestd"
)

// ErrNoKey is what [Device.FindKey] returns where there is no key of that name that is good in this
// boot and in this TPM.
var ErrNoKey = errors.New("there is no such key in this boot")

const keySuffix = ".tpmkey"

// keyPath returns the file of a key, in a folder that nobody else can write to.
func (d *Device) keyPath(name string) (string, error) {
	if d.options.StateDir == "" || !keyName.MatchString(name) {
		return "", refuse("give a state folder, and a name of 1 to 64 of a-z, 0-9 and -",
			fmt.Errorf("%q is no name of a key, or there is no folder for it (%q)", attestd.Excerpt(name, 64),
				attestd.Excerpt(d.options.StateDir, 200)))
	}
	if err := demandClosed(d.options.StateDir); err != nil {
		return "", err
	}
	return filepath.Join(d.options.StateDir, name+keySuffix), nil
}

// here is the TPM as keys are tied to it: this boot, and the storage key that they lie below.
func (c *connection) here(o Options) (resets uint32, parent object, err error) {
	clock, err := tpm2.ReadClock{}.Execute(c)
	if err != nil {
		return 0, object{}, explain("read the clock", err)
	}
	parent, err = c.storage(o)
	return clock.CurrentTime.ClockInfo.ResetCount, parent, err
}

// NewKey makes a key called name, good for this boot as [Device.Key]'s are. There must be none of that
// name, good or not.
func (d *Device) NewKey(ctx context.Context, name string) (key *Key, err error) {
	path, err := d.keyPath(name)
	if err != nil {
		return nil, err
	}
	err = d.with(ctx, func(c *connection) error {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return refuse("choose another name", errors.Join(
				fmt.Errorf("a key called %q is there already", attestd.Excerpt(name, 64)), err))
		}
		resets, parent, err := c.here(d.options)
		if err != nil {
			return err
		}
		made, err := c.createKey(parent)
		if err != nil {
			return err
		}
		made.ResetCount = resets
		if key, err = newKey(d, made); err != nil {
			return err
		}
		return writeKey(path, made)
	})
	if err != nil {
		return nil, err
	}
	return key, nil
}

// FindKey returns the key called name and makes none.
//
// Errors: [ErrNoKey] where there is no file, or where the key is of an earlier boot or another TPM;
// others where the file is no key.
func (d *Device) FindKey(ctx context.Context, name string) (key *Key, err error) {
	path, err := d.keyPath(name)
	if err != nil {
		return nil, err
	}
	kept, err := readKey(path)
	if err != nil {
		return nil, err
	}
	if kept == nil {
		return nil, fmt.Errorf("%w: %s", ErrNoKey, attestd.Excerpt(name, 64))
	}
	err = d.with(ctx, func(c *connection) error {
		resets, parent, err := c.here(d.options)
		switch {
		case err != nil:
			return err
		case kept.ResetCount != resets:
			return fmt.Errorf("%w: %s is of reset %d, and this is reset %d", ErrNoKey,
				attestd.Excerpt(name, 64), kept.ResetCount, resets)
		case !bytes.Equal(kept.Parent, parent.name.Buffer):
			return fmt.Errorf("%w: %s is another TPM's", ErrNoKey, attestd.Excerpt(name, 64))
		}
		key, err = newKey(d, *kept)
		return err
	})
	if err != nil {
		return nil, err
	}
	return key, nil
}

// RemoveKey removes the file of the key called name; that there is none is no error. Who kept a copy
// of the file can go on using the key until the machine is started anew.
func (d *Device) RemoveKey(name string) error {
	path, err := d.keyPath(name)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return refuse("make the state folder writable for this user", fmt.Errorf("remove a key: %w", err))
	}
	return nil
}

// KeyNames lists the names of the keys in the state folder, sorted; whether they are good is not looked
// at.
func (d *Device) KeyNames() ([]string, error) {
	if _, err := d.keyPath("any"); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(d.options.StateDir)
	if err != nil {
		return nil, refuse("make the state folder readable for this user", fmt.Errorf("keys: %w", err))
	}
	var names []string
	for _, entry := range entries {
		name, is := strings.CutSuffix(entry.Name(), keySuffix)
		if is && keyName.MatchString(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}
