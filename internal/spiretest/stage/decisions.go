package stage

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"github.com/attestd/attestd/internal/decision/signals"
)

// DecideAudience is that of SVIDs that are for attestd's decisions.
const DecideAudience = "attestd://decide"

// Decisions are what a site has besides where its attestd decides about callers: a guardrail that reports,
// and nginx, which asks as the user of this program.
type Decisions struct {
	site  *Site
	token string // of the guardrail
	web   *http.Client
}

// Decide has attestd decide, by the bundle that the SPIRE server shows. It goes before anything starts.
func (s *Site) Decide() (*Decisions, error) {
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return nil, err
	}
	d := &Decisions{site: s, token: fmt.Sprintf("%x", secret)}
	d.web = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", d.socket())
		},
	}}
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	me, err := user.Current()
	if err != nil {
		return nil, err
	}
	enforcers := fmt.Sprintf(`schema: attestd.enforcers.v1
enforcers:
  - user: %s
    may: [forward-auth]
    tenants: ["*"]
  - token: guardrail
    sha256: "%x"
    may: [signals]
    tenants: [default]
`, me.Username, sha256.Sum256([]byte(d.token)))
	if err := os.WriteFile(s.path("enforcers.yaml"), []byte(enforcers), 0o600); err != nil {
		return nil, err
	}
	// The bundle that nodes know the server by is there before attestd starts.
	if err := s.amend("attestd.yaml", "", fmt.Sprintf(`decisions:
  unix: q
  enforcers: %s
  audiences: [%q]
  bundles: ['%s=https_spiffe:spiffe://%s/spire/server,https://127.0.0.1:%d']
  bootstrap: ['%s=%s']
  quarantine: on
`, s.path("enforcers.yaml"), DecideAudience, TrustDomain, TrustDomain, ports[0], TrustDomain,
		s.path("bundle.pem"))); err != nil {
		return nil, err
	}
	return d, s.amend("server.conf", "server {\n", fmt.Sprintf(`	federation {
		bundle_endpoint {
			address = "127.0.0.1"
			port = %d
			profile "https_spiffe" {}
		}
	}
`, ports[0]))
}

// amend adds lines to a configuration, behind the first mark or at the end.
func (s *Site) amend(name, mark, lines string) error {
	document, err := os.ReadFile(s.path(name))
	if err != nil {
		return err
	}
	at := len(document)
	if mark != "" {
		if at = bytes.Index(document, []byte(mark)); at < 0 {
			return fmt.Errorf("%s has no %q", name, mark)
		}
		at += len(mark)
	}
	text := string(document[:at]) + lines + string(document[at:])
	return os.WriteFile(s.path(name), []byte(text), 0o600)
}

func (d *Decisions) socket() string { return d.site.path("attestd", "q") }

// Report gives a signal as the guardrail.
func (d *Decisions) Report(ctx context.Context, report map[string]any) (signals.Receipt, error) {
	var out signals.Receipt
	document, err := json.Marshal(report)
	if err != nil {
		return out, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://attestd"+signals.Path,
		bytes.NewReader(document))
	if err != nil {
		return out, err
	}
	request.Header.Set("Authorization", "Bearer "+d.token)
	request.Header.Set("Content-Type", "application/json")
	answer, err := d.web.Do(request)
	if err != nil {
		return out, err
	}
	defer answer.Body.Close() //nolint:errcheck // it was read
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("the report is answered %s: %s", answer.Status, body)
	}
	if err != nil {
		return out, err
	}
	return out, json.Unmarshal(body, &out)
}

// StartNginx starts nginx in front of an upstream, with the configuration of docs/deploy in the repository
// at root: /search/ is a tool of the tenant default, /TENANT/ the same of another. It returns where nginx
// listens.
func (d *Decisions) StartNginx(
	ctx context.Context, root, upstream string, others ...string,
) (address string, err error) {
	s := d.site
	program, err := exec.LookPath("nginx")
	if errors.Is(err, exec.ErrNotFound) {
		program, err = exec.LookPath("/usr/sbin/nginx") // which is not in everybody's PATH
	}
	if err != nil {
		return "", fmt.Errorf("%w: .ci/install nginx installs it", err)
	}
	ports, err := freePorts(1)
	if err != nil {
		return "", err
	}
	address = fmt.Sprintf("127.0.0.1:%d", ports[0])
	shipped, err := os.ReadFile(filepath.Join(root, "docs/deploy/nginx/attestd.conf")) //nolint:gosec // ours
	if err != nil {
		return "", err
	}
	site, err := nginxSite(string(shipped), d.socket(), upstream, address, others)
	if err != nil {
		return "", err
	}
	folder := s.path("nginx")
	if err := os.Mkdir(folder, 0o700); err != nil {
		return "", err
	}
	owner := ""
	if os.Geteuid() == 0 { // else its workers would be nobody's
		owner = "user root root;\n"
	}
	text := owner + "daemon off;\nmaster_process off;\npid pid;\nerror_log stderr;\nevents {}\n" +
		"http {\naccess_log off;\n"
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		text += fmt.Sprintf("%s_temp_path %s;\n", kind, filepath.Join(folder, kind))
	}
	path := filepath.Join(folder, "nginx.conf")
	if err := os.WriteFile(path, []byte(text+site+"}\n"), 0o600); err != nil {
		return "", err
	}
	p, err := s.start("nginx", program, "-p", folder, "-e", "stderr", "-c", path)
	if err != nil {
		return "", err
	}
	return address, p.Until(ctx, func() error {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			err = conn.Close()
		}
		return err
	})
}

// nginxSite is the shipped configuration with this host's names, and routes like that of the tool for
// other tenants' tools.
func nginxSite(shipped, socket, upstream, address string, others []string) (string, error) {
	for _, pair := range [][2]string{
		{"/run/attestd/decide.sock", socket}, {"127.0.0.1:9000", upstream}, {"127.0.0.1:8080", address},
		{"tenant=acme", "tenant=default"},
	} {
		if !strings.Contains(shipped, pair[0]) {
			return "", fmt.Errorf("the shipped configuration of nginx has no %q", pair[0])
		}
		shipped = strings.ReplaceAll(shipped, pair[0], pair[1])
	}
	var routes string
	for _, begins := range []string{"    location /search/ {\n", "    location = /_attestd/search {\n"} {
		_, rest, found := strings.Cut(shipped, begins)
		body, _, ended := strings.Cut(rest, "\n    }\n")
		if !found || !ended {
			return "", fmt.Errorf("the shipped configuration of nginx has no %q", begins)
		}
		for _, tenant := range others {
			routes += strings.NewReplacer(
				"/search/", "/"+tenant+"/", "/_attestd/search", "/_attestd/"+tenant, "tenant=default", "tenant="+tenant,
			).Replace(begins + body + "\n    }\n")
		}
	}
	at := strings.LastIndex(shipped, "}")
	return shipped[:at] + routes + shipped[at:], nil
}
