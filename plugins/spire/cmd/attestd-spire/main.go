// Command attestd-spire is attestd's plugins for SPIRE, one in each sub-command. SPIRE starts them:
//
//	CredentialComposer "attestd" {
//	    plugin_cmd  = "/usr/local/bin/attestd-spire"
//	    plugin_args = ["composer"]
//	    plugin_data { addresses = ["unix:/run/attestd/spire.sock"] }
//	}
//
// `attestd spire config --server|--agent` prints these blocks whole.
package main

import (
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/attestd/attestd/plugins/spire/agentattestor"
	"github.com/attestd/attestd/plugins/spire/composer"
	"github.com/attestd/attestd/plugins/spire/host"
	"github.com/attestd/attestd/plugins/spire/keymanager"
	"github.com/attestd/attestd/plugins/spire/nodeattestor"
	"github.com/attestd/attestd/plugins/spire/workloadattestor"
)

// plugins are the sub-commands that SPIRE starts.
var plugins = []struct {
	name, what string
	make       func(host.Env) (host.Plugin, error)
}{
	{"composer", "CredentialComposer of a server: no credential without a grant", composer.New},
	{"nodeattestor-server", "NodeAttestor of a server: asks attestd for challenge and verdict", nodeattestor.New},
	{"nodeattestor-agent", "NodeAttestor of an agent: answers the challenge with evidence", agentattestor.New},
	{"keymanager", "KeyManager of an agent: keys that evidence binds, gone with the boot", keymanager.New},
	{"workloadattestor", "WorkloadAttestor of an agent: what a process is, and whether its node is admitted",
		workloadattestor.New},
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	if len(args) == 1 && args[0] == "version" {
		_, _ = fmt.Fprintln(stdout, "attestd-spire "+host.Version())
		return 0
	}
	if len(args) == 1 && slices.Contains([]string{"help", "-h", "--help"}, args[0]) {
		usage(stdout)
		return 0
	}
	if len(args) == 1 {
		for _, plugin := range plugins {
			if plugin.name == args[0] {
				return host.Main(plugin.name, plugin.make)
			}
		}
	}
	_, _ = fmt.Fprintf(stderr, "attestd-spire: got %q, want one sub-command\n", args)
	_, _ = fmt.Fprintln(stderr, "hint: attestd-spire help lists them; plugin_args = [\"composer\"] in SPIRE's file")
	return 2
}

func usage(out io.Writer) {
	_, _ = fmt.Fprintln(out, "attestd-spire is attestd's plugins for SPIRE, which SPIRE starts by plugin_cmd and "+
		"plugin_args:")
	for _, plugin := range plugins {
		_, _ = fmt.Fprintf(out, "  %-20s %s\n", plugin.name, plugin.what)
	}
	_, _ = fmt.Fprintln(out, "  version              prints the version\nSee: attestd spire config --help")
}
