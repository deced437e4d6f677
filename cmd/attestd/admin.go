package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/client"
	"github.com/attestd/attestd/internal/report"
)

// adminCommands are those that ask a running attestd.
func adminCommands(a *app) []*cobra.Command {
	return []*cobra.Command{
		newStatus(a), newWhy(a), newQuarantine(a), newRelease(a), newRevoke(a), newSubject(a),
		newEnroll(a), newReappraise(a), newReattest(a), newOperator(a), newLogin(a), newKeys(a), newLogLevel(a),
		newSupport(a), newDecision(a), newPolicy(a),
	}
}

// adminServer says which attestd a command asks, and as whom.
type adminServer struct {
	server, tokenFile, identity string
	timeout                     time.Duration
}

// adminFlags gives a command the flags that say whom to ask. With them a test holds every command that
// asks: one server, one identity, one way to be told what is wrong.
func (a *app) adminFlags(command *cobra.Command) *adminServer {
	var s adminServer
	flags := command.Flags()
	flags.StringVar(&s.server, "server", "", "`ADDRESS` of attestd: unix:PATH or https://HOST:PORT "+
		"(default: ATTESTD_SERVER, where you logged in, or its usual socket)")
	flags.StringVar(&s.tokenFile, "token-file", "", "`FILE` with a token (default: admin.token beside the socket)")
	flags.StringVar(&s.identity, "identity", "", "`DIR` of your certificate (default: ~/.config/attestd)")
	flags.DurationVar(&s.timeout, "timeout", 30*time.Second, "how `LONG` to wait for an answer")
	return &s
}

// admin returns the client of the attestd that is meant: --server, else ATTESTD_SERVER, else the one
// that this user logged in at, else the usual socket of this machine.
func (a *app) admin(s *adminServer) (*client.Client, error) {
	if s.timeout <= 0 {
		return nil, usagef("give it like 30s", "--timeout is %s", s.timeout)
	}
	folder, err := a.identity(s)
	if err != nil && s.named(a) == "" {
		folder, err = "", nil // no home and no server named: the socket needs neither
	}
	if err != nil {
		return nil, err
	}
	server := s.named(a)
	if server == "" && folder != "" {
		server = client.ServerOf(folder)
	}
	if server == "" {
		server = client.DefaultServer
	}
	return client.New(client.Config{
		Server: server, TokenFile: s.tokenFile, Identity: folder, Timeout: s.timeout, Now: a.now,
	})
}

// asking returns the client, and the form of an answer for people or programs.
func (a *app) asking(s *adminServer) (asking *client.Client, form string, err error) {
	if form, err = a.form(formText, formJSON); err != nil {
		return nil, "", err
	}
	asking, err = a.admin(s)
	return asking, form, err
}

// named returns the server that this command line or its environment names.
func (s *adminServer) named(a *app) string {
	if s.server != "" {
		return s.server
	}
	return a.getenv("ATTESTD_SERVER")
}

func (a *app) identity(s *adminServer) (string, error) {
	if s.identity != "" {
		return s.identity, nil
	}
	return client.DefaultIdentity(a.getenv)
}

// completeIDs offers the ids of subjects that begin as the word does. Nothing is said where nobody
// answers: a completion that prints an error spoils the line that is being typed.
func (a *app) completeIDs(
	s *adminServer,
) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(command *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
		const directive = cobra.ShellCompDirectiveNoFileComp
		if len(args) > 0 {
			return nil, directive
		}
		asked := *s
		asked.timeout = 250 * time.Millisecond
		asking, err := a.admin(&asked)
		if err != nil {
			return nil, directive
		}
		ctx, cancel := context.WithTimeout(command.Context(), asked.timeout)
		defer cancel()
		page, err := asking.Subjects(ctx, client.Query{Text: start, Limit: 50})
		if err != nil {
			return nil, directive
		}
		var ids []string
		for _, one := range page.Subjects {
			ids = append(ids, cobra.CompletionWithDesc(string(one.ID),
				one.State.String()+", "+attestd.Excerpt(one.Tenant, 40)))
		}
		return ids, directive
	}
}

// longSegment is the length from which on the last part of an id is hardware's name, which nobody reads
// to its end; brief is how much of it tells machines apart.
const (
	longSegment = 32
	brief       = 12
)

// shortID is an id as a page shows it: the hardware's name cut. JSON has all of it.
func shortID(id string) string {
	at := strings.LastIndexByte(id, '/') + 1
	if len(id)-at < longSegment {
		return id
	}
	return id[:at+brief] + ".."
}

// typable is a subject as the next command has it: by its id, or where that is too long for a line by
// the beginning of its instance's value, which every command takes in its place.
func typable(id, instance string) string {
	if len(shortID(id)) == len(id) || len(instance) < brief {
		return report.QuoteArg(id)
	}
	return report.QuoteArg(instance[:min(len(instance), 16)])
}

// look is the command that shows a subject of which the id alone is known.
func look(verb, id string) string {
	at := strings.LastIndexByte(id, '/') + 1
	if len(shortID(id)) == len(id) {
		return verb + " " + report.QuoteArg(id)
	}
	return "attestd subject ls --text " + report.QuoteArg(id[at:at+brief])
}
