package collateral

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/tdx/pcs"
)

// Intel's hosts (Intel SGX and TDX Provisioning Certification Service, API version 4). There are no others but
// a PCCS that the operator names: no environment and no evidence names one.
const (
	pcsHost = "api.trustedservices.intel.com"
	// rootListAddress is where the root's revocation list lies, which the API does not serve. It is
	// compiled in and not taken from the distribution point in a certificate.
	rootListAddress = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
)

// Headers in which the service sends the chain of whoever signed its answer.
const (
	headerListChain     = "SGX-PCK-CRL-Issuer-Chain"
	headerInfoChain     = "TCB-Info-Issuer-Chain"
	headerIdentityChain = "SGX-Enclave-Identity-Issuer-Chain"
)

// IntelConfig says what a fetcher asks for of Intel's.
type IntelConfig struct {
	// Channels to fetch beside the one that the store follows.
	Channels []Channel
	// Platforms beside those that are held and those that evidence wanted.
	Platforms []Platform
	// PCCS is a caching service of the operator's own that is asked instead of Intel, nil for none, and
	// Roots the authorities that its certificate must lead to.
	PCCS  *url.URL
	Roots *x509.CertPool
}

// check completes the configuration of a store's fetcher.
func (c *IntelConfig) check(store *Store) error {
	if followed := store.following(); !slices.Contains(c.Channels, followed) {
		c.Channels = append([]Channel{followed}, c.Channels...)
	}
	for _, channel := range c.Channels {
		if _, err := ParseChannel(string(channel)); err != nil {
			return err
		}
	}
	for _, platform := range c.Platforms {
		if err := platform.check(); err != nil {
			return unfit(err, "collateral.ParsePlatform makes one")
		}
	}
	const hint = "give https://HOST[:PORT][/PATH], and its CA's certificates"
	switch where := c.PCCS; {
	case where == nil && c.Roots != nil:
		return unfit(errors.New("the CA of a PCCS, and no PCCS"), hint)
	case where == nil:
	case where.Scheme != "https" || where.Host == "" || where.User != nil || where.RawQuery != "" ||
		where.Fragment != "":
		return unfit(errors.New("the PCCS is no address of the form https://HOST[:PORT][/PATH]"), hint)
	case c.Roots == nil:
		return unfit(errors.New("a PCCS without the certificates of its CA"), hint)
	}
	return nil
}

// host names the service for people.
func (c *IntelConfig) host() string {
	if c.PCCS != nil {
		return attestd.Excerpt(c.PCCS.Host, 100)
	}
	return pcsHost
}

// base is what the paths of the API are appended to.
func (c *IntelConfig) base() string {
	if c.PCCS != nil {
		return strings.TrimRight(c.PCCS.String(), "/")
	}
	return "https://" + pcsHost
}

// rootList, pckList, tcbInfo and identity format what is asked for from closed lists of names and hex.
func (c *IntelConfig) rootList() string {
	if c.PCCS != nil {
		return c.base() + "/sgx/certification/v4/rootcacrl"
	}
	return rootListAddress
}

func (c *IntelConfig) pckList(name string) string {
	ca := "platform"
	if name == pcs.NameProcessor {
		ca = "processor"
	}
	return c.base() + "/sgx/certification/v4/pckcrl?ca=" + ca + "&encoding=der"
}

func (c *IntelConfig) tcbInfo(platform Platform, channel Channel) string {
	return c.base() + "/tdx/certification/v4/tcb?fmspc=" + platform.FMSPC + "&update=" + string(channel)
}

func (c *IntelConfig) identity(channel Channel) string {
	return c.base() + "/tdx/certification/v4/qe/identity?update=" + string(channel)
}

// intelJobs lists everything of Intel's that is kept current. Intel is not asked for anything before a platform
// was named: by evidence, by what was imported, or by the operator.
func (f *Fetcher) intelJobs() []job {
	platforms, held := f.store.intelHeld()
	for _, platform := range f.config.Intel.Platforms {
		if !slices.Contains(platforms, platform) {
			platforms = append(platforms, platform)
		}
	}
	wished := slices.ContainsFunc(f.store.wishes(), func(w wish) bool { return w.Platform != nil && !w.Refused })
	if !held && !wished && len(platforms) == 0 {
		return nil
	}
	var found []job
	add := func(what string, run func(ctx context.Context) (string, error)) {
		every := f.config.Refresh + f.store.jitterOf("refresh "+what, f.config.Refresh/8)
		found = append(found, job{intel, what, every, run})
	}
	for _, name := range []string{pcs.NameRoot, pcs.NamePlatform, pcs.NameProcessor} {
		add("list "+name, func(ctx context.Context) (string, error) { return f.intelList(ctx, name) })
	}
	for _, channel := range f.config.Intel.Channels {
		add("enclave-identity TD_QE "+string(channel), func(ctx context.Context) (string, error) {
			return f.document(ctx, f.config.Intel.identity(channel), headerIdentityChain, channel,
				pcs.SubjectOfIdentity)
		})
		for _, platform := range platforms {
			add("tcb-info "+platform.String()+" "+string(channel), func(ctx context.Context) (string, error) {
				return f.tcbInfo(ctx, platform, channel)
			})
		}
	}
	return found
}

// intelWishes lists the platforms that evidence wanted.
func (f *Fetcher) intelWishes(all bool) []job {
	var found []job
	for _, w := range f.store.wishes() {
		if w.Platform != nil && !w.Refused && (all || !f.store.now().Before(w.Next)) {
			run := func(ctx context.Context) (string, error) { return f.platform(ctx, w) }
			found = append(found, job{intel, "platform " + w.Platform.String(), 0, run})
		}
	}
	return found
}

// intelHeld returns the platforms of which anything was ever held, and whether anything of Intel's was.
func (s *Store) intelHeld() (platforms []Platform, any bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, row := range s.ledger.Documents {
		any = true
		if fmspc, is := fmspcOf(row.Subject); is {
			if one := (Platform{hex.EncodeToString(fmspc[:])}); !slices.Contains(platforms, one) {
				platforms = append(platforms, one)
			}
		}
	}
	any = any || slices.ContainsFunc(s.ledger.Lists, func(row listRow) bool {
		return row.Format == attestd.FormatTDX
	})
	return platforms, any
}

// intelList looks for the revocation list of one of Intel's CAs.
func (f *Fetcher) intelList(ctx context.Context, name string) (string, error) {
	address := f.config.Intel.rootList()
	if name != pcs.NameRoot {
		address = f.config.Intel.pckList(name)
	}
	said, err := f.ask(ctx, intel, address, 2*maxList) // a PCCS answers in hex
	if err != nil {
		return "", err
	}
	list, err := readList(said.body)
	if err != nil {
		return "", err
	}
	parsed, err := x509.ParseRevocationList(list)
	if err != nil {
		return "", unreadable("revocation list", err)
	}
	if parsed.Issuer.CommonName != name {
		return "", fmt.Errorf("the answer is the list of %s", attestd.Excerpt(parsed.Issuer.CommonName, 80))
	}
	objects := [][]byte{list}
	if name != pcs.NameRoot {
		chain, err := said.chain(headerListChain)
		if err != nil {
			return "", err
		}
		objects = append(objects, chain...)
	}
	return f.take(ctx, intel, objects)
}

// readList reads a revocation list in DER, in PEM, or in hex, which is how a PCCS answers.
func readList(body []byte) ([]byte, error) {
	trimmed := bytes.TrimSpace(body)
	if der, err := hex.DecodeString(string(trimmed)); err == nil {
		return der, nil
	}
	objects, err := Decode(body)
	if err != nil {
		return nil, err
	}
	if len(objects) != 1 {
		return nil, fmt.Errorf("the answer has %d objects, want one list", len(objects))
	}
	return objects[0], nil
}

// chain reads the certificates that a service sends beside an answer.
func (a answer) chain(header string) ([][]byte, error) {
	value := a.header.Get(header)
	if value == "" {
		return nil, fmt.Errorf("the answer has no header %s", header)
	}
	chain, err := pcs.ReadChainHeader(value)
	if err != nil {
		return nil, fmt.Errorf("header %s: %w", header, err)
	}
	return chain, nil
}

func (f *Fetcher) tcbInfo(ctx context.Context, platform Platform, channel Channel) (string, error) {
	return f.document(ctx, f.config.Intel.tcbInfo(platform, channel), headerInfoChain, channel,
		platform.subject())
}

// document looks for a document about a subject and demands that the answer is one.
func (f *Fetcher) document(
	ctx context.Context, address, header string, channel Channel, subject string,
) (string, error) {
	said, err := f.ask(ctx, intel, address, maxJSON)
	if err != nil {
		return "", err
	}
	document := bytes.TrimSpace(said.body)
	got, err := pcs.Subject(document)
	if err != nil {
		return "", invalid("ask again later", "the answer cannot be read: %s", attestd.Excerpt(err.Error(), 160))
	}
	if got != subject {
		return "", fmt.Errorf("the answer is about %s", attestd.Excerpt(got, 80))
	}
	chain, err := said.chain(header)
	if err != nil {
		return "", err
	}
	return f.take(ctx, intel, append(chain, In(channel, [][]byte{document})...))
}

// platform looks for what evidence wanted, in every channel that is fetched.
func (f *Fetcher) platform(ctx context.Context, w wish) (string, error) {
	outcome := Held
	for _, channel := range f.config.Intel.Channels {
		came, err := f.tcbInfo(ctx, *w.Platform, channel)
		switch {
		case errors.Is(err, errNone):
			return OutcomeNone, f.store.writeWish(w.refusedBy(f.store.now(), errNone.Error()))
		case err != nil:
			if ctx.Err() == nil {
				err = errors.Join(err, f.store.writeWish(w.later(f.store.now(), err)))
			}
			return "", err
		case came == Taken:
			outcome = Taken
		}
	}
	return outcome, nil
}
