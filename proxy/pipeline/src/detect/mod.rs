//! Stage 3's eyes: what a call tries to do, read from its parsed payload. Never refuses, never does I/O.
//!
//! `leaf` walks the payload, `role` says what a parameter is for, `decode` gives the texts behind a text, and
//! each family of harm is one detector. A detector looks at one view of one leaf and adds scored findings.

mod code;
mod decode;
mod destination;
mod findings;
mod infra;
mod injection;
mod leaf;
mod money;
mod path;
mod patterns;
mod role;
mod secret;
pub(crate) mod secret_kinds;
mod shell;
mod sql;
mod tool;
mod url;
mod words;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use aegis_core::agent::Grant;
use aegis_core::finding::{Finding, FindingId};
use aegis_core::id::TenantId;
use aegis_core::money::MicroUsd;
use aegis_core::pattern::ToolName;
use serde_json::{Map, Value};

pub use self::destination::{Destination, InvalidDestination};
pub use self::role::Role;

use self::decode::{Budget, View};
use self::findings::Findings;
use self::leaf::Leaf;

/// A single transfer above this is `money_transfer_above_cap`, unless the route says otherwise: 10 000 USD.
pub const TRANSFER_CAP_DEFAULT: MicroUsd = MicroUsd::from_micros(10_000_000_000);

/// What the operator says about a tool, so that detectors need not guess.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolHints {
    /// What a parameter holds, by the last key on its way; inferred where absent.
    pub roles: BTreeMap<String, Role>,
    /// Places the tool may reach although they look internal or external: no finding for them.
    pub allowed_destinations: Vec<Destination>,
    /// The largest single transfer that is ordinary.
    pub transfer_cap: MicroUsd,
}

impl Default for ToolHints {
    fn default() -> Self {
        Self { roles: BTreeMap::new(), allowed_destinations: Vec::new(), transfer_cap: TRANSFER_CAP_DEFAULT }
    }
}

/// A call as the detectors see it.
#[derive(Debug, Clone, Copy)]
pub struct DetectInput<'a> {
    /// The tool.
    pub tool_name: &'a ToolName,
    /// Its arguments.
    pub payload: &'a Map<String, Value>,
    /// The tenant on whose behalf.
    pub tenant_id: TenantId,
    /// Whether the agent may use the tool.
    pub granted: bool,
    /// What the agent may use, to tell an imitated name.
    pub grants: &'a [Grant],
    /// How many agents stand above the one that calls.
    pub delegation_depth: usize,
    /// What the operator says about the tool.
    pub hints: &'a ToolHints,
}

/// All detectors, their patterns compiled once. Cheap to share, free of state between calls.
#[derive(Debug)]
pub struct Detectors {
    code: code::CodePatterns,
    injection: injection::InjectionPatterns,
    path: path::PathPatterns,
    secret: secret_kinds::SecretScanner,
    shell: shell::ShellPatterns,
    sql: sql::SqlPatterns,
}

impl Default for Detectors {
    fn default() -> Self {
        Self::new()
    }
}

impl Detectors {
    /// Compiles every pattern: tens of milliseconds, once per process.
    ///
    /// # Panics
    /// Never in a tested build: the patterns are constants, and every test of this crate compiles them.
    pub fn new() -> Self {
        Self {
            code: code::CodePatterns::new(),
            injection: injection::InjectionPatterns::new(),
            path: path::PathPatterns::new(),
            secret: secret_kinds::SecretScanner::new(),
            shell: shell::ShellPatterns::new(),
            sql: sql::SqlPatterns::new(),
        }
    }

    /// What the call tries to do: at most `FINDINGS_MAX` findings, by falling score, then id, then pointer.
    pub fn scan(&self, input: &DetectInput<'_>) -> Vec<Finding> {
        let mut findings = Findings::default();
        tool::scan(input, &mut findings);
        infra::scan(input, &mut findings);
        money::scan(input, &mut findings);
        let mut budget = Budget::default();
        leaf::walk(input, &mut |leaf: &Leaf<'_>| self.leaf(input, leaf, &mut budget, &mut findings));
        if budget.is_exhausted() {
            findings.add(FindingId::ObfuscatedPayload, 60, "");
        }
        findings.into_sorted()
    }

    fn leaf(&self, input: &DetectInput<'_>, leaf: &Leaf<'_>, budget: &mut Budget, findings: &mut Findings) {
        secret::scan(&self.secret, leaf, findings);
        for view in decode::views(leaf.text, budget) {
            self.view(input, leaf, &view, findings);
        }
    }

    fn view(&self, input: &DetectInput<'_>, leaf: &Leaf<'_>, view: &View<'_>, findings: &mut Findings) {
        self.injection.scan(leaf, view, findings);
        match leaf.role {
            Role::Sql => self.sql.scan_statement(leaf, view, findings),
            Role::Shell => self.shell.scan_command(&self.path, leaf, view, findings),
            Role::Path | Role::Url | Role::Text => {
                self.sql.scan_value(leaf, view, findings);
                self.shell.scan_value(&self.path, leaf, view, findings);
                self.code.scan(leaf, view, findings);
            }
        }
        if !matches!(leaf.role, Role::Shell | Role::Sql) {
            self.path.scan(input.tool_name, leaf, view, findings);
        }
        url::scan(input, leaf, view, findings);
    }
}
