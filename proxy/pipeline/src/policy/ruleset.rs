//! Compiled rules, and the machines that run them.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::RegoVM;
use regorus::rvm::program::{DeserializationResult, Program};
use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, Value};

use crate::policy::outcome::PolicyVerdict;
use crate::policy::problem::{PolicyFailure, PolicyProblem};

/// Steps one evaluation may take.
pub(crate) const STEPS_MAX: usize = 500_000;
/// Time one evaluation may take. Far above the usual (tens of microseconds): it is there for hostile rules.
pub(crate) const TIME_MAX: Duration = Duration::from_millis(100);
/// Steps between two looks at the time.
const STEPS_BETWEEN_LOOKS: NonZeroU32 = NonZeroU32::new(500).unwrap();
/// Idle machines kept per revision; more are made and dropped under higher concurrency.
const IDLE_MACHINES_MAX: usize = 64;
/// Machines made ready when a revision is compiled, so that the first calls do not pay for them.
const WARM_MACHINES: usize = 2;

/// The package whose rules count.
pub(crate) const DECISION_PACKAGE: &str = "data.aegis.decision";
/// The rules that count.
pub(crate) const ENTRY_RULES: [&str; 4] = ["deny", "escalate", "monitor", "risk_adjustment"];
/// Our own rule, which gathers them so that one run evaluates all four and shares what they share.
const GATHER_RULE: &str = "data.aegis.gather.result";
const GATHER_FILE: &str = "aegis/gather.rego";

/// A policy file: its name and its Rego text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) file: &'a str,
    pub(crate) rego: &'a str,
}

/// One program, ready to run on any thread. Each machine has its own copy of the program, because shared
/// literals would make all threads fight over their reference counts.
pub(crate) struct Ruleset {
    program: Vec<u8>,
    defines_deny: bool,
    idle: Mutex<Vec<Machine>>,
}

struct Machine(RegoVM);

impl std::fmt::Debug for Ruleset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ruleset").field("program_bytes", &self.program.len()).finish_non_exhaustive()
    }
}

impl Ruleset {
    /// Compiles the sources. `None` if they define none of the rules that count.
    pub(crate) fn compile(sources: &[Source<'_>]) -> Result<Option<Self>, PolicyProblem> {
        let mut engine = load(sources)?;
        let defined = entry_rules(sources)?;
        let Some(first) = sources.first().filter(|_| !defined.is_empty()) else { return Ok(None) };
        let mut gather = String::from("package aegis.gather\nimport rego.v1\n");
        for rule in &defined {
            // A rule that is undefined adds no pair: so it can be told from one that is empty.
            gather.extend(["result contains [\"", rule, "\", ", DECISION_PACKAGE, ".", rule, "]\n"]);
        }
        let problem = |error: &dyn std::fmt::Display| PolicyProblem::of_report(&error.to_string(), first.file);
        engine.add_policy(GATHER_FILE.to_owned(), gather).map_err(|e| problem(&e))?;
        let compiled = engine.compile_with_entrypoint(&GATHER_RULE.into()).map_err(|e| problem(&e))?;
        let program = Compiler::compile_from_policy(&compiled, &[GATHER_RULE]).map_err(|e| problem(&e))?;
        let program = program.serialize_binary().map_err(|e| problem(&e))?;
        let ruleset = Self { program, defines_deny: defined.contains(&"deny"), idle: Mutex::new(Vec::new()) };
        ruleset.warm_up().map_err(|e| PolicyProblem::of_file(first.file, e, ""))?;
        Ok(Some(ruleset))
    }

    /// Loads the first machines and runs them once: that fills what the engine caches. How the run ends does not
    /// matter (the input is empty), except that a machine that failed is not kept.
    fn warm_up(&self) -> Result<(), String> {
        for _ in 0..WARM_MACHINES {
            let mut machine = Machine::load(&self.program)?;
            if machine.run(Value::new_object()).is_ok() {
                self.idle.lock().push(machine);
            }
        }
        Ok(())
    }

    /// Runs the program on an input.
    pub(crate) fn evaluate(&self, input: Value) -> Result<PolicyVerdict, PolicyFailure> {
        let idle = self.idle.lock().pop();
        let mut machine = match idle {
            Some(machine) => machine,
            None => Machine::load(&self.program).map_err(|_| PolicyFailure::Broken)?,
        };
        // A machine that failed is dropped here: no state of a broken run reaches another call.
        let result = machine.run(input)?;
        let verdict = PolicyVerdict::read(&result, self.defines_deny)?;
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MACHINES_MAX {
            idle.push(machine);
        }
        Ok(verdict)
    }
}

impl Machine {
    fn load(program: &[u8]) -> Result<Self, String> {
        let program = match Program::deserialize_binary(program)? {
            DeserializationResult::Complete(program) => program,
            DeserializationResult::Partial(_) => return Err("the compiled program cannot be read back".to_owned()),
        };
        let mut vm = RegoVM::new();
        vm.load_program(Arc::new(program));
        vm.set_max_instructions(STEPS_MAX);
        // As in OPA: a built-in that fails is undefined, so `not f(x)` holds and `f(x) > 1` does not.
        vm.set_strict_builtin_errors(false);
        vm.set_execution_timer_config(Some(bounds(TIME_MAX)));
        vm.set_data(Value::new_object()).map_err(|e| e.to_string())?;
        Ok(Self(vm))
    }

    fn run(&mut self, input: Value) -> Result<Value, PolicyFailure> {
        use regorus::rvm::vm::VmError;
        self.0.set_input(input);
        let result = self.0.execute_entry_point_by_index(0).map_err(|error| match error {
            VmError::InstructionLimitExceeded { .. } | VmError::TimeLimitExceeded { .. } => PolicyFailure::Bound,
            _ => PolicyFailure::Evaluation,
        });
        self.0.set_input(Value::Null);
        result
    }
}

pub(crate) fn bounds(limit: Duration) -> ExecutionTimerConfig {
    ExecutionTimerConfig { limit, check_interval: STEPS_BETWEEN_LOOKS }
}

/// An engine with the sources parsed.
pub(crate) fn load(sources: &[Source<'_>]) -> Result<Engine, PolicyProblem> {
    let mut engine = Engine::new();
    engine.set_strict_builtin_errors(false);
    // `print` in a tenant's rule must not reach our log: it is gathered and dropped.
    engine.set_gather_prints(true);
    for source in sources {
        engine
            .add_policy(source.file.to_owned(), source.rego.to_owned())
            .map_err(|e| PolicyProblem::of_report(&e.to_string(), source.file))?;
    }
    Ok(engine)
}

/// Which of the rules that count are declared.
fn entry_rules(sources: &[Source<'_>]) -> Result<Vec<&'static str>, PolicyProblem> {
    let mut declared = Vec::new();
    for source in sources {
        if package_of(*source)? == DECISION_PACKAGE {
            declared.extend(rule_names(*source)?);
        }
    }
    Ok(ENTRY_RULES.into_iter().filter(|rule| declared.iter().any(|name| name == rule)).collect())
}

/// The name at the head of each rule of a file.
pub(crate) fn rule_names(source: Source<'_>) -> Result<Vec<String>, PolicyProblem> {
    let mut engine = load(&[source])?;
    let modules = engine.get_modules();
    Ok(modules.iter().flat_map(|module| module.policy.iter()).map(|rule| head_of(rule.span().text())).collect())
}

fn head_of(rule: &str) -> String {
    let is_word = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    let head = rule.strip_prefix("default").filter(|rest| !rest.starts_with(|c| is_word(&c))).unwrap_or(rule);
    head.trim_start().chars().take_while(is_word).collect()
}

/// The package a file declares, as `data.…`.
pub(crate) fn package_of(source: Source<'_>) -> Result<String, PolicyProblem> {
    let parsed = Engine::new().add_policy(source.file.to_owned(), source.rego.to_owned());
    parsed.map_err(|e| PolicyProblem::of_report(&e.to_string(), source.file))
}
