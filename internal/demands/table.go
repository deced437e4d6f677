package demands

// Demands are all of them, in the order of the article. Tests of suites with real parts run in
// .ci/spire-test.
func Demands() []Demand {
	return append(append(premises(), segments()...), append(governed(), watched()...)...)
}

func premises() []Demand {
	return []Demand{
		{"S-01", "nothing is friendly by its address", Met,
			[]string{"internal/config:TestWhatIsInDoubtAboutDecisionsIsRefused"},
			[]string{"docs/threat-model.md"},
			"no listener without TLS beyond loopback; questions and orders need a name"},
		{"S-02", "identities of programs get the scrutiny that those of people get", Met, nil,
			[]string{"docs/inventory.md"}, "an inventory with owner, purpose, reach, evidence and risk of each"},
		{"S-03", "each hop authenticates again and scores again", Met, []string{"internal/issuance:TestACallerStandsAsItsNodesDo"},
			[]string{"docs/decisions/README.md"},
			"each question is decided by the state of that moment; the chain of callers goes along"},
		{"S-04", "policies ride on identity, device posture, context and the model's state", Part, nil,
			[]string{"docs/decisions/policies.md"},
			"identity, hardware and context are there; a model's digest counts where it is measured as a " +
				"reference value, and has no field of its own"},
		{"S-05", "each prompt assembly, retrieval and tool call is a request of its own", Met, nil,
			[]string{"docs/decisions/authzen.md", "docs/decisions/envoy.md", "docs/decisions/mcp.md"},
			"AuthZEN, ext_authz, forward-auth, a middleware and the MCP mapping"},
		{"S-06", "policy outside of the application, risk per transaction", Met, nil,
			[]string{"docs/decisions/policies.md"}, "Cedar policies, and an integer risk whose reasons add up"},
		{"S-07", "prompts are enriched before the model", Other, nil,
			[]string{"docs/decisions/authzen.md"}, "labels of whoever classifies are taken and recorded; no text is"},
		{"S-08", "output is filtered for the OWASP LLM Top 10", Other, nil,
			[]string{"docs/decisions/signals.md"}, "filters report signals, which raise the risk"},
		{"S-09", "three proofs within 200 ms", Met, []string{"internal/decision:TestAnAnswerThatIsLateDenies", "internal/decision:TestWhatEveryGateLetsThroughIsForPolicies"},
			[]string{"docs/decisions/gates.md"}, "each answer has the three with their age; out of time denies"},
	}
}

func segments() []Demand {
	return []Demand{
		{"S-10", "a sixth pillar: integrity of prompt and context", Later, nil, nil,
			"a table from controls to CISA's pillars is not written"},
		{"S-11", "each stage of retrieval has an identity of its own", Part, nil,
			[]string{"docs/inventory.md"}, "stage and purpose are fields that policies read; no example of a pipeline"},
		{"S-12", "a retrieval worker gets its own tenant's embeddings alone", Met, []string{"internal/decision/cedarset:TestTheStandardPolicies", "internal/decision/cedarset:TestTenantsSpeakForThemselves"},
			[]string{"docs/decisions/gates.md"}, "the tenant follows from owned hardware; none, or another, denies"},
		{"S-13", "no credentials by namespace", Part, nil,
			[]string{"docs/svid-claims.md"}, "secret.read is an action; no guide for a vault yet"},
		{"S-14", "subject, action, resource and environment", Met, []string{"internal/decision:TestEachGateIsShutByEachOfItsFacts"},
			[]string{"docs/decisions/authzen.md"}, "what a caller says about its own risk or attestation is not read"},
		{"S-15", "every denied call is logged and mapped to ATLAS", Met, nil,
			[]string{"docs/decisions/records.md"}, "denials are never sampled; a flood is folded with its count"},
		{"S-16", "admission stamps tenant metadata", Later, nil, nil, "nothing for Kubernetes' admission yet"},
		{"S-17", "network policies between tenants", Later, nil, nil, "nothing for Kubernetes' networks yet"},
		{"S-18", "egress injects the tenant and a policy token", Later, nil,
			[]string{"docs/decisions/envoy.md"}, "the tenant is a header of the answer; there is no policy token yet"},
		{"S-19", "a token outside the list is dropped before the search", Later, nil, nil,
			"comes with the policy token"},
		{"S-20", "throttles that follow the risk", Met, []string{"internal/decision/watch:TestLimitsTightenWithRisk"},
			[]string{"docs/decisions/detectors.md"}, "a tenth at medium risk, nothing above; 429 with Retry-After"},
		{"S-21", "questions outside of what the caller ever asked for", Met, []string{"internal/decision/watch:TestWhatWasNeverAskedForIsNew"},
			[]string{"docs/decisions/detectors.md"}, "by the ids of datasets and tools; attestd sees no vectors"},
		{"S-22", "step-up, quarantine, a page", Part, nil,
			[]string{"docs/decisions/quarantine.md"}, "of subjects; a dataset cannot be quarantined yet"},
		{"S-23", "lateral movement is visible", Part, nil,
			[]string{"docs/decisions/records.md"}, "each decision names caller, resource and chain; no graph is drawn"},
	}
}

func governed() []Demand {
	return []Demand{
		{"S-24", "a lifecycle: issuance, rotation, revocation, attestation", Met,
			[]string{"internal/revocation:TestQuarantine", "internal/revocation:TestReleases"},
			[]string{"docs/explain/states.md"}, "one table of states, each change with who and why"},
		{"S-25", "each identity is bound to a policy", Met, []string{"internal/decision/cedarset:TestRecordsAreBoundToPoliciesByName"},
			[]string{"docs/inventory.md"}, "one that is not is denied and stands in the report"},
		{"S-26", "credentials that cannot be phished: SPIFFE, TEEs, keys in hardware", Met,
			[]string{"internal/spiretest:TestAMeasuredNodeGetsIdentities"},
			[]string{"docs/spire.md"}, "SVIDs behind evidence that binds the key"},
		{"S-27", "NIST AI RMF, MAP and MANAGE", Later, nil, nil, "the mapping is not written"},
		{"S-28", "each identity has a purpose", Met, nil, []string{"docs/inventory.md"}, "lint names those without"},
		{"S-29", "an evaluation agent that wants to write to the feature store is denied", Met, []string{"internal/spiretest:TestDecisions", "internal/decision/cedarset:TestTheStandardPolicies"},
			[]string{"docs/decisions/policies.md"}, "purpose_mismatch, by the shipped policies"},
		{"S-30", "a record of the agent's identity with its risk", Met, []string{"internal/spiretest:TestDecisions"},
			[]string{"docs/decisions/introspection.md"}, "introspection says it, with the risk of this moment"},
		{"S-31", "verified identities are cached", Met, []string{"internal/authn:TestWhatIsRememberedEndsWithWhatItRestedOn"},
			[]string{"docs/decisions/authentication.md"}, "by the token's digest, bounded, never past any expiry"},
		{"S-32", "who is not attested is refused before any policy", Met, []string{"internal/spiretest:TestDecisions", "internal/decision:TestNothingOpensAGate"},
			[]string{"docs/decisions/gates.md"}, "a gate that no policy can change"},
		{"S-33", "policy sees subject, workload, risk, action and resource", Met, []string{"internal/decision/cases:TestTheCasesOfTheDocumentation"},
			[]string{"docs/decisions/policies.md"}, "the schema is printed by attestd policy show --schema"},
		{"S-34", "a risk spike quarantines", Met, []string{"internal/spiretest:TestDecisions", "internal/decision/signals:TestAPivotAndASignalQuarantine"},
			[]string{"docs/decisions/quarantine.md"}, "by the server, within caps, where it is switched on"},
		{"S-35", "what is cached is looked at again when the risk changes", Met, []string{"internal/spiretest:TestDecisions", "internal/authn:TestWhatIsRememberedEndsWithWhatItRestedOn", "internal/issuance:TestAnyChangeIsAnotherEpoch"},
			[]string{"docs/decisions/authentication.md"}, "each hit compares the subject's epoch"},
		{"S-36", "a denied request triggers quarantine", Part, []string{"internal/decision/signals:TestAProvokedDenialAloneQuarantinesNobody"},
			[]string{"docs/decisions/quarantine.md"},
			"deliberately not: whoever can provoke denials could take a fleet out. Named grounds alone do"},
	}
}

func watched() []Demand {
	return []Demand{
		{"S-37", "detections: modified instructions, secrets in output, pivots between tenants", Part, []string{"internal/decision/watch:TestSeveralOtherTenantsAreAPivot"},
			[]string{"docs/decisions/detectors.md"}, "pivots are seen; what stands in text comes as signals"},
		{"S-38", "detections carry ATLAS ids to the SOC", Met, nil,
			[]string{"docs/decisions/records.md"}, "in records, OTLP, OCSF and CEF"},
		{"S-39", "prompt posture each request, device posture each hour", Met, nil,
			[]string{"docs/decisions/gates.md"}, "a decision each request; evidence has a greatest age"},
		{"S-40", "each prompt has provenance", Met, nil,
			[]string{"docs/decisions/authzen.md"}, "dataset scope, chain and connectivity are recorded"},
		{"S-41", "a tool outside of the blast radius is dropped, with an event", Met, []string{"internal/decision/cedarset:TestTheStandardPolicies"},
			[]string{"docs/decisions/policies.md"}, "blast_radius; the record joins other logs by trace and request id"},
		{"S-42", "prompt_id", Met, nil, []string{"docs/decisions/prompt-id.md"}, "keyed, with published vectors"},
		{"S-43", "subject_chain", Met, []string{"internal/decision:TestLinksAreVerifiedByTheirTokens"}, []string{"docs/decisions/authzen.md"},
			"links that were verified, and those that are only asserted"},
		{"S-44", "dataset_scope", Met, nil, []string{"docs/decisions/authzen.md"}, "ids with classifications"},
		{"S-45", "policy_snapshot: a decision can be replayed", Met, []string{"internal/decision:TestAStoredInputGivesTheSameResult"},
			[]string{"docs/decisions/records.md"}, "attestd decision replay judges the stored input again"},
		{"S-46", "atlas_mapping", Met, []string{"internal/decision:TestEveryCodeIsWhole"}, []string{"docs/reference/reasons.md"}, "one table from reasons to techniques"},
		{"S-47", "no second SIEM", Met, nil, []string{"docs/decisions/records.md"}, "OTLP, OCSF 1.8 and CEF"},
		{"S-48", "30 days: the inventory, and who has permanent tokens", Met, nil,
			[]string{"docs/inventory.md"}, "an inventory with the kind of each credential"},
		{"S-49", "60 days: enforcement on both sides of the model", Part, nil,
			[]string{"docs/decisions/envoy.md"}, "before it; what comes after it is for filters that send signals"},
		{"S-50", "90 days: retrieval by tenant, privileged prompts by attested identities", Met, nil,
			[]string{"docs/decisions/policies.md"}, "privileged resources need evidence of minutes"},
		{"S-51", "aligned with pillars of data, identity and monitoring", Later, nil, nil, "the mapping is not written"},
		{"S-52", "hostile until proven in real time", Met, []string{"internal/decision:TestPoliciesThatDecideNothingDeny", "internal/decision/cedarset:TestFoldersThatAreRefused"},
			[]string{"docs/decisions/gates.md"}, "no policies deny everything"},
	}
}
