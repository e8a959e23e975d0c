//! The platform bundle, overlays on top of it, and bad policies.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use aegis_core::policy::PolicyFile;
use serde_json::json;

use super::bundle::FILES;
use super::check::run_tests;
use super::ruleset::Source;
use super::*;
use crate::fixtures::{World, call, request, tool};

fn platform() -> Arc<PlatformBundle> {
    Arc::new(PlatformBundle::embedded().unwrap())
}

fn file(name: &str, rego: &str) -> PolicyFile {
    PolicyFile { name: name.into(), version: 1, revision: String::new(), rego: rego.into() }
}

fn overlay(rego: &str) -> Arc<TenantPolicy> {
    let files = [file("own", rego)];
    let policy = TenantPolicy::build(&platform(), files.iter(), None);
    assert_eq!(policy.fault(), None);
    policy
}

fn repository() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every `.rego` file below `policies/`, as `(path, text)`.
fn folder() -> Vec<(String, String)> {
    let root = repository().join("policies");
    let mut files = Vec::new();
    for package in std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        for path in std::fs::read_dir(package).unwrap().map(|entry| entry.unwrap().path()) {
            if path.extension().is_some_and(|ext| ext == "rego") {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                files.push((name, std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    files
}

#[test]
fn the_bundle_is_the_whole_folder() {
    let built_in: BTreeSet<&str> = FILES.iter().map(|(name, _)| *name).collect();
    let files = folder();
    let on_disk: BTreeSet<&str> =
        files.iter().map(|(name, _)| name.as_str()).filter(|n| !n.ends_with("_test.rego")).collect();
    assert_eq!(built_in, on_disk);
}

#[test]
fn every_test_of_the_platform_bundle_passes() {
    let files = folder();
    let sources: Vec<Source<'_>> = files.iter().map(|(file, rego)| Source { file, rego }).collect();
    let mut passed = 0;
    for source in &sources {
        let checked = run_tests(&sources, *source).unwrap();
        assert_eq!(checked.failed, Vec::<String>::new(), "{}", source.file);
        assert_eq!(checked.tests_passed > 0, source.file.ends_with("_test.rego"), "{}", source.file);
        passed += checked.tests_passed;
    }
    assert!(passed > 50, "{passed}");
}

/// The rules that speak on a harmless call of an agent with everything granted.
fn evaluate(policy: &TenantPolicy) -> Result<PolicyVerdict, PolicyFailure> {
    evaluate_with(policy, &json!({ "q": "hello" }))
}

fn evaluate_with(policy: &TenantPolicy, payload: &serde_json::Value) -> Result<PolicyVerdict, PolicyFailure> {
    let sample = Sample::new(payload);
    policy.evaluate(&sample.input())
}

struct Sample {
    tool_name: aegis_core::pattern::ToolName,
    payload: serde_json::Map<String, serde_json::Value>,
    agent: aegis_core::agent::AgentRecord,
    finding: aegis_core::finding::Finding,
}

impl Sample {
    fn new(payload: &serde_json::Value) -> Self {
        Self {
            tool_name: aegis_core::pattern::ToolName::parse("notes.read").unwrap(),
            payload: payload.as_object().unwrap().clone(),
            agent: crate::fixtures::agent(1),
            finding: aegis_core::finding::Finding::new(aegis_core::finding::FindingId::ExternalGet, "/q"),
        }
    }

    fn input(&self) -> PolicyInput<'_> {
        let now = crate::fixtures::NOW;
        let tenant = crate::fixtures::tenant();
        PolicyInput {
            tenant: TenantInput { id: tenant.id, tier: tenant.tier },
            agent: AgentInput {
                id: self.agent.id,
                name: &self.agent.name,
                status: self.agent.status,
                risk_level: self.agent.risk_level,
                metadata: &self.agent.metadata,
                grants: self.agent.grants.iter().map(|g| GrantInput { tool: &g.tool, effect: g.effect }).collect(),
                granted: true,
            },
            principal: PrincipalInput { role: aegis_core::principal::Role::Agent },
            tool_name: &self.tool_name,
            tool: ToolInput { effect: aegis_core::sidecar::Effect::Read },
            payload: &self.payload,
            findings: vec![FindingInput::from(&self.finding)],
            session: SessionInput::default(),
            behavior: BehaviorInput::default(),
            time: TimeInput { iso: now, hour: now.hour(), weekday: now.weekday() },
            request: RequestInput { id: "r".into(), ip: "127.0.0.1".into() },
            approval: ApprovalInput::default(),
        }
    }
}

fn ids(hits: &[RuleHit]) -> Vec<&str> {
    hits.iter().map(|hit| hit.id.as_str()).collect()
}

#[test]
fn a_harmless_call_raises_no_rule() {
    let none: [PolicyFile; 0] = [];
    let policy = TenantPolicy::build(&platform(), none.iter(), None);
    assert_eq!(evaluate(&policy), Ok(PolicyVerdict::default()));
    assert_eq!(policy.in_force().overlay, "none");
}

/// The bundle's own tests are interpreted; calls are judged by the compiled program.
#[test]
fn the_compiled_program_holds_amounts_against_the_cap_as_the_text_says() {
    let none: [PolicyFile; 0] = [];
    let policy = TenantPolicy::build(&platform(), none.iter(), None);
    let wire = |payload: &serde_json::Value| {
        let mut sample = Sample::new(payload);
        sample.tool_name = aegis_core::pattern::ToolName::parse("finance.wire").unwrap();
        !policy.evaluate(&sample.input()).unwrap().denies.is_empty()
    };
    for within in [json!({}), json!({ "amount": 5 }), json!({ "amount_usd": "5" }), json!({ "total": 10_000 })] {
        assert!(!wire(&within), "{within}");
    }
    for above in [json!({ "amount": 10_001 }), json!({ "amount_usd": "25000" }), json!({ "amount": "lots" })] {
        assert!(wire(&above), "{above}");
    }
}

#[test]
fn an_overlay_adds_rules_of_every_kind() {
    let policy = overlay(
        r#"package aegis.decision
        import rego.v1
        deny contains {"id": "b", "severity": "low"} if input.payload.q == "hello"
        deny contains {"id": "a", "severity": "critical", "reason": "why"} if input.tool_name == "notes.read"
        escalate contains {"id": "e", "approver_role": "ADMIN"}
        monitor contains "m"
        risk_adjustment := 0.1
        "#,
    );
    let verdict = evaluate(&policy).unwrap();
    assert_eq!(ids(&verdict.denies), ["a", "b"]);
    assert_eq!(verdict.denies[0].reason.as_deref(), Some("why"));
    assert_eq!(verdict.escalations[0].approver_role.as_deref(), Some("ADMIN"));
    assert_eq!(ids(&verdict.monitors), ["m"]);
    assert_eq!(verdict.adjustment, 1_000);
}

#[test]
fn an_overlay_cannot_drop_what_the_platform_says() {
    // All the ways to say "nothing": an empty set, a function of the input, a lowering, a package of ours.
    for rego in [
        "package aegis.decision\nimport rego.v1\ndeny := set()\n",
        "package aegis.decision\nimport rego.v1\ndeny contains x if { x := {\"id\": \"x\"}; false }\nrisk_adjustment := -0.3\n",
    ] {
        let policy = overlay(rego);
        let mut sample = Sample::new(&json!({}));
        sample.agent.status = aegis_core::agent::AgentStatus::Suspended;
        let verdict = policy.evaluate(&sample.input()).unwrap();
        assert_eq!(ids(&verdict.denies), ["agent.deny.not_active"], "{rego}");
        assert_eq!(verdict.adjustment, 0, "{rego}");
    }
    for package in ["aegis", "aegis.facts", "aegis.gather", "aegis.decision.deny", "aegis[\"decision\"].x"] {
        let problem = check(&platform(), "own", &format!("package {package}\nimport rego.v1\nx := 1\n")).unwrap_err();
        assert_eq!(problem.message, "this package is reserved", "{package}");
    }
}

#[test]
fn overlays_may_import_what_the_platform_shares() {
    let policy = overlay(
        "package aegis.decision\nimport rego.v1\nimport data.aegis.facts\nmonitor contains \"m\" if facts.tool_family == \"notes\"\n",
    );
    assert_eq!(ids(&evaluate(&policy).unwrap().monitors), ["m"]);
}

#[test]
fn what_cannot_be_evaluated_is_a_failure_never_an_allow() {
    let head = "package aegis.decision\nimport rego.v1\n";
    let endless = "deny contains {\"id\": \"x\"} if { some a in numbers.range(1, 3000); some b in numbers.range(1, 3000); a * b == -1 }\n";
    let cases = [
        ("deny := {\"x\"} if input.payload.q == \"other\"\n", PolicyFailure::UndefinedDeny),
        ("deny contains 7\n", PolicyFailure::Form { rule: "deny" }),
        ("deny contains {\"severity\": \"low\"}\n", PolicyFailure::Form { rule: "deny" }),
        ("deny contains {\"id\": \"x\", \"severity\": \"terrible\"}\n", PolicyFailure::Form { rule: "deny" }),
        ("risk_adjustment := \"much\"\n", PolicyFailure::Form { rule: "risk_adjustment" }),
        ("deny := {\"x\"} if input.tool_name\ndeny := {\"y\"} if input.payload.q\n", PolicyFailure::UndefinedDeny),
        (endless, PolicyFailure::Bound),
    ];
    for (rules, failure) in cases {
        let policy = overlay(&format!("{head}{rules}"));
        assert_eq!(evaluate(&policy), Err(failure), "{rules}");
        // The machine that failed is gone; the next call meets a fresh one and the same answer.
        assert!(evaluate(&policy).is_err(), "{rules}");
    }
}

#[test]
fn a_builtin_that_fails_is_undefined_as_in_opa() {
    let policy = overlay(
        "package aegis.decision\nimport rego.v1\nmonitor contains \"a\" if to_number(input.payload.q) > 1\n\
         monitor contains \"b\" if not to_number(input.payload.q)\n",
    );
    assert_eq!(ids(&evaluate(&policy).unwrap().monitors), ["b"]);
}

#[test]
fn a_bad_overlay_leaves_the_last_good_one_in_force() {
    let good = [file("own", "package aegis.decision\nimport rego.v1\nmonitor contains \"m\"\n")];
    let bad = [file("own", "package aegis.decision\nimport rego.v1\nmonitor contains {\n")];
    let platform = platform();
    let first = TenantPolicy::build(&platform, good.iter(), None);
    let second = TenantPolicy::build(&platform, bad.iter(), Some(&first));
    assert!(second.fault().is_some());
    assert_eq!(second.in_force(), first.in_force());
    assert_eq!(ids(&evaluate(&second).unwrap().monitors), ["m"]);
    let third = TenantPolicy::build(&platform, good.iter(), Some(&second));
    assert_eq!(third.fault(), None);
    assert!(
        Arc::ptr_eq(&TenantPolicy::build(&platform, good.iter(), Some(&third)), &third),
        "compiled once per revision"
    );
    let alone = TenantPolicy::build(&platform, bad.iter(), None);
    assert_eq!(evaluate(&alone), Err(PolicyFailure::Broken));
}

#[test]
fn uploads_are_told_where_they_are_wrong() {
    let cases = [
        ("package aegis.decision\nimport rego.v1\ndeny contains {\n", 4),
        ("package aegis.decision\nimport rego.v1\n\ndeny contains x if { y := 1 }\n", 4),
        ("package aegis.decision\nimport rego.v1\ndeny contains {\"id\": \"x\"} if no_such_builtin(1)\n", 3),
    ];
    for (text, line) in cases {
        let problem = check(&platform(), "own", text).unwrap_err();
        assert_eq!((problem.file.as_str(), problem.line), ("own.rego", Some(line)), "{problem:?}");
        assert!(problem.column.is_some() && !problem.message.is_empty(), "{problem:?}");
    }
    assert!(check(&platform(), "own", &"#".repeat(aegis_core::policy::POLICY_TEXT_MAX + 1)).is_err());
}

#[test]
fn uploads_have_their_tests_run() {
    let text = r#"package aegis.decision
        import rego.v1
        deny contains {"id": "x"} if input.tool_name == "a.b"
        test_denies if count(deny) == 1 with input as {"tool_name": "a.b"}
        test_is_silent if count(deny) == 0 with input as {"tool_name": "c.d"}
        test_is_wrong if count(deny) == 7 with input as {"tool_name": "c.d"}
    "#;
    let checked = check(&platform(), "own", text).unwrap();
    assert_eq!((checked.rules, checked.tests_passed, checked.tests_failed), (1, 2, 1));
    assert_eq!((checked.rule_names, checked.failed), (vec!["deny".to_owned()], vec!["test_is_wrong".to_owned()]));
}

#[test]
fn the_schema_is_the_one_in_the_repository_and_fits_the_input() {
    let schema = input_schema();
    let path = repository().join("policies/schema/input.json");
    let written = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    if kept != written {
        let fresh = std::env::temp_dir().join("aegis-input-schema.json");
        std::fs::write(&fresh, &written).unwrap();
        panic!("policies/schema/input.json is out of date: the current one is in {}", fresh.display());
    }
    let sample = Sample::new(&json!({ "q": 1 }));
    fits(&schema, &serde_json::to_value(sample.input()).unwrap(), "");
}

/// The parts of JSON schema that ours uses.
fn fits(schema: &serde_json::Value, value: &serde_json::Value, at: &str) {
    if let Some(words) = schema.get("enum") {
        assert!(words.as_array().unwrap().contains(value), "{at}");
        return;
    }
    match schema["type"].as_str().unwrap() {
        "string" => assert!(value.is_string(), "{at}"),
        "boolean" => assert!(value.is_boolean(), "{at}"),
        "integer" => assert!(value.is_u64(), "{at}"),
        "array" => value.as_array().unwrap().iter().for_each(|item| fits(&schema["items"], item, at)),
        "object" => {
            let Some(properties) = schema.get("properties") else { return };
            let names = |v: &serde_json::Value| v.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
            assert_eq!(names(properties), names(value), "{at}");
            for (name, schema) in properties.as_object().unwrap() {
                fits(schema, &value[name], &format!("{at}/{name}"));
            }
        }
        other => panic!("{at}: {other}"),
    }
}

#[test]
fn a_tenant_without_a_policy_that_compiles_is_refused() {
    let mut world = World::new();
    world.set([aegis_core::snapshot::Item::Policy(file("own", "package aegis.decision\nnonsense"))]);
    assert_eq!(world.snapshot.faults().len(), 1);
    let older_in_force = world.snapshot.faults()[0].older_in_force;
    assert!(older_in_force, "without an overlay is a state to fall back on");
    let metered = world.meter(&request(), call("notes.read", &json!({})), tool()).unwrap();
    assert!(world.pipeline().enforce(world.pipeline().judge(metered)).is_ok());
}

#[test]
fn rules_cannot_print_what_they_see() {
    let text = "package aegis.decision\nimport rego.v1\nmonitor contains \"m\" if print(input.payload)\n";
    let problem = check(&platform(), "own", text).unwrap_err();
    assert_eq!(problem.hint.as_deref(), Some("this built-in is not available here"), "{problem:?}");
}
