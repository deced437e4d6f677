package config

import (
	"fmt"
	"os"
	"time"

	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/internal/yamldoc"
)

// Schema is what the key "schema" must say.
const Schema = "attestd.config.v1"

// Off switches a listener off.
const Off = "off"

// Ways to keep the parser of hostile bytes apart.
const (
	// IsolateProcess verifies in worker processes without keys, network or files.
	IsolateProcess = "process"
	// IsolateNone verifies in the daemon itself: for development.
	IsolateNone = "none"
)

// Config is everything that can be configured. The tag "key" is the key in the document, the tag
// "doc" its line in docs/config.md.
type Config struct {
	TrustDomain string `key:"trust_domain" doc:"SPIFFE trust domain of this verifier; part of every binding, so two verifiers with one name can be confused"`
	StateDir    string `key:"state_dir" doc:"folder of the database, the challenge key and the socket; absolute, mode 0700"`
	// Tenants there are.
	Tenants    []string   `key:"tenants" doc:"names of the tenants there are; a request for any other is refused"`
	LogLevel   string     `key:"log_level" doc:"debug, info, warn or error"`
	Listen     Listen     `key:"listen"`
	Challenges Challenges `key:"challenges"`
	Verify     Verify     `key:"verify"`
	Appraisals Appraisals `key:"appraisals"`
	Results    Results    `key:"results"`
	Collateral Collateral `key:"collateral"`
	Subjects   Subjects   `key:"subjects"`
	Automation Automation `key:"automation"`
	Enrolment  Enrolment  `key:"enrolment"`
	Admin      Admin      `key:"admin"`
	SPIRE      SPIRE      `key:"spire"`
	Decisions  Decisions  `key:"decisions"`
	Store      Store      `key:"store"`
	Limits     Limits     `key:"limits"`
}

// Listen says where requests are taken.
type Listen struct {
	HTTP string `key:"http" doc:"IP address and port, or off; beyond loopback only with TLS"`
	Unix string `key:"unix" doc:"path of a unix socket (mode 0660), from state_dir if relative, or off"`
	TLS  TLS    `key:"tls"`
}

// TLS is for the HTTP listener; the unix socket has none.
type TLS struct {
	Certificate string `key:"certificate" doc:"PEM file with the server's chain, leaf first"`
	Key         string `key:"key" doc:"PEM file with the leaf's private key, readable by its owner only"`
	ClientCA    string `key:"client_ca" doc:"PEM file with the CAs of clients; with it a client certificate is demanded and sessions are not resumed"`
}

// Enabled reports whether the HTTP listener speaks TLS.
func (t TLS) Enabled() bool { return t.Certificate != "" }

// Challenges says how nonces are issued.
type Challenges struct {
	Lifetime    time.Duration `key:"lifetime" doc:"how long a challenge lives, at most 1m"`
	NonceBytes  int           `key:"nonce_bytes" doc:"length of a nonce, 32 to 64"`
	PerSource   int           `key:"per_source" doc:"challenges that one source address can have waiting"`
	PerTenant   int           `key:"per_tenant" doc:"challenges that one tenant can have waiting"`
	Outstanding int           `key:"outstanding" doc:"challenges that can wait in all"`
	// EphemeralKey is for development.
	EphemeralKey bool `key:"ephemeral_key" doc:"sign with a key that is gone with the process, instead of state_dir/challenge.key"`
}

// Verify says how evidence is judged.
type Verify struct {
	Policy string `key:"policy" doc:"appraisal policy for fresh evidence: production, laboratory (software TPMs and test roots), or the path of a policy file"`
	// TenantPolicies are in place of Policy for the tenants they name.
	TenantPolicies []string `key:"tenant_policies" doc:"TENANT=POLICY, as in blue=/etc/attestd/blue.yaml: the policy of one tenant in place of verify.policy"`
	References     []string `key:"references" doc:"paths of reference-values files, each signed by one of reference_keys"`
	// ReferenceKeys and LocalReferences are the two ways to believe reference values.
	ReferenceKeys   []string      `key:"reference_keys" doc:"paths of the public keys whose reference values count (attestd ref keygen)"`
	LocalReferences []string      `key:"local_references" doc:"paths of reference-values files that nobody has signed: keep them where nobody else can write"`
	Veraison        bool          `key:"veraison" doc:"serve the challenge-response API of project Veraison as well, /challenge-response/v1"`
	AllowRecorded   bool          `key:"allow_recorded" doc:"serve /v1/verify-recorded, which does not show freshness"`
	InsecureRoots   []string      `key:"insecure_roots" doc:"PEM files with test roots; what chains to one scores at least 60"`
	Isolation       string        `key:"isolation" doc:"process (workers without keys, network or files) or none (for development)"`
	Workers         int           `key:"workers" doc:"worker processes; 0 is one per core; eight verifications are under way for each"`
	Waiting         int           `key:"waiting" doc:"requests that wait for one of those to end; more are answered 429"`
	Timeout         time.Duration `key:"timeout" doc:"most time for one verification"`
}

// Appraisals says what is kept of verdicts.
type Appraisals struct {
	Keep time.Duration `key:"keep" doc:"how long a stored verdict is kept"`
	Most int           `key:"most" doc:"how many stored verdicts are kept; the oldest go first"`
}

// Limits bound what callers can make the daemon hold.
type Limits struct {
	JSONBody          int           `key:"json_body" doc:"most bytes of a JSON body"`
	RawBody           int           `key:"raw_body" doc:"most bytes of raw evidence"`
	AllBodies         int           `key:"all_bodies" doc:"most bytes of all bodies at a time"`
	HeaderBytes       int           `key:"header_bytes" doc:"most bytes of a request's header"`
	Connections       int           `key:"connections" doc:"most connections; when full, the longest idle one is closed"`
	ReadHeaderTimeout time.Duration `key:"read_header_timeout" doc:"most time for a request's header"`
	ReadTimeout       time.Duration `key:"read_timeout" doc:"most time for header and body"`
	WriteTimeout      time.Duration `key:"write_timeout" doc:"most time from the header's end to the answer's end"`
	IdleTimeout       time.Duration `key:"idle_timeout" doc:"how long an idle connection is kept"`
	ShutdownTimeout   time.Duration `key:"shutdown_timeout" doc:"how long running requests may go on after a signal to stop"`
}

// Default returns the configuration of an empty document: a unix socket and loopback, fresh evidence
// only, worker processes.
func Default() Config {
	return Config{
		TrustDomain: "localhost", StateDir: "/var/lib/attestd", Tenants: []string{"default"}, LogLevel: "info",
		Listen: Listen{HTTP: "127.0.0.1:8421", Unix: "attestd.sock"},
		Challenges: Challenges{
			Lifetime: time.Minute, NonceBytes: 32, PerSource: 4096, PerTenant: 16384, Outstanding: 65536,
		},
		Verify: Verify{
			Policy: appraisal.Production, Isolation: IsolateProcess, Waiting: 256, Timeout: 10 * time.Second,
		},
		Appraisals: Appraisals{Keep: 30 * 24 * time.Hour, Most: 20000},
		Subjects:   Subjects{Reattest: time.Hour, Grace: 30 * time.Minute},
		Automation: defaultAutomation(), Enrolment: defaultEnrolment(), Admin: defaultAdmin(),
		Results: defaultResults(), Collateral: defaultCollateral(),
		SPIRE: defaultSPIRE(), Decisions: defaultDecisions(), Store: Store{Reserve: 64 << 20},
		Limits: Limits{
			JSONBody: 2 << 20, RawBody: 1 << 20, AllBodies: 64 << 20, HeaderBytes: 16 << 10,
			Connections: 1024, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
			WriteTimeout: 30 * time.Second, IdleTimeout: 60 * time.Second, ShutdownTimeout: 10 * time.Second,
		},
	}
}

// maxDocument is the largest configuration that is read.
const maxDocument = 256 << 10

// Load reads a configuration file.
func Load(path string) (Config, error) {
	document, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(path, document)
}

// Parse reads a configuration document; source names it in messages.
//
// Errors: one error with every problem.
func Parse(source string, document []byte) (Config, error) {
	root, problems := yamldoc.Parse(source, document, maxDocument)
	if root == nil {
		return Config{}, problems.Err()
	}
	config := Default()
	reading := reader{nodes: map[string]*yamldoc.Node{}, report: problems.Add}
	reading.document(root, &config)
	if problems.Err() == nil {
		config.check(reading.problem)
	}
	if err := problems.Err(); err != nil {
		return Config{}, err
	}
	return config, nil
}

// Check returns every problem of a configuration that was not made by Parse.
func (c Config) Check() error {
	_, problems := yamldoc.Parse("configuration", []byte("schema: "+Schema), maxDocument)
	c.check(func(path, format string, args ...any) {
		problems.Add("%s: %s", path, fmt.Sprintf(format, args...))
	})
	return problems.Err()
}
