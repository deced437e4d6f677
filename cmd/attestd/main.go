package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/attestd/attestd/internal/worker"
)

func main() { os.Exit(runProcess()) }

// runProcess is main with an exit code, so that deferred calls run.
func runProcess() int {
	if len(os.Args) == 2 && os.Args[1] == workerVerb {
		return worker.Main() // first of all: it locks the process before it reads a byte of evidence
	}
	return run(context.Background(), streams{
		in: os.Stdin, out: os.Stdout, err: os.Stderr, getenv: os.Getenv, now: time.Now,
		terminal: func() (columns int, is bool) {
			if !term.IsTerminal(int(os.Stdout.Fd())) {
				return 0, false
			}
			columns, _, err := term.GetSize(int(os.Stdout.Fd()))
			if err != nil {
				return 0, true
			}
			return columns, true
		},
	}, os.Args[1:])
}

// streams are what a command touches of the world beside files and sockets.
type streams struct {
	in       io.Reader
	out, err io.Writer
	getenv   func(string) string
	now      func() time.Time
	// terminal reports the width of standard output, and whether it is a terminal.
	terminal func() (columns int, is bool)
}

// answer is standard output. That it cannot be written, to a full disk for instance, is no bug of ours
// and no verdict either: whoever waits for one must not see its exit code.
type answer struct{ io.Writer }

func (w answer) Write(data []byte) (int, error) {
	n, err := w.Writer.Write(data)
	if err != nil {
		err = usagef("make room where standard output goes, or send it elsewhere", "standard output: %w",
			pathless(err))
	}
	return n, err
}

// run executes one command line and returns the exit code. A panic is a bug and is told as one:
// never as a verdict.
func run(ctx context.Context, world streams, args []string) (code int) {
	world.out = answer{world.out}
	a := &app{streams: world}
	defer func() {
		if cause := recover(); cause != nil {
			code = a.tell(args, fmt.Errorf("internal error: %v", cause))
		}
	}()
	root := newRoot(a)
	root.SetArgs(args)
	if err := root.ExecuteContext(ctx); err != nil {
		return a.tell(args, err)
	}
	return a.exit
}
