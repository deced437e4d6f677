# The authorization policy of a SPIRE server that works with attestd (SPIRE 1.15, Rego v1):
#
#   server {
#     audit_log_enabled = true
#     experimental { auth_opa_policy_engine { local {
#       rego_path        = "/etc/spire/server/attestd.rego"
#       policy_data_path = "/etc/spire/server/attestd.json"
#     } } }
#   }
#
# Without the audit log SPIRE does not look who calls on its unix socket (pkg/server/endpoints,
# createUDSServer), and this policy refuses every local program, spire-server among them.
#
# For agents, workloads, administrators, nested servers and the command line it says what SPIRE's own
# policy says (pkg/server/authpolicy/policy_data.json of SPIRE 1.15.3), with these differences:
#
#  1. attestd's controller gets what it needs and nothing else, also where an entry makes it an
#     administrator: it lists, bans and deletes agents of attestd's, sets the selectors of the entries
#     whose ids begin as agreed, and mints below one path for minutes.
#  2. A local process gets the rights of the command line only by the path of its program: a copy of
#     spire-server elsewhere gets none, whatever the socket's mode is.
#  3. Where the gate is on, attestd is asked before each call of an agent. No answer is a no.
#  4. Nobody gets WIT-SVIDs, which are off in SPIRE 1.15 but for a feature flag: SPIRE asks no composer
#     about them (plugin SDK 1.15.2 has no call for it), so attestd could not refuse one.
#
# Whatever is missing or empty in the data denies. SPIRE reads this file and the data when it starts
# and not again; "spire-server validate" does not read them.
package spire

result := {
	"allow": allow,
	"allow_if_admin": allow_if_admin,
	"allow_if_local": allow_if_local,
	"allow_if_downstream": allow_if_downstream,
	"allow_if_agent": allow_if_agent,
}

default allow := false

default allow_if_admin := false

default allow_if_local := false

default allow_if_downstream := false

default allow_if_agent := false

# What anybody may: the bundle, and to attest.
allow if listed("allow_any")

# The controller that comes with an SVID of its own.
allow if {
	is_controller
	controller_may
}

allow_if_admin if {
	listed("allow_admin")
	not is_controller
}

allow_if_downstream if {
	listed("allow_downstream")
	not is_controller
}

# The command line, and other programs of the same trust on the SPIRE server's host.
allow_if_local if {
	listed("allow_local")
	program_in(data.attestd.local_programs)
	not is_controller_program
}

# The controller that comes by the unix socket. Of a program that is in both lists this one counts.
allow_if_local if {
	is_controller_program
	controller_may
}

allow_if_agent if {
	listed("allow_agent")
	input.caller != ""
	not is_controller
	gate_open
}

listed(right) if {
	some api in data.apis
	api.full_method == input.full_method
	api[right] == true
	not input.full_method in not_composed
}

not_composed := {
	"/spire.api.server.svid.v1.SVID/MintWITSVID",
	"/spire.api.server.svid.v1.SVID/BatchNewWITSVID",
}

# --- who calls ---

default is_controller := false

is_controller if {
	input.caller != ""
	input.caller in data.attestd.controllers
}

default is_controller_program := false

is_controller_program if program_in(data.attestd.controller_programs)

# SPIRE fills in the path for callers on the unix socket alone, from /proc/PID/exe; one that it cannot
# see is empty.
program_in(list) if {
	input.caller == ""
	input.caller_file_path != ""
	input.caller_file_path in list
}

# --- what the controller may ---

controller_may if input.full_method in {
	"/spire.api.server.agent.v1.Agent/ListAgents",
	"/spire.api.server.agent.v1.Agent/GetAgent",
	"/spire.api.server.entry.v1.Entry/ListEntries",
}

# Bans and forced attestation: of agents that attestd attests, and no others. To delete an agent that
# cannot attest again would end it.
controller_may if {
	input.full_method in {
		"/spire.api.server.agent.v1.Agent/BanAgent",
		"/spire.api.server.agent.v1.Agent/DeleteAgent",
	}
	in_trust_domain(input.req.id)
	below(input.req.id.path, data.attestd.agent_prefixes)
}

# Holds: SPIRE shows the policy no more than the ids of entries, so theirs begin as agreed. Without an
# input mask an update sets every field, the SPIFFE ID and the admin flag among them.
controller_may if {
	input.full_method == "/spire.api.server.entry.v1.Entry/BatchUpdateEntry"
	input.req.input_mask == {"selectors": true}
	data.attestd.entry_prefix != ""
	every entry in input.req.entries {
		startswith(entry.id, data.attestd.entry_prefix)
	}
}

# X.509-SVIDs for keys in evidence. SPIRE copies the subject and the DNS names of the request into the
# certificate. parse_certificate_request also finds PEM inside of what it is given, and SPIRE does
# not: what was parsed must be what SPIRE signs, or a request could show the policy another one.
controller_may if {
	input.full_method == "/spire.api.server.svid.v1.SVID/MintX509SVID"
	short(input.req.ttl)
	request := crypto.x509.parse_certificate_request(input.req.csr)
	request.Raw == input.req.csr
	request.RawSubject == "MAA=" # an empty SEQUENCE: no subject
	none(request.DNSNames)
	none(request.EmailAddresses)
	none(request.IPAddresses)
	count(request.URIs) == 1
	some uri in request.URIs
	uri.Scheme == "spiffe"
	uri.Host == data.attestd.trust_domain
	below(uri.Path, data.attestd.mint_prefixes)
}

controller_may if {
	input.full_method == "/spire.api.server.svid.v1.SVID/MintJWTSVID"
	short(input.req.ttl)
	count(input.req.audience) > 0
	in_trust_domain(input.req.id)
	below(input.req.id.path, data.attestd.mint_prefixes)
}

# The mint canary: one identity, for one audience that nobody is.
controller_may if {
	input.full_method == "/spire.api.server.svid.v1.SVID/MintJWTSVID"
	short(input.req.ttl)
	input.req.audience == ["attestd-canary"]
	in_trust_domain(input.req.id)
	data.attestd.canary_path != ""
	input.req.id.path == data.attestd.canary_path
}

in_trust_domain(id) if {
	data.attestd.trust_domain != ""
	id.trust_domain == data.attestd.trust_domain
}

# below: the path begins with one of the prefixes, each of which is whole segments.
below(path, prefixes) if {
	some prefix in prefixes
	startswith(prefix, "/")
	endswith(prefix, "/")
	count(prefix) > 2
	startswith(path, prefix)
}

# A lifetime that is left out is SPIRE's default, and not in the request.
short(ttl) if {
	ttl > 0
	ttl <= data.attestd.mint_seconds
}

none(names) if names == null

none(names) if count(names) == 0

# --- the gate ---

default gate_open := false

# Off is written, so that a data file that lost the line does not open it.
gate_open if data.attestd.gate == "off"

gate_open if gate_answer.allow == true

# Of an agent that attestd does not let on and SPIRE has banned, SPIRE itself refuses the next look for
# entries, with the one answer that an honest agent ends on.
gate_open if {
	gate_answer.banned == true
	input.full_method in {
		"/spire.api.server.entry.v1.Entry/GetAuthorizedEntries",
		"/spire.api.server.entry.v1.Entry/SyncAuthorizedEntries",
	}
}

gate_answer := answer.body if {
	answer := http.send({
		"method": "POST",
		"url": data.attestd.gate.url,
		"headers": {"Content-Type": "application/json"},
		"body": {"caller": input.caller},
		"timeout": "500ms",
		"raise_error": false,
		"force_json_decode": true,
		"enable_redirect": false,
	})
	answer.status_code == 200
}
