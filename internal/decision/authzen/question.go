package authzen

import (
	"encoding/base64"
	"fmt"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
)

// Limits of one question. What a credential holds is looked at by whoever verifies it.
const (
	maxType        = 64
	maxID          = 2048
	maxLabel       = 256
	maxLabels      = 32
	maxDatasets    = 256
	maxLinks       = 64
	maxToken       = 8 << 10
	maxChain       = 8
	maxCertificate = 16 << 10
	maxObligations = 16
)

// entity is a subject, with what of its properties counts.
type entity struct {
	kind, id string
	token    string
	// x5c is the chain in DER, leaf first.
	x5c     [][]byte
	address string
}

// question is an evaluation as it was written. What is nil was not there.
type question struct {
	subject  *entity
	action   *decision.Action
	resource *decision.Resource
	context  *said
}

// said is the context of a question.
type said struct {
	decision.Context
	supported []string
}

// over takes what is not there from the defaults; a key that is there replaces the default's whole value
// (AuthZEN 1.0, Default values).
func (q question) over(defaults question) question {
	if q.subject == nil {
		q.subject = defaults.subject
	}
	if q.action == nil {
		q.action = defaults.action
	}
	if q.resource == nil {
		q.resource = defaults.resource
	}
	if q.context == nil {
		q.context = defaults.context
	}
	return q
}

// whole returns nil where everything that is required is there.
func (q question) whole() error {
	for _, one := range []struct {
		name  string
		there bool
	}{{"subject", q.subject != nil}, {"action", q.action != nil}, {"resource", q.resource != nil}} {
		if !one.there {
			return fmt.Errorf("%s is missing", one.name)
		}
	}
	return nil
}

// member reads one key of a question, and reports whether it is one.
func (q *question) member(c *cursor, key string) (known bool, err error) {
	switch key {
	case "subject":
		q.subject = &entity{}
		return true, readSubject(c, q.subject)
	case "action":
		q.action = &decision.Action{}
		return true, readAction(c, q.action)
	case "resource":
		q.resource = &decision.Resource{}
		return true, readResource(c, q.resource)
	case "context":
		q.context = &said{Context: decision.Context{ExposureScore: -1}}
		return true, readContext(c, q.context)
	default:
		return false, nil
	}
}

// readSubject reads who is said to ask. Of its properties the credential and the address count: a risk, a
// ring or a group that is written there is the caller's wish.
func readSubject(c *cursor, into *entity) error {
	if err := c.object(func(key string) (err error) {
		switch key {
		case "type":
			into.kind, err = c.bounded(maxType)
		case "id":
			into.id, err = c.bounded(maxID)
		case "properties":
			err = c.object(func(key string) (err error) {
				switch key {
				case "token":
					into.token, err = c.bounded(maxToken)
				case "x5c":
					into.x5c, err = readChain(c)
				case "ip_address":
					into.address, err = c.bounded(maxLabel)
				default:
					err = c.skip()
				}
				return err
			})
		default:
			err = c.skip()
		}
		return err
	}); err != nil {
		return err
	}
	switch {
	case into.kind == "":
		return c.wrong("type is missing")
	case into.id == "":
		return c.wrong("id is missing")
	case into.token != "" && len(into.x5c) != 0:
		// Which of the two is asked about would be for the caller to choose.
		return c.wrong("properties have both token and x5c, want one")
	}
	return nil
}

// readChain reads certificates as in RFC 7515, section 4.1.6: base64 with padding, leaf first.
func readChain(c *cursor) (chain [][]byte, err error) {
	err = c.array(maxChain, func(int) error {
		text, err := c.bounded(maxCertificate)
		if err != nil {
			return err
		}
		der, err := base64.StdEncoding.Strict().DecodeString(text)
		if err != nil {
			return c.wrong("a certificate is not base64")
		}
		chain = append(chain, der)
		return nil
	})
	return chain, err
}

// aliases are the names that MCP's methods have where an enforcement point asks by them (AuthZEN's
// COAZ-MCP binding), so that policies are written once.
var aliases = map[string]string{
	"tools/call":               decision.ActionToolCall,
	"tools/list":               decision.ActionToolList,
	"resources/list":           decision.ActionToolList,
	"resources/templates/list": decision.ActionToolList,
	"prompts/list":             decision.ActionToolList,
	"initialize":               decision.ActionToolList,
	"resources/read":           decision.ActionDataRead,
	"resources/subscribe":      decision.ActionDataRead,
	"resources/unsubscribe":    decision.ActionDataRead,
	"prompts/get":              decision.ActionPromptAssemble,
}

func readAction(c *cursor, into *decision.Action) error {
	if err := c.object(func(key string) (err error) {
		if key != "name" {
			return skipProperties(c, key)
		}
		into.Name, err = c.bounded(maxLabel)
		return err
	}); err != nil {
		return err
	}
	if into.Name == "" {
		return c.wrong("name is missing")
	}
	if other, found := aliases[into.Name]; found {
		into.Name = other
	}
	return nil
}

// skipProperties steps over a member that does not count; properties are an object where they are there.
func skipProperties(c *cursor, key string) error {
	if key == "properties" && c.data[c.at] != '{' {
		return c.wrong("got %s, want an object", c.kind())
	}
	return c.skip()
}

func readResource(c *cursor, into *decision.Resource) error {
	if err := c.object(func(key string) (err error) {
		switch key {
		case "type":
			into.Type, err = c.bounded(maxType)
		case "id":
			into.ID, err = c.bounded(maxID)
		case "properties":
			err = c.object(func(key string) error { return readResourceProperty(c, key, into) })
		default:
			err = c.skip()
		}
		return err
	}); err != nil {
		return err
	}
	switch {
	case into.Type == "":
		return c.wrong("type is missing")
	case into.ID == "":
		return c.wrong("id is missing")
	}
	return nil
}

func readResourceProperty(c *cursor, key string, into *decision.Resource) (err error) {
	switch key {
	case "tenant":
		into.Tenant, err = c.bounded(maxLabel)
	case "project":
		into.Project, err = c.bounded(maxLabel)
	case "ring":
		into.Ring, err = c.bounded(maxType)
	case "privileged":
		into.Privileged, err = c.flag()
	case "dataset_scope":
		err = c.array(maxDatasets, func(int) error {
			one, err := readDataset(c)
			into.Datasets = append(into.Datasets, one)
			return err
		})
	default:
		err = c.skip()
	}
	return err
}

// readDataset reads one dataset: its id, or an object with how it is classified.
func readDataset(c *cursor) (one decision.Dataset, err error) {
	if c.data[c.at] == '"' {
		one.ID, err = c.bounded(maxID)
	} else {
		err = c.object(func(key string) (err error) {
			switch key {
			case "id":
				one.ID, err = c.bounded(maxID)
			case "classification":
				one.Classification, err = readLabels(c, maxLabels)
			default:
				err = c.skip()
			}
			return err
		})
	}
	if err == nil && one.ID == "" {
		err = c.wrong("a dataset has no id")
	}
	return one, err
}

func readLabels(c *cursor, most int) (labels []string, err error) {
	err = c.array(most, func(int) error {
		label, err := c.bounded(maxLabel)
		if err == nil && label == "" {
			err = c.wrong("a member is empty")
		}
		labels = append(labels, label)
		return err
	})
	return labels, err
}

func readContext(c *cursor, into *said) error {
	return c.object(func(key string) (err error) {
		switch key {
		case "prompt_id":
			into.PromptID, err = c.bounded(maxLabel)
		case "subject_chain":
			err = c.array(maxLinks, func(int) error {
				link, err := readLink(c)
				into.Chain = append(into.Chain, link)
				return err
			})
		case "classification":
			into.Classification, err = readLabels(c, maxLabels)
		case "intent":
			into.Intent, err = c.bounded(maxLabel)
		case "exposure_score":
			into.ExposureScore, err = c.number(0, 100)
		case "connectivity":
			err = readConnectivity(c, &into.Connectivity)
		case "labels_from":
			into.LabelsFrom, err = c.bounded(maxLabel)
		case "traceparent":
			into.Trace, err = c.bounded(maxType)
		case "supported_obligations", "obligations_supported":
			// The Obligations profile's name, and that of its first drafts.
			var more []string
			more, err = readLabels(c, maxObligations)
			into.supported = append(into.supported, more...)
		default:
			err = c.skip()
		}
		return err
	})
}

// readLink reads one of a subject chain. That it is verified, attested or of low risk is for attestd to
// find out: what is written of it is not read.
func readLink(c *cursor) (link decision.Link, err error) {
	err = c.object(func(key string) (err error) {
		switch key {
		case "type":
			link.Type, err = c.bounded(maxType)
		case "id":
			link.ID, err = c.bounded(maxID)
		case "iss":
			link.Issuer, err = c.bounded(maxID)
		case "token":
			link.Token, err = c.bounded(maxToken)
		default:
			err = c.skip()
		}
		return err
	})
	if err == nil && (link.ID == "" || link.Type != "human" && link.Type != "nhi") {
		err = c.wrong("a link wants an id and the type human or nhi, got type %q",
			attestd.Excerpt(link.Type, 40))
	}
	return link, err
}

func readConnectivity(c *cursor, into *decision.Connectivity) error {
	text, err := c.bounded(maxType)
	if err != nil {
		return err
	}
	switch *into = decision.Connectivity(text); *into {
	case decision.ConnectivityUnknown, decision.ConnectivityAirGapped, decision.ConnectivityConnected:
		return nil
	default:
		return c.wrong("got %q, want %s, %s or %s", attestd.Excerpt(text, 40), decision.ConnectivityUnknown,
			decision.ConnectivityAirGapped, decision.ConnectivityConnected)
	}
}
