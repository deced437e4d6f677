package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/client"
	"github.com/attestd/attestd/internal/migrate"
	"github.com/attestd/attestd/internal/report"
	spirewire "github.com/attestd/attestd/internal/spire/wire"
)

func newMigrate(a *app) *cobra.Command {
	return nounGroup("migrate", "Move a SPIRE server's nodes from another node attestor to attestd",
		newMigratePlan(a), newMigrateShadow(a), newMigrateEnforce(a))
}

// migration is what the three steps are asked for.
type migration struct {
	server                 *adminServer
	spire, entries, agents string
	nodes, out             string
	selectors, aliases     []string
	prefix                 string
	apply                  bool
}

// migrated is the answer of each step.
type migrated struct {
	Schema string `json:"schema"` // attestd.migrate.v1
	Step   string `json:"step"`   // "plan", "shadow" or "enforce"
	// Agents are those of other attestors.
	Agents []migrate.Agent `json:"agents"`
	// Verdicts are those under "unattested: deny", with the registry as it is now.
	Verdicts []migrate.Verdict `json:"verdicts"`
	// Entries are those to create (plan) or to update (enforce), as SPIRE's commands read them.
	Entries []migrate.Entry `json:"entries"`
	// Lost are entries on an agent that nobody said the new id of; Left those that enforcement leaves.
	Lost []string          `json:"lost"`
	Left map[string]string `json:"left"`
	// Applied says that SPIRE has the entries by now.
	Applied bool `json:"applied"`
}

func (m *migration) flags(a *app, command *cobra.Command) {
	m.server = a.adminFlags(command)
	flags := command.Flags()
	flags.StringVar(&m.spire, "spire", "", "SPIRE's server: `unix:PATH` of its socket")
	flags.StringVar(&m.entries, "entries", "", "`FILE` of spire-server entry show -output json, in place of --spire")
	flags.StringVar(&m.agents, "agents", "", "`FILE` of spire-server agent list -output json")
}

// look reads what SPIRE has, and what attestd says of nodes.
func (a *app) look(ctx context.Context, m *migration) (migrate.World, map[string]migrate.Standing, error) {
	asking, err := a.admin(m.server)
	if err != nil {
		return migrate.World{}, nil, err
	}
	world, err := a.spireWorld(ctx, m)
	if err != nil {
		return migrate.World{}, nil, err
	}
	nodes := map[string]migrate.Standing{}
	query := client.Query{Limit: 500}
	for {
		page, err := asking.Subjects(ctx, query)
		if err != nil {
			return migrate.World{}, nil, err
		}
		for _, one := range page.Subjects {
			nodes[string(one.ID)] = migrate.Standing{State: one.State, Tier: one.Tier}
		}
		if page.Next == "" || page.Next == query.After {
			return world, nodes, nil
		}
		query.After = page.Next
	}
}

func (a *app) spireWorld(ctx context.Context, m *migration) (world migrate.World, err error) {
	switch {
	case (m.spire == "") == (m.entries == "" && m.agents == ""), (m.entries == "") != (m.agents == ""):
		return world, usagef("attestd migrate plan --spire unix:/tmp/spire-server/private/api.sock",
			"give --spire, or --entries and --agents")
	case m.spire != "":
		server, err := migrate.Dial(m.spire)
		if err != nil {
			return world, err
		}
		defer func() { _ = server.Close() }()
		return server.Read(ctx)
	}
	doc, err := a.read("entries", m.entries, migrate.MaxDocument)
	if err != nil {
		return world, err
	}
	if world.Entries, err = migrate.ParseEntries(doc); err != nil {
		return world, err
	}
	if doc, err = a.read("agents", m.agents, migrate.MaxDocument); err != nil {
		return world, err
	}
	world.Agents, err = migrate.ParseAgents(doc)
	return world, err
}

func newMigratePlan(a *app) *cobra.Command {
	var m migration
	command := &cobra.Command{
		Use:   "plan",
		Short: "Say what to add so that agents can change their attestor one by one",
		Long: `Plan reads what SPIRE has and changes nothing. A new attestor gives every agent another SPIFFE
ID, and that is the parent of its entries. So each alias of nodes gets a second entry with attestd's
selectors, and what hangs on one agent a copy for the agent that it becomes, by --nodes. Where there
are several aliases, each is planned by itself with --alias and its --selector: those with the same
selectors have the same nodes. Both stand
while nodes move; the old ones are deleted in the end. Until then an id that an old node can obtain,
too, says "attested: false".

--out FILE has the entries for "spire-server entry create -data FILE".`,
		Example: `  attestd migrate plan --spire unix:/tmp/spire-server/private/api.sock --out create.json`,
		Args:    arguments(0, 0, ""),
		RunE: func(command *cobra.Command, _ []string) error {
			return a.migrate(command.Context(), "plan", &m, func(
				world migrate.World, _ map[string]migrate.Standing, out *migrated,
			) error {
				selectors, err := m.wanted()
				if err != nil {
					return err
				}
				wish := migrate.Wish{Selectors: selectors, Aliases: m.aliases}
				if m.nodes != "" {
					doc, err := a.read("nodes", m.nodes, migrate.MaxDocument)
					if err != nil {
						return err
					}
					if wish.Nodes, err = migrate.ParseNodes(doc); err != nil {
						return err
					}
				}
				plan, err := migrate.Make(world, wish)
				if err != nil {
					return err
				}
				out.Agents, out.Entries = append(out.Agents, plan.Agents...), plan.Create.Entries
				for _, one := range plan.Lost {
					out.Lost = append(out.Lost, cmp.Or(one.ID, one.SPIFFEID))
				}
				return nil
			})
		},
	}
	m.flags(a, command)
	command.Flags().StringVar(&m.nodes, "nodes", "", "`FILE` with one pair a line: an agent's id, a comma, its id with attestd")
	command.Flags().StringSliceVar(&m.selectors, "selector", []string{"attestd:tenant:default"},
		"`SELECTOR` of attestd's that nodes of an alias must have; may be repeated")
	command.Flags().StringSliceVar(&m.aliases, "alias", nil,
		"SPIFFE `ID` of an alias to plan, where there are several; may be repeated")
	command.Flags().StringVar(&m.out, "out", "", "write the entries to create to a new `FILE`")
	return command
}

func newMigrateShadow(a *app) *cobra.Command {
	var m migration
	command := &cobra.Command{
		Use:   "shadow",
		Short: "Say what attestd would refuse, while it refuses nothing",
		Long: `Shadow is the time with "unattested: observe" in attestd's configuration: SVIDs carry claims,
what no attested node stands behind says so with a risk of 100, and nothing is refused for that. It
lists the entries that "unattested: deny" would refuse now.

Exit code 0 is that none would be refused, 3 that some would.`,
		Example: `  attestd migrate shadow --spire unix:/tmp/spire-server/private/api.sock`,
		Args:    arguments(0, 0, ""),
		RunE: func(command *cobra.Command, _ []string) error {
			return a.migrate(command.Context(), "shadow", &m, func(
				migrate.World, map[string]migrate.Standing, *migrated,
			) error {
				return nil
			})
		},
	}
	m.flags(a, command)
	return command
}

func newMigrateEnforce(a *app) *cobra.Command {
	var m migration
	command := &cobra.Command{
		Use:   "enforce --prefix PREFIX",
		Short: "Have entries want attestd's selectors, some at a time",
		Long: `Enforce adds selectors of attestd's to the entries whose ids or SPIFFE IDs begin with the
prefix: from then on they are issued on nodes that attestd admits, and nowhere else. It takes no
selector away, touches no other field, and leaves entries as they are that no node could obtain
afterwards. Without --apply nothing is changed.

SPIRE's policy in docs/deploy/spire lets attestd change entries of its own prefix alone; for others
--out FILE has them for "spire-server entry update -data FILE".

Exit code 0 is that all can be enforced, 3 that some are left.`,
		Example: `  attestd migrate enforce --spire unix:/tmp/spire-server/private/api.sock --prefix attestd.
  attestd migrate enforce --spire unix:/tmp/spire-server/private/api.sock --prefix attestd. --apply`,
		Args: arguments(0, 0, ""),
		RunE: func(command *cobra.Command, _ []string) error {
			ctx := command.Context()
			return a.migrate(ctx, "enforce", &m, func(
				world migrate.World, nodes map[string]migrate.Standing, out *migrated,
			) error {
				return m.enforce(ctx, world, nodes, out)
			})
		},
	}
	m.flags(a, command)
	command.Flags().StringVar(&m.prefix, "prefix", "", "how the ids or SPIFFE IDs of the entries begin")
	command.Flags().StringSliceVar(&m.selectors, "selector", []string{"attestd:admitted:yes"},
		"`SELECTOR` of attestd's that they shall want; may be repeated")
	command.Flags().BoolVar(&m.apply, "apply", false, "change them")
	command.Flags().StringVar(&m.out, "out", "", "write the entries to update to a new `FILE`")
	return command
}

func (m *migration) enforce(
	ctx context.Context, world migrate.World, nodes map[string]migrate.Standing, out *migrated,
) error {
	selectors, err := m.wanted()
	switch {
	case err != nil:
		return err
	case m.prefix == "":
		return usagef("--prefix attestd. for those that attestd made", "no --prefix was given")
	case m.apply && m.spire == "":
		return usagef("give --spire unix:PATH", "--apply needs --spire")
	}
	for _, change := range migrate.Enforce(world, nodes, m.prefix, selectors) {
		if change.Refused != "" {
			out.Left[change.Entry.ID] = change.Refused
			continue
		}
		out.Entries = append(out.Entries, change.Entry)
	}
	if !m.apply {
		return nil
	}
	server, err := migrate.Dial(m.spire)
	if err != nil {
		return err
	}
	defer func() { _ = server.Close() }()
	if err := server.Apply(ctx, out.Entries); err != nil {
		return err
	}
	out.Applied = true
	return nil
}

// wanted reads the selectors.
func (m *migration) wanted() ([]spirewire.Selector, error) {
	var out []spirewire.Selector
	for _, text := range m.selectors {
		one, err := migrate.ParseSelector(text)
		if err != nil {
			return nil, err
		}
		out = append(out, one)
	}
	if len(out) == 0 {
		return nil, usagef("as in --selector attestd:admitted:yes", "no --selector was given")
	}
	return out, nil
}

// migrate looks, takes the step and answers.
func (a *app) migrate(
	ctx context.Context, step string, m *migration,
	take func(migrate.World, map[string]migrate.Standing, *migrated) error,
) error {
	form, err := a.form(formText, formJSON)
	if err != nil {
		return err
	}
	world, nodes, err := a.look(ctx, m)
	if err != nil {
		return err
	}
	out := migrated{
		Schema: "attestd.migrate.v1", Step: step, Agents: []migrate.Agent{}, Entries: []migrate.Entry{},
		Verdicts: migrate.Judge(world, nodes), Lost: []string{}, Left: map[string]string{},
	}
	if err := take(world, nodes, &out); err != nil {
		return err
	}
	if m.out != "" {
		if err := writeEntries(m.out, out.Entries); err != nil {
			return err
		}
	}
	refused := 0
	for _, one := range out.Verdicts {
		if !one.Granted {
			refused++
		}
	}
	if step == "shadow" && refused > 0 || step == "enforce" && len(out.Left) > 0 {
		a.exit = exitRejected
	}
	if form == formJSON {
		return report.JSON(a.out, out)
	}
	return migratedText(out, m, refused).Text(a.out, a.page())
}

// writeEntries writes the document that SPIRE's commands read, and replaces no file.
func writeEntries(path string, entries []migrate.Entry) error {
	document, err := json.MarshalIndent(migrate.Entries{Entries: entries}, "", "  ")
	if err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the caller's
	if err != nil {
		return fileError("entries", path, err)
	}
	_, err = file.Write(append(document, '\n'))
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fileError("entries", path, err)
	}
	return nil
}

// mostFailing is how many rows of a list a page shows.
const mostFailing = 20

func migratedText(out migrated, m *migration, refused int) report.Blocks {
	facts := report.Block{Rows: [][]string{
		{"entries", fmt.Sprintf("%d of workloads; unattested: deny would refuse %d now", len(out.Verdicts), refused)},
	}}
	failing := report.Block{Heads: []string{"would fail", "why"}}
	for _, one := range out.Verdicts[:min(refused, mostFailing)] {
		failing.Rows = append(failing.Rows, []string{shortID(one.SPIFFEID), attestd.Excerpt(one.Reason, 160)})
	}
	page := report.Blocks{Good: refused == 0, Blocks: []report.Block{facts}}
	switch out.Step {
	case "plan":
		page.Lead = []string{"PLAN", strconv.Itoa(len(out.Agents)) + " agents of other attestors"}
		page.Blocks[0].Rows = append(page.Blocks[0].Rows,
			[]string{"create", fmt.Sprintf("%d entries, beside those that there are", len(out.Entries))})
		if len(out.Lost) > 0 {
			page.Blocks[0].Rows = append(page.Blocks[0].Rows, []string{"missing", fmt.Sprintf(
				"%d entries hang on an agent that --nodes does not name, as %s", len(out.Lost), out.Lost[0])})
		}
		page.Next = "attestd migrate plan ... --out create.json"
		if m.out != "" {
			page.Next = "spire-server entry create -data " + report.QuoteArg(m.out)
		}
	case "shadow":
		page.Lead = []string{"SHADOW", fmt.Sprintf("%d entries would be refused", refused)}
		page.Blocks[0].Rows = append(page.Blocks[0].Rows,
			[]string{"spire", "unattested: observe   # in attestd's configuration, until nothing would fail"})
		page.Next = "attestd migrate enforce --prefix attestd."
	default:
		failing.Heads, failing.Rows = []string{"left", "why"}, nil
		for _, id := range slices.Sorted(maps.Keys(out.Left)) {
			if len(failing.Rows) < mostFailing {
				failing.Rows = append(failing.Rows, []string{id, attestd.Excerpt(out.Left[id], 160)})
			}
		}
		word := "WOULD ENFORCE"
		page.Next = "attestd migrate enforce ... --apply"
		if out.Applied {
			word, page.Next = "ENFORCED", "attestd migrate shadow"
		}
		page.Lead = []string{word, fmt.Sprintf("%d entries", len(out.Entries)),
			fmt.Sprintf("%d left as they are", len(out.Left))}
		page.Good, page.Bad = len(out.Left) == 0, len(out.Left) > 0
	}
	if len(failing.Rows) > 0 {
		page.Blocks = append(page.Blocks, failing)
	}
	return page
}
