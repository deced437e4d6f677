package main

import (
	"bufio"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd/internal/admin/client"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/report"
)

// maxLoginToken bounds the line with a token.
const maxLoginToken = 4 << 10

func newLogin(a *app) *cobra.Command {
	var server *adminServer
	command := &cobra.Command{
		Use:   "login",
		Short: "Exchange a one-time token for a certificate of your own",
		Long: `Login reads the one-time token that attestd operator add printed, from standard input or from
--token-file, makes a key on this machine and has the server certify it. The token names the
server's authority: to another server it is not sent. Key, certificate and address are kept in
--identity, and every other command finds them there.`,
		Example: `  attestd login --server https://attestd.example.org:8422
  attestd login --server https://attestd.example.org:8422 --token-file token.txt`,
		Args: arguments(0, 0, ""),
		RunE: func(command *cobra.Command, _ []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			address := server.named(a)
			if address == "" {
				return usagef("give it like https://attestd.example.org:8422", "no --server was given")
			}
			token, err := a.loginToken(server.tokenFile)
			if err != nil {
				return err
			}
			folder, err := a.identity(server)
			if err != nil {
				return err
			}
			asking, err := client.New(client.Config{
				Server: address, LoginToken: token, Timeout: server.timeout, Now: a.now,
			})
			if err != nil {
				return err
			}
			done, err := asking.Login(command.Context(), folder)
			if err != nil {
				return err
			}
			if form == formJSON {
				return report.JSON(a.out, done)
			}
			return report.Blocks{
				Lead: []string{"LOGGED IN", done.Name, "until " + when(done.NotAfter, a.now())}, Good: true,
				Blocks: []report.Block{{Rows: [][]string{{"server", address}, {"identity", folder}}}},
				Next:   "attestd operator whoami",
			}.Text(a.out, a.page())
		},
	}
	server = a.adminFlags(command)
	return command
}

// loginToken reads the token: never from a flag or the environment, where others could see it. A token
// is longer than a page is wide; one that was pasted in two lines is put together again.
func (a *app) loginToken(path string) (string, error) {
	if path != "" {
		data, err := a.read("token", path, maxLoginToken)
		return strings.Join(strings.Fields(string(data)), ""), err
	}
	if !a.flags.quiet {
		_ = report.Remark(a.err, report.Page{Width: a.page().Width}, "token", "paste it, then press Enter")
	}
	token := ""
	lines := bufio.NewScanner(io.LimitReader(a.in, maxLoginToken))
	for lines.Scan() {
		token += strings.Join(strings.Fields(lines.Text()), "")
		if _, err := operator.ParseLoginToken(token); err == nil || strings.TrimSpace(lines.Text()) == "" {
			break
		}
	}
	const hint = "give the token on standard input or with --token-file"
	if err := lines.Err(); err != nil {
		return "", usagef(hint, "token: %w", err)
	}
	if token == "" {
		return "", usagef(hint, "no token was given")
	}
	return token, nil
}
