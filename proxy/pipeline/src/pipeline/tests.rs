//! Every refusal of stages 0 to 7 is reachable, in its order, with its row; what passes, passes whole.

use std::collections::BTreeMap;
use std::time::Duration;

use aegis_core::agent::{AgentStatus, Grant, GrantEffect, RiskLevel};
use aegis_core::finding::FindingId;
use aegis_core::id::{GrantId, TenantId};
use aegis_core::pattern::ToolPattern;
use aegis_core::policy::PolicyFile;
use aegis_core::principal::Scope;
use aegis_core::sidecar::Effect;
use aegis_core::snapshot::{Item, KillSwitch, Revocation};
use aegis_core::tenant::{DegradedModePolicy, Limits, TenantStatus};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::facts::Credential;
use crate::fixtures::{
    NOW, World, agent, agent_id, agent_token, api_key, api_key_record, call, request, tenant, token, tool,
};
use crate::refusal::LimitType;
use crate::stages::auth::FAILURES_MAX;

fn switch() -> Item {
    Item::KillSwitch(KillSwitch { engaged_at: NOW, engaged_by: "user:x".into(), reason: "drill".into() })
}

fn policy(rego: &str) -> Item {
    let rego = format!("package aegis.decision\nimport rego.v1\n{rego}\n");
    Item::Policy(PolicyFile { name: "own".into(), version: 1, revision: String::new(), rego })
}

fn refused(world: &World, request: &RequestFacts) -> (&'static str, Stage) {
    let stopped = world.meter(request, call("notes.read", &json!({})), tool()).unwrap_err();
    (stopped.refused.refusal.identifier(), stopped.refused.stage)
}

fn with(change: impl FnOnce(&mut RequestFacts)) -> RequestFacts {
    let mut request = request();
    change(&mut request);
    request
}

fn denied(world: &World, tool_name: &str, payload: &Value) -> Box<Denied> {
    world.decide(call(tool_name, payload)).unwrap_err()
}

#[test]
fn a_harmless_call_passes_all_stages_and_is_settled() {
    let mut world = World::new();
    world.set([Item::Agent(agent(1))]);
    let mut paid = tool();
    paid.cost = MicroUsd::from_micros(500);
    let metered = world.meter(&request(), call("notes.read", &json!({"b": 1, "a": "x"})), paid).unwrap();
    let permit = world.pipeline().enforce(world.pipeline().judge(metered)).unwrap();
    assert_eq!(permit.payload(), r#"{"a":"x","b":1}"#);
    assert_eq!(permit.record().decision, Decision::Allow);
    assert_eq!(permit.record().principal, format!("api_key:{}", Uuid::from_u128(1)));
    let stages: Vec<_> = permit.record().timeline.steps().iter().map(|s| (s.stage.number(), s.outcome)).collect();
    assert_eq!(stages, (0..8).map(|n| (n, StageOutcome::Pass)).collect::<Vec<_>>());
    assert_eq!(world.counters.usage(NOW)[0].day_cost.as_micros(), 500);
    let record = permit.settle(MicroUsd::from_micros(200), &world.counters, &world.clock);
    assert_eq!((record.cost.as_micros(), world.counters.usage(NOW)[0].day_cost.as_micros()), (200, 200));
}

#[test]
fn every_kind_of_credential_acts() {
    let world = World::new();
    for credential in
        [Credential::ApiKey(api_key(1)), agent_token(1), token(|_| ()), token(|c| c["role"] = "SECURITY".into())]
    {
        let request = with(|r| r.credential = Some(credential));
        assert!(world.meter(&request, call("notes.read", &json!({})), tool()).is_ok());
    }
}

#[test]
fn headers_and_principals_are_refused_by_name() {
    let mut world = World::new();
    let mut sleeping = agent(3);
    sleeping.status = AgentStatus::Quarantined;
    let keys = [(2, None, Scope::Read), (3, Some(agent_id(3)), Scope::Execute), (4, Some(agent_id(1)), Scope::Write)];
    world.set([Item::Agent(sleeping)]);
    world.set(keys.map(|(seed, agent, scope)| Item::ApiKey(api_key_record(seed, agent, &[scope]))));
    let key = |r: &mut RequestFacts, seed| r.credential = Some(Credential::ApiKey(api_key(seed)));
    let cases = [
        (with(|r| r.credential = None), "invalid_token"),
        (with(|r| key(r, 99)), "invalid_token"),
        (with(|r| r.credential = Some(token(|c| c["iss"] = "other".into()))), "invalid_token"),
        (with(|r| r.tenant_header = None), "tenant_header_required"),
        (with(|r| r.tenant_header = Some("x".into())), "invalid_tenant_id"),
        (with(|r| r.tenant_header = Some(Uuid::from_u128(5).to_string())), "tenant_mismatch"),
        (with(|r| r.agent_header = None), "agent_header_required"),
        (with(|r| r.agent_header = Some("x".into())), "invalid_agent_id"),
        (with(|r| r.agent_header = Some(agent_id(2).to_string())), "agent_mismatch"),
        (
            with(|r| (r.credential, r.agent_header) = (Some(token(|_| ())), Some(agent_id(9).to_string()))),
            "unknown_agent",
        ),
        (
            with(|r| (r.credential, r.agent_header) = (Some(token(|_| ())), Some(agent_id(3).to_string()))),
            "agent_not_active",
        ),
        (with(|r| r.credential = Some(token(|c| c["role"] = "AUDITOR".into()))), "insufficient_role"),
        (with(|r| r.credential = Some(token(|c| c["role"] = "VIEWER".into()))), "insufficient_role"),
        (with(|r| key(r, 2)), "insufficient_role"),
        (with(|r| key(r, 4)), "insufficient_role"),
        (with(|r| r.credential = Some(token(|c| c["tenant_id"] = json!(Uuid::from_u128(5))))), "no_snapshot"),
    ];
    for (request, identifier) in cases {
        assert_eq!(refused(&world, &request), (identifier, Stage::Auth), "{request:?}");
    }
    let mut suspended = tenant();
    suspended.status = TenantStatus::Suspended;
    world.set([Item::Tenant(suspended)]);
    assert_eq!(refused(&world, &request()).0, "insufficient_role");
}

#[test]
fn a_key_of_another_tenant_is_a_mismatch_with_a_name() {
    let mut world = World::new();
    let other = TenantId::from_uuid(Uuid::from_u128(0x0be));
    let mut record = tenant();
    record.id = other;
    let key = Item::ApiKey(api_key_record(7, Some(agent_id(1)), &[Scope::Execute]));
    world.change(other, [Item::Tenant(record), key].map(|item| (item.key(), Some(item))));
    let request = with(|r| r.credential = Some(Credential::ApiKey(api_key(7))));
    let stopped = world.pipeline().admit(&request).unwrap_err();
    assert_eq!(stopped.refused.refusal, Refusal::TenantMismatch);
    assert_eq!(stopped.caller.unwrap().tenant_id, other, "recorded where the key belongs");
}

#[test]
fn only_principals_of_the_tenant_learn_of_the_switch() {
    let mut world = World::new();
    world.set([switch()]);
    let stopped = world.pipeline().admit(&request()).unwrap_err();
    assert!(matches!(&stopped.refused.refusal, Refusal::KillSwitchEngaged(s) if s.reason == "drill"));
    assert_eq!(stopped.refused.stage, Stage::KillSwitch);
    assert!(stopped.caller.is_some());
    for stranger in [with(|r| r.credential = None), with(|r| r.credential = Some(Credential::ApiKey(api_key(99))))] {
        let stopped = world.pipeline().admit(&stranger).unwrap_err();
        assert_eq!((stopped.refused.refusal, stopped.caller), (Refusal::InvalidToken, None));
    }
    let other = with(|r| r.tenant_header = Some(Uuid::from_u128(5).to_string()));
    assert_eq!(refused(&world, &other).0, "tenant_mismatch");
    let unbound = with(|r| r.agent_header = None);
    assert_eq!(refused(&world, &unbound).0, "kill_switch_engaged", "before anything about agents");
}

#[test]
fn the_switch_is_seen_after_the_body_and_before_the_tool() {
    let mut world = World::new();
    let admitted = world.pipeline().admit(&request()).unwrap();
    let permit = world.decide(call("notes.read", &json!({}))).unwrap();
    assert_eq!(permit.still_holds(&world.snapshot), Ok(()));
    world.set([switch()]);
    let stopped = world.pipeline().limit(admitted, call("notes.read", &json!({})), tool()).unwrap_err();
    assert_eq!(
        (stopped.refused.refusal.identifier(), stopped.refused.stage),
        ("kill_switch_engaged", Stage::KillSwitch)
    );
    assert_eq!(permit.still_holds(&world.snapshot).unwrap_err().identifier(), "kill_switch_engaged");
    assert_eq!(world.counters.usage(NOW)[0].day_used, 1, "what is stopped does not count");
    world.remove("kill_switch");
    assert_eq!(permit.still_holds(&world.snapshot), Ok(()));
}

#[test]
fn what_changed_while_the_body_was_read_counts() {
    type Change = fn(&mut World);
    let revoke: Change = |world| {
        world.set([Item::Revocation(Revocation::Agent { agent_id: agent_id(1), issued_until: NOW })]);
    };
    let suspend: Change = |world| {
        let mut agent = agent(1);
        agent.status = AgentStatus::Suspended;
        world.set([Item::Agent(agent)]);
    };
    for (change, identifier) in [(revoke, "invalid_token"), (suspend, "agent_not_active")] {
        let mut world = World::new();
        let admitted = world.pipeline().admit(&with(|r| r.credential = Some(agent_token(1)))).unwrap();
        change(&mut world);
        let stopped = world.pipeline().limit(admitted, call("notes.read", &json!({})), tool()).unwrap_err();
        assert_eq!(stopped.refused.refusal.identifier(), identifier);
    }
}

#[test]
fn a_revoked_token_ends_at_once_although_it_was_cached() {
    let mut world = World::new();
    let request = with(|r| r.credential = Some(agent_token(1)));
    assert!(world.pipeline().admit(&request).is_ok());
    world.set([Item::Revocation(Revocation::Agent { agent_id: agent_id(1), issued_until: NOW })]);
    assert_eq!(refused(&world, &request).0, "invalid_token");
    world.remove("api_key/00000000-0000-0000-0000-000000000001");
    assert_eq!(refused(&world, &self::request()).0, "invalid_token");
}

#[test]
fn strangers_are_slowed_down_by_address_but_never_the_genuine() {
    let world = World::new();
    let wrong = with(|r| r.credential = Some(Credential::ApiKey(api_key(99))));
    for _ in 0..100 {
        assert_eq!(refused(&world, &with(|r| r.credential = None)).0, "invalid_token", "absent ones do not count");
    }
    for n in 0..FAILURES_MAX {
        assert_eq!(refused(&world, &wrong).0, "invalid_token", "{n}");
    }
    let stopped = world.pipeline().admit(&wrong).unwrap_err();
    let Refusal::RateLimited(limit) = &stopped.refused.refusal else { panic!("{stopped:?}") };
    assert_eq!((limit.limit_type, limit.retry_after.as_secs()), (LimitType::IpAuthFailures, 60));
    assert!(world.pipeline().admit(&request()).is_ok());
    world.clock.advance(Duration::from_mins(1));
    assert_eq!(refused(&world, &wrong).0, "invalid_token");
}

#[test]
fn limits_refuse_by_name_and_denied_calls_give_their_money_back() {
    let mut world = World::new();
    let mut limited = tenant();
    limited.limits = Limits { burst: 2, ..Limits::default() };
    world.set([Item::Tenant(limited), policy("deny contains \"no\" if input.payload.deny")]);
    let mut paid = tool();
    paid.cost = MicroUsd::from_micros(5);
    let metered = world.meter(&request(), call("notes.read", &json!({"deny": true})), paid).unwrap();
    assert_eq!(metered.limits()[0].remaining, 1);
    let denied = world.pipeline().enforce(world.pipeline().judge(metered)).unwrap_err();
    assert_eq!((denied.record.cost, denied.limits.len()), (MicroUsd::ZERO, 2));
    assert_eq!(world.counters.usage(NOW)[0].day_cost, MicroUsd::ZERO);
    assert!(world.decide(call("notes.read", &json!({}))).is_ok());
    assert_eq!(refused(&world, &request()), ("rate_limited", Stage::RateLimit));
}

#[test]
fn policies_deny_escalate_and_fail_by_name() {
    let mut world = World::new();
    let payload = json!({"q": "x"});
    world.set([policy("deny contains {\"id\": \"own.no\", \"reason\": \"not today\"} if input.payload.q == \"x\"")]);
    let refused = denied(&world, "notes.read", &payload);
    let Refusal::Denied(denial) = &refused.refusal else { panic!("{refused:?}") };
    assert_eq!((refused.refusal.identifier(), denial.rule_id.as_str()), ("policy_denied", "own.no"));
    assert!(refused.record.reason.starts_with("policy_denied: KILL"), "{}", refused.record.reason);
    assert_ne!(refused.record.policy.overlay, NO_OVERLAY);
    assert_eq!(refused.record.timeline.steps().len(), 8, "stages 5 and 6 ran all the same");
    world.set([policy("escalate contains {\"id\": \"own.ask\", \"approver_role\": \"ADMIN\"}")]);
    assert_eq!(denied(&world, "notes.read", &payload).refusal.identifier(), "approval_required");
    world.set([policy("deny := {\"x\"} if input.payload.q == \"other\"")]);
    let broken = denied(&world, "notes.read", &payload);
    assert_eq!(broken.refusal.identifier(), "policy_error");
    assert_eq!(broken.record.timeline.steps()[4].outcome, StageOutcome::Fault);
}

#[test]
fn an_ungranted_tool_is_denied() {
    let mut world = World::new();
    let mut narrow = agent(1);
    narrow.grants = vec![Grant {
        id: GrantId::from_uuid(Uuid::nil()),
        tool: ToolPattern::parse("db.*").unwrap(),
        effect: GrantEffect::Allow,
        expires_at: None,
    }];
    world.set([Item::Agent(narrow)]);
    let refused = denied(&world, "notes.read", &json!({}));
    let Refusal::Denied(denial) = &refused.refusal else { panic!("{refused:?}") };
    assert_eq!((refused.refusal.identifier(), denial.rule_id.as_str()), ("policy_denied", "agent.deny.not_granted"));
    assert!(refused.record.findings.iter().any(|f| f.id == FindingId::ToolNotGranted));
}

#[test]
fn loops_are_throttled_with_a_cool_down() {
    let world = World::new();
    let again = || world.decide(call("notes.read", &json!({"same": true})));
    for n in 0..5 {
        assert!(again().is_ok(), "{n}");
    }
    let Refusal::RateLimited(limit) = again().unwrap_err().refusal else { panic!("not limited") };
    assert_eq!((limit.limit_type, limit.retry_after.as_secs()), (LimitType::Throttled, 1));
    assert_eq!(refused(&world, &request()), ("rate_limited", Stage::RateLimit), "while it cools down");
    world.clock.advance(Duration::from_secs(1));
    assert!(world.decide(call("notes.read", &json!({"same": false}))).is_ok());
}

#[test]
fn a_stale_snapshot_follows_the_tenants_policy() {
    use DegradedModePolicy::{AllowWithAudit, BlockAll, BlockHighRisk};
    let decide = |policy: DegradedModePolicy, level: RiskLevel, effect: Effect| {
        let mut world = World::new();
        let mut record = tenant();
        record.degraded_mode_policy = policy;
        let mut agent = agent(1);
        agent.risk_level = level;
        world.set([Item::Tenant(record), Item::Agent(agent)]);
        world.clock.advance(Duration::from_secs(901));
        let mut tool = tool();
        tool.effect = effect;
        let metered = world.meter(&request(), call("notes.read", &json!({})), tool).unwrap();
        let judged = world.pipeline().judge(metered);
        match world.pipeline().enforce(judged) {
            Ok(permit) => {
                let noted = permit.record().findings.iter().any(|f| f.id == FindingId::DegradedMode);
                assert!(noted, "the row says so");
                "passed"
            }
            Err(denied) => denied.refusal.identifier(),
        }
    };
    assert_eq!(decide(BlockHighRisk, RiskLevel::Low, Effect::Read), "passed");
    assert_eq!(decide(BlockHighRisk, RiskLevel::High, Effect::Read), "behavior_denied");
    assert_eq!(decide(BlockHighRisk, RiskLevel::Low, Effect::Write), "behavior_denied");
    assert_eq!(decide(BlockAll, RiskLevel::Low, Effect::Read), "behavior_denied");
    assert_eq!(decide(AllowWithAudit, RiskLevel::Critical, Effect::Write), "passed");
}

#[test]
fn without_a_snapshot_nothing_is_decided() {
    let world = World::new();
    let empty =
        DecisionSnapshot::build(aegis_core::snapshot::Snapshot::default(), "test", None, world.snapshot.platform());
    let pipeline = Pipeline { snapshot: &empty, ..world.pipeline() };
    assert_eq!(pipeline.admit(&request()).unwrap_err().refused.refusal, Refusal::NoSnapshot);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        prop_oneof![
            Just("DROP TABLE users"),
            Just("../../etc/passwd"),
            Just("rm -rf /"),
            Just("http://169.254.169.254/")
        ]
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(".{0,12}", inner, 0..4)
                .prop_map(|m: BTreeMap<String, Value>| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_call_panics_and_none_is_looser_at_the_end(
        name in "[a-z]{1,8}(\\.[a-z]{1,8})?",
        payload in proptest::collection::btree_map(".{0,12}", any_json(), 0..4),
    ) {
        thread_local! { static WORLD: World = World::new(); }
        let payload = Value::Object(payload.into_iter().collect());
        WORLD.with(|world| {
            world.clock.advance(Duration::from_secs(61));
            let body = json!({ "tool_name": name, "payload": payload }).to_string();
            let Ok(call) = ToolCall::parse(body.as_bytes(), None) else { return Ok(()) };
            let mut request = request();
            request.credential = Some(Credential::ApiKey(api_key(1)));
            let metered = match world.meter(&request, call, tool()) {
                Ok(metered) => metered,
                Err(stopped) => {
                    prop_assert_eq!(stopped.refused.refusal.identifier(), "rate_limited");
                    return Ok(());
                }
            };
            let judged = world.pipeline().judge(metered);
            let verdict = judged.verdict().clone();
            let permitted = world.pipeline().enforce(judged).is_ok();
            prop_assert_eq!(permitted, verdict.action <= Decision::Monitor);
            let worst = verdict.findings.iter().map(|f| f.score).max().unwrap_or(0);
            prop_assert!(!permitted || worst < 80, "{:?}", verdict);
            Ok(())
        })?;
    }
}
