package extauthz

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/types/known/structpb"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/route"
)

// Keys of the labels that a filter in front of this one has put into dynamic metadata.
const (
	labelPromptID       = "prompt_id"
	labelClassification = "classification"
	labelIntent         = "intent"
	labelExposure       = "exposure_score"
	labelChain          = "subject_chain"
	labelConnectivity   = "connectivity"
	maxLinks            = 64
)

// readLabels adds to context what the namespace holds. Dynamic metadata is written by Envoy's filters and
// never by the caller; which of them asserted it is the namespace, and it goes into the record. A label
// that cannot be read is refused as a whole, because a policy can deny by it.
//
// Errors: plain ones, for the operator.
func readLabels(metadata *corev3.Metadata, namespace string, into *decision.Context) error {
	fields := metadata.GetFilterMetadata()[namespace].GetFields()
	if len(fields) == 0 {
		// Policies may deny by a label: without the filter that the route counts on, they would not.
		return fmt.Errorf("dynamic metadata has no %q, which the route takes its labels from",
			attestd.Excerpt(namespace, 60))
	}
	into.LabelsFrom = namespace
	for key, value := range fields {
		var err error
		switch key {
		case labelPromptID:
			into.PromptID, err = textOf(value)
		case labelIntent:
			into.Intent, err = textOf(value)
		case labelClassification:
			into.Classification, err = textsOf(value)
		case labelExposure:
			into.ExposureScore, err = scoreOf(value)
		case labelConnectivity:
			var text string
			if text, err = textOf(value); err == nil {
				into.Connectivity, err = route.Connectivity(text)
			}
		case labelChain:
			into.Chain, err = linksOf(value)
		}
		if err != nil {
			return fmt.Errorf("label %q of %q: %w", key, attestd.Excerpt(namespace, 60), err)
		}
	}
	return nil
}

func textOf(value *structpb.Value) (string, error) {
	text, ok := value.GetKind().(*structpb.Value_StringValue)
	if !ok || len(text.StringValue) > maxText {
		return "", fmt.Errorf("want a text of at most %d bytes", maxText)
	}
	return text.StringValue, nil
}

func textsOf(value *structpb.Value) ([]string, error) {
	list, ok := value.GetKind().(*structpb.Value_ListValue)
	if !ok || len(list.ListValue.GetValues()) > maxLabels {
		return nil, fmt.Errorf("want a list of at most %d texts", maxLabels)
	}
	out := make([]string, 0, len(list.ListValue.GetValues()))
	for _, one := range list.ListValue.GetValues() {
		text, err := textOf(one)
		if err != nil {
			return nil, err
		}
		out = append(out, text)
	}
	return out, nil
}

// scoreOf takes whole numbers from 0 to 100 and nothing that becomes one.
func scoreOf(value *structpb.Value) (int, error) {
	number, ok := value.GetKind().(*structpb.Value_NumberValue)
	if !ok || math.Trunc(number.NumberValue) != number.NumberValue ||
		number.NumberValue < 0 || number.NumberValue > 100 {
		return 0, fmt.Errorf("want a whole number from 0 to 100")
	}
	return int(number.NumberValue), nil
}

// linksOf reads the subject chain. That a link is verified nobody can say here.
func linksOf(value *structpb.Value) ([]decision.Link, error) {
	list, ok := value.GetKind().(*structpb.Value_ListValue)
	if !ok || len(list.ListValue.GetValues()) > maxLinks {
		return nil, fmt.Errorf("want a list of at most %d links", maxLinks)
	}
	out := make([]decision.Link, 0, len(list.ListValue.GetValues()))
	for i, one := range list.ListValue.GetValues() {
		fields := one.GetStructValue().GetFields()
		var link decision.Link
		for key, into := range map[string]*string{"type": &link.Type, "id": &link.ID, "iss": &link.Issuer} {
			given, found := fields[key]
			if !found && key == "iss" {
				continue
			}
			text, err := textOf(given)
			if err != nil {
				return nil, fmt.Errorf("link %d: %s: %w", i, key, err)
			}
			*into = text
		}
		if link.Type != "human" && link.Type != "nhi" || link.ID == "" {
			return nil, fmt.Errorf("link %d: want type human or nhi, and an id", i)
		}
		out = append(out, link)
	}
	return out, nil
}
