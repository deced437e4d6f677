package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/report"
)

func newAudit(a *app) *cobra.Command {
	command := &cobra.Command{
		Use:   "audit",
		Short: "Read, export and verify the audit log",
		Long: `The audit log has an entry for everything that operators asked and for every change of state. It is
a transparency log: a hash tree with signed checkpoints, so that entries cannot be changed or taken
away unseen.`,
		Args: func(command *cobra.Command, args []string) error { return unknownCommand(command, args) },
		RunE: func(command *cobra.Command, _ []string) error { return command.Help() },
	}
	command.AddCommand(newAuditVerify(a), newAuditExport(a), newAuditList(a))
	return command
}

// auditFlags say which log is meant and by what it is known.
type auditFlags struct {
	server      *adminServer
	key         string
	checkpoints []string
}

func newAuditVerify(a *app) *cobra.Command {
	var flags auditFlags
	command := &cobra.Command{
		Use:   "verify [DIR]",
		Short: "Show that no entry of the log was changed or taken away",
		Long: `Verify reads every entry of the log and compares it with its signed checkpoint. With DIR it reads
an exported log and needs no network; without, it asks the server. Where the log is not what was
signed, it names the first entry that is wrong and exits 3.

A log that was cut, and its checkpoint put back with it, is whole in itself: a checkpoint that was
kept elsewhere tells, with --checkpoint. The key that comes with a log shows that nothing broke; who
wrote it shows --key, with the key from state_dir/audit.key.pub of the server.`,
		Example: `  attestd audit verify
  attestd audit verify /backup/audit --key audit.key.pub
  attestd audit verify /backup/audit --checkpoint /elsewhere/checkpoint`,
		Args: arguments(0, 1, "one DIR at most"),
		RunE: func(command *cobra.Command, args []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			log, err := a.openLog(command.Context(), flags, args)
			if err != nil {
				return err
			}
			return a.verifyLog(command.Context(), log, form)
		},
	}
	flags.server = a.adminFlags(command)
	command.Flags().StringVar(&flags.key, "key", "", "`FILE` with the public key of the log")
	command.Flags().StringArrayVar(&flags.checkpoints, "checkpoint", nil,
		"`FILE` with a checkpoint that was kept elsewhere; may be given again")
	return command
}

func newAuditExport(a *app) *cobra.Command {
	var flags auditFlags
	command := &cobra.Command{
		Use:   "export DIR",
		Short: "Write the log into a folder, as C2SP tlog-tiles",
		Long: `Export writes every entry, the hash tree and the newest checkpoint into DIR. Where DIR has an
earlier export, the log must begin with it: an entry that differs is named, and nothing is
overwritten. Keep DIR away from the server: it is what a server that was broken into cannot change.`,
		Example: `  attestd audit export /backup/audit
  attestd audit export /backup/audit --key audit.key.pub`,
		Args: arguments(1, 1, "one DIR"),
		RunE: func(command *cobra.Command, args []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			log, err := a.openLog(command.Context(), flags, nil)
			if err != nil {
				return err
			}
			return a.exportLog(command.Context(), log, args[0], form)
		},
	}
	flags.server = a.adminFlags(command)
	command.Flags().StringVar(&flags.key, "key", "", "`FILE` with the public key of the log")
	return command
}

func newAuditList(a *app) *cobra.Command {
	var flags auditFlags
	var start int64
	var limit int
	command := &cobra.Command{
		Use:   "ls [DIR]",
		Short: "List entries of the log",
		Long: `Ls lists the newest entries, or with --start those from a number on. With DIR it reads an exported
log. It shows what the log says; that the log is whole shows attestd audit verify.`,
		Example: `  attestd audit ls
  attestd audit ls --start 0 --limit 1000 -o json
  attestd audit ls /backup/audit`,
		Args: arguments(0, 1, "one DIR at most"),
		RunE: func(command *cobra.Command, args []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			if limit < 1 || limit > mostEntries {
				return usagef("give 1 to 1000", "--limit is %d", limit)
			}
			if start < -1 {
				return usagef("give 0 for the first entry", "--start is %d", start)
			}
			log, err := a.openLog(command.Context(), flags, args)
			if err != nil {
				return err
			}
			return a.listLog(command.Context(), log, start, limit, form)
		},
	}
	flags.server = a.adminFlags(command)
	command.Flags().StringVar(&flags.key, "key", "", "`FILE` with the public key of the log")
	command.Flags().Int64Var(&start, "start", -1, "`NUMBER` of the first entry; -1 for the newest")
	command.Flags().IntVar(&limit, "limit", 50, "`COUNT` of entries, at most 1000")
	return command
}

// mostEntries is the largest page that a server gives.
const mostEntries = 1000

// openedLog is a log with the checkpoint that it comes with and what it is compared with.
type openedLog struct {
	source audit.Source
	name   string
	signed string
	// key is the public key, pinned says that it did not come with the log.
	key        string
	pinned     bool
	checkpoint audit.Checkpoint
	// kept are the checkpoints from elsewhere.
	kept []audit.Checkpoint
}

// asks reads a page of the log from a server.
type asks interface {
	AuditEntries(ctx context.Context, start int64, limit int) (wire.AuditEntries, error)
}

// openLog opens the log in a folder or of a server, and the checkpoints it is held against.
func (a *app) openLog(ctx context.Context, flags auditFlags, args []string) (openedLog, error) {
	var log openedLog
	if len(args) == 1 {
		signed, key, err := audit.ReadFolder(args[0])
		if errors.Is(err, fs.ErrNotExist) {
			return log, usagef("attestd audit export DIR writes one", "%q holds no exported audit log",
				attestd.Excerpt(args[0], 200))
		}
		if err != nil {
			return log, hinted(err, "check that DIR is an exported audit log that may be read")
		}
		log = openedLog{source: audit.OpenFolder(args[0]), name: args[0], signed: signed, key: key}
	} else {
		asking, err := a.admin(flags.server)
		if err != nil {
			return log, err
		}
		page, err := asking.AuditEntries(ctx, 0, 1)
		if err != nil {
			return log, err
		}
		log = openedLog{
			source: &served{asking: asking}, name: "the server's log", signed: page.Checkpoint, key: page.Key,
		}
	}
	return log, a.openCheckpoints(&log, flags)
}

func (a *app) openCheckpoints(log *openedLog, flags auditFlags) (err error) {
	if flags.key != "" {
		key, err := a.read("public key", flags.key, maxKey)
		if err != nil {
			return err
		}
		log.key, log.pinned = strings.TrimSpace(string(key)), true
	}
	if log.key == "" {
		return usagef("give the server's state_dir/audit.key.pub with --key", "the log came without its key")
	}
	if log.checkpoint, err = audit.OpenCheckpoint(log.signed, log.key); err != nil {
		return notSigned(log.name, err)
	}
	for _, path := range flags.checkpoints {
		signed, err := a.read("checkpoint", path, maxKey)
		if err != nil {
			return err
		}
		kept, err := audit.OpenCheckpoint(string(signed), log.key)
		if err != nil {
			return notSigned(path, err)
		}
		log.kept = append(log.kept, kept)
	}
	return nil
}

// maxKey is the largest key or checkpoint that is read.
const maxKey = 64 << 10

// notSigned says that a checkpoint is not by the key: an answer, and a bad one.
func notSigned(what string, err error) error {
	return withClass(attestd.ClassConflict, usagef(
		"compare the key with state_dir/audit.key.pub of the server; if it is the right one, the checkpoint was made up",
		"%s: %w", attestd.Excerpt(what, 200), err))
}

// served is a server's log as a source. Leaves are asked for by the largest page.
type served struct {
	asking asks
	start  int64
	page   [][]byte
}

func (s *served) Leaves(ctx context.Context, start int64, limit int) ([][]byte, error) {
	if start < s.start || start >= s.start+int64(len(s.page)) {
		page, err := s.asking.AuditEntries(ctx, start, mostEntries)
		if err != nil {
			return nil, err
		}
		if page.Start != start || len(page.Leaves) == 0 {
			return nil, audit.ErrAbsent
		}
		s.start, s.page = start, page.Leaves
	}
	from := int(start - s.start)
	return s.page[from:min(len(s.page), from+limit)], nil
}

// Hashes has none: what a server says about its tiles would be believed by nobody.
func (s *served) Hashes(context.Context, int, int64, int) ([]byte, error) { return nil, nil }

func (a *app) verifyLog(ctx context.Context, log openedLog, form string) error {
	err := audit.Verify(ctx, log.source, append(log.kept, log.checkpoint)...)
	var found *audit.TamperError
	if err != nil && !errors.As(err, &found) {
		return hinted(err, "look whether the log may be read, then verify again")
	}
	if found != nil {
		a.exit = exitRejected
	}
	answer := verifiedLog(log, found)
	if form == formJSON {
		return report.JSON(a.out, answer)
	}
	return answer.text(log).Text(a.out, a.page())
}

func (a *app) exportLog(ctx context.Context, log openedLog, folder, form string) error {
	_, err := audit.Export(ctx, log.source, log.signed, log.key, folder)
	var found *audit.TamperError
	var onDisk *os.PathError
	switch {
	case errors.As(err, &found):
		a.exit = exitRejected
	case errors.As(err, &onDisk):
		return fileError("export", folder, err)
	case err != nil:
		return hinted(err, "give an empty folder, or the earlier export of the same log")
	}
	answer := verifiedLog(log, found)
	answer.Schema, answer.Folder = "attestd.audit-export.v1", folder
	if form == formJSON {
		return report.JSON(a.out, answer)
	}
	return answer.text(log).Text(a.out, a.page())
}
