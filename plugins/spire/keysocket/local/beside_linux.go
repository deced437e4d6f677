package local

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
)

// Beside returns nil where a process is in this process's own control groups, as all that SPIRE's agent
// starts are, and a container's processes never. proc is /proc. It tells root in a container, who is the
// same user to the kernel, from the agent. What it reads is open to everybody (cgroups(7)), where a
// process's namespaces are not.
func Beside(proc string, pid int32) error {
	own, err := os.ReadFile(proc + "/self/cgroup")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // a kernel without control groups has no containers
	case err != nil:
		return fmt.Errorf("own control group: %w", err)
	case pid <= 0:
		return errors.New("it runs where this process sees no numbers of processes")
	}
	theirs, err := os.ReadFile(proc + "/" + strconv.Itoa(int(pid)) + "/cgroup")
	if err != nil {
		return fmt.Errorf("its control group: %w", err)
	}
	if !bytes.Equal(own, theirs) {
		return errors.New("it is in another control group than the agent's plugins")
	}
	return nil
}
