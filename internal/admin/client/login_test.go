package client_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/client"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/operator"
)

// records is a store of operators in memory.
type records struct {
	sync.Mutex
	rows map[string]operator.Record
}

func (r *records) Operator(_ context.Context, name string) (operator.Record, bool, error) {
	r.Lock()
	defer r.Unlock()
	row, found := r.rows[name]
	return row, found, nil
}

func (r *records) Operators(context.Context) ([]operator.Record, error) { return nil, nil }

func (r *records) PutOperator(_ context.Context, change operator.Change) error {
	r.Lock()
	defer r.Unlock()
	if r.rows[change.Next.Name].Generation != change.Expect {
		return operator.ErrMoved
	}
	change.Next.Generation = change.Expect + 1
	r.rows[change.Next.Name] = change.Next
	return nil
}

// verifierWorld is a server with attestd's own PKI and book of operators.
type verifierWorld struct {
	address string
	token   operator.LoginToken
	pki     *operator.PKI
	// asked are the paths of the requests that came.
	asked *[]string
}

func newWorld(t *testing.T) verifierWorld {
	t.Helper()
	folder := t.TempDir()
	pki, err := operator.OpenPKI(filepath.Join(folder, "pki"), nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	tokenPath := filepath.Join(folder, "admin.token")
	if err := operator.OpenToken(tokenPath, rand.Reader); err != nil {
		t.Fatal(err)
	}
	book, err := operator.NewBook(operator.Config{
		Store: &records{rows: map[string]operator.Record{}}, PKI: pki, Now: time.Now, TokenPath: tokenPath,
		CertificateLifetime: time.Hour, LoginLifetime: time.Minute, Rand: rand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	boot := operator.Principal{
		Name: operator.BootstrapName, Roles: operator.Roles(), Tenants: []string{operator.AllTenants},
		Via: operator.ViaToken,
	}
	_, token, err := book.Add(context.Background(), boot, "ann", []operator.Role{operator.Viewer}, []string{"*"})
	if err != nil {
		t.Fatal(err)
	}
	var asked []string
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		if r.URL.Path == "/v1/admin/login" {
			var ask wire.Login
			_ = json.NewDecoder(r.Body).Decode(&ask)
			given, err := book.Login(r.Context(), strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), ask.CSR)
			if err != nil {
				reply(401, map[string]string{"class": "UNAUTHENTICATED", "detail": err.Error()})(w, r)
				return
			}
			reply(200, wire.LoggedIn{
				Schema: "attestd.login.v1", Certificates: [][]byte{given.DER}, CA: given.CA, Name: given.Name,
				NotAfter: given.NotAfter,
			})(w, r)
			return
		}
		who, err := book.ByCertificate(r.Context(), r.TLS)
		if err != nil {
			reply(401, map[string]string{"class": "UNAUTHENTICATED", "detail": err.Error()})(w, r)
			return
		}
		reply(200, wire.Whoami{Schema: "attestd.whoami.v1", Name: who.Name, Via: who.Via})(w, r)
	}))
	server.TLS = pki.ServerTLS()
	server.StartTLS()
	t.Cleanup(server.Close)
	return verifierWorld{address: server.URL, token: token, pki: pki, asked: &asked}
}

func TestLoginGivesAnIdentityThatTheServerKnows(t *testing.T) {
	world := newWorld(t)
	folder := filepath.Join(t.TempDir(), "new", "attestd")
	asking, err := client.New(client.Config{Server: world.address, LoginToken: world.token.String()})
	if err != nil {
		t.Fatal(err)
	}
	done, err := asking.Login(context.Background(), folder)
	if err != nil {
		t.Fatal(err)
	}
	if done.Name != "ann" || client.ServerOf(folder) != world.address {
		t.Errorf("%+v, server %q", done, client.ServerOf(folder))
	}
	for _, name := range []string{"operator.key", "operator.pem", "authority.pem", "server"} {
		info, err := os.Stat(filepath.Join(folder, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	known, err := client.New(client.Config{Server: world.address, Identity: folder})
	if err != nil {
		t.Fatal(err)
	}
	who, err := known.Whoami(context.Background())
	if err != nil || who.Name != "ann" || who.Via != operator.ViaCertificate {
		t.Errorf("%+v, %v", who, err)
	}
	_, err = asking.Login(context.Background(), folder)
	demand(t, err, attestd.ClassUnauthenticated, "unknown, used or too old", "attestd login")
	_, err = client.New(client.Config{
		Server: world.address, Identity: folder, Now: func() time.Time { return done.NotAfter },
	})
	demand(t, err, attestd.ClassUnauthenticated, `certificate of "ann" expired at`, "attestd operator add ann")

	// The server's authority is another one now: whoever has the address is not whom we logged in at.
	other := newWorld(t)
	stranger, err := client.New(client.Config{Server: other.address, Identity: folder})
	if err != nil {
		t.Fatal(err)
	}
	_, err = stranger.Whoami(context.Background())
	demand(t, err, attestd.ClassStoreUnavailable, "unknown authority", "log in again with a new token")
	if len(*other.asked) != 0 {
		t.Errorf("the other server was asked %q", *other.asked)
	}
}

// TestALoginTokenIsSentToItsOwnServerAlone: whoever sits on the way would log in themselves.
func TestALoginTokenIsSentToItsOwnServerAlone(t *testing.T) {
	world, other := newWorld(t), newWorld(t)
	asking, err := client.New(client.Config{Server: other.address, LoginToken: world.token.String()})
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	_, err = asking.Login(context.Background(), folder)
	demand(t, err, attestd.ClassStoreUnavailable, "another authority", "not the attestd of your identity")
	if len(*other.asked) != 0 {
		t.Errorf("the other server was asked %q", *other.asked)
	}
	if left, _ := os.ReadDir(folder); len(left) != 0 {
		t.Errorf("a login that failed left %v", left)
	}
}

func TestATokenThatCannotBeUsedIsNotSpent(t *testing.T) {
	world := newWorld(t)
	for _, row := range []struct {
		name, token, folder, server string
		class                       attestd.Class
		says, hint                  string
	}{
		{"half a token", world.token.String()[:40], t.TempDir(), world.address, attestd.ClassUnauthenticated,
			"not a login token", "from attestd-login~ on"},
		{"a folder that is a file", world.token.String(), "/dev/null", world.address, attestd.ClassMalformed,
			"not a directory", "--identity"},
		{"the socket", world.token.String(), t.TempDir(), "unix:/s", attestd.ClassMalformed,
			"https alone", "leave --server out"},
	} {
		t.Run(row.name, func(t *testing.T) {
			asking, err := client.New(client.Config{Server: row.server, LoginToken: row.token})
			if err == nil {
				_, err = asking.Login(context.Background(), row.folder)
			}
			demand(t, err, row.class, row.says, row.hint)
		})
	}
	if len(*world.asked) != 0 {
		t.Errorf("the server was asked %q", *world.asked)
	}
}

func TestTroubleWithTLSIsNamed(t *testing.T) {
	world := newWorld(t)
	plain := httptest.NewServer(reply(200, "hello"))
	t.Cleanup(plain.Close)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	for _, row := range []struct{ name, server, says, hint string }{
		{"a server without TLS", strings.Replace(plain.URL, "http:", "https:", 1), "HTTP response", "does not speak TLS"},
		{"nobody there", "https://" + closed.Addr().String(), "nothing listens there", "admin.http"},
		{"a name that is none", "https://nobody.invalid:8422", "no answer", "check"},
	} {
		t.Run(row.name, func(t *testing.T) {
			asking, err := client.New(client.Config{Server: row.server, LoginToken: world.token.String()})
			if err == nil {
				_, err = asking.Login(context.Background(), t.TempDir())
			}
			demand(t, err, attestd.ClassStoreUnavailable, row.says, row.hint)
		})
	}
	_, err = client.New(client.Config{Server: world.address, Identity: t.TempDir()})
	demand(t, err, attestd.ClassUnauthenticated, "does not exist", "attestd login --server")
}
