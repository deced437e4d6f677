package enrol

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/strict"
	"github.com/attestd/attestd/internal/subject"
)

// cloudLimits bound a provider's answer.
var cloudLimits = strict.JSONLimits{Bytes: MaxDocument, Depth: 32}

// aws reads what `aws ec2 describe-instances` and `aws iam list-roles` answer. Instances that have
// ended are left out. Their ids are what module_id of a Nitro document and PCR4 speak of; the ARN of a
// role is what PCR3 does.
func (l *list) aws(document []byte) {
	top, ok := l.document(document)
	answer, isObject := top.(map[string]any)
	if !ok || !isObject {
		l.problem("list", "is not what describe-instances or list-roles answers: want an object")
		return
	}
	reservations, hasInstances := answer["Reservations"].([]any)
	roles, hasRoles := answer["Roles"].([]any)
	if !hasInstances && !hasRoles {
		l.problem("list", "has neither Reservations (ec2 describe-instances) nor Roles (iam list-roles)")
	}
	for _, name := range []string{"NextToken", "Marker"} {
		if text(answer, name) != "" {
			l.problem("list", "goes on behind %s: get the whole of it", name)
		}
	}
	for i, reservation := range reservations {
		instances, ok := field(reservation, "Instances").([]any)
		if !ok {
			l.problem(fmt.Sprintf("Reservations[%d]", i), "has no Instances")
		}
		for j, instance := range instances {
			l.ec2(fmt.Sprintf("Reservations[%d].Instances[%d]", i, j), instance)
		}
	}
	for i, role := range roles {
		place, arn := fmt.Sprintf("Roles[%d]", i), text(role, "Arn")
		if !isRoleARN(arn) {
			l.problem(place, "Arn: got %q, want that of a role", attestd.Excerpt(arn, 80))
			continue
		}
		l.add(Entry{Key: subject.Key{Kind: KindAWSRole, Value: PCROf(arn)}, Label: label(arn), place: place})
	}
}

func (l *list) ec2(place string, instance any) {
	switch text(field(instance, "State"), "Name") {
	case "terminated", "shutting-down":
		return
	}
	name := ""
	tags, _ := field(instance, "Tags").([]any)
	for _, tag := range tags {
		if text(tag, "Key") == "Name" {
			name = text(tag, "Value")
		}
	}
	l.add(Entry{
		Key:   subject.Key{Kind: KindAWSInstance, Value: text(instance, "InstanceId")},
		Label: label(name), place: place,
	})
}

// A role's ARN (AWS IAM User Guide, IAM identifiers), with its path.
var roleARN = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/[\x21-\x7e]{1,576}$`)

func isRoleARN(text string) bool { return roleARN.MatchString(text) }

// A link to an instance names what its certificate names: project and zone.
var gceLink = regexp.MustCompile(
	`^https://[a-z.-]+/compute/[a-z0-9]+/projects/([A-Za-z0-9:._-]+)/zones/([a-z0-9-]+)/instances/[a-z0-9-]+$`)

// gce reads what `gcloud compute instances list --format=json` answers.
func (l *list) gce(document []byte) {
	for i, instance := range l.array(document, "gcloud compute instances list --format=json") {
		place := fmt.Sprintf("[%d]", i)
		link := gceLink.FindStringSubmatch(text(instance, "selfLink"))
		if link == nil {
			l.problem(place, "selfLink: got %q, want that of an instance",
				attestd.Excerpt(text(instance, "selfLink"), 80))
			continue
		}
		l.add(Entry{
			Key: subject.Key{
				Kind: KindInstance, Value: "gce:" + link[1] + "/" + link[2] + "/" + text(instance, "id"),
			},
			Label: label(text(instance, "name")), place: place,
		})
	}
}

// azure reads what `az vm list` answers. Certificates of Azure have the id as it is here.
func (l *list) azure(document []byte) {
	for i, machine := range l.array(document, "az vm list") {
		place, id := fmt.Sprintf("[%d]", i), text(machine, "vmId")
		if !azureID.MatchString(id) {
			l.problem(place, "vmId: got %q, want a UUID", attestd.Excerpt(id, 80))
			continue
		}
		l.add(Entry{
			Key:   subject.Key{Kind: KindInstance, Value: "azure:" + strings.ToLower(id)},
			Label: label(text(machine, "name")), place: place,
		})
	}
}

var azureID = regexp.MustCompile(`^[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)

// document reads JSON: no duplicate keys, no bytes behind it.
func (l *list) document(document []byte) (any, bool) {
	var top json.RawMessage
	if err := strict.DecodeJSON(document, cloudLimits, &top); err != nil {
		l.problem("list", "%s", err)
		return nil, false
	}
	var value any
	if err := json.Unmarshal(top, &value); err != nil {
		l.problem("list", "%s", attestd.Excerpt(err.Error(), 80))
		return nil, false
	}
	return value, true
}

func (l *list) array(document []byte, command string) []any {
	top, ok := l.document(document)
	if !ok {
		return nil
	}
	items, ok := top.([]any)
	if !ok {
		l.problem("list", "is not what `%s` answers: want an array", command)
	}
	return items
}

// field returns a field of an object in its own case; nil for none.
func field(value any, name string) any {
	object, _ := value.(map[string]any)
	return object[name]
}

func text(value any, name string) string {
	text, _ := field(value, name).(string)
	return text
}

// label cuts foreign text to what a label can be.
func label(text string) string {
	for limit := maxLabel - 3; ; limit-- {
		if cut := attestd.Excerpt(text, limit); len(cut) <= maxLabel {
			return cut
		}
	}
}
