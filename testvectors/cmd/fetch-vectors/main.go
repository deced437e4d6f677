// Command fetch-vectors downloads the extra test vectors into a folder (make vectors).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/attestd/attestd/testvectors"
	"github.com/attestd/attestd/testvectors/fetch"
)

func main() {
	folder := flag.String("out", ".cache/vectors", "folder to write to")
	base := flag.String("base", fetch.PublicBase, "server that answers OWNER/NAME/COMMIT/PATH")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *folder, *base); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "fetch-vectors:", err)
		_, _ = fmt.Fprintln(os.Stderr, "hint: the files come from public repositories; is the network open?")
		os.Exit(1)
	}
}

func run(ctx context.Context, folder, base string) error {
	list, err := testvectors.ExtraSources()
	if err != nil {
		return err
	}
	summary, err := fetch.Run(ctx, fetch.Config{
		Base: base, Client: &http.Client{Timeout: time.Minute}, Folder: folder, List: list,
		Progress: os.Stdout,
	})
	if err != nil {
		return err
	}
	fmt.Println(summary.Line())
	if len(summary.Failed) > 0 {
		return errors.New("some vectors are missing")
	}
	fmt.Printf("now run: %s=$PWD/%s make test\n", testvectors.ExtraVariable, folder)
	return nil
}
