package main

import (
	"fmt"
	"strings"

	"github.com/attestd/attestd"
)

// hcl writes the inside of plugin_data: keys with texts, and blocks.
type hcl struct{ lines []string }

func (h *hcl) text(key, value string) {
	if value != "" {
		h.lines = append(h.lines, fmt.Sprintf("%s = %s", key, hclText(value)))
	}
}

func (h *hcl) list(key string, values []string) {
	quoted := make([]string, 0, len(values))
	for _, one := range values {
		quoted = append(quoted, hclText(one))
	}
	h.lines = append(h.lines, fmt.Sprintf("%s = [%s]", key, strings.Join(quoted, ", ")))
}

// block adds a block with what is inside; an empty one is left out.
func (h *hcl) block(key string, inside hcl) {
	if len(inside.lines) == 0 {
		return
	}
	h.lines = append(h.lines, key+" {")
	for _, line := range inside.lines {
		h.lines = append(h.lines, "\t"+line)
	}
	h.lines = append(h.lines, "}")
}

func (h *hcl) String() string { return strings.Join(h.lines, "\n") }

// hclText quotes a value that has been found plain.
func hclText(value string) string { return `"` + value + `"` }

func (w *pluginWish) serverBlocks() []pluginBlock {
	var data hcl
	data.list("addresses", w.addresses)
	data.text("certificate", w.certificate)
	data.text("key", w.key)
	data.text("ca", w.ca)
	attestor := data
	if w.tenant != "default" {
		attestor.lines = append([]string(nil), data.lines...)
		attestor.text("canary_tenant", w.tenant)
	}
	return []pluginBlock{
		{Type: "NodeAttestor", Arguments: []string{"nodeattestor-server"}, Data: attestor.String()},
		{Type: "CredentialComposer", Arguments: []string{"composer"}, Data: data.String()},
	}
}

func (w *pluginWish) agentBlocks() []pluginBlock {
	var place, keys, attestor, workloads hcl
	place.text("device", w.device)
	if w.keys == "tpm" || w.hasTPM() {
		place.text("state_dir", w.keyDir)
	}

	keys.text("keys", w.keys)
	keys.text("runtime_dir", w.runtimeDir)
	if w.keys == "tpm" {
		keys.block("tpm", place)
	}

	attestor.text("format", w.format)
	attestor.text("tenant", w.tenant)
	attestor.text("trust_domain", w.trustDomain)
	attestor.text("runtime_dir", w.runtimeDir)
	attestor.text("enrolment_token_file", w.enrolmentToken)
	if w.hasTPM() {
		attestor.block("tpm", place)
	}
	if w.format == string(attestd.FormatAzureVTPM) {
		var chip hcl
		chip.text("device", w.device)
		attestor.block("azure", chip)
	}
	if w.cpu != "" {
		var parts hcl
		parts.text("cpu", w.cpu)
		attestor.block("composite", parts)
	}

	workloads.text("runtime_dir", w.runtimeDir)
	return []pluginBlock{
		{Type: "KeyManager", Arguments: []string{"keymanager"}, Data: keys.String()},
		{Type: "NodeAttestor", Arguments: []string{"nodeattestor-agent"}, Data: attestor.String()},
		{Type: "WorkloadAttestor", Arguments: []string{"workloadattestor"}, Data: workloads.String()},
	}
}

// text is the blocks as they go into SPIRE's file.
func (w *pluginWish) text(blocks []pluginBlock) string {
	whose := "agent"
	if w.server {
		whose = "server"
	}
	var out strings.Builder
	fmt.Fprintf(&out, "\t# attestd: inside plugins { } of the SPIRE %s's configuration\n", whose)
	for _, one := range blocks {
		fmt.Fprintf(&out, "\t%s %s {\n", one.Type, hclText(one.Name))
		fmt.Fprintf(&out, "\t\tplugin_cmd = %s\n", hclText(one.Command))
		fmt.Fprintf(&out, "\t\tplugin_args = [%s]\n", hclText(one.Arguments[0]))
		fmt.Fprintf(&out, "\t\tplugin_checksum = %s\n", hclText(one.Checksum))
		out.WriteString("\t\tplugin_data {\n")
		for line := range strings.SplitSeq(one.Data, "\n") {
			out.WriteString("\t\t\t" + line + "\n")
		}
		out.WriteString("\t\t}\n\t}\n")
	}
	return out.String()
}
