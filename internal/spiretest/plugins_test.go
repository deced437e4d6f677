package spiretest_test

import (
	"fmt"
	"syscall"
	"testing"
)

// pluginBlock is one of attestd's plugins in SPIRE's configuration.
func pluginBlock(t *testing.T, kind, command, data string) string {
	t.Helper()
	return fmt.Sprintf(`
	%s "attestd" {
		plugin_cmd = %q
		plugin_args = [%q]
		plugin_data {
			%s
		}
	}`, kind, pluginProgram.file(t), command, data)
}

// killChild kills the child of a plugin, and leaves its supervisor alone. There may be none yet.
func killChild(t *testing.T, parent *process, command string) {
	t.Helper()
	// The supervisor was started before its child, and has its own parent for one.
	processes := parent.children(pluginProgram.file(t), command)
	if len(processes) > 1 {
		if err := syscall.Kill(processes[len(processes)-1], syscall.SIGKILL); err != nil {
			t.Logf("the child of %s has ended by itself: %v", command, err)
		}
	}
}
