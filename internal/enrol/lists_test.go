package enrol_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/enrol"
)

var (
	eks  = strings.TrimPrefix(ek(0).Value, "ek:")
	role = enrol.PCROf("arn:aws:iam::123456789012:role/Webserver")
)

const (
	ec2 = `{"Reservations":[{"OwnerId":"123456789012","Instances":[
{"InstanceId":"i-0123456789abcdef0","State":{"Code":16,"Name":"running"},
 "Tags":[{"Key":"Team","Value":"x"},{"Key":"Name","Value":"web-1"}]},
{"InstanceId":"i-0aaaaaaaaaaaaaaaa","State":{"Code":48,"Name":"terminated"}}]}]}`
	roles = `{"Roles":[{"Arn":"arn:aws:iam::123456789012:role/Webserver","RoleName":"Webserver"}]}`
	gce   = `[{"id":"4520031799277581759","name":"web-1","status":"RUNNING","selfLink":
"https://www.googleapis.com/compute/v1/projects/acme-prod/zones/europe-west4-a/instances/web-1"}]`
	azure = `[{"name":"web-1","vmId":"D1B3A1C0-0000-4000-8000-00000000AAAA","tags":null}]`
)

func TestListsThatAreRead(t *testing.T) {
	for _, row := range []struct {
		name, kind, document string
		want                 []string // key, label, expiry
	}{
		{"a CSV list", "csv", "kind,value,label,expires_at\nek," + strings.ToUpper(eks) +
			",\"rack 3, host 7\",2027-01-31T01:00:00+01:00\n",
			[]string{ek(0).String() + "|rack 3, host 7|2027-01-31T00:00:00Z"}},
		{"columns in another order, with a byte order mark and CRLF", "csv",
			"\xef\xbb\xbfvalue,kind\r\n" + ek(0).Value + ",instance\r\n", []string{ek(0).String() + "||"}},
		{"every spelling", "csv", "kind,value\nchip," + strings.Repeat("9C", 64) +
			"\naws-role-arn,arn:aws:iam::123456789012:role/Webserver\naws-instance,i-0123456789abcdef0\n" +
			"gce-instance,acme-prod/europe-west4-a/17\nazure-vm,D1B3A1C0-0000-4000-8000-00000000AAAA\n" +
			"gce-project,example.com:acme-prod\naws-pcr4," + role + "\n",
			[]string{
				"host:" + strings.Repeat("9c", 64) + "||", "aws-role:" + role + "||",
				"aws-instance:i-0123456789abcdef0||", "instance:gce:acme-prod/europe-west4-a/17||",
				"instance:azure:d1b3a1c0-0000-4000-8000-00000000aaaa||", "gce-project:example.com:acme-prod||",
				"aws-pcr4:" + role + "||",
			}},
		{"instances of EC2, less those that ended", "aws", ec2, []string{"aws-instance:i-0123456789abcdef0|web-1|"}},
		{"roles", "aws", roles, []string{"aws-role:" + role + "|arn:aws:iam::123456789012:role/Webserver|"}},
		{"instances of Google Cloud", "gce", gce,
			[]string{"instance:gce:acme-prod/europe-west4-a/4520031799277581759|web-1|"}},
		{"machines of Azure", "azure", azure, []string{"instance:azure:d1b3a1c0-0000-4000-8000-00000000aaaa|web-1|"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			entries, problems := enrol.ReadList(row.kind, []byte(row.document))
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			var got []string
			for _, entry := range entries {
				expires := ""
				if !entry.ExpiresAt.IsZero() {
					expires = entry.ExpiresAt.Format(time.RFC3339)
				}
				got = append(got, entry.Key.String()+"|"+entry.Label+"|"+expires)
			}
			if !slices.Equal(got, row.want) {
				t.Errorf("got  %q\nwant %q", got, row.want)
			}
		})
	}
}

func TestListsThatAreRefused(t *testing.T) {
	line := "ek," + eks + "\n"
	for _, row := range []struct {
		name, kind, document, problem string
	}{
		{"no kind", "", "kind,value\n" + line, "no kind of list"},
		{"an empty list", "csv", "", "no header"},
		{"a header alone", "csv", "kind,value\n", "names no machine"},
		{"no column for the value", "csv", "kind,label\nek,x\n", `no column "value"`},
		{"a misspelt column, which would enrol for ever", "csv", "kind,value,expires\n" + line, `"expires" is not known`},
		{"a column twice", "csv", "kind,value,value\n", "stands twice"},
		{"a field too many", "csv", "kind,value\nek," + eks + ",x\n", "line 2: has 3 fields"},
		{"a quote out of place", "csv", "kind,value\nek,\"" + eks + "\n", "line 2"},
		{"not UTF-8", "csv", "kind,value\nek,\xff\n", "not UTF-8"},
		{"a kind that there is not", "csv", "kind,value\ntpm," + eks + "\n", "no kind of key"},
		{"a digest of 31 bytes", "csv", "kind,value\nek," + eks[2:] + "\n", "no value of kind instance"},
		{"an endorsement key of zeros", "csv", "kind,value\nek," + strings.Repeat("0", 64) + "\n", "all zero"},
		{"a masked chip", "csv", "kind,value\nchip," + strings.Repeat("0", 128) + "\n", "all zero"},
		{"a machine twice", "csv", "kind,value\n" + line + line, "line 3: is the machine of line 2"},
		{"the same machine by two names", "csv", "kind,value\n" + line + "instance," + ek(0).Value + "\n", "line 3: is the"},
		{"a time without a zone", "csv", "kind,value,expires_at\nek," + eks + ",2027-01-31\n", "want a time"},
		{"a user's ARN", "csv", "kind,value\naws-role-arn,arn:aws:iam::123456789012:user/bob\n", "no value of kind aws-role"},
		{"a label of two lines", "csv", "kind,value,label\nek," + eks + ",\"a\nb\"\n", "line 2: the label"},
		{"a project of all", "csv", "kind,value\ngce-project,*\n", "no value of kind"},
		{"a wildcard of SQL", "csv", "kind,value\naws-instance,i-%\n", "no value of kind"},
		{"no JSON", "aws", "InstanceId", "json"},
		{"a key twice", "aws", `{"Reservations":[],"Reservations":[]}`, "json"},
		{"JSON behind it", "aws", `{"Reservations":[]}{}`, "json"},
		{"nested without end", "aws", strings.Repeat("[", 1000), "json"},
		{"another answer", "aws", `{"Users":[]}`, "has neither"},
		{"half of an answer", "aws", `{"Reservations":[],"NextToken":"abc"}`, "NextToken"},
		{"no instance", "aws", `{"Reservations":[]}`, "names no machine"},
		{"an instance without an id", "aws", `{"Reservations":[{"Instances":[{"State":{"Name":"running"}}]}]}`,
			"Reservations[0].Instances[0]"},
		{"an id in another case of its name", "aws", `{"Reservations":[{"Instances":[{"instanceid":"i-0123456789abcdef0"}]}]}`,
			`"" is no value`},
		{"a role's name for its ARN", "aws", `{"Roles":[{"Arn":"Webserver"}]}`, "want that of a role"},
		{"an object for an array", "gce", `{}`, "want an array"},
		{"an instance without a link", "gce", `[{"id":"1","zone":"europe-west4-a"}]`, "selfLink"},
		{"an id that is no number", "gce", strings.ReplaceAll(gce, "4520031799277581759", "../x"), "no value of kind"},
		{"no UUID", "azure", `[{"vmId":"web-1"}]`, "want a UUID"},
		{"null for a machine", "azure", `[null]`, "want a UUID"},
		{"neither PEM nor DER", "ek-certificates", "hello", "neither PEM nor DER"},
		{"a PEM block cut short", "ek-certificates", "-----BEGIN CERTIFICATE-----\nMIIE", "cannot be read"},
		{"a private key", "ek-certificates", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
			`"PRIVATE KEY", want CERTIFICATE`},
		{"no platform certificate", "platform-certificates", nucEK(t), "has no platform certificate"},
	} {
		t.Run(row.name, func(t *testing.T) {
			entries, problems := enrol.ReadList(row.kind, []byte(row.document))
			if len(entries) != 0 || !strings.Contains(strings.Join(problems, "\n"), row.problem) {
				t.Errorf("%d entries, problems %q, want %q", len(entries), problems, row.problem)
			}
		})
	}
}

func TestEverythingThatIsWrongIsSaidAtOnce(t *testing.T) {
	var doc strings.Builder
	doc.WriteString("kind,value\n")
	for i := range 250 {
		fmt.Fprintf(&doc, "ek,%d\n", i)
	}
	_, problems := enrol.ReadList("csv", []byte(doc.String()))
	if len(problems) != 101 || problems[100] != "and 150 more" || !strings.HasPrefix(problems[0], "line 2: ") {
		t.Errorf("%d problems, the last %q", len(problems), problems[len(problems)-1])
	}
	_, problems = enrol.ReadList("csv", make([]byte, enrol.MaxDocument+1))
	if len(problems) != 1 || !strings.Contains(problems[0], "at most") {
		t.Errorf("a document that is too large: %q", problems)
	}
}

func TestAListOfAHundredThousandMachines(t *testing.T) {
	var doc strings.Builder
	doc.WriteString("kind,value,label\n")
	for i := range 100_000 {
		fmt.Fprintf(&doc, "ek,%064x,host %d\n", i+1, i)
	}
	start := time.Now()
	entries, problems := enrol.ReadList("csv", []byte(doc.String()))
	if len(entries) != 100_000 || len(problems) > 0 {
		t.Fatalf("%d entries: %q", len(entries), problems)
	}
	t.Logf("%d machines in %v", len(entries), time.Since(start).Round(time.Millisecond))
}
