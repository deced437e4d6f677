package imports

import (
	"encoding/hex"
	"regexp"
	"slices"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/strict"
	"github.com/attestd/attestd/measurements"
)

// hashName is how Nitro's tools name the algorithm: "Sha384 { ... }", the type that prints it.
var hashName = regexp.MustCompile(`^Sha384( \{ ?[^}]{0,32} ?\})?$`)

// nitroPCR are the registers that a build or a description of an image has (AWS Nitro Enclaves user
// guide, "Where to get an enclave's measurements").
var nitroPCR = regexp.MustCompile(`^PCR[0128]$`)

// Nitro reads what `nitro-cli build-enclave` or `nitro-cli describe-eif` printed: JSON with
// Measurements. It becomes one value.
//
// Errors: a [*attestd.CallerError] of class CONFIG where the file is not that, a register is not one of
// an image's, is zero (as in debug mode) or not SHA-384, or PCR0, PCR1 or PCR2 is missing.
func Nitro(file []byte, options Options) (*Result, error) {
	r, err := read(options)
	if err != nil {
		return nil, err
	}
	if options.Format != "" && options.Format != attestd.FormatNitro {
		return nil, refuse("drop --format", "the output of nitro-cli is for nitro, not for %s", options.Format)
	}
	r.result.Set.Format = attestd.FormatNitro
	// What stands in front is what the tool said while it built.
	if at := slices.Index(file, '{'); at > 0 && !strings.ContainsAny(string(file[:at]), "[\"") {
		file = file[at:]
	}
	var whole map[string]any
	if err := strict.DecodeJSON(file, strict.JSONLimits{Bytes: MaxFile, Depth: 16}, &whole); err != nil {
		return nil, malformed("output of nitro-cli: %w", err)
	}
	measured, ok := whole["Measurements"].(map[string]any)
	if !ok {
		return nil, malformed("output of nitro-cli: no Measurements")
	}
	for _, key := range sortedKeys(whole) {
		if key != "Measurements" {
			r.left("the output", "has %q, which is no measurement", key)
		}
	}
	value := measurements.Value{}
	for _, key := range sortedKeys(measured) {
		text, isText := measured[key].(string)
		switch {
		case !isText:
			return nil, malformed("output of nitro-cli: %q is no text", attestd.Excerpt(key, 40))
		case key == "HashAlgorithm":
			if !hashName.MatchString(text) {
				return nil, malformed("output of nitro-cli: the hash is %q, want Sha384", attestd.Excerpt(text, 40))
			}
		case nitroPCR.MatchString(key):
			digest, err := hex.DecodeString(text)
			if err != nil {
				return nil, malformed("output of nitro-cli: %s is not hex", key)
			}
			value.Registers = append(value.Registers, attestd.Register{
				Name: key, Algorithm: "SHA384", Digest: digest,
			})
		default:
			return nil, malformed("output of nitro-cli: %q is not understood", attestd.Excerpt(key, 40))
		}
	}
	if _, ok := measured["HashAlgorithm"]; !ok {
		return nil, malformed("output of nitro-cli: no HashAlgorithm")
	}
	if problem := measurements.ProblemOf(attestd.FormatNitro, "", value); problem != "" {
		return nil, malformed("output of nitro-cli: %s", problem)
	}
	r.add("the image", "image", value)
	return r.done()
}

func sortedKeys(of map[string]any) []string {
	keys := make([]string, 0, len(of))
	for key := range of {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
