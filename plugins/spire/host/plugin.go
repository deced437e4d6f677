package host

import (
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spiffe/spire-plugin-sdk/pluginsdk"
)

// Plugin is one plugin, as SPIRE sees it.
type Plugin struct {
	// Name is that of its sub-command, as in "composer".
	Name string
	// Server is the plugin's own service; Services are the others, of which one is its configuration.
	//
	// None of them may need host services of SPIRE's: they are offered to the first child alone, so a
	// plugin that relied on them would work until it was restarted. Main refuses such a plugin.
	Server   pluginsdk.PluginServer
	Services []pluginsdk.ServiceServer
}

// Env is what a plugin is given when it is made.
type Env struct {
	// Name is that of the plugin's sub-command.
	Name string
	// Logger writes to SPIRE's log.
	Logger hclog.Logger
	// Starts is how often the supervisor has started the plugin: 1 for the first.
	Starts  int
	Started time.Time
	Version string
	// Keep is memory without a name that the supervisor holds for its children: what one child writes
	// there the next one finds, and it ends with the supervisor. It starts empty.
	Keep *os.File
	// Counts are shown by attestd for this plugin.
	Counts *Counts
}
