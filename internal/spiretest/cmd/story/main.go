// The program story shows what attestd is for, with real parts on this machine: a software TPM,
// attestd, a SPIRE server and agent with attestd's plugins, and a workload that knows the Workload API
// alone. Each scene says what must be true and whether it was; where one is not, the program ends with
// exit code 1 and prints what each part said.
//
// It needs swtpm, nginx, and SPIRE as .ci/spire builds it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/attestd/attestd/internal/spiretest/stage"
)

// limit is how long the story may take once everything is built, on a machine with much else to do.
const limit = 5 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, newPage(os.Stdout)); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// run builds, tells the story in a folder of its own and leaves nothing behind.
func run(ctx context.Context, out *page) (err error) {
	root, err := repository()
	if err != nil {
		return err
	}
	// Short: sockets lie in it, whose paths may have 107 bytes.
	folder, err := os.MkdirTemp("", "st")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	out.line("The whole story, with real parts: software TPM, attestd, SPIRE, a workload, nginx.")
	programs, err := stage.Build(ctx, root, filepath.Join(folder, "bin"))
	if err != nil {
		return err
	}
	out.built()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	s := &story{page: out, programs: programs, root: root, folder: folder}
	err = s.tell(ctx)
	if s.site != nil {
		err = errors.Join(err, s.site.Stop())
	}
	if err != nil && s.site != nil {
		fmt.Fprint(os.Stderr, s.site.Logs())
	}
	if err == nil {
		out.end(len(scenes))
	}
	return err
}

// repository is the folder of attestd's module, above the one that this was started in.
func repository() (string, error) {
	folder, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; folder != filepath.Dir(folder); folder = filepath.Dir(folder) {
		if _, err := os.Stat(filepath.Join(folder, ".ci", "spire")); err == nil {
			return folder, nil
		}
	}
	return "", errors.New("this is not the repository of attestd: no folder above has .ci/spire")
}
