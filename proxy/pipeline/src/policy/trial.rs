//! Trying a policy out: its `test_*` rules and cases, with the lines they reached.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aegis_core::agent::AgentRecord;
use aegis_core::pattern::ToolName;
use aegis_core::policy::PolicyFile;
use aegis_core::principal::Role;
use aegis_core::sidecar::Effect;
use aegis_core::tenant::TenantRecord;
use aegis_core::time::Clock;
use regorus::{Engine, Value as RegoValue};
use serde_json::{Map, Value};

use crate::detect::{DetectInput, Detectors, ToolHints};
use crate::policy::bundle::{FILES, PlatformBundle};
use crate::policy::check::{overlay_sources, tests_of};
use crate::policy::input::{
    AgentInput, ApprovalInput, BehaviorInput, FindingInput, GrantInput, PolicyInput, PrincipalInput, RequestInput,
    SessionInput, TenantInput, TimeInput, ToolInput,
};
use crate::policy::outcome::PolicyVerdict;
use crate::policy::problem::{PolicyFailure, PolicyProblem};
use crate::policy::ruleset::{DECISION_PACKAGE, ENTRY_RULES, Source, TIME_MAX, bounds, load, package_of};
use crate::policy::tenant::TenantPolicy;

/// Cases of one trial at most.
pub const CASES_MAX: usize = 200;
/// Time one test may take.
const TEST_TIME_MAX: Duration = Duration::from_secs(1);

/// A call that may never have been made.
#[derive(Debug, Clone)]
pub struct Case {
    /// The tool.
    pub tool: ToolName,
    /// The arguments.
    pub payload: Map<String, Value>,
    /// On behalf of whom.
    pub agent: AgentRecord,
    /// What the tool does to the world.
    pub effect: Effect,
}

/// What the policy says of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseResult {
    /// The rules that spoke, or why there is no answer.
    pub verdict: Result<PolicyVerdict, PolicyFailure>,
    /// How long it took, detection included.
    pub took: Duration,
}

/// How a `test_*` rule ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestResult {
    /// Its file.
    pub file: String,
    /// Its name.
    pub name: String,
    /// Whether it holds.
    pub passed: bool,
    /// How long it took.
    pub took: Duration,
}

/// The lines of a file that tests and cases reached; lines without anything to evaluate are in neither list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileCoverage {
    /// The file.
    pub file: String,
    /// Reached, from 1.
    pub covered: Vec<u32>,
    /// Not reached, from 1.
    pub not_covered: Vec<u32>,
}

/// What a trial showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// The `test_*` rules, by file and name.
    pub tests: Vec<TestResult>,
    /// The cases, in their order.
    pub cases: Vec<CaseResult>,
    /// The lines that were reached.
    pub coverage: Vec<FileCoverage>,
}

/// Runs the tests of the files, and the cases against platform and files together. Without files the platform bundle
/// itself is tried.
///
/// The cases are decided by the compiled program, as on a sidecar; the lines they reach are found by interpreting the
/// same text. Takes milliseconds to seconds: not for an async thread.
pub fn try_out(
    platform: &Arc<PlatformBundle>,
    files: &[PolicyFile],
    tenant: &TenantRecord,
    cases: &[Case],
    clock: &dyn Clock,
) -> Result<Trial, PolicyProblem> {
    let policy = TenantPolicy::compile(platform, files)?;
    let names: Vec<String> = files.iter().map(|file| format!("{}.rego", file.name)).collect();
    let own: Vec<Source<'_>> = names.iter().zip(files).map(|(file, text)| Source { file, rego: &text.rego }).collect();
    let shipped = FILES.iter().map(|(file, rego)| Source { file, rego });
    let tried: Vec<Source<'_>> = if own.is_empty() { shipped.collect() } else { own };
    let sources = if files.is_empty() { tried.clone() } else { overlay_sources(platform, tried.iter().copied()) };
    let mut engine = load(&sources)?;
    engine.set_enable_coverage(true);
    let tests = run_tests(&mut engine, &tried, clock)?;
    let decides =
        sources.iter().map(|s| package_of(*s)).collect::<Result<Vec<_>, _>>()?.contains(&DECISION_PACKAGE.to_owned());
    let detectors = Detectors::new();
    let mut results = Vec::with_capacity(cases.len());
    for case in cases.iter().take(CASES_MAX) {
        let began = clock.monotonic();
        let verdict = with_input(&detectors, tenant, case, clock, |input| {
            if decides {
                trace(&mut engine, input);
            }
            policy.evaluate(input)
        });
        results.push(CaseResult { verdict, took: clock.monotonic().since(began) });
    }
    Ok(Trial { tests, cases: results, coverage: coverage(&engine, &tried) })
}

fn run_tests(engine: &mut Engine, files: &[Source<'_>], clock: &dyn Clock) -> Result<Vec<TestResult>, PolicyProblem> {
    let mut results = Vec::new();
    engine.set_execution_timer_config(bounds(TEST_TIME_MAX));
    for file in files {
        let package = package_of(*file)?;
        for name in tests_of(*file)? {
            let began = clock.monotonic();
            engine.set_input(RegoValue::new_object());
            let passed = engine.eval_rule(format!("{package}.{name}")).is_ok_and(|v| v == RegoValue::Bool(true));
            results.push(TestResult { file: file.file.to_owned(), name, passed, took: clock.monotonic().since(began) });
        }
    }
    Ok(results)
}

/// Interprets the rules that count, for the lines they reach; what they say is the compiled program's to tell.
fn trace(engine: &mut Engine, input: &PolicyInput<'_>) {
    let Ok(json) = serde_json::to_string(input) else { return };
    let Ok(value) = RegoValue::from_json_str(&json) else { return };
    engine.set_execution_timer_config(bounds(TIME_MAX));
    engine.set_input(value);
    for rule in ENTRY_RULES {
        // A rule that the text does not define is an error here, and nothing to cover.
        drop(engine.eval_rule(format!("{DECISION_PACKAGE}.{rule}")));
    }
}

/// Puts the case as a sidecar would: detection first, then the question.
fn with_input<T>(
    detectors: &Detectors,
    tenant: &TenantRecord,
    case: &Case,
    clock: &dyn Clock,
    ask: impl FnOnce(&PolicyInput<'_>) -> T,
) -> T {
    let now = clock.now();
    let granted = case.agent.is_granted(&case.tool, now);
    let hints = ToolHints::default();
    let findings = detectors.scan(&DetectInput {
        tool_name: &case.tool,
        payload: &case.payload,
        tenant_id: tenant.id,
        granted,
        grants: &case.agent.grants,
        // A case is a call of its own: nobody handed it on.
        delegation_depth: 0,
        hints: &hints,
    });
    let grants = case.agent.grants.iter().filter(|grant| grant.in_force(now));
    ask(&PolicyInput {
        tenant: TenantInput { id: tenant.id, tier: tenant.tier },
        agent: AgentInput {
            id: case.agent.id,
            name: &case.agent.name,
            status: case.agent.status,
            risk_level: case.agent.risk_level,
            metadata: &case.agent.metadata,
            grants: grants.map(|grant| GrantInput { tool: &grant.tool, effect: grant.effect }).collect(),
            granted,
        },
        principal: PrincipalInput { role: Role::Agent },
        tool_name: &case.tool,
        tool: ToolInput { effect: case.effect },
        payload: &case.payload,
        findings: findings.iter().map(FindingInput::from).collect(),
        session: SessionInput::default(),
        behavior: BehaviorInput::default(),
        time: TimeInput { iso: now, hour: now.hour(), weekday: now.weekday() },
        request: RequestInput { id: "trial".into(), ip: "127.0.0.1".into() },
        approval: ApprovalInput::default(),
    })
}

fn coverage(engine: &Engine, files: &[Source<'_>]) -> Vec<FileCoverage> {
    let report = engine.get_coverage_report().unwrap_or_default();
    let mut told: BTreeMap<String, FileCoverage> = BTreeMap::new();
    for file in report.files {
        let covered: Vec<u32> = file.covered.iter().copied().collect();
        let not_covered = file.not_covered.iter().copied().filter(|line| !file.covered.contains(line)).collect();
        told.insert(file.path.clone(), FileCoverage { file: file.path, covered, not_covered });
    }
    files.iter().filter_map(|file| told.remove(file.file)).collect()
}
