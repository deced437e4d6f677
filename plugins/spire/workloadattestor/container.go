package workloadattestor

import (
	"bytes"
	"strings"
)

// containerOf reads the container's id from the control groups of a process (cgroups(7), "/proc/pid/
// cgroup": lines of ID:CONTROLLERS:PATH, one with ID 0 for version 2). Runtimes name a container's group
// by its id of 64 hexadecimal digits, as in
//
//	0::/system.slice/docker-ID.scope
//	0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUID.slice/cri-containerd-ID.scope
//	5:memory:/kubepods/burstable/podUID/ID
//	0::/machine.slice/libpod-ID.scope/container
//
// It is empty where the process is in no container, or where the answer would be somebody's choice who
// is not the host's runtime; reason then says what was in the way.
func containerOf(text []byte) (id, reason string) {
	for _, line := range bytes.Split(text, []byte("\n")) {
		parts := bytes.SplitN(line, []byte(":"), 3)
		if len(parts) != 3 {
			continue
		}
		one, mine := containerIn(string(parts[2]))
		switch {
		case one == "":
			continue
		case !mine:
			return "", "its control group lies below one that a user, a service or a container was given to divide, " +
				"where anybody may name a container"
		case id != "" && id != one:
			return "", "its control groups name two containers"
		}
		id = one
	}
	return id, ""
}

// containerIn returns the first id in a path, which the host's runtime wrote: a container that may
// make groups makes them below its own. mine is false where a part before it was given away: systemd
// gives user@UID.service to the user and a service or scope with Delegate= to what runs in it
// (systemd.resource-control(5)), who may call a group what they like; LXC gives a container's own group
// to what runs in it, and sessions of version 1 lie below "user".
func containerIn(path string) (id string, mine bool) {
	mine = true
	for _, part := range strings.Split(path, "/") {
		if id = idIn(part); id != "" {
			return id, mine
		}
		if strings.HasSuffix(part, ".service") || strings.HasSuffix(part, ".scope") ||
			part == "user.slice" || part == "user" || part == "lxc" || strings.HasPrefix(part, "lxc.") {
			mine = false
		}
	}
	return "", false
}

// idIn returns the id in one part: 64 hexadecimal digits, alone or behind a runtime's name and '-' or
// ':', with or without ".scope".
func idIn(part string) string {
	part = strings.TrimSuffix(part, ".scope")
	if at := strings.LastIndexAny(part, "-:"); at >= 0 {
		if strings.HasSuffix(part[:at], "conmon") {
			return "" // crio-conmon-ID, libpod-conmon-ID: who watches the container from outside
		}
		part = part[at+1:]
	}
	if len(part) != 64 {
		return ""
	}
	for i := range len(part) {
		if b := part[i]; (b < '0' || b > '9') && (b < 'a' || b > 'f') {
			return ""
		}
	}
	return part
}
