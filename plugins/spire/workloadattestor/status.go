package workloadattestor

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/attestd/attestd/internal/strict"
	"github.com/attestd/attestd/plugins/spire/keysocket/local"
	"github.com/attestd/attestd/plugins/spire/workloadattestor/ask"
)

const (
	// questions is how many are answered at once, and questionTime how long one may take.
	questions    = 8
	questionTime = 8 * time.Second
)

// serveQuestions answers people on this node until ctx ends or the listener is closed, and returns when
// the last answer is given.
func serveQuestions(
	ctx context.Context, listener *local.Listener,
	answer func(context.Context, ask.Question) ask.Answer,
) {
	var work sync.WaitGroup
	defer work.Wait()
	slots := make(chan struct{}, questions)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		conn, err := listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed), ctx.Err() != nil:
			if err == nil {
				_ = conn.Close()
			}
			return
		case err != nil: // out of descriptors, mostly: it passes
			<-slots
			sleep(ctx, 100*time.Millisecond)
			continue
		}
		work.Go(func() {
			defer func() { <-slots }()
			defer conn.Close()
			answerOne(ctx, conn, answer)
		})
	}
}

func answerOne(
	ctx context.Context, conn *local.Conn, answer func(context.Context, ask.Question) ask.Answer,
) {
	ctx, cancel := context.WithTimeout(ctx, questionTime)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	text, err := io.ReadAll(io.LimitReader(conn, ask.MaxQuestion+1))
	if err != nil {
		return
	}
	var question ask.Question
	limits := strict.JSONLimits{Bytes: ask.MaxQuestion, Depth: 1}
	if err := strict.DecodeJSON(text, limits, &question); err != nil {
		return
	}
	if reply, err := json.Marshal(answer(ctx, question)); err == nil {
		_, _ = conn.Write(reply)
	}
}
