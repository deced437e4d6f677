package measurements

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// YAML returns the document that [Parse] reads back into an equal set.
//
// Errors: where the set is not one that Parse would return.
func (s *Set) YAML() ([]byte, error) {
	var out bytes.Buffer
	fmt.Fprintf(&out, "schema: %s\nname: %s\n", Schema, strconv.Quote(s.Name))
	if s.Version != "" {
		fmt.Fprintf(&out, "version: %s\n", strconv.Quote(s.Version))
	}
	fmt.Fprintf(&out, "format: %s\n", strconv.Quote(string(s.Format)))
	if s.Bank != "" {
		fmt.Fprintf(&out, "bank: %s\n", s.Bank)
	}
	writeKeys(&out, "attestation-keys", s.AttestationKeys)
	writeKeys(&out, "endorsement-keys", s.EndorsementKeys)
	if len(s.Values) > 0 || !s.hasKeys() {
		out.WriteString("values:\n")
	}
	for _, value := range s.Values {
		value.write(&out)
	}
	if _, err := Parse("reference values", out.Bytes()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func writeKeys(out *bytes.Buffer, kind string, keys []Key) {
	if len(keys) > 0 {
		fmt.Fprintf(out, "%s:\n", kind)
	}
	for _, key := range keys {
		fmt.Fprintf(out, "  - name: %s\n    sha256: \"%x\"\n", strconv.Quote(key.Name), key.SHA256)
	}
}

func (v *Value) write(out *bytes.Buffer) {
	fmt.Fprintf(out, "  - name: %s\n%s", strconv.Quote(v.Name), v.appendLifecycle(nil, "    "))
	if len(v.Registers) > 0 {
		out.WriteString("    registers:\n")
	}
	for _, register := range v.Registers {
		fmt.Fprintf(out, "      %s: \"%s\"\n", register.Name, folded(register.Digest, "        "))
	}
	if len(v.Rules) > 0 {
		out.WriteString("    rules:\n")
		out.Write(appendRules(nil, v.Rules))
	}
	if len(v.Events) > 0 {
		out.WriteString("    events:\n")
	}
	for _, event := range v.Events {
		fmt.Fprintf(out, "      - {index: %d, register: %s, role: %s,\n         type: %s,\n", event.Index,
			event.Register, event.Role, strconv.QuoteToASCII(event.Type))
		if event.What != "" {
			fmt.Fprintf(out, "         what: %s,\n", strconv.QuoteToASCII(event.What))
		}
		fmt.Fprintf(out, "         digest: \"%s\"}\n", folded(event.Digest, "           "))
	}
}

// appendRules writes rules as they stand below a value's key `rules`.
func appendRules(out []byte, rules []RegisterRules) []byte {
	for _, of := range rules {
		if of.Any {
			out = fmt.Appendf(out, "      %s: any\n", of.Register)
			continue
		}
		out = fmt.Appendf(out, "      %s:\n", of.Register)
		for _, rule := range of.Roles {
			if rule.Demand == DemandAny {
				out = fmt.Appendf(out, "        %s: any\n", rule.Role)
				continue
			}
			out = fmt.Appendf(out, "        %s:\n          %s:\n", rule.Role, rule.Demand)
			for _, digest := range rule.Digests {
				out = fmt.Appendf(out, "            - \"%s\"\n", folded(digest, "              "))
			}
			for _, text := range rule.Texts {
				out = fmt.Appendf(out, "            - %s\n", foldedText(text, "              "))
			}
		}
	}
	return out
}

// String returns the key that stands for the demand in a document.
func (d Demand) String() string {
	if int(d) >= len(demandKeys) {
		return fmt.Sprintf("invalid(%d)", d)
	}
	return demandKeys[d]
}

// folded writes a digest in hex, 64 digits a line: YAML joins lines of a quoted text that end in a
// backslash without a space (YAML 1.2.2, section 7.3.1), and people's lines end at 100 columns.
func folded(digest []byte, indent string) string {
	digits := hex.EncodeToString(digest)
	var out strings.Builder
	for len(digits) > 64 {
		out.WriteString(digits[:64] + "\\\n" + indent)
		digits = digits[64:]
	}
	return out.String() + digits
}

// foldedText quotes a text over lines. What a line would begin with a space for is escaped: YAML
// takes spaces there for indentation.
func foldedText(text, indent string) string {
	var out strings.Builder
	out.WriteByte('"')
	column := 0
	for _, r := range text {
		quoted := strconv.QuoteToASCII(string(r))
		quoted = quoted[1 : len(quoted)-1]
		if column >= 76 {
			out.WriteString("\\\n" + indent)
			if column = 0; r == ' ' {
				quoted = `\x20`
			}
		}
		out.WriteString(quoted)
		column += len(quoted)
	}
	out.WriteByte('"')
	return out.String()
}
