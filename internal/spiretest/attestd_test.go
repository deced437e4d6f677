package spiretest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/admin/client"
	"github.com/attestd/attestd/internal/admin/wire"
)

// tenant is the one that every machine here belongs to.
const tenant = "lab"

// daemon is attestd with its state: one process, or one after the other.
type daemon struct {
	state string
	*process
	client *http.Client
	root   *client.Client // whoever can read the token beside the socket
}

func (d *daemon) socket() string  { return filepath.Join(d.state, "s") }
func (d *daemon) plugins() string { return filepath.Join(d.state, "p") }

// configureDaemon makes the state of attestd; section has the lines of its configuration under spire.
func configureDaemon(t *testing.T, section ...string) *daemon {
	t.Helper()
	state, err := os.MkdirTemp(made.folder, "d")
	if err != nil {
		t.Fatal(err)
	}
	reference := filepath.Join(state, "golden.yaml")
	write(t, reference, goldenValues(t))
	d := &daemon{state: state}
	write(t, d.configFile(), fmt.Appendf(nil, `schema: attestd.config.v1
state_dir: %s
trust_domain: %s
tenants: [%s]
log_level: debug
listen: {http: off, unix: s}
admin: {http: '127.0.0.1:0'}
verify: {workers: 1, policy: laboratory, insecure_roots: [%s], local_references: [%s]}
spire:
  %s
`, state, trustDomain, tenant, maker(t).RootFile(), reference, strings.Join(section, "\n  ")))
	d.client = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", d.socket())
		},
	}}
	return d
}

func (d *daemon) configFile() string { return filepath.Join(d.state, "config.yaml") }

// run starts the process and waits until it is ready.
func (d *daemon) run(t *testing.T) {
	t.Helper()
	d.client.CloseIdleConnections()
	d.process = launch(t, "attestd", attestdProgram.file(t), "serve", "--config", d.configFile())
	d.ready(t, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://attestd/readyz", nil)
		if err != nil {
			return err
		}
		response, err := d.client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close() //nolint:errcheck // the status decides
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("it answers %s", response.Status)
		}
		return nil
	})
	var err error
	if d.root, err = client.New(client.Config{Server: "unix:" + d.socket()}); err != nil {
		t.Fatal(err)
	}
}

// adminURL is where operators are answered, as the process said.
func (d *daemon) adminURL(t *testing.T) string {
	t.Helper()
	for line := range strings.Lines(d.said.String()) {
		var entry struct {
			Message string `json:"msg"`
			Admin   string `json:"admin"`
		}
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Message == "serving" && entry.Admin != "" {
			return entry.Admin
		}
	}
	t.Fatal("attestd did not say where it answers operators")
	return ""
}

// operator names an operator and logs in as one.
func (d *daemon) operator(t *testing.T, name, role string) *client.Client {
	t.Helper()
	added, err := d.root.AddOperator(t.Context(), wire.Operator{
		Name: name, Roles: []string{role}, Tenants: []string{"*"},
	})
	if err != nil {
		t.Fatal(err)
	}
	first, err := client.New(client.Config{Server: d.adminURL(t), LoginToken: added.Token})
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(t.TempDir(), name)
	if _, err := first.Login(t.Context(), folder); err != nil {
		t.Fatal(err)
	}
	asking, err := client.New(client.Config{Server: d.adminURL(t), Identity: folder})
	if err != nil {
		t.Fatal(err)
	}
	return asking
}

// owns makes the machines the tenant's, by the list that came with them.
func (d *daemon) owns(t *testing.T, machines ...*machine) {
	t.Helper()
	done, err := d.root.Import(t.Context(), wire.Import{
		Kind: "ek-certificates", Tenant: tenant, Document: delivery(t, machines...), Source: "delivery.pem",
	})
	if err != nil || done.Added+done.Updated != len(machines) {
		t.Fatalf("imported %+v of %d: %v", done, len(machines), err)
	}
}

// wantWhy wants attestd to name this cause for a SPIFFE ID.
func (d *daemon) wantWhy(t *testing.T, target, code string) {
	t.Helper()
	why, err := d.root.Why(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	if why.Code != code {
		t.Errorf("why says of %s %q: %s; want %q", target, why.Code, why.Cause, code)
	}
}
