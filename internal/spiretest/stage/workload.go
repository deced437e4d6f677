package stage

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"

	"github.com/attestd/attestd/internal/spiretest/asked"
)

// Workload is a program on a node that knows nothing but the Workload API.
type Workload struct {
	process *Process
	input   io.Writer
	mu      sync.Mutex
	next    int
	waits   map[int]chan asked.Answer
}

func startWorkload(command *exec.Cmd) (*Workload, error) {
	w := &Workload{waits: map[int]chan asked.Answer{}}
	var err error
	if w.input, err = command.StdinPipe(); err != nil {
		return nil, err
	}
	output, into := io.Pipe()
	command.Stdout = into
	if w.process, err = Start("workload", command); err != nil {
		return nil, err
	}
	go w.listen(output)
	return w, nil
}

func (w *Workload) listen(output io.Reader) {
	lines := bufio.NewScanner(output)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var answer asked.Answer
		if json.Unmarshal(lines.Bytes(), &answer) != nil {
			continue // the question stays without an answer, which whoever asked it sees
		}
		w.mu.Lock()
		waits := w.waits[answer.Number]
		delete(w.waits, answer.Number)
		w.mu.Unlock()
		if waits != nil {
			waits <- answer
		}
	}
}

// Ask asks one question and waits for its answer, which may be a refusal.
func (w *Workload) Ask(ctx context.Context, question asked.Question) (asked.Answer, error) {
	answered := make(chan asked.Answer, 1)
	w.mu.Lock()
	w.next++
	question.Number = w.next
	w.waits[question.Number] = answered
	w.mu.Unlock()
	line, err := json.Marshal(question)
	if err != nil {
		return asked.Answer{}, err
	}
	if _, err := w.input.Write(append(line, '\n')); err != nil {
		return asked.Answer{}, err
	}
	select {
	case answer := <-answered:
		return answer, nil
	case <-w.process.Ended():
		return asked.Answer{}, fmt.Errorf("the workload has ended: %s", w.process.Tail(500))
	case <-ctx.Done():
		return asked.Answer{}, errors.Join(ctx.Err(), errors.New("the workload does not answer"))
	}
}
