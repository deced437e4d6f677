package nhi

import (
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/yamldoc"
)

// annotation begins the annotations of a ServiceAccount that go into its record, as in
// "attestd/purpose: retrieval".
const annotation = "attestd/"

// tokenSecret is the type of Secrets that hold a token which does not end: "kubernetes.io/
// service-account-token" (Kubernetes, "Secret", section "ServiceAccount token Secrets").
const tokenSecret = "kubernetes.io/service-account-token"

// tokenOwner is the annotation that says whose such a token is.
const tokenOwner = "kubernetes.io/service-account.name"

// Cluster says how ids of ServiceAccounts are made.
type Cluster struct {
	// Name stands in ids of the form kubernetes:NAME/NAMESPACE/ACCOUNT; empty for
	// kubernetes:NAMESPACE/ACCOUNT.
	Name string
	// TrustDomain makes spiffe://TRUSTDOMAIN/ns/NAMESPACE/sa/ACCOUNT instead, the ids that SPIRE's
	// controller and Istio give.
	TrustDomain string
}

func (c Cluster) id(namespace, account string) string {
	switch {
	case c.TrustDomain != "":
		return "spiffe://" + c.TrustDomain + "/ns/" + namespace + "/sa/" + account
	case c.Name != "":
		return "kubernetes:" + c.Name + "/" + namespace + "/" + account
	default:
		return "kubernetes:" + namespace + "/" + account
	}
}

// ParseManifests reads ServiceAccounts and Secrets out of Kubernetes manifests: YAML of several
// documents, or JSON, also as the list that kubectl writes. An account that a Secret of type
// kubernetes.io/service-account-token belongs to has a permanent credential; one that names Secrets
// which are not there may have one, and its kind of credential is left open. Objects of other kinds
// are passed over, and the data of Secrets is not looked at.
//
// Errors: as those of [ParseYAML].
func ParseManifests(source string, document []byte, cluster Cluster) ([]Record, error) {
	// Lines are not shown: they can be those of Secrets.
	f := &faults{source: sourceName(source)}
	roots, problems := yamldoc.ParseStream(f.source, document, MaxDocument)
	m := manifests{cluster: cluster, accounts: map[string]*account{}, secrets: map[string]bool{}}
	for _, root := range roots {
		m.take(root)
	}
	f.take(problems.Err())
	found := placesOf(f)
	for _, name := range m.order {
		one := m.accounts[name]
		record := one.record(m.secrets)
		record.Source = "kubernetes:" + f.source
		found.take(record, one.line, one.column, name, one.at)
	}
	return found.done()
}

type manifests struct {
	cluster  Cluster
	accounts map[string]*account
	order    []string
	// secrets are those that were seen, and whether each is a token.
	secrets map[string]bool
}

// account is a ServiceAccount as far as it was seen.
type account struct {
	id           string
	line, column int
	notes        *yamldoc.Node
	mounts       []string
	seen, token  bool
}

func (m *manifests) take(object *yamldoc.Node) {
	kind, meta := object.Find("kind").String(), object.Find("metadata")
	version := object.Find("apiVersion").String()
	switch {
	case version != "v1":
		return
	case kind == "List" || kind == "ServiceAccountList" || kind == "SecretList":
		for _, one := range object.Find("items").Members() {
			m.take(one)
		}
		return
	case kind != "ServiceAccount" && kind != "Secret":
		return
	}
	namespace, name := meta.Find("namespace").String(), meta.Find("name").String()
	if name == "" {
		object.Problem("a %s without metadata.name", kind)
		return
	}
	if namespace == "" {
		namespace = "default" // where kubectl puts what names none
	}
	if kind == "ServiceAccount" {
		one := m.account(namespace, name, object)
		if one.seen {
			object.Problem("the ServiceAccount %s/%s stands twice", attestd.Excerpt(namespace, 63),
				attestd.Excerpt(name, 63))
			return
		}
		one.seen, one.notes = true, meta.Find("annotations")
		one.line, one.column = object.Line(), object.Column()
		for _, mount := range object.Find("secrets").Members() {
			one.mounts = append(one.mounts, namespace+"/"+mount.Find("name").String())
		}
		return
	}
	isToken := object.Find("type").String() == tokenSecret
	m.secrets[namespace+"/"+name] = isToken
	if !isToken {
		return
	}
	owner := meta.Find("annotations").Find(tokenOwner).String()
	if owner == "" {
		object.Problem("a token Secret that does not say whose: annotation %s", tokenOwner)
		return
	}
	m.account(namespace, owner, object).token = true
}

func (m *manifests) account(namespace, name string, object *yamldoc.Node) *account {
	key := namespace + "/" + name
	one := m.accounts[key]
	if one == nil {
		one = &account{
			id: m.cluster.id(namespace, name), line: object.Line(), column: object.Column(),
		}
		m.accounts[key] = one
		m.order = append(m.order, key)
	}
	return one
}

// record returns what the account says of itself.
func (a *account) record(secrets map[string]bool) Record {
	one := Record{ID: a.id, Credential: CredentialShortLived}
	if !a.seen || len(secrets) == 0 {
		// A Secret alone: whether its account is still there is not known. No Secret at all: since Kubernetes
		// 1.24 an account does not name the token Secrets that were made for it by hand.
		one.Credential = ""
	}
	for _, mount := range a.mounts {
		if isToken, seen := secrets[mount]; !seen {
			one.Credential = ""
		} else if isToken {
			a.token = true
		}
	}
	if a.token {
		one.Credential = CredentialPermanent
	}
	for _, field := range fields {
		text := a.notes.Find(annotation + field.name).String()
		switch {
		case text == "" || field.name == "credential":
			// What it authenticates with is what was found, and not what it says.
		case field.text != nil:
			*field.text(&one) = text
		default:
			*field.list(&one) = strings.Fields(text)
		}
	}
	return one
}

func (a *account) at(field string) (line, column int) {
	if value := a.notes.Find(annotation + field); value != nil {
		return value.Line(), value.Column()
	}
	return 0, 0
}
