package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/client"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/enrol"
	"github.com/attestd/attestd/internal/report"
)

func newEnroll(a *app) *cobra.Command {
	return nounGroup("enroll", "Whose a machine is: import lists, approve, deny, one-time tokens",
		newEnrollImport(a), newEnrollList(a), newEnrollApprove(a), newEnrollDeny(a), newEnrollRemove(a),
		newEnrollToken(a))
}

// defaultTenant is the tenant of an attestd that has but one.
const defaultTenant = "default"

func newEnrollImport(a *app) *cobra.Command {
	var server *adminServer
	ask := wire.Import{}
	var expires string
	command := &cobra.Command{
		Use:   "import FILE",
		Short: "Enrol the machines of a list",
		Long: `Import enrols every machine of a list for a tenant, or where anything is wrong with the list
none, and says everything that is wrong (exit code 3). FILE is - for standard input.

Kinds of lists:
  csv                    columns kind, value, and if you like label and expires_at
  ek-certificates        certificates of TPMs' endorsement keys, PEM or DER
  platform-certificates  TCG platform certificates together with those EK certificates
  aws                    answer of aws ec2 describe-instances, or of aws iam list-roles
  gce                    answer of gcloud compute instances list --format=json
  azure                  answer of az vm list

A list is your word: who signed the certificates in it is not looked at.`,
		Example: `  attestd enroll import rack-3.csv --dry-run
  attestd enroll import tpms.pem --kind ek-certificates --tenant blue
  attestd enroll import instances.json --kind aws`,
		Args: arguments(1, 1, "one FILE"),
		RunE: func(command *cobra.Command, args []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			if ask.Kind, err = listKind(ask.Kind, args[0]); err != nil {
				return err
			}
			if ask.ExpiresAt, err = parseExpires(expires); err != nil {
				return err
			}
			if ask.Document, err = a.read("list", args[0], enrol.MaxDocument); err != nil {
				return err
			}
			ask.Source = listName(args[0])
			asking, err := a.admin(server)
			if err != nil {
				return err
			}
			done, err := asking.Import(command.Context(), ask)
			if err != nil {
				return err
			}
			if len(done.Problems) > 0 {
				a.exit = exitRejected
			}
			if form == formJSON {
				return report.JSON(a.out, done)
			}
			return importedText(done, ask, again(command, "dry-run")).Text(a.out, a.page())
		},
	}
	server = a.adminFlags(command)
	flags := command.Flags()
	flags.StringVar(&ask.Kind, "kind", "", "`KIND` of list; a name that ends in .csv needs none")
	flags.StringVar(&ask.Tenant, "tenant", defaultTenant, "`TENANT` whose machines they are")
	flags.StringVar(&expires, "expires", "", "`TIME` at which it ends, like 2027-01-31T00:00:00Z; never by default")
	flags.BoolVar(&ask.DryRun, "dry-run", false, "say what would change, and change nothing")
	complete(command, "kind", enrol.Lists()...)
	return command
}

// listKind returns the kind of a list: as given, or as the name of the file says beyond doubt.
func listKind(kind, path string) (string, error) {
	if kind == "" && strings.EqualFold(filepath.Ext(path), ".csv") {
		return enrol.ListCSV, nil
	}
	if kind == "" {
		return "", usagef("add --kind and one of: "+strings.Join(enrol.Lists(), ", "),
			"what kind of list %q is, its name does not say", attestd.Excerpt(path, 200))
	}
	return kind, knownNames("kind", []string{kind}, enrol.Lists())
}

// listName is how a list stands in the audit log: its file's name, without the folders.
func listName(path string) string {
	if path == "-" {
		return "standard input"
	}
	return attestd.Excerpt(filepath.Base(path), 60)
}

func parseExpires(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil || at.IsZero() {
		return time.Time{}, usagef("write it like 2027-01-31T00:00:00Z",
			"--expires %q is not a time of RFC 3339", attestd.Excerpt(text, 60))
	}
	return at.UTC(), nil
}

var statusNames = []string{"pending", "approved", "denied"}

func newEnrollList(a *app) *cobra.Command {
	var server *adminServer
	var query client.Query
	var pending bool
	command := &cobra.Command{
		Use:   "ls",
		Short: "List machines that are enrolled, denied or waiting",
		Long: `Ls lists machines by key, a page at a time; the last line is the command for the next page.
--pending lists those that gave authentic evidence, are nobody's, and wait for approval.`,
		Example: `  attestd enroll ls --pending
  attestd enroll ls --status approved --text rack-3
  attestd enroll ls --tenant blue -o json`,
		Args: arguments(0, 0, ""),
		RunE: func(command *cobra.Command, _ []string) error {
			form, err := a.form(formText, formJSON)
			switch {
			case err != nil:
				return err
			case pending && query.Status != "" && query.Status != "pending":
				return usagef("give one of the two", "--pending and --status %s contradict each other",
					attestd.Excerpt(query.Status, 40))
			case query.Limit < 1 || query.Limit > 1000:
				return usagef("give a number from 1 to 1000", "--limit is %d", query.Limit)
			case pending:
				query.Status = "pending"
			}
			if query.Status != "" {
				if err := knownNames("status", []string{query.Status}, statusNames); err != nil {
					return err
				}
			}
			asking, err := a.admin(server)
			if err != nil {
				return err
			}
			page, err := asking.Enrolments(command.Context(), query)
			if err != nil {
				return err
			}
			if form == formJSON {
				return report.JSON(a.out, page)
			}
			return enrolmentsText(page, nextPage(command, page.Next), a.now()).Text(a.out, a.page())
		},
	}
	server = a.adminFlags(command)
	flags := command.Flags()
	flags.BoolVar(&pending, "pending", false, "those that wait for approval")
	flags.StringVar(&query.Status, "status", "", "`STATUS`: "+strings.Join(statusNames, ", "))
	flags.StringVar(&query.Text, "text", "", "`PART` of the key or the label")
	flags.StringVar(&query.Tenant, "tenant", "", "one `TENANT` alone")
	flags.StringVar(&query.After, "after", "", "go on behind this `KEY`")
	flags.IntVar(&query.Limit, "limit", 50, "most `LINES`, 1 to 1000")
	complete(command, "status", statusNames...)
	return command
}

func newEnrollToken(a *app) *cobra.Command {
	var server *adminServer
	ask := wire.TokenRequest{}
	var lifetime time.Duration
	var out string
	command := &cobra.Command{
		Use:   "token",
		Short: "Make a one-time token that enrols the machine that hands it in",
		Long: `Token makes a token and prints it, once; with --out it goes to a file that only you can read, and
not to the terminal. The machine hands it in beside evidence that is accepted
(attestd evidence FORMAT --server ADDRESS --enrolment-token FILE) and is enrolled in the same step.
After that, or when its time is over, the token is worth nothing.

Whoever holds the token can enrol a machine of their own: bring it to the machine on a way that
only that machine reads.`,
		Example: `  attestd enroll token --format tpm --out rack-3-host-7.token
  attestd enroll token --format tpm --format nitrotpm --tenant blue --lifetime 15m`,
		Args: arguments(0, 0, ""),
		RunE: func(command *cobra.Command, _ []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			if len(ask.Formats) == 0 {
				return usagef("add --format and one of: "+strings.Join(formatNames(), ", "), "no --format was given")
			}
			if err := knownNames("format", ask.Formats, formatNames()); err != nil {
				return err
			}
			if lifetime < time.Minute || lifetime > 7*24*time.Hour || lifetime%time.Second != 0 {
				return usagef("give whole seconds, like 15m", "--lifetime is %s, want 1m to 168h", lifetime)
			}
			ask.Seconds = int(lifetime / time.Second)
			file, err := createSecret(out)
			if err != nil {
				return err
			}
			made, err := a.makeToken(command, server, ask)
			if err == nil && file != nil {
				if err = writeToken(file, made.Token); err == nil {
					made.Token = ""
				}
			}
			if err != nil {
				discard(file)
				return err
			}
			if form == formJSON {
				return report.JSON(a.out, made)
			}
			return tokenText(made, out, a.now()).Text(a.out, a.page())
		},
	}
	server = a.adminFlags(command)
	flags := command.Flags()
	flags.StringSliceVar(&ask.Formats, "format", nil, "`FORMAT` of the evidence that it is for; may be repeated")
	flags.StringVar(&ask.Tenant, "tenant", defaultTenant, "`TENANT` whose machine it will be")
	flags.StringVar(&ask.Label, "label", "", "`NAME` that you call the machine")
	flags.DurationVar(&lifetime, "lifetime", time.Hour, "how `LONG` it can be handed in, at most 168h")
	flags.StringVar(&out, "out", "", "new `FILE` for the token, readable for you alone")
	complete(command, "format", formatNames()...)
	return command
}

func (a *app) makeToken(
	command *cobra.Command, server *adminServer, ask wire.TokenRequest,
) (wire.Token, error) {
	asking, err := a.admin(server)
	if err != nil {
		return wire.Token{}, err
	}
	return asking.EnrolmentToken(command.Context(), ask)
}

// createSecret makes the file before the token is made: a token that cannot be kept is lost.
func createSecret(path string) (*os.File, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // no file was asked for
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil, usagef("name a file that is not there yet", "--out %q exists", attestd.Excerpt(path, 200))
	case err != nil:
		return nil, fileError("token file", path, err)
	}
	return file, nil
}

func writeToken(file *os.File, secret string) error {
	_, err := file.WriteString(secret + "\n")
	if err = errors.Join(err, file.Close()); err != nil {
		return fileError("token file", file.Name(), err)
	}
	return nil
}

// discard removes a file that no token came into.
func discard(file *os.File) {
	if file != nil {
		_ = file.Close()
		_ = os.Remove(file.Name()) // it is empty, and the command failed already
	}
}
