package keymanager

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// bootIDFile has a number that the kernel draws at each start (proc(5)). kexec and a restart change
// it, sleep and hibernation do not.
const bootIDFile = "/proc/sys/kernel/random/boot_id"

var bootIDForm = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// readBootID reads it anew each time: a process that was frozen and thawed on another machine has
// another one.
func readBootID(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("which boot this is: %w", err)
	}
	id := strings.TrimSpace(string(content))
	if !bootIDForm.MatchString(id) {
		return "", fmt.Errorf("which boot this is: %s does not hold a boot id", path)
	}
	return id, nil
}
