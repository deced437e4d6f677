package snp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/attestd/attestd"
)

// files is what configfs-tsm needs of a file system. The kernel makes the files inside a new folder,
// and a folder is removed with them in it.
type files interface {
	mkdir(path string) error
	rmdir(path string) error
	read(path string) ([]byte, error)
	write(path string, data []byte) error
}

type kernelFiles struct{}

func (kernelFiles) mkdir(path string) error          { return os.Mkdir(path, 0o700) }
func (kernelFiles) rmdir(path string) error          { return os.Remove(path) }
func (kernelFiles) read(path string) ([]byte, error) { return os.ReadFile(path) }

// write writes in one piece: the kernel takes each write for a whole value.
func (kernelFiles) write(path string, data []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Close())
}

// configFS asks by way of configfs-tsm.
type configFS struct {
	root  string
	files files
}

// provider is what the kernel's driver for SEV-SNP calls itself.
const provider = "sev_guest"

func (c *configFS) report(
	ctx context.Context, data [reportDataSize]byte,
) (report, table []byte, err error) {
	// A folder of its own: whoever else writes into a shared one changes the report under our hands.
	entry := filepath.Join(c.root, "attestd-"+strings.ToLower(rand.Text()))
	if err := c.files.mkdir(entry); err != nil {
		hint := "mount configfs and load the driver: modprobe sev-guest"
		if errors.Is(err, fs.ErrPermission) {
			hint = "run as root, or give this user rights on the folder"
		}
		return nil, nil, refuse(hint, fmt.Errorf("entry for a report: %w", err))
	}
	defer func() {
		if gone := c.files.rmdir(entry); gone != nil && err == nil {
			report, table, err = nil, nil, fmt.Errorf("remove the entry of a report: %w", gone)
		}
	}()
	if err := ctx.Err(); err != nil {
		return nil, nil, fmt.Errorf("stopped before a report was asked for: %w", err)
	}
	by, err := c.files.read(filepath.Join(entry, "provider"))
	if err != nil {
		return nil, nil, fmt.Errorf("name of the report's provider: %w", err)
	}
	if name := strings.TrimSpace(string(by)); name != provider {
		return nil, nil, refuse("collect evidence of the format that this machine gives",
			fmt.Errorf("reports here come from %q, want %q", attestd.Excerpt(name, 40), provider))
	}
	before, err := c.generation(entry)
	if err != nil {
		return nil, nil, err
	}
	if err := c.files.write(filepath.Join(entry, "inblob"), data[:]); err != nil {
		return nil, nil, fmt.Errorf("ask for a report: %w", err)
	}
	if report, err = c.files.read(filepath.Join(entry, "outblob")); err != nil {
		return nil, nil, fmt.Errorf("read a report: %w", err)
	}
	if table, err = c.files.read(filepath.Join(entry, "auxblob")); err != nil {
		table = nil // a host without certificates, or a driver without the file
	}
	after, err := c.generation(entry)
	if err != nil {
		return nil, nil, err
	}
	// One write moves the generation by one. More means that somebody else wrote too, and that report
	// and certificates may not belong together.
	if after != before+1 {
		return nil, nil, fmt.Errorf("the report's generation went from %d to %d while it was read, want %d: "+
			"something else uses its entry", before, after, before+1)
	}
	return report, table, nil
}

func (c *configFS) generation(entry string) (uint64, error) {
	text, err := c.files.read(filepath.Join(entry, "generation"))
	if err != nil {
		return 0, fmt.Errorf("generation of a report: %w", err)
	}
	number, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 63)
	if err != nil {
		return 0, fmt.Errorf("generation of a report: %w", err)
	}
	return number, nil
}
