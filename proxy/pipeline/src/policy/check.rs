//! The check of a policy file before it is accepted: does it compile, and do its tests pass?

use std::time::Duration;

use aegis_core::policy::{POLICY_TEXT_MAX, PolicyFile};
use regorus::Value;

use crate::policy::bundle::PlatformBundle;
use crate::policy::problem::PolicyProblem;
use crate::policy::ruleset::{DECISION_PACKAGE, Ruleset, Source, bounds, load, package_of, rule_names};

/// Failed tests that are named at most.
pub const FAILED_TESTS_MAX: usize = 64;
/// Time one test may take.
const TEST_TIME_MAX: Duration = Duration::from_secs(1);
/// Tests one file may have.
const TESTS_MAX: usize = 1_000;
/// Packages that are ours begin so; tenants may add to `aegis.decision` and have tests below `aegis.test`.
const OUR_ROOT: &str = "data.aegis";
const TEST_ROOT: &str = "data.aegis.test";

/// A policy file that compiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Rules in the file, tests not counted.
    pub rules: usize,
    /// Their names, each once, sorted.
    pub rule_names: Vec<String>,
    /// Tests that pass.
    pub tests_passed: usize,
    /// Tests that do not.
    pub tests_failed: usize,
    /// Names of the failed tests, the first of them.
    pub failed: Vec<String>,
}

/// Checks a tenant's policy file: size, package, syntax, compilation as an overlay, and its `test_*` rules.
/// Failed tests are not a problem of the text: the caller decides whether to accept the file.
///
/// Takes milliseconds to seconds: not for an async thread.
pub fn check(platform: &PlatformBundle, name: &str, text: &str) -> Result<Checked, PolicyProblem> {
    let file = format!("{name}.rego");
    if text.len() > POLICY_TEXT_MAX {
        return Err(PolicyProblem::of_file(
            &file,
            format!("the text is longer than {POLICY_TEXT_MAX} bytes"),
            "split the file",
        ));
    }
    let own = Source { file: &file, rego: text };
    refuse_our_packages(own)?;
    let sources = overlay_sources(platform, std::iter::once(own));
    Ruleset::compile(&sources)?;
    run_tests(&sources, own)
}

/// Checks that the files of a tenant compile together, as its sidecars will compile them.
///
/// Takes milliseconds to seconds: not for an async thread.
pub fn check_together(platform: &PlatformBundle, files: &[PolicyFile]) -> Result<(), PolicyProblem> {
    crate::policy::tenant::compile(platform, files.iter()).map(drop)
}

/// The tenant's files first, then what they may import.
pub(crate) fn overlay_sources<'a>(platform: &PlatformBundle, own: impl Iterator<Item = Source<'a>>) -> Vec<Source<'a>> {
    own.chain(platform.library.iter().map(|(file, rego)| Source { file, rego })).collect()
}

pub(crate) fn refuse_our_packages(source: Source<'_>) -> Result<(), PolicyProblem> {
    let package = package_of(source)?;
    let below = |root: &str| package.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    if below(OUR_ROOT) && package != DECISION_PACKAGE && !below(TEST_ROOT) {
        let hint = "use `package aegis.decision` for rules, `aegis.test.…` for tests, or a package name of your own";
        return Err(PolicyProblem::of_file(source.file, "this package is reserved", hint));
    }
    Ok(())
}

/// Runs every `test_*` rule of `file`, with the interpreter, in the company of `sources`.
pub(crate) fn run_tests(sources: &[Source<'_>], file: Source<'_>) -> Result<Checked, PolicyProblem> {
    let mut engine = load(sources)?;
    engine.set_execution_timer_config(bounds(TEST_TIME_MAX));
    let package = package_of(file)?;
    let names = rule_names(file)?;
    let mut rule_names: Vec<String> = names.iter().filter(|name| !is_test(name)).cloned().collect();
    let rules = rule_names.len();
    rule_names.sort();
    rule_names.dedup();
    let mut checked = Checked { rules, rule_names, tests_passed: 0, tests_failed: 0, failed: Vec::new() };
    for test in tests_of(file)? {
        engine.set_input(Value::new_object());
        if engine.eval_rule(format!("{package}.{test}")).is_ok_and(|value| value == Value::Bool(true)) {
            checked.tests_passed += 1;
        } else {
            checked.tests_failed += 1;
            if checked.failed.len() < FAILED_TESTS_MAX {
                checked.failed.push(test);
            }
        }
    }
    Ok(checked)
}

/// The `test_*` rules of a file, sorted.
pub(crate) fn tests_of(file: Source<'_>) -> Result<Vec<String>, PolicyProblem> {
    let mut tests: Vec<String> = rule_names(file)?.into_iter().filter(|name| is_test(name)).collect();
    tests.sort();
    tests.dedup();
    if tests.len() > TESTS_MAX {
        return Err(PolicyProblem::of_file(file.file, format!("more than {TESTS_MAX} tests"), "split the file"));
    }
    Ok(tests)
}

fn is_test(name: &str) -> bool {
    name.starts_with("test_")
}
