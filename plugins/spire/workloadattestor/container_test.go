package workloadattestor_test

import (
	"strings"
	"testing"

	"github.com/attestd/attestd/plugins/spire/workloadattestor"
)

const (
	boxA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	boxB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

func TestTheContainerIsWhatTheHostsRuntimeSays(t *testing.T) {
	rows := []struct{ name, text, want, reason string }{
		{"no container", "0::/system.slice/ssh.service\n", "", ""},
		{"the root group", "0::/\n", "", ""},
		{"docker, version 2", "0::/system.slice/docker-" + boxA + ".scope\n", boxA, ""},
		{"docker, version 1", "12:pids:/docker/" + boxA + "\n5:memory:/docker/" + boxA + "\n0::/\n", boxA, ""},
		{"containerd of kubernetes, version 2", "0::/kubepods.slice/kubepods-burstable.slice/" +
			"kubepods-burstable-pod1f2e.slice/cri-containerd-" + boxA + ".scope\n", boxA, ""},
		{"kubernetes, version 1", "5:memory:/kubepods/burstable/pod1f2e/" + boxA + "\n", boxA, ""},
		{"crio", "0::/kubepods.slice/kubepods-pod1.slice/crio-" + boxA + ".scope\n", boxA, ""},
		{"podman of root", "0::/machine.slice/libpod-" + boxA + ".scope/container\n", boxA, ""},
		{"who watches a container from outside", "0::/machine.slice/libpod-conmon-" + boxA + ".scope\n", "", ""},
		{"a container beside the agent's own", "0::/../../kubepods-pod2.slice/cri-containerd-" + boxA + ".scope\n",
			boxA, ""},
		{"a shorter id", "0::/docker/" + boxA[1:] + "\n", "", ""},
		{"a longer id", "0::/docker/" + boxA + "a\n", "", ""},
		{"an id in upper case", "0::/docker/" + strings.ToUpper(boxA) + "\n", "", ""},
		// neg: 199: what a container or a user calls a group must not make it another container.
		{"a container that makes a group for another", "0::/docker/" + boxA + "/docker-" + boxB + ".scope\n", boxA, ""},
		{"a user who names a group", "0::/user.slice/user-1000.slice/user@1000.service/app.slice/docker-" +
			boxA + ".scope\n", "", "anybody may name a container"},
		{"a service that names a group", "0::/system.slice/web.service/docker-" + boxA + ".scope\n", "",
			"anybody may name a container"},
		{"a container of LXC that names a group", "0::/lxc.payload.web/docker-" + boxA + ".scope\n", "",
			"anybody may name a container"},
		{"a container of LXC, version 1", "5:memory:/lxc/web/" + boxA + "\n", "", "anybody may name a container"},
		{"a user's session, version 1", "5:memory:/user/1000.user/2.session/" + boxA + "\n", "",
			"anybody may name a container"},
		{"two containers at once", "5:memory:/docker/" + boxA + "\n6:pids:/docker/" + boxB + "\n", "",
			"name two containers"},
		{"a path with colons", "0::/a:b/docker-" + boxA + ".scope\n", boxA, ""},
		{"lines that are none", "docker-" + boxA + "\n:\n\n", "", ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			id, reason := workloadattestor.ContainerOf([]byte(row.text))
			if id != row.want || !strings.Contains(reason, row.reason) || row.reason == "" && reason != "" {
				t.Errorf("got %q because %q, want %q because %q", id, reason, row.want, row.reason)
			}
		})
	}
}

func TestNoValueReadsAsAnotherSelector(t *testing.T) {
	rows := map[string]string{
		"low": "low", "a.b_c-9": "a.b_c-9", "": "",
		"acme:tier":   "acme%3Atier",
		"a\nb":        "a%0Ab", // neg: 199
		"Acme":        "%41cme",
		"50%":         "50%25",
		"%3a":         "%253a",
		"ü":           "%C3%BC",
		"a/b":         "a%2Fb",
		"\x00\xff":    "%00%FF",
		"tier:low\n ": "tier%3Alow%0A%20",
	}
	seen := make(map[string]string)
	for value, want := range rows {
		got := workloadattestor.Escape(value)
		if got != want {
			t.Errorf("%q: got %q, want %q", value, got, want)
		}
		if other, double := seen[got]; double {
			t.Errorf("%q and %q read the same", value, other)
		}
		seen[got] = value
	}
}
