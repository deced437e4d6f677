package worker

import "fmt"

// Reason says how a worker failed.
type Reason string

// Reasons for which a request gets an error in place of a verdict.
const (
	ReasonDied    Reason = "died"    // panicked, was killed, or broke the filter
	ReasonTimeout Reason = "timeout" // did not answer in time
	ReasonGarbage Reason = "garbage" // answered what is no verdict on what was sent
	ReasonBug     Reason = "bug"     // said that its judge failed
	ReasonStart   Reason = "start"   // could not be started, built or locked
	ReasonClosed  Reason = "closed"  // the pool was closed
)

// Fault is a bug of ours or the end of a worker: no answer about evidence, and never a verdict. Its
// class is INTERNAL at every edge, but for ReasonTimeout: that one is a context.DeadlineExceeded, which
// callers are told to ask again for, as of a judge in process.
type Fault struct {
	Reason Reason
	// Err is the cause. It may quote what the worker said and belongs into the log, not to callers.
	Err error
}

// Error names the reason and the cause.
func (f *Fault) Error() string { return fmt.Sprintf("worker: %s: %v", f.Reason, f.Err) }

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.Err }

func fault(reason Reason, err error) *Fault { return &Fault{Reason: reason, Err: err} }
