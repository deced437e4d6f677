package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/spiretest/asked"
	"github.com/attestd/attestd/internal/spiretest/stage"
)

// The names in the story.
const (
	payments = "spiffe://" + stage.TrustDomain + "/payments"
	audience = "shop"
	// soon is how long a part may take to notice something, on a machine with much else to do.
	soon = 30 * time.Second
)

// story is what the scenes know of each other.
type story struct {
	*page
	programs stage.Programs
	root     string // of the repository
	folder   string
	site     *stage.Site
	machine  *stage.Machine
	workload *stage.Workload
	node     string // the SPIFFE ID of the node's agent
	risk     int    // of the node as it should be

	decisions *stage.Decisions
}

// scene is one thing that is shown. It returns what was true in the end.
type scene struct {
	title string
	play  func(*story, context.Context) (string, error)
}

var scenes = []scene{
	{"A machine boots, and somebody writes down what it is", (*story).arrive},
	{"attestd and SPIRE start", (*story).open},
	{"The node shows its TPM's evidence, and SPIRE certifies it", (*story).attest},
	{"A workload gets identities that say how far its machine is to be trusted", (*story).identify},
	{"Something is measured that nobody knows", (*story).tamper},
	{"It boots again as it should", (*story).recover},
	{"An alert: the node is quarantined", (*story).hold},
	{"It comes back: a new boot, and another person", (*story).release},
	{"An agent calls a tool through nginx, and misbehaves", (*story).decide},
}

// tell plays the scenes; the first that is not as it must be ends the story.
func (s *story) tell(ctx context.Context) error {
	for i, one := range scenes {
		s.title(i+1, len(scenes), one.title)
		said, err := one.play(s, ctx)
		if err != nil {
			return fmt.Errorf("scene %d, %q: %w", i+1, one.title, err)
		}
		s.done(said)
	}
	return nil
}

// attestd runs a command of attestd's for a page of this width, beside what it is quoted after.
func (s *story) attestd(ctx context.Context, words ...string) (string, error) {
	command := exec.CommandContext(ctx, s.programs.Attestd, words...) //nolint:gosec // built here
	command.Env = append(os.Environ(), "ATTESTD_SERVER="+s.site.Address(), "HOME="+s.folder,
		fmt.Sprintf("COLUMNS=%d", width-7))
	return stage.Say(ctx, command)
}

// quoted runs a command of attestd's and prints it with its answer, which must end with that exit code.
func (s *story) quoted(ctx context.Context, code int, words ...string) (string, error) {
	answer, err := s.attestd(ctx, words...)
	var exit *exec.ExitError
	switch {
	case err == nil && code != 0:
		return answer, fmt.Errorf("attestd %s: it is done, want exit code %d", strings.Join(words, " "), code)
	case err != nil && (!errors.As(err, &exit) || exit.ExitCode() != code):
		return answer, err
	}
	shown := answer
	if err != nil && answer == "" {
		_, shown, _ = strings.Cut(err.Error(), "exit status "+fmt.Sprint(code)+": ")
	}
	s.quote(s.short("attestd "+strings.Join(words, " ")), shown)
	return answer, nil
}

// short writes the node's name and the folder as people do in a text.
func (s *story) short(text string) string {
	text = strings.ReplaceAll(text, s.folder, "..")
	if s.node != "" {
		text = strings.ReplaceAll(text, s.node, shortID(s.node))
	}
	return text
}

// shortID cuts the digest at the end of a SPIFFE ID.
func shortID(id string) string {
	if at := strings.LastIndexByte(id, '/') + 9; at < len(id) {
		return id[:at] + ".."
	}
	return id
}

// subject is what attestd knows of the node.
func (s *story) subject(ctx context.Context) (wire.Subject, error) {
	var out wire.Subject
	said, err := s.attestd(ctx, "subject", "show", s.node, "-o", "json")
	if err == nil {
		err = json.Unmarshal([]byte(said), &out)
	}
	return out, err
}

// agent is what SPIRE knows of the node; nil where it knows none.
func (s *story) agent(ctx context.Context) (*stage.Agent, error) {
	agents, err := s.site.Agents(ctx)
	if err != nil {
		return nil, err
	}
	for _, one := range agents {
		if strings.Contains(one.ID, "/spire/agent/attestd/") && (s.node == "" || one.ID == s.node) {
			return &one, nil
		}
	}
	return nil, nil
}

// refused asks until the workload gets no JWT-SVID; each time for the audience that it had one for, so
// that one out of the agent's cache would be seen. It returns the text of the refusal.
func (s *story) refused(ctx context.Context) (asked.Answer, error) {
	var last asked.Answer
	err := stage.Until(ctx, soon, func() error {
		answer, err := s.workload.Ask(ctx, asked.Question{
			Do: asked.JWT, Audience: audience, Within: 2 * time.Second,
		})
		if last = answer; err == nil && answer.OK {
			err = errors.New("the workload still gets JWT-SVIDs")
		}
		return err
	})
	return last, err
}

// granted waits until the workload has a JWT-SVID. The agent is started again when it ends, as a unit
// with Restart=always has it.
func (s *story) granted(ctx context.Context) (asked.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, stage.ReadyLimit)
	defer cancel()
	for {
		select {
		case <-s.site.Agent().Ended():
			if err := s.site.StartAgent(); err != nil {
				return asked.Answer{}, err
			}
		default:
		}
		answer, err := s.workload.Ask(ctx, asked.Question{
			Do: asked.JWT, Audience: audience, Persist: true, Judge: true, Within: time.Second,
		})
		if err != nil || answer.OK {
			return answer, err
		}
		if ctx.Err() != nil {
			return answer, fmt.Errorf("no JWT-SVID: %s", answer.Error)
		}
	}
}

// ended wants the agent to end by itself, as it does when SPIRE certifies it no more.
func (s *story) ended(ctx context.Context) error {
	select {
	case <-s.site.Agent().Ended():
		return nil
	case <-time.After(soon):
		return errors.New("the agent of a node that is refused goes on")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// bob is where the second operator's certificate is.
func (s *story) bob() string { return filepath.Join(s.folder, "bob") }
