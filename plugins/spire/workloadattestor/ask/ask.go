package ask

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/strict"
	"github.com/attestd/attestd/plugins/spire/keysocket/local"
)

// SocketName is the socket in the folder that the plugins of the agent share.
const SocketName = "workload.sock"

// MaxQuestion and MaxAnswer bound what either side reads, in bytes.
const (
	MaxQuestion = 256
	MaxAnswer   = 256 << 10
)

// patience is how long an answer may take: an executable may have to be read first.
const patience = 10 * time.Second

// Question asks about one process.
type Question struct {
	// PID of the process; 0 asks about the node alone.
	PID int32 `json:"pid"`
}

// Answer says what the workload attestor would tell SPIRE now.
type Answer struct {
	PID int32 `json:"pid"`
	// Selectors that would be given, without the type, as in "tier:low". Empty means no identity by
	// attestd's selectors.
	Selectors []string `json:"selectors"`
	// Reasons say why selectors are withheld, for people; empty where none is.
	Reasons []string `json:"reasons"`
	Process Process  `json:"process"`
	Node    Node     `json:"node"`
}

// Process is what was found out about the process, whether or not it is told to SPIRE.
type Process struct {
	// Alive says that it ran and was the same process from the beginning of the look to its end.
	Alive bool `json:"alive"`
	// Path of the executable, for people: it may name something else by now. SHA256 in hex is of what
	// the process was started from.
	Path      string `json:"path,omitempty"`
	SHA256    string `json:"sha256,omitempty"`
	Workload  string `json:"workload,omitempty"`
	Container string `json:"container,omitempty"`
	// MeasuredByKernel says that the kernel's own list of measurements holds the digest.
	MeasuredByKernel bool `json:"measured_by_kernel,omitempty"`
}

// Node is the state that attestd pushed for the node.
type Node struct {
	AgentID string `json:"agent_id,omitempty"`
	// Admitted says that selectors are given now: a snapshot is fresh, and says that the node is
	// granted identities.
	Admitted bool              `json:"admitted"`
	State    attestd.State     `json:"state"`
	Tier     attestd.Tier      `json:"tier"`
	Tenant   string            `json:"tenant,omitempty"`
	Risk     attestd.RiskScore `json:"risk_score"`
	// IssuedAt is by attestd's clock, zero where there was no snapshot. AgeMillis is how old it is at
	// the most, by a clock that nobody sets; BoundMillis is from when on selectors are withheld.
	IssuedAt    time.Time `json:"issued_at"`
	AgeMillis   int64     `json:"age_ms"`
	BoundMillis int64     `json:"bound_ms"`
	// Address is where attestd answers on the open stream; empty where there is none, and Problem says
	// what was in the way last.
	Address string `json:"address,omitempty"`
	Problem string `json:"problem,omitempty"`
	// Names is how many executables have a name here.
	Names int `json:"names"`
}

// Ask asks the workload attestor that uses the folder dir. Root and the agent's user may.
//
// Errors: a [*attestd.CallerError] of class CONFIG where the folder is not as it must be, and an
// [*attestd.UndecidedError] where nobody answers.
func Ask(ctx context.Context, dir string, pid int32) (Answer, error) {
	folder, err := local.Visit(dir)
	if err != nil {
		return Answer{}, err
	}
	defer folder.Close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := folder.Dial(ctx, SocketName)
	if err != nil {
		var refused *attestd.CallerError
		if errors.As(err, &refused) {
			return Answer{}, err
		}
		return Answer{}, silent(err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	question, err := json.Marshal(Question{PID: pid})
	if err != nil {
		return Answer{}, fmt.Errorf("encode: %w", err)
	}
	if _, err = conn.Write(question); err == nil {
		err = conn.CloseWrite()
	}
	var text []byte
	if err == nil {
		text, err = io.ReadAll(io.LimitReader(conn, MaxAnswer+1))
	}
	switch {
	case ctx.Err() != nil:
		return Answer{}, silent(ctx.Err())
	case err != nil:
		return Answer{}, silent(err)
	case len(text) == 0:
		return Answer{}, silent(io.ErrUnexpectedEOF)
	}
	var answer Answer
	limits := strict.JSONLimits{Bytes: MaxAnswer, Depth: 4}
	if err := strict.DecodeJSON(text, limits, &answer); err != nil {
		return Answer{}, silent(fmt.Errorf("answer: %w", err))
	}
	if answer.PID != pid {
		return Answer{}, silent(fmt.Errorf("the answer is about process %d, want %d", answer.PID, pid))
	}
	return answer, nil
}

// silent: without the workload attestor nothing can be said about what it gives.
func silent(err error) error {
	return &attestd.UndecidedError{
		Class: attestd.ClassStoreUnavailable, Check: "workload-attestor", Err: err,
		Hint: "look whether SPIRE's agent runs with attestd's workload attestor and this runtime_dir",
	}
}
