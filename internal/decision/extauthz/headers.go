package extauthz

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
)

// headers are those of the caller's request, in either of the two forms in which Envoy sends them.
type headers struct {
	merged map[string]string
	raw    []*corev3.HeaderValue
}

func headersOf(request *authv3.AttributeContext_HttpRequest) headers {
	return headers{request.GetHeaders(), request.GetHeaderMap().GetHeaders()}
}

// get returns the value of a header with a lower-case name, and how often it stands there. In the merged
// form a second value hides behind a comma, which no credential has.
func (h headers) get(name string) (value string, times int) {
	if merged, found := h.merged[name]; found {
		value, times = merged, 1
	}
	for _, one := range h.raw {
		if strings.EqualFold(one.GetKey(), name) {
			value = one.GetValue()
			if raw := one.GetRawValue(); len(raw) != 0 {
				value = string(raw)
			}
			times++
		}
	}
	return value, times
}

// one returns the value of a header that stands there once and is no longer than limit; else nothing.
func (h headers) one(name string, limit int) string {
	value, times := h.get(name)
	if times != 1 || len(value) > limit || !isVisible(value) {
		return ""
	}
	return value
}

// names calls visit with the lower-case name of each header.
func (h headers) names(visit func(string)) {
	for name := range h.merged {
		visit(strings.ToLower(name))
	}
	for _, one := range h.raw {
		visit(strings.ToLower(one.GetKey()))
	}
}

// isVisible reports whether a text has printable ASCII only, so that it cannot end a header or steer a
// terminal.
func isVisible(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}
