package client

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/operator"
)

// DefaultServer is the socket of an attestd with the default configuration.
const DefaultServer = "unix:/var/lib/attestd/attestd.sock"

// Limits of what is read.
const (
	maxAnswer = 32 << 20
	maxToken  = 4 << 10
	maxPEM    = 256 << 10
)

const defaultTimeout = 30 * time.Second

// Config says whom to ask, and as whom.
type Config struct {
	// Server is "unix:PATH", "unix:///PATH" or "https://HOST:PORT".
	Server string
	// TokenFile holds a bearer token. Empty: over the socket the file admin.token beside it, over TLS
	// none. The token is never taken from a flag or the environment: others could read it there.
	TokenFile string
	// Identity is the folder with an operator's certificate; see [LoadIdentity]. For TLS alone.
	Identity string
	// LoginToken is the one-time token for [Client.Login], in place of TokenFile and Identity. It names
	// the authority that the server must show before the token is sent to it.
	LoginToken string
	// Timeout of one request; 0 is 30 s.
	Timeout time.Duration
	// Now is the clock that certificates are held against before they are sent.
	Now func() time.Time
}

// Client asks one server.
type Client struct {
	named string
	base  string
	token string
	http  *http.Client
	unix  bool
}

// New reads the token or the identity, and dials nothing.
//
// Errors: [*attestd.CallerError], with a hint: an address that is none, a file that cannot be read, a
// certificate that has expired.
func New(config Config) (*Client, error) {
	if config.Timeout == 0 {
		config.Timeout = defaultTimeout
	}
	out := &Client{named: config.Server}
	transport := &http.Transport{ForceAttemptHTTP2: true}
	out.http = &http.Client{
		Transport: transport, Timeout: config.Timeout,
		// A server does not move: an order that follows a redirect goes to whom nobody named.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	path, isUnix, err := socketPath(config.Server)
	if err != nil {
		return nil, err
	}
	if isUnix && config.LoginToken != "" {
		return nil, refuse(attestd.ClassMalformed, "over the socket there is nothing to log in for: leave "+
			"--server out and run the command itself", "a login is for https alone, got %q", shown(config.Server))
	}
	if isUnix {
		return out, out.overSocket(transport, path, config.TokenFile)
	}
	return out, out.overTLS(transport, config)
}

// socketPath returns the path of a socket's address.
func socketPath(server string) (path string, isUnix bool, err error) {
	path, isUnix = strings.CutPrefix(server, "unix:")
	if !isUnix {
		return "", false, nil
	}
	if strings.HasPrefix(path, "//") {
		path = path[2:]
		if !strings.HasPrefix(path, "/") {
			return "", true, refuse(attestd.ClassMalformed, addressHint,
				"%q names a host, want three slashes before the path", shown(server))
		}
	}
	if path == "" {
		return "", true, refuse(attestd.ClassMalformed, addressHint, "%q names no socket", shown(server))
	}
	return path, true, nil
}

const addressHint = "give it like unix:/var/lib/attestd/attestd.sock or https://attestd.example.org:8422 " +
	"(--server, ATTESTD_SERVER)"

func (c *Client) overSocket(transport *http.Transport, path, tokenFile string) error {
	transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	c.base, c.unix = "http://localhost", true
	if tokenFile == "" {
		// Where there is no socket, that is the trouble to tell, not the token that is missing with it.
		if _, err := os.Stat(path); err != nil {
			return c.unreached(err, false)
		}
		tokenFile = filepath.Join(filepath.Dir(path), operator.TokenFile)
	}
	token, err := readToken(tokenFile)
	c.token = token
	return err
}

func (c *Client) overTLS(transport *http.Transport, config Config) error {
	where, err := url.Parse(config.Server)
	switch {
	case err != nil, where.Host == "", where.User != nil, where.RawQuery != "", where.Fragment != "",
		where.Path != "" && where.Path != "/", where.Scheme != "https":
		return refuse(attestd.ClassMalformed, addressHint, "%q is not the address of an attestd",
			shown(config.Server))
	}
	c.base = "https://" + where.Host
	transport.Proxy = http.ProxyFromEnvironment
	// attestd's own servers speak TLS 1.3 under one name, whatever their address; what offers less is
	// something else.
	settings := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: operator.ServerName, Time: config.now}
	transport.TLSClientConfig = settings
	if config.LoginToken != "" {
		token, err := operator.ParseLoginToken(config.LoginToken)
		if err != nil {
			return refuse(attestd.ClassUnauthenticated,
				"copy all of it, from attestd-login~ on, as attestd operator add printed it", "%w", err)
		}
		c.token = token.String()
		trustPin(settings, token.Pin)
		return nil
	}
	identity, err := LoadIdentity(config.Identity)
	if err != nil {
		return err
	}
	if err := identity.use(settings, config.now()); err != nil {
		return err
	}
	if config.TokenFile != "" {
		c.token, err = readToken(config.TokenFile)
	}
	return err
}

func (c Config) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}

// Server returns the address that was given.
func (c *Client) Server() string { return c.named }

// readToken reads a bearer token: one line of visible characters.
func readToken(path string) (string, error) {
	data, err := readFile("token", path, maxToken)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(data))
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", refuse(attestd.ClassMalformed, "write the token into it on one line, as it was given",
			"token %q is not one line of visible characters", shown(path))
	}
	return token, nil
}
