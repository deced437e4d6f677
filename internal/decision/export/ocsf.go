package export

import (
	"encoding/json"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/journal"
)

// OCSFVersion is the release of the Open Cybersecurity Schema Framework that events obey: class API
// Activity (6003) with the profiles security_control, trace and ai_operation.
const OCSFVersion = "1.8.0"

const (
	ocsfCategory = 6    // application activity
	ocsfClass    = 6003 // API activity
)

// event is an OCSF event. Names are the framework's; what it has no name for is below unmapped.
type event struct {
	ActivityID   int            `json:"activity_id"`
	ActivityName string         `json:"activity_name"`
	CategoryUID  int            `json:"category_uid"`
	ClassUID     int            `json:"class_uid"`
	TypeUID      int            `json:"type_uid"`
	SeverityID   int            `json:"severity_id"`
	StatusID     int            `json:"status_id"`
	StatusCode   string         `json:"status_code,omitempty"`
	StatusDetail string         `json:"status_detail,omitempty"`
	Time         int64          `json:"time"` // milliseconds since 1970
	EndTime      int64          `json:"end_time,omitempty"`
	Count        int64          `json:"count,omitempty"`
	Message      string         `json:"message"`
	Metadata     ocsfMetadata   `json:"metadata"`
	Actor        ocsfActor      `json:"actor"`
	API          ocsfAPI        `json:"api"`
	Source       ocsfEndpoint   `json:"src_endpoint"`
	Resources    []ocsfEntity   `json:"resources,omitempty"`
	ActionID     int            `json:"action_id"`
	Disposition  int            `json:"disposition_id"`
	IsAlert      bool           `json:"is_alert"`
	Policy       *ocsfEntity    `json:"policy,omitempty"`
	Authorized   []ocsfGrant    `json:"authorizations"`
	Attacks      []ocsfAttack   `json:"attacks,omitempty"`
	RiskScore    *int           `json:"risk_score,omitempty"`
	RiskLevel    *int           `json:"risk_level_id,omitempty"`
	Trace        *ocsfTrace     `json:"trace,omitempty"`
	Messages     *ocsfMessage   `json:"message_context,omitempty"`
	Unmapped     map[string]any `json:"unmapped"`
}

type ocsfMetadata struct {
	Version     string      `json:"version"`
	UID         string      `json:"uid"`
	Correlation string      `json:"correlation_uid,omitempty"`
	Profiles    []string    `json:"profiles"`
	Product     ocsfProduct `json:"product"`
	Tenant      string      `json:"tenant_uid,omitempty"`
}

type ocsfProduct struct {
	Name    string `json:"name"`
	Vendor  string `json:"vendor_name"`
	Version string `json:"version,omitempty"`
}

type ocsfActor struct {
	AppUID string `json:"app_uid"`
}

type ocsfAPI struct {
	Operation string      `json:"operation"`
	Service   *ocsfEntity `json:"service,omitempty"`
	Request   *ocsfEntity `json:"request,omitempty"`
}

type ocsfEndpoint struct {
	Name string `json:"name,omitempty"`
	IP   string `json:"ip,omitempty"`
}

type ocsfEntity struct {
	UID       string   `json:"uid,omitempty"`
	Name      string   `json:"name,omitempty"`
	Type      string   `json:"type,omitempty"`
	Labels    []string `json:"labels,omitempty"`
	Namespace string   `json:"namespace,omitempty"`
}

type ocsfGrant struct {
	Decision string     `json:"decision"`
	Policy   ocsfEntity `json:"policy"`
}

type ocsfAttack struct {
	Technique    *ocsfEntity `json:"technique,omitempty"`
	SubTechnique *ocsfEntity `json:"sub_technique,omitempty"`
	Version      string      `json:"version"`
}

type ocsfTrace struct {
	UID string `json:"uid"`
}

type ocsfMessage struct {
	UID     string     `json:"uid"`
	Service ocsfEntity `json:"service"`
}

// activities says which of the framework's four an action is; the others are 99, Other.
var activities = map[string]int{
	decision.ActionDataRead: 2, decision.ActionHTTPRead: 2, decision.ActionRetrieveQuery: 2,
	decision.ActionSecretRead: 2, decision.ActionToolList: 2, decision.ActionDataWrite: 3,
	decision.ActionHTTPWrite: 3,
}

var activityNames = map[int]string{2: "Read", 3: "Update"}

// dispositions of denials; those not named are 2, Blocked.
var dispositions = map[decision.Code]int{
	decision.CodeQuarantined: 3, decision.CodeRiskSpike: 3, decision.CodeStepUp: 23, decision.CodeStale: 23,
	decision.CodeRevoked: 24, decision.CodeUnauthenticated: 26, decision.CodeExpired: 26,
}

// OCSF returns a record as an event.
func OCSF(record *journal.Record) ([]byte, error) {
	out := event{
		ActivityID: 99, CategoryUID: ocsfCategory, ClassUID: ocsfClass, SeverityID: severity(record).ocsf,
		Time: record.At.UnixMilli(), Message: summary(record),
		Metadata: ocsfMetadata{
			Version: OCSFVersion, UID: record.ID.String(), Correlation: record.ID.String(), Tenant: record.Tenant,
			Profiles: []string{"security_control"},
			Product:  ocsfProduct{Name: "attestd", Vendor: "attestd", Version: record.Engine},
		},
		Actor: ocsfActor{AppUID: orUnknown(string(record.Subject))}, API: ocsfAPI{Operation: orUnknown(record.Action)},
		Source: ocsfEndpoint{Name: orUnknown(record.Enforcer)}, ActionID: 2, Disposition: 2, StatusID: 2,
		StatusCode: string(record.Reason), IsAlert: severity(record).alert,
		Authorized: []ocsfGrant{{Decision: record.Decision, Policy: ocsfEntity{UID: record.Policy}}},
		Unmapped:   map[string]any{},
	}
	out.ActivityName = record.Action
	if id, known := activities[record.Action]; known {
		out.ActivityID, out.ActivityName = id, activityNames[id]
	}
	out.TypeUID = ocsfClass*100 + out.ActivityID
	if disposition, known := dispositions[record.Reason]; known {
		out.Disposition = disposition
	}
	if record.Decision == journal.Allow {
		out.ActionID, out.Disposition, out.StatusID = 1, 1, 1
	}
	if record.Folded() {
		out.Count, out.EndTime = record.Count, record.Last.UnixMilli()
	}
	if record.Policy != "" {
		out.Policy = &ocsfEntity{UID: record.Policy}
	}
	if record.Resource.ID != "" {
		out.Resources = append(out.Resources, ocsfEntity{
			UID: record.Resource.ID, Type: record.Resource.Type, Namespace: record.Resource.Tenant,
		})
	}
	for _, one := range record.Datasets {
		out.Resources = append(out.Resources, ocsfEntity{UID: one.ID, Type: "dataset", Labels: one.Classification})
	}
	out.attack(record)
	out.input(record)
	for _, field := range Fields(record) {
		out.Unmapped[field.Name] = field.Value
	}
	// Lists as lists: a reader of JSON need not read JSON in it.
	out.Unmapped["subject_chain"], out.Unmapped["dataset_scope"] = record.Chain, record.Datasets
	out.Unmapped["atlas_mapping"] = record.ATLAS
	return json.Marshal(out)
}

// attack names the techniques of MITRE ATLAS, which the framework's object takes as it does ATT&CK's.
func (e *event) attack(record *journal.Record) {
	for _, one := range record.ATLAS {
		attack := ocsfAttack{Technique: &ocsfEntity{UID: one.ID}, Version: record.ATLASVersion}
		// AML.T0085.000 is a sub-technique of AML.T0085.
		if dot := strings.LastIndexByte(one.ID, '.'); dot > len("AML") {
			attack.Technique, attack.SubTechnique = &ocsfEntity{UID: one.ID[:dot]}, &ocsfEntity{UID: one.ID}
		}
		e.Attacks = append(e.Attacks, attack)
	}
}

// riskLevels are the framework's for tiers.
var riskLevels = map[attestd.Tier]int{
	attestd.TierLow: 1, attestd.TierMedium: 2, attestd.TierHigh: 3, attestd.TierCritical: 4,
}

func (e *event) input(record *journal.Record) {
	in := record.Input
	if record.Result != nil && len(record.Result.Reasons) > 0 {
		e.StatusDetail = record.Result.Reasons[0].Detail
	}
	if in == nil {
		return
	}
	if level, known := riskLevels[in.Standing.Tier]; known {
		score := in.Standing.Risk.Int()
		e.RiskScore, e.RiskLevel = &score, &level
	}
	if in.Context.RequestID != "" {
		e.API.Request = &ocsfEntity{UID: in.Context.RequestID}
	}
	if in.Source.IsValid() {
		e.Source.IP = in.Source.String()
	}
	if trace, ok := parseTrace(in.Context.Trace); ok {
		e.Trace = &ocsfTrace{UID: trace.trace}
		e.Metadata.Profiles = append(e.Metadata.Profiles, "trace")
	}
	if record.PromptID != "" {
		e.Messages = &ocsfMessage{UID: record.PromptID, Service: ocsfEntity{Name: orUnknown(record.Enforcer)}}
		e.Metadata.Profiles = append(e.Metadata.Profiles, "ai_operation")
	}
}

func orUnknown(text string) string {
	if text == "" {
		return "unknown"
	}
	return text
}

// grade is how much a record deserves to be looked at.
type grade struct {
	ocsf, cef int
	alert     bool
}

// severity grades a record: what is allowed informs, a denial is low, one that suggests a technique is
// medium, and what a detector saw is high.
func severity(record *journal.Record) grade {
	observed := false
	for _, one := range record.ATLAS {
		observed = observed || one.State == journal.Observed
	}
	switch {
	case observed:
		return grade{ocsf: 4, cef: 8, alert: true}
	case record.Decision == journal.Allow:
		return grade{ocsf: 1, cef: 1}
	case len(record.ATLAS) > 0:
		return grade{ocsf: 3, cef: 6, alert: true}
	default:
		return grade{ocsf: 2, cef: 3}
	}
}

// summary is the line that people read.
func summary(record *journal.Record) string {
	if record.Decision == journal.Allow {
		return "allowed: " + orUnknown(record.Action)
	}
	return "denied: " + decision.SpecOf(record.Reason).Meaning
}
