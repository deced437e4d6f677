// The program workload is what runs on a node: it asks the Workload API for identities through
// go-spiffe when its standard input tells it to, judges them as a relying party does, and answers a
// JSON line to each line it read.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/status"

	"github.com/attestd/attestd/internal/spiretest/asked"
)

func main() {
	socket := flag.String("socket", "", "path of the agent's Workload API")
	flag.Parse()
	if err := run(*socket); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// teller writes answers; a watch writes beside the questions.
type teller struct {
	mu  sync.Mutex
	out *json.Encoder
}

func (t *teller) tell(answer asked.Answer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	answer.At = time.Now()
	_ = t.out.Encode(answer) // nobody reads: the input ends too
}

func run(socket string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	// The agent may not have started yet: gRPC would look again after a second, which is not the agent's.
	soon := grpc.ConnectParams{
		Backoff: backoff.Config{
			BaseDelay: 2 * time.Millisecond, Multiplier: 1, MaxDelay: 5 * time.Millisecond,
		},
		MinConnectTimeout: time.Second,
	}
	client, err := workloadapi.New(ctx, workloadapi.WithAddr("unix://"+socket),
		workloadapi.WithDialOptions(grpc.WithConnectParams(soon)))
	if err != nil {
		return err
	}
	defer client.Close() //nolint:errcheck // the process ends
	out := &teller{out: json.NewEncoder(os.Stdout)}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var question asked.Question
		if err := json.Unmarshal(lines.Bytes(), &question); err != nil {
			return err
		}
		if question.Do == asked.Watch {
			go watch(ctx, client, out)
			continue
		}
		out.tell(answer(ctx, client, question))
	}
	return lines.Err()
}

// answer asks once, or until the question's time is over where it says so.
func answer(ctx context.Context, client *workloadapi.Client, question asked.Question) asked.Answer {
	ctx, cancel := context.WithTimeout(ctx, question.Within)
	defer cancel()
	for {
		began := time.Now()
		got, err := once(ctx, client, question)
		got.Number, got.Took = question.Number, time.Since(began)
		if err == nil {
			return got
		}
		got.Error, got.Code = err.Error(), status.Code(unwrapped(err)).String()
		if !question.Persist || ctx.Err() != nil {
			return got
		}
		select {
		case <-ctx.Done():
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// unwrapped is the error of gRPC that an error of go-spiffe holds.
func unwrapped(err error) error {
	var grpc interface{ GRPCStatus() *status.Status }
	if errors.As(err, &grpc) {
		return grpc.GRPCStatus().Err()
	}
	return err
}

func once(
	ctx context.Context, client *workloadapi.Client, question asked.Question,
) (asked.Answer, error) {
	switch question.Do {
	case asked.JWT:
		return fetchJWT(ctx, client, question)
	case asked.X509:
		x509, err := client.FetchX509Context(ctx)
		if err != nil {
			return asked.Answer{}, err
		}
		return judgeX509(x509)
	}
	return asked.Answer{}, fmt.Errorf("nobody knows how to do %q", question.Do)
}

// fetchJWT fetches a JWT-SVID and judges it by the bundles that the Workload API gives; the time that
// an answer tells includes that only where the question asks for it.
func fetchJWT(
	ctx context.Context, client *workloadapi.Client, question asked.Question,
) (asked.Answer, error) {
	params := jwtsvid.Params{Audience: question.Audience}
	if question.ID != "" {
		id, err := spiffeid.FromString(question.ID)
		if err != nil {
			return asked.Answer{}, err
		}
		params.Subject = id
	}
	svid, err := client.FetchJWTSVID(ctx, params)
	if err != nil || !question.Judge {
		if err != nil {
			return asked.Answer{}, err
		}
		return asked.Answer{OK: true, Token: svid.Marshal(), Claims: svid.Claims, Expires: svid.Expiry}, nil
	}
	bundles, err := client.FetchJWTBundles(ctx)
	if err != nil {
		return asked.Answer{}, err
	}
	judged, err := jwtsvid.ParseAndValidate(svid.Marshal(), bundles, []string{question.Audience})
	if err != nil {
		return asked.Answer{}, fmt.Errorf("go-spiffe refuses the JWT-SVID: %w", err)
	}
	return asked.Answer{
		OK: true, ID: judged.ID.String(), Token: judged.Marshal(), Claims: judged.Claims,
		Expires: judged.Expiry,
	}, nil
}

// judgeX509 verifies each X509-SVID against its trust domain's bundle.
func judgeX509(x509 *workloadapi.X509Context) (asked.Answer, error) {
	out := asked.Answer{OK: true}
	for _, svid := range x509.SVIDs {
		id, _, err := x509svid.Verify(svid.Certificates, x509.Bundles)
		if err != nil {
			return asked.Answer{}, fmt.Errorf("go-spiffe refuses the X509-SVID: %w", err)
		}
		one := asked.X509SVID{ID: id.String(), Hint: svid.Hint, Until: svid.Certificates[0].NotAfter}
		for _, certificate := range svid.Certificates {
			one.Certificates = append(one.Certificates, certificate.Raw)
		}
		out.SVIDs = append(out.SVIDs, one)
	}
	return out, nil
}

// watch tells every X.509 update, and every end of the stream.
func watch(ctx context.Context, client *workloadapi.Client, out *teller) {
	_ = client.WatchX509Context(ctx, watcher{out})
}

type watcher struct{ out *teller }

// OnX509ContextUpdate implements [workloadapi.X509ContextWatcher].
func (w watcher) OnX509ContextUpdate(update *workloadapi.X509Context) {
	got, err := judgeX509(update)
	if err != nil {
		got.Error = err.Error()
	}
	w.out.tell(got)
}

// OnX509ContextWatchError implements [workloadapi.X509ContextWatcher].
func (w watcher) OnX509ContextWatchError(err error) {
	w.out.tell(asked.Answer{Error: err.Error(), Code: status.Code(unwrapped(err)).String()})
}
