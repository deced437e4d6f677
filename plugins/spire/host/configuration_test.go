package host_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	configv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/service/common/config/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestd/attestd/plugins/spire/host"
)

type inner struct {
	Device string `hcl:"device,required"`
	Handle int    `hcl:"handle"`
}

type whole struct {
	host.Uplink
	Format string        `hcl:"format,required"`
	On     bool          `hcl:"on"`
	Most   int           `hcl:"most"`
	Wait   time.Duration `hcl:"wait"`
	Names  []string      `hcl:"names"`
	TPM    *inner        `hcl:"tpm"`
	Plain  inner         `hcl:"plain"`
}

func TestAConfigurationIsRead(t *testing.T) {
	t.Parallel()
	got := whole{Uplink: host.DefaultUplink(), Most: 7}
	problems := host.Decode(`
addresses = ["unix:/run/a.sock", "tcp:attestd:8443"]
format = "tpm"   # a comment
on = true
wait = "1m30s"
names = ["a", "b"]
tpm { device = "/dev/tpmrm0" handle = -3 }
`, &got)
	if len(problems) != 0 {
		t.Fatal(problems)
	}
	want := whole{
		Uplink: host.Uplink{Addresses: []string{"unix:/run/a.sock", "tcp:attestd:8443"}, Timeout: 2 * time.Second},
		Format: "tpm", On: true, Most: 7, Wait: 90 * time.Second, Names: []string{"a", "b"},
		TPM: &inner{Device: "/dev/tpmrm0", Handle: -3},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestEveryProblemOfAConfigurationIsNamedAtOnce: with the line, as SPIRE hands it over. neg: 196
func TestEveryProblemOfAConfigurationIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		text string
		want []string
	}{
		"many at once": {`
format = 5
on = "true"
most = "many"
wait = "soon"
names = []
naems = ["a"]
plain = "text"
tpm {
  handle = 1.5
  handles = 2
}
most = 3
`, []string{
			"addresses: is missing",
			"line 2: format: got a number, want text in quotes",
			"line 3: on: got text, want true or false",
			"line 4: most: got text, want a whole number",
			`line 5: wait: got "soon", want a duration, as in "2s"`,
			"line 6: names: is empty",
			"line 7: naems: there is no such key; want one of addresses, certificate, key, ca, timeout, format, " +
				"on, most, wait, names, tpm, plain",
			"line 8: plain: got text, want a block",
			"line 9: tpm.device: is missing",
			"line 10: tpm.handle: got a number, want a whole number",
			"line 11: tpm.handles: there is no such key; want one of device, handle",
			"line 13: most: stands twice, first in line 4",
		}},
		"empty values": {"addresses = [\"\", \"unix:/a\"]\nformat = \" \"\nwait = \"\"", []string{
			"line 1: addresses[0]: is empty", "line 2: format: is empty", "line 3: wait: is empty",
		}},
		"keys in another case": {"addresses = [\"unix:/a\"]\nFormat = \"tpm\"", []string{
			"format: is missing",
			"line 2: Format: there is no such key; want one of addresses, certificate, key, ca, timeout, format, " +
				"on, most, wait, names, tpm, plain",
		}},
		"a block twice, and with a label": {"addresses = [\"unix:/a\"]\nformat = \"tpm\"\ntpm { device = \"a\" }\n" +
			"tpm { device = \"b\" }\nplain \"label\" { device = \"c\" }", []string{
			"line 4: tpm: stands twice, first in line 3", "line 5: plain: a block of this name has no label",
		}},
		"a number that does not fit": {"addresses = [\"unix:/a\"]\nformat = \"tpm\"\nmost = 99999999999", []string{
			`line 3: most: got "99999999999", want a whole number`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got whole
			if diff := cmp.Diff(row.want, host.Decode(row.text, &got).Strings()); diff != "" {
				t.Error(diff)
			}
		})
	}
	for name, text := range map[string]string{
		"not HCL": "format = ", "not HCL in line 2": "on = true\nformat ==", "JSON": `{"format": "tpm"}`,
		"a whole that is too long": "# " + strings.Repeat("x", 1<<20),
	} {
		var got whole
		if problems := host.Decode(text, &got); len(problems) == 0 {
			t.Errorf("%s: nothing is wrong with it", name)
		}
	}
}

func TestWhereAttestdIsIsChecked(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		uplink host.Uplink
		want   []string
	}{
		{"a unix socket", host.Uplink{Addresses: []string{"unix:/a"}, Timeout: time.Second}, nil},
		{"tcp with all three files", host.Uplink{Addresses: []string{"tcp:a:1"}, Timeout: time.Second,
			Certificate: "/c", Key: "/k", CA: "/a"}, nil},
		{"tcp without them", host.Uplink{Addresses: []string{"unix:/a", "tcp:a:1"}, Timeout: time.Second, Key: "k"},
			[]string{"certificate: is missing", "key: want an absolute path", "ca: is missing"}},
		{"addresses and times out of bounds", host.Uplink{Addresses: []string{"http://a", "unix:b"}, Timeout: time.Hour},
			[]string{"addresses[0]: ", "addresses[1]: ", "timeout: got 1h0m0s"}},
		{"no time", host.Uplink{Addresses: []string{"unix:/a"}}, []string{"timeout: got 0s"}},
	} {
		got := row.uplink.Check()
		if len(got) != len(row.want) {
			t.Errorf("%s: got %q, want %q", row.name, got, row.want)
			continue
		}
		for index, want := range row.want {
			if !strings.HasPrefix(got[index], want) {
				t.Errorf("%s: got %q, want %q", row.name, got[index], want)
			}
		}
	}
}

// TestCertificateFilesThatCannotBeUsedRefuseAConfiguration: at once, not at the first credential.
func TestCertificateFilesThatCannotBeUsedRefuseAConfiguration(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	uplink := host.Uplink{Addresses: []string{"tcp:127.0.0.1:1"}, Timeout: time.Second,
		Certificate: empty, Key: empty, CA: empty}
	if _, stop, err := uplink.Connect(testEnv()); err == nil {
		stop()
		t.Error("an empty certificate is taken")
	}
}

func testEnv() host.Env {
	return host.Env{Name: "test", Logger: hclog.NewNullLogger(), Counts: &host.Counts{}}
}

func request(word, domain string) *configv1.ConfigureRequest {
	return &configv1.ConfigureRequest{
		HclConfiguration:  `word = "` + word + `"`,
		CoreConfiguration: &configv1.CoreConfiguration{TrustDomain: domain},
	}
}

func configured(start func(context.Context, *probeDocument, host.Core) (func(), error)) *host.Configured[probeDocument] {
	return host.NewConfigured(testEnv(), func() probeDocument { return probeDocument{} }, start)
}

func nothing(context.Context, *probeDocument, host.Core) (func(), error) { return nil, nil }

// neg: 196
func TestConfigureAndValidateFindTheSame(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		text, domain string
		want         string
	}{
		"good":                        {`word = "a"`, "example.org", ""},
		"its own trust domain":        {"word = \"a\"\ntrust_domain = \"example.org\"", "example.org", ""},
		"another trust domain":        {"word = \"a\"\ntrust_domain = \"example.com\"", "example.org", "SPIRE's own is"},
		"no trust domain":             {`word = "a"`, "", "SPIRE named no trust domain"},
		"an unknown key":              {"word = \"a\"\nwords = \"b\"", "example.org", "line 2: words"},
		"a value that does not do":    {`word = "forbidden"`, "example.org", "word: is forbidden"},
		"nothing":                     {"", "example.org", "word: is missing"},
		"a problem is named once":     {`word = 5`, "example.org", "line 1: word: got a number"},
		"a trust domain that is none": {"word = \"a\"\ntrust_domain = \"\"", "example.org", "trust_domain: is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one := configured(nothing)
			core := &configv1.CoreConfiguration{TrustDomain: row.domain}
			notes, err := one.Validate(t.Context(), &configv1.ValidateRequest{
				CoreConfiguration: core, HclConfiguration: row.text,
			})
			if err != nil {
				t.Fatal(err)
			}
			_, err = one.Configure(t.Context(), &configv1.ConfigureRequest{
				CoreConfiguration: core, HclConfiguration: row.text,
			})
			if row.want == "" {
				if err != nil || !notes.GetValid() || len(notes.GetNotes()) != 0 {
					t.Errorf("got %v, %v", err, notes)
				}
				return
			}
			if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), row.want) {
				t.Errorf("Configure: %v, want %q", err, row.want)
			}
			if notes.GetValid() || !slices.ContainsFunc(notes.GetNotes(), func(note string) bool {
				return strings.Contains(note, row.want)
			}) {
				t.Errorf("Validate: %v, want %q", notes, row.want)
			}
			if len(notes.GetNotes()) != 1 {
				t.Errorf("%d problems: %q", len(notes.GetNotes()), notes.GetNotes())
			}
			if _, _, err := one.Acquire(); status.Code(err) != codes.FailedPrecondition {
				t.Errorf("something is configured: %v", err)
			}
		})
	}
	if _, err := configured(nothing).Configure(t.Context(), nil); err == nil {
		t.Error("nothing at all is taken")
	}
}

func TestAConfigurationThatCannotStartLeavesTheOneBefore(t *testing.T) {
	t.Parallel()
	one := configured(func(_ context.Context, document *probeDocument, core host.Core) (func(), error) {
		if core.TrustDomain != "example.org" {
			t.Errorf("the trust domain is %q", core.TrustDomain)
		}
		if document.Word == "unlucky" {
			return nil, errors.New("the file is not there")
		}
		return nil, nil
	})
	if _, err := one.Configure(t.Context(), request("a", "example.org")); err != nil {
		t.Fatal(err)
	}
	if _, err := one.Configure(t.Context(), request("unlucky", "example.org")); err == nil ||
		!strings.Contains(err.Error(), "the file is not there") {
		t.Errorf("got %v", err)
	}
	document, release, err := one.Acquire()
	if err != nil || document.Word != "a" {
		t.Errorf("got %v, %v", document, err)
	}
	release()
}

// TestCallsKeepTheirConfigurationWhileItChanges: a configuration is ended once, when the last call that
// has it is over, and never one that somebody has. neg: 200
func TestCallsKeepTheirConfigurationWhileItChanges(t *testing.T) {
	t.Parallel()
	type life struct {
		users atomic.Int64
		ended atomic.Int64
	}
	var lives sync.Map // *probeDocument to *life
	one := configured(func(_ context.Context, document *probeDocument, _ host.Core) (func(), error) {
		life := &life{}
		lives.Store(document, life)
		return func() {
			if users := life.users.Load(); users != 0 {
				t.Errorf("ended while %d calls have it", users)
			}
			life.ended.Add(1)
		}, nil
	})
	if _, err := one.Configure(t.Context(), request("first", "example.org")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	var work sync.WaitGroup
	for range 8 {
		work.Go(func() {
			for ctx.Err() == nil {
				document, release, err := one.Acquire()
				if err != nil {
					t.Error(err)
					return
				}
				found, _ := lives.Load(document)
				mine := found.(*life)
				mine.users.Add(1)
				if mine.ended.Load() != 0 {
					t.Error("a configuration that was ended is given out")
				}
				mine.users.Add(-1)
				release()
			}
		})
	}
	changes := 0
	for ctx.Err() == nil {
		if _, err := one.Configure(t.Context(), request("next", "example.org")); err != nil {
			t.Fatal(err)
		}
		changes++
	}
	work.Wait()
	ended, there := 0, 0
	lives.Range(func(_, found any) bool {
		there++
		switch found.(*life).ended.Load() {
		case 0:
		case 1:
			ended++
		default:
			t.Error("a configuration was ended twice")
		}
		return true
	})
	if ended != changes || there != changes+1 {
		t.Errorf("%d of %d configurations were ended, want all but the last", ended, there)
	}
}
