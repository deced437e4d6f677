// Package spire_test reads the files of this folder that no test of attestd's runs: units, manifests and
// the container file. They are checked, not run: every key is known, and what one part names is there.
// Those that are run are the configurations (internal/spiretest).
package spire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// unitKeys are the keys that the units use, each of systemd.unit(5), .service(5) or .exec(5). A key that
// systemd does not know it ignores, with a line in a log: a lock that is misspelt is open.
var unitKeys = map[string][]string{
	"Unit": {"Description", "Documentation", "After", "Wants", "StartLimitIntervalSec"},
	"Service": {
		"ExecStart", "Restart", "RestartSec", "CapabilityBoundingSet", "StateDirectory", "StateDirectoryMode",
		"RuntimeDirectory", "RuntimeDirectoryMode", "UMask", "NoNewPrivileges", "ProtectSystem", "ProtectHome",
		"ProtectProc", "ProcSubset", "KeyringMode", "RemoveIPC", "PrivateTmp", "PrivateDevices", "ProtectClock",
		"ProtectHostname", "ProtectControlGroups", "ProtectKernelLogs", "ProtectKernelModules",
		"ProtectKernelTunables", "RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID", "LockPersonality",
		"MemoryDenyWriteExecute", "RestrictAddressFamilies", "SystemCallArchitectures", "SystemCallFilter",
		"LimitCORE", "ReadWritePaths", "DevicePolicy", "DeviceAllow",
	},
	"Install": {"WantedBy"},
}

// several are the keys that may stand more than once: each adds to the one before.
var several = []string{"SystemCallFilter", "ReadWritePaths", "DeviceAllow"}

// unit reads a unit strictly.
func unit(t *testing.T, name string) map[string][]string {
	t.Helper()
	out, section := map[string][]string{}, ""
	for number, line := range strings.Split(read(t, name), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if strings.HasPrefix(line, "[") {
			if section = strings.Trim(line, "[]"); unitKeys[section] == nil {
				t.Errorf("%s:%d: unknown section %s", name, number+1, line)
			}
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || !slices.Contains(unitKeys[section], key) {
			t.Errorf("%s:%d: unknown key in [%s]: %q", name, number+1, section, line)
		}
		if len(out[key]) > 0 && !slices.Contains(several, key) {
			t.Errorf("%s:%d: %s stands twice", name, number+1, key)
		}
		out[key] = append(out[key], value)
	}
	return out
}

// TestUnits: they start what the configurations beside them are for, come back, and let attestd lock its
// workers up.
func TestUnits(t *testing.T) {
	for name, start := range map[string]string{
		"attestd.service":      "/usr/local/bin/attestd serve --config /etc/attestd/attestd.yaml",
		"spire-server.service": "/opt/spire/bin/spire-server run -config /opt/spire/conf/server/server.conf",
		"spire-agent.service":  "/opt/spire/bin/spire-agent run -config /opt/spire/conf/agent/agent.conf",
	} {
		got := unit(t, name)
		for key, want := range map[string]string{
			"ExecStart": start, "Restart": "always", "NoNewPrivileges": "yes", "LimitCORE": "0",
			"WantedBy": "multi-user.target",
		} {
			if !slices.Equal(got[key], []string{want}) {
				t.Errorf("%s: %s is %q, want %q", name, key, got[key], want)
			}
		}
	}
	// A strict file system leaves no folder for temporary files, and plugins put their sockets there.
	for _, name := range []string{"attestd.service", "spire-server.service", "spire-agent.service"} {
		one := unit(t, name)
		if slices.Equal(one["ProtectSystem"], []string{"strict"}) && !slices.Equal(one["PrivateTmp"], []string{"yes"}) {
			t.Errorf("%s can write to no folder for temporary files", name)
		}
	}
	calls := strings.Fields(strings.Join(unit(t, "attestd.service")["SystemCallFilter"], " "))
	for _, want := range []string{
		"@system-service", "seccomp", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self",
	} {
		if !slices.Contains(calls, want) {
			t.Errorf("attestd.service forbids %s, and attestd cannot isolate its workers", want)
		}
	}
}

// TestPathsAgree: sockets and folders that two files name are the same in both, and the folders of the
// sockets are made by a unit.
func TestPathsAgree(t *testing.T) {
	attestd := read(t, "attestd.yaml")
	for _, name := range []string{"server.conf", "server-fast.conf"} {
		text := read(t, name)
		for _, pair := range [][2]string{
			{`addresses = ["unix:/run/attestd/spire.sock"]`, "unix: /run/attestd/spire.sock"},
			{`socket_path = "/run/spire-server/api.sock"`, "server: unix:/run/spire-server/api.sock"},
			{`trust_domain = "example.org"`, "trust_domain: example.org"}, {`agent_ttl = "1h"`, "agent_ttl: 1h"},
			{`default_x509_svid_ttl = "10m"`, "x509_svid_ttl: 10m"}, {`default_jwt_svid_ttl = "1m"`, "jwt_svid_ttl: 1m"},
		} {
			if !strings.Contains(text, pair[0]) || !strings.Contains(attestd, pair[1]) {
				t.Errorf("%s has %s, and attestd.yaml %s: one is missing", name, pair[0], pair[1])
			}
		}
	}
	for unitName, folder := range map[string]string{
		"attestd.service": "attestd", "spire-server.service": "spire-server", "spire-agent.service": "spire-agent",
	} {
		if got := unit(t, unitName)["RuntimeDirectory"]; !slices.Equal(got, []string{folder}) {
			t.Errorf("%s makes %q, want %s", unitName, got, folder)
		}
	}
	var policy struct {
		Attestd struct {
			Programs []string `json:"controller_programs"`
			Local    []string `json:"local_programs"`
		} `json:"attestd"`
	}
	if err := json.Unmarshal([]byte(read(t, "attestd.json")), &policy); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(policy.Attestd.Programs, "/usr/local/bin/attestd") ||
		!slices.Contains(policy.Attestd.Local, "/opt/spire/bin/spire-server") {
		t.Errorf("the policy lets in %+v, which the units do not start", policy.Attestd)
	}
}

// TestTheProfilesDifferInIntervalsAlone, so that one can be taken for the other.
func TestTheProfilesDifferInIntervalsAlone(t *testing.T) {
	faster := regexp.MustCompile(`(?m)^\s*(cache_reload_interval|events_based_cache|sync_interval) = .*\n`)
	empty := regexp.MustCompile(`(?m)^\s*experimental \{\n\s*\}\n`)
	comments := regexp.MustCompile(`(?m)^#.*\n`)
	for _, name := range []string{"server", "agent"} {
		fast := read(t, name+"-fast.conf")
		if !faster.MatchString(fast) {
			t.Errorf("%s-fast.conf is not faster", name)
		}
		fast = empty.ReplaceAllString(faster.ReplaceAllString(fast, ""), "")
		if comments.ReplaceAllString(fast, "") != comments.ReplaceAllString(read(t, name+".conf"), "") {
			t.Errorf("%s.conf and %s-fast.conf differ in more than intervals", name, name)
		}
	}
}

// TestContainerfile: known instructions, images by version, programs that exist, no shell.
func TestContainerfile(t *testing.T) {
	stages := []string{}
	for number, line := range strings.Split(read(t, "Containerfile"), "\n") {
		word, rest, _ := strings.Cut(line, " ")
		words := strings.Fields(rest)
		switch word {
		case "", "#":
		case "FROM":
			if len(words) != 3 || words[1] != "AS" || words[0] != "scratch" && !regexp.MustCompile(
				`^ghcr\.io/spiffe/spire-(server|agent):1\.15\.3$`).MatchString(words[0]) {
				t.Errorf("line %d: %s", number+1, line)
			}
			stages = append(stages, words[len(words)-1])
		case "COPY":
			for _, one := range words[:len(words)-1] {
				if one != "bin/attestd" && one != "bin/attestd-spire" {
					t.Errorf("line %d: make build does not write %s", number+1, one)
				}
			}
		case "USER":
			if rest != "1000:1000" {
				t.Errorf("line %d: %s", number+1, line)
			}
		case "ENTRYPOINT", "CMD":
			var list []string
			if err := json.Unmarshal([]byte(rest), &list); err != nil || len(list) == 0 {
				t.Errorf("line %d: %s is not a list of words: %v", number+1, rest, err)
			}
		default:
			t.Errorf("line %d: unknown instruction %q", number+1, word)
		}
	}
	if !slices.Equal(stages, []string{"attestd", "spire-server", "spire-agent"}) {
		t.Errorf("images: %v", stages)
	}
	for _, name := range []string{"cmd/attestd", "plugins/spire/cmd/attestd-spire"} {
		if _, err := os.Stat(filepath.Join("../../..", name)); err != nil {
			t.Error(err)
		}
	}
}

// object is what the manifests use of Kubernetes' objects; any other key is a mistake.
type object struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   meta   `yaml:"metadata"`
	Spec       struct {
		Ports       []port        `yaml:"ports"`
		Selector    yaml.MapSlice `yaml:"selector"`
		ServiceName string        `yaml:"serviceName"`
		Replicas    int           `yaml:"replicas"`
		Template    struct {
			Metadata meta `yaml:"metadata"`
			Spec     pod  `yaml:"spec"`
		} `yaml:"template"`
		Claims []claim `yaml:"volumeClaimTemplates"`
	} `yaml:"spec"`
}

type meta struct {
	Name      string            `yaml:"name"`
	Namespace string            `yaml:"namespace"`
	Labels    map[string]string `yaml:"labels"`
}

type port struct {
	Name       string `yaml:"name"`
	Port       int    `yaml:"port"`
	TargetPort int    `yaml:"targetPort"`
}

type pod struct {
	Share      bool           `yaml:"shareProcessNamespace"`
	Account    *bool          `yaml:"automountServiceAccountToken"`
	HostPID    bool           `yaml:"hostPID"`
	HostNet    bool           `yaml:"hostNetwork"`
	DNS        string         `yaml:"dnsPolicy"`
	Security   map[string]any `yaml:"securityContext"`
	Containers []container    `yaml:"containers"`
	Volumes    []volume       `yaml:"volumes"`
}

type container struct {
	Name      string         `yaml:"name"`
	Image     string         `yaml:"image"`
	Args      []string       `yaml:"args"`
	Mounts    []mount        `yaml:"volumeMounts"`
	Readiness map[string]any `yaml:"readinessProbe"`
	Security  struct {
		Escalation *bool               `yaml:"allowPrivilegeEscalation"`
		ReadOnly   bool                `yaml:"readOnlyRootFilesystem"`
		Privileged bool                `yaml:"privileged"`
		User       int                 `yaml:"runAsUser"`
		Caps       map[string][]string `yaml:"capabilities"`
	} `yaml:"securityContext"`
}

type mount struct {
	Name     string `yaml:"name"`
	Path     string `yaml:"mountPath"`
	ReadOnly bool   `yaml:"readOnly"`
}

type volume struct {
	Name      string            `yaml:"name"`
	ConfigMap map[string]string `yaml:"configMap"`
	Empty     map[string]string `yaml:"emptyDir"`
	Host      map[string]string `yaml:"hostPath"`
}

type claim struct {
	Metadata meta           `yaml:"metadata"`
	Spec     map[string]any `yaml:"spec"`
}

// TestKubernetesManifests: objects and keys that exist, pods that their selectors find, volumes that are
// there, and a service that leads to the pods with the server.
func TestKubernetesManifests(t *testing.T) {
	decoder := yaml.NewDecoder(bytes.NewReader([]byte(read(t, "kubernetes.yaml"))), yaml.Strict())
	kinds := []string{}
	for {
		var one object
		err := decoder.Decode(&one)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, one.APIVersion+" "+one.Kind)
		if one.Metadata.Namespace != "spire" || one.Metadata.Name == "" {
			t.Errorf("%s %+v", one.Kind, one.Metadata)
		}
		if one.Kind != "Service" {
			one.check(t)
		} else if got := fmt.Sprint(one.Spec.Selector); got != "[{app spire-server}]" {
			t.Errorf("the service leads to %s", got)
		}
	}
	if !slices.Equal(kinds, []string{"v1 Service", "apps/v1 StatefulSet", "apps/v1 DaemonSet"}) {
		t.Errorf("the objects are %v", kinds)
	}
}

func (o object) check(t *testing.T) {
	t.Helper()
	pod := o.Spec.Template.Spec
	volumes := []string{}
	for _, one := range pod.Volumes {
		volumes = append(volumes, one.Name)
		if (one.ConfigMap == nil) == (one.Empty == nil && one.Host == nil) {
			t.Errorf("%s: volume %s is of no kind, or of two", o.Kind, one.Name)
		}
	}
	for _, one := range o.Spec.Claims {
		volumes = append(volumes, one.Metadata.Name)
	}
	for _, one := range pod.Containers {
		if one.Image == "" || one.Name == "" {
			t.Errorf("%s: a container without name or image", o.Kind)
		}
		for _, mount := range one.Mounts {
			if !slices.Contains(volumes, mount.Name) || !filepath.IsAbs(mount.Path) {
				t.Errorf("%s: %s mounts %s at %q, which is not there", o.Kind, one.Name, mount.Name, mount.Path)
			}
		}
		if one.Security.Privileged != (o.Kind == "DaemonSet") {
			t.Errorf("%s: %s is privileged: %t", o.Kind, one.Name, one.Security.Privileged)
		}
	}
	if o.Kind == "StatefulSet" && !pod.Share {
		t.Error("SPIRE's policy cannot see which program of another container calls")
	}
	app := o.Spec.Template.Metadata.Labels["app"]
	if app != o.Metadata.Name || len(o.Spec.Selector) != 1 ||
		!strings.HasSuffix(strings.TrimRight(fmt.Sprint(o.Spec.Selector), "]})"), app) {
		t.Errorf("%s: label %q, selector %v", o.Kind, app, o.Spec.Selector)
	}
}
