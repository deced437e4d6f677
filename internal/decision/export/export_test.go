package export_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/export"
	"github.com/attestd/attestd/internal/decision/journal"
)

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	spanID  = "b7ad6b7169203331"
)

var at = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// full is a record in which every field has a value.
func full() *journal.Record {
	in := &decision.Input{
		Via: decision.ViaExtAuthz, Enforcer: "spiffe://example.org/gateway", Source: netip.MustParseAddr("192.0.2.7"),
		Standing: decision.Standing{Attested: true, State: attestd.StateTrusted, Tier: attestd.TierMedium,
			Risk: attestd.Risk(45), Epoch: 7},
		Context: decision.Context{RequestID: "4471", Trace: "00-" + traceID + "-" + spanID + "-01"},
	}
	return &journal.Record{
		Schema: journal.RecordSchema, ID: uuid.MustParse("019ca755-bd20-7000-8000-0000000000d1"), At: at,
		Decision: journal.Deny, Reason: decision.CodeBlastRadius, Subject: "spiffe://example.org/tenant/acme/agent",
		Tenant: "acme", Enforcer: in.Enforcer, Action: decision.ActionToolCall,
		Resource: decision.Resource{Type: "tool", ID: "search", Tenant: "acme"}, PromptID: "p1:" + strings.Repeat("a", 52),
		Chain:    []decision.Link{{Type: "human", ID: "ann@example.org"}},
		Datasets: []decision.Dataset{{ID: "orders", Classification: []string{"pii"}}},
		ATLAS: []journal.Technique{{ID: "AML.T0053", State: journal.Suspected},
			{ID: "AML.T0085.000", State: journal.Observed}},
		ATLASVersion: "5.6.1", Policy: "sha256:" + strings.Repeat("a5", 32), Engine: "attestd 1.2.3", Took: 42,
		Input: in, Result: &decision.Result{Policies: []string{"radius"},
			Reasons: []decision.Reason{{Code: decision.CodeBlastRadius, Detail: "tool search"}}},
	}
}

func allowed() *journal.Record {
	one := full()
	one.Decision, one.Reason, one.Result.Reasons, one.ATLAS = journal.Allow, "", nil, []journal.Technique{}
	return one
}

func folded() *journal.Record {
	return &journal.Record{
		Schema: journal.FoldSchema, ID: uuid.MustParse("019ca755-bd20-7000-8000-0000000000d2"), At: at,
		Last: at.Add(time.Minute), Count: 4471, Decision: journal.Deny, Reason: decision.CodeUnauthenticated,
	}
}

func TestEveryFormHasTheSameFields(t *testing.T) {
	fields := export.Fields(full())
	var got []string
	for _, field := range fields {
		got = append(got, field.Name)
	}
	want := slices.DeleteFunc(export.Names(), func(name string) bool { return name == "count" })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("a full record lacks fields (-want +got):\n%s", diff)
	}
	event, err := export.OCSF(full())
	if err != nil {
		t.Fatal(err)
	}
	var parsed struct {
		Unmapped map[string]any `json:"unmapped"`
	}
	if err := json.Unmarshal(event, &parsed); err != nil {
		t.Fatal(err)
	}
	_, extension := parseCEF(t, export.CEF(full(), "1.2.3"))
	sent := sendOTLP(t, full())
	for _, field := range fields {
		if _, ok := parsed.Unmapped[field.Name]; !ok {
			t.Errorf("OCSF lacks %s", field.Name)
		}
		if got := extension[export.CEFKey(field.Name)]; got != field.Value {
			t.Errorf("CEF has %s as %q, want %q", field.Name, got, field.Value)
		}
		if got := sent.attributes["attestd."+field.Name]; got != field.Value {
			t.Errorf("OTLP has %s as %q, want %q", field.Name, got, field.Value)
		}
	}
	keys := map[string]string{}
	for _, name := range export.Names() {
		if other := keys[export.CEFKey(name)]; other != "" {
			t.Errorf("%s and %s are one key of CEF", name, other)
		}
		keys[export.CEFKey(name)] = name
	}
}

func TestEventsObeyTheFramework(t *testing.T) {
	schema := compile(t)
	for name, row := range map[string]struct {
		record                       *journal.Record
		action, disposition, seventy int
	}{
		"a denial that a detector saw": {full(), 2, 2, 4}, "an allow": {allowed(), 1, 1, 1},
		"a count":     {folded(), 2, 26, 2},
		"quarantined": {change(func(r *journal.Record) { r.Reason, r.ATLAS = decision.CodeQuarantined, nil }), 2, 3, 2},
		"step-up":     {change(func(r *journal.Record) { r.Reason, r.ATLAS = decision.CodeStepUp, nil }), 2, 23, 2},
		"revoked":     {change(func(r *journal.Record) { r.Reason, r.ATLAS = decision.CodeRevoked, nil }), 2, 24, 2},
		"suspected":   {change(func(r *journal.Record) { r.ATLAS = r.ATLAS[:1] }), 2, 2, 3},
		"bare":        {&journal.Record{Decision: journal.Deny, At: at, Input: &decision.Input{}}, 2, 2, 2},
	} {
		document, err := export.OCSF(row.record)
		if err != nil {
			t.Fatal(err)
		}
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(value); err != nil {
			t.Errorf("%s: %v\n%s", name, err, document)
		}
		fields := value.(map[string]any)
		for key, want := range map[string]int{
			"action_id": row.action, "disposition_id": row.disposition, "severity_id": row.seventy,
		} {
			if got, _ := fields[key].(json.Number).Int64(); got != int64(want) {
				t.Errorf("%s: %s is %d, want %d", name, key, got, want)
			}
		}
		delete(fields, "actor")
		if schema.Validate(fields) == nil {
			t.Errorf("%s: an event without its actor obeys", name)
		}
	}
}

func change(edit func(*journal.Record)) *journal.Record {
	one := full()
	edit(one)
	return one
}

func compile(t *testing.T) *jsonschema.Schema {
	t.Helper()
	compiled, err := jsonschema.NewCompiler().Compile(filepath.Join("testdata", "ocsf-1.8.0-api-activity.json"))
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

// parseCEF reads a line as a collector does: what is escaped belongs to the text it stands in.
func parseCEF(t testing.TB, line string) (header []string, extension map[string]string) {
	t.Helper()
	extension = map[string]string{}
	if strings.ContainsAny(line, "\n\r\x00") {
		t.Fatalf("a line has a line end: %q", line)
	}
	text, escaped := "", false
	rest := ""
	for index, char := range line {
		switch {
		case escaped:
			text, escaped = text+string(char), false
		case char == '\\':
			escaped = true
		case char == '|':
			header, text = append(header, text), ""
		default:
			text += string(char)
		}
		if len(header) == 7 {
			rest = line[index+1:]
			break
		}
	}
	if len(header) != 7 {
		t.Fatalf("%d fields of a header in %q", len(header), line)
	}
	// A key stands before each "=" that is not escaped.
	var keys []int
	for index := range len(rest) {
		if rest[index] == '=' && !oddSlashes(rest[:index]) {
			keys = append(keys, index)
		}
	}
	for number, equal := range keys {
		begin := strings.LastIndexByte(rest[:equal], ' ') + 1
		end := len(rest)
		if number+1 < len(keys) {
			end = strings.LastIndexByte(rest[:keys[number+1]], ' ')
		}
		value := strings.NewReplacer(`\\`, `\`, `\=`, `=`, `\n`, "\n", `\r`, "\r").Replace(rest[equal+1 : end])
		if _, twice := extension[rest[begin:equal]]; twice {
			t.Fatalf("%s stands twice in %q", rest[begin:equal], line)
		}
		extension[rest[begin:equal]] = value
	}
	return header, extension
}

func oddSlashes(text string) bool {
	return (len(text)-len(strings.TrimRight(text, `\`)))%2 == 1
}

func TestNobodyCanForgeALine(t *testing.T) {
	for _, text := range []string{
		"x\nCEF:0|attestd|attestd|1|allow|allowed|1|act=allow", "x act=allow", `x\`, `x\ act=allow`, "x|y|z", "x=y",
		"x\r\nact=allow", "\x1b[31m", "x\u2028y", "\xff", strings.Repeat("ä", 4000),
	} {
		one := change(func(r *journal.Record) {
			r.Resource.ID, r.Action, r.Subject = text, text, "spiffe://x"
			r.Result.Reasons[0].Detail = text
		})
		header, extension := parseCEF(t, export.CEF(one, "1|2\n"))
		if header[3] != "1|2 " || header[4] != "blast_radius" || header[6] != "8" {
			t.Errorf("%q: header %q", text, header)
		}
		if extension["act"] != "deny" || extension["suser"] != "spiffe://x" {
			t.Errorf("%q: extension %v", text, extension)
		}
	}
}

func FuzzCEF(f *testing.F) {
	f.Add("x act=allow", "x|y", `\`)
	f.Add("a\nb", "\\=", "\u2028=\r")
	f.Fuzz(func(t *testing.T, id, action, detail string) {
		one := change(func(r *journal.Record) {
			r.Resource.ID, r.Action, r.Result.Reasons[0].Detail = id, action, detail
		})
		header, extension := parseCEF(t, export.CEF(one, "1"))
		if header[4] != "blast_radius" || extension["act"] != "deny" ||
			extension["suser"] != string(one.Subject) || extension["externalId"] != one.ID.String() {
			t.Fatalf("%q %q", header, extension)
		}
		if document, err := export.OCSF(one); err != nil || !json.Valid(document) {
			t.Fatal(err)
		}
	})
}

func config(change func(*export.Config)) (export.Config, *prometheus.Registry) {
	registry := prometheus.NewRegistry()
	settings := export.Config{OTLP: export.Off, OCSF: export.Off, CEF: export.Off, Version: "1.2.3",
		Logger: slog.New(slog.DiscardHandler), Registerer: registry}
	change(&settings)
	return settings, registry
}

func TestTargetsThatAreNone(t *testing.T) {
	for _, set := range []func(*export.Config){
		func(c *export.Config) { c.OTLP = "" }, func(c *export.Config) { c.OTLP = "http://192.0.2.1:4318" },
		func(c *export.Config) { c.OTLP = "http://localhost.example.org" },
		func(c *export.Config) { c.OTLP = "ftp://127.0.0.1" }, func(c *export.Config) { c.OTLP = "https://user:x@h" },
		func(c *export.Config) { c.OCSF = "" }, func(c *export.Config) { c.OCSF = "/nonexistent/x" },
		func(c *export.Config) { c.CEF = "" }, func(c *export.Config) { c.CEF = "/var/log/cef" },
		func(c *export.Config) { c.CEF = "file:" }, func(c *export.Config) { c.CEF = "udp:192.0.2.1:514" },
		func(c *export.Config) { c.CEF = "udp:localhost:514" }, func(c *export.Config) { c.CEF = "tcp:127.0.0.1:514" },
		func(c *export.Config) { c.Version = "" }, func(c *export.Config) { c.Logger = nil },
		func(c *export.Config) { c.Registerer = nil },
	} {
		settings, _ := config(set)
		if _, err := export.New(settings); err == nil {
			t.Errorf("%+v is taken", settings)
		}
	}
}

// through sends records to the targets of a configuration, to the end.
func through(t *testing.T, settings export.Config, records ...*journal.Record) {
	t.Helper()
	exporter, err := export.New(settings)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range records {
		exporter.Take(one)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	exporter.Run(ctx)
}

func TestFilesAreAddedToAndFollowed(t *testing.T) {
	folder := t.TempDir()
	settings, registry := config(func(c *export.Config) {
		c.OCSF, c.CEF = filepath.Join(folder, "ocsf"), "file:"+filepath.Join(folder, "cef")
	})
	exporter, err := export.New(settings)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); exporter.Run(ctx) }()
	exporter.Take(full())
	wait(t, func() bool { return countLines(settings.OCSF) == 1 && countLines(filepath.Join(folder, "cef")) == 1 })
	if err := os.Rename(settings.OCSF, settings.OCSF+".1"); err != nil { // as logrotate does
		t.Fatal(err)
	}
	exporter.Take(allowed())
	exporter.Take(folded())
	wait(t, func() bool { return countLines(settings.OCSF) == 2 })
	cancel()
	<-done
	for _, to := range []string{"ocsf", "cef"} {
		if sent := counted(t, registry, to, "sent"); sent != 3 {
			t.Errorf("%v are counted for %s, want 3", sent, to)
		}
	}
	if info, err := os.Stat(settings.OCSF); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v: others may read it", info.Mode(), err)
	}
}

func countLines(path string) int {
	content, _ := os.ReadFile(path)
	return bytes.Count(content, []byte("\n"))
}

func wait(t *testing.T, so func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if so() {
			return
		}
	}
	t.Fatal("it never came")
}

func TestDatagramsAreSyslog(t *testing.T) {
	listener, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	settings, _ := config(func(c *export.Config) { c.CEF = "udp:" + listener.LocalAddr().String() })
	through(t, settings, full())
	if err := listener.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	message, err := bufio.NewReaderSize(listener, 1<<16).ReadString('}')
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(message, "<108>1 2026-03-01T12:00:00Z ") ||
		!strings.Contains(message, " attestd - decision - CEF:0|attestd|attestd|1.2.3|blast_radius|") {
		t.Errorf("%q", message)
	}
}
