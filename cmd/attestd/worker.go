package main

import (
	"github.com/spf13/cobra"

	"github.com/attestd/attestd/internal/worker"
)

// workerVerb is the word with which attestd serve starts itself anew to parse evidence.
const workerVerb = "worker"

// newWorker is here so that the word is known and refuses arguments; runProcess starts a worker
// before anything else is built.
func newWorker(a *app) *cobra.Command {
	return &cobra.Command{
		Use: workerVerb, Hidden: true, Args: arguments(0, 0, ""),
		Short: "Judge evidence for attestd serve, in a process without keys, files or network",
		RunE: func(*cobra.Command, []string) error {
			a.exit = worker.Main()
			return nil
		},
	}
}
