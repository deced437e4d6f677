package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/internal/report"
	"github.com/attestd/attestd/verifiers/all"
)

// version and commit are set by the linker for a release; otherwise the build's own record is shown.
var version, commit string

const versionSchema = "attestd.version.v1"

type versionDoc struct {
	Schema   string              `json:"schema"`
	Version  string              `json:"version"`
	Commit   string              `json:"commit"`
	Built    string              `json:"built"`
	Go       string              `json:"go"`
	Platform string              `json:"platform"`
	Formats  []attestd.Format    `json:"formats"`
	Roots    []versionRoot       `json:"roots"`
	Policies []attestd.PolicyRef `json:"policies"`
}

type versionRoot struct {
	Name     string           `json:"name"`
	Formats  []attestd.Format `json:"formats"`
	SHA256   string           `json:"sha256"`
	NotAfter time.Time        `json:"not_after"`
}

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Say what this binary is, which roots it trusts and what it serves",
		Long: `Version prints the version and commit, the formats that have a verifier in this build, the SHA-256
fingerprints of the pinned vendor roots, and the digests of the built-in policies. TPM makers have
many roots: the text counts them, JSON lists them.`,
		Args: arguments(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			about, err := a.about()
			if err != nil {
				return err
			}
			if form == formJSON {
				return report.JSON(a.out, about)
			}
			return about.text(a)
		},
	}
}

func (a *app) about() (versionDoc, error) {
	doc := versionDoc{
		Schema: versionSchema, Version: buildVersion(), Go: runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH, Roots: []versionRoot{},
	}
	doc.Commit, doc.Built = buildCommit()
	verifiers, err := a.judge(judge.Config{})
	if err != nil {
		return doc, err
	}
	doc.Formats = verifiers.Formats()
	roots, err := all.Roots()
	if err != nil {
		return doc, err
	}
	for _, root := range roots {
		doc.Roots = append(doc.Roots, versionRoot(root))
	}
	for _, name := range appraisal.BuiltinNames() {
		policy, err := appraisal.Builtin(name)
		if err != nil {
			return doc, err
		}
		doc.Policies = append(doc.Policies, policy.Ref())
	}
	return doc, nil
}

func (d versionDoc) text(a *app) error {
	lead := []string{"attestd", d.Version}
	if d.Commit != "" {
		lead = append(lead, "commit "+d.Commit[:min(12, len(d.Commit))])
	}
	table := report.Table{
		Lead:  append(lead, d.Go, d.Platform),
		Heads: []string{"", "name", "sha256"},
		Next:  "attestd verify --help",
	}
	for _, format := range d.Formats {
		table.Rows = append(table.Rows, []string{"format", string(format), ""})
	}
	makers := 0
	for _, root := range d.Roots {
		if slices.Equal(root.Formats, []attestd.Format{attestd.FormatTPM}) {
			makers++
			continue
		}
		table.Rows = append(table.Rows, []string{"root", root.Name, root.SHA256})
	}
	table.Rows = append(table.Rows, []string{
		"roots", fmt.Sprintf("%d of TPM makers", makers), "attestd version -o json lists them",
	})
	for _, policy := range d.Policies {
		table.Rows = append(table.Rows, []string{
			"policy", policy.ID, strings.TrimPrefix(policy.Digest, "sha256:"),
		})
	}
	return table.Text(a.out, a.page())
}

func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "0.0.0-devel"
}

// buildCommit returns the commit and its time; a build from changed files says so.
func buildCommit() (revision, when string) {
	revision = commit
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return revision, ""
	}
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			if revision == "" {
				revision = setting.Value
			}
		case "vcs.time":
			when = setting.Value
		}
	}
	return revision, when
}
