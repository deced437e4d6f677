package admin

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/problem"
)

const howToAsk = "use the unix socket with the bootstrap token, or https with an operator's certificate"

func unauthenticated(detail string) error {
	return refuse(attestd.ClassUnauthenticated, detail, howToAsk)
}

// authenticate returns who asks. Each way in has its own credential and takes no other: the unix
// socket the bootstrap token, TLS a certificate. A request with both could be read in two ways by two
// parties, and plain HTTP shows a token to everybody on the way.
func (s *server) authenticate(c *call, r *http.Request) (operator.Principal, error) {
	bearer, err := bearerOf(r)
	var who operator.Principal
	switch {
	case err != nil:
	case r.TLS != nil && bearer != "":
		err = unauthenticated("a token is taken through the unix socket alone")
	case r.TLS != nil:
		who, err = s.config.Book.ByCertificate(r.Context(), r.TLS)
	case localNetwork(r) != "unix":
		err = unauthenticated("operators are not answered in the clear")
	case bearer == "":
		err = unauthenticated("no token")
	default:
		who, err = s.config.Book.ByToken(bearer)
	}
	if err == nil && who.Name == "" {
		err = unauthenticated("nobody was recognized")
	}
	if err != nil {
		return operator.Principal{}, s.failures.count(c.source, err)
	}
	return who, nil
}

// admitLogin lets in whoever has something like a login token; the book looks at it. Guesses are
// bounded before they are looked at: nobody who has a token sends hundreds a minute. Over the other
// ways in a source that was refused often is still looked at, or whoever shares its address could keep
// an operator from quarantining.
func (s *server) admitLogin(c *call, r *http.Request) error {
	if s.failures.over(c.source) {
		return errTooMany
	}
	bearer, err := bearerOf(r)
	switch {
	case err != nil:
	case r.TLS == nil && localNetwork(r) != "unix":
		err = unauthenticated("operators are not answered in the clear")
	case bearer == "":
		err = unauthenticated("no login token")
	}
	c.bearer = bearer
	if err != nil {
		return s.failures.count(c.source, err)
	}
	return nil
}

// bearerOf returns the token of the header Authorization (RFC 6750 section 2.1), empty for none. It
// is taken from nowhere else: URLs are logged.
func bearerOf(r *http.Request) (string, error) {
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		return "", nil
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if len(values) != 1 || !ok || !strings.EqualFold(scheme, "bearer") || token == "" || len(token) > 512 {
		return "", unauthenticated("the header Authorization is not one bearer token")
	}
	return token, nil
}

// straight refuses requests that something on the way could have read otherwise than we do: another
// method in a header, a whole URL for a path, a host with a dot at its end or not of this server, what
// a web page sent.
func straight(r *http.Request) error {
	const hint = "ask from attestd's own client, without a proxy that rewrites requests"
	for _, name := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override",
		"X-Original-URL", "X-Rewrite-URL"} {
		if len(r.Header.Values(name)) != 0 {
			return unauthenticated("the header " + name + " is not taken")
		}
	}
	if r.URL.Host != "" || r.URL.Scheme != "" || !strings.HasPrefix(r.RequestURI, Prefix) {
		return refuse(attestd.ClassMalformed, "the request line has no plain path", hint)
	}
	site := r.Header.Get("Sec-Fetch-Site")
	if len(r.Header.Values("Origin")) != 0 || site != "" && site != "none" {
		return refuse(attestd.ClassForbidden, "requests of web pages are not taken", "ask from a program")
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	address := net.ParseIP(strings.Trim(host, "[]")) != nil
	switch {
	case host == "" || strings.HasSuffix(host, "."):
		return unauthenticated("the host of the request is not this server's name")
	case r.TLS != nil && !address && !strings.EqualFold(host, r.TLS.ServerName) &&
		r.TLS.ServerName != operator.ServerName:
		return unauthenticated("the host of the request is not the one that TLS was asked for")
	}
	return nil
}

// source is what limits are counted by: the address of the connection, never a header. An IPv6
// address counts as its /64, which is what one subscriber has.
func source(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return "unix" // a unix socket has no address
	}
	address, err := netip.ParseAddr(host)
	if err != nil {
		return "other"
	}
	address = address.Unmap().WithZone("")
	if address.Is4() {
		return address.String()
	}
	prefix, err := address.Prefix(64)
	if err != nil {
		return "other"
	}
	return prefix.String()
}

// isUnauthenticated reports whether the error says that nobody was recognized.
func isUnauthenticated(err error) bool {
	var caller *attestd.CallerError
	var shaped *problem.Error
	return errors.As(err, &caller) && caller.Class == attestd.ClassUnauthenticated ||
		errors.As(err, &shaped) && shaped.Class == attestd.ClassUnauthenticated
}
