//! The platform bundle: the rules that ship with the product and that nobody can remove.

use sha2::{Digest, Sha256};

use crate::policy::problem::PolicyProblem;
use crate::policy::ruleset::{DECISION_PACKAGE, Ruleset, Source, package_of};

/// The bundle's files. A test holds this list against the folder.
pub(crate) const FILES: &[(&str, &str)] = &[
    ("agent/agent.rego", include_str!("../../../../policies/agent/agent.rego")),
    ("are/are.rego", include_str!("../../../../policies/are/are.rego")),
    ("data/data.rego", include_str!("../../../../policies/data/data.rego")),
    ("facts/facts.rego", include_str!("../../../../policies/facts/facts.rego")),
    ("finance/finance.rego", include_str!("../../../../policies/finance/finance.rego")),
    ("iac/iac.rego", include_str!("../../../../policies/iac/iac.rego")),
    ("k8s/k8s.rego", include_str!("../../../../policies/k8s/k8s.rego")),
];

/// The compiled platform bundle.
#[derive(Debug)]
pub struct PlatformBundle {
    revision: String,
    pub(crate) rules: Ruleset,
    /// Files outside `aegis.decision`: what a tenant's rules may import.
    pub(crate) library: Vec<(&'static str, &'static str)>,
    files: Vec<PlatformFile>,
    texts: Vec<(&'static str, &'static str)>,
}

/// A file of the bundle, as shown to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformFile {
    /// Its name: that of its folder.
    pub name: String,
    /// SHA-256 of its text, hex.
    pub revision: String,
    /// The ids of the rules that it can refuse or escalate by.
    pub rule_ids: Vec<String>,
}

impl PlatformBundle {
    /// Compiles the bundle that is built into this binary. It fails only in a build whose tests were not run.
    pub fn embedded() -> Result<Self, PolicyProblem> {
        Self::compile(FILES)
    }

    pub(crate) fn compile(files: &[(&'static str, &'static str)]) -> Result<Self, PolicyProblem> {
        let sources: Vec<Source<'_>> = files.iter().map(|(file, rego)| Source { file, rego }).collect();
        let rules = Ruleset::compile(&sources)?
            .ok_or_else(|| PolicyProblem::of_file("policies", "the platform bundle decides nothing", ""))?;
        let mut library = Vec::new();
        for (file, rego) in files {
            if package_of(Source { file, rego })? != DECISION_PACKAGE {
                library.push((*file, *rego));
            }
        }
        let shown = files.iter().map(|(file, rego)| describe(file, rego)).collect();
        Ok(Self { revision: revision_of(files.iter().copied()), rules, library, files: shown, texts: files.to_vec() })
    }

    /// Its files, for people.
    pub fn files(&self) -> &[PlatformFile] {
        &self.files
    }

    /// The files' paths and texts.
    pub fn texts(&self) -> &[(&'static str, &'static str)] {
        &self.texts
    }

    /// SHA-256 over names and texts, hex: what rows name.
    pub fn revision(&self) -> &str {
        &self.revision
    }
}

/// Our own files write every rule's id out as `"id": "…"`.
fn describe(file: &str, rego: &str) -> PlatformFile {
    let ids = rego.split("\"id\": \"").skip(1).filter_map(|rest| rest.split('"').next());
    PlatformFile {
        name: file.split('/').next().unwrap_or(file).to_owned(),
        revision: hex::encode(Sha256::digest(rego.as_bytes())),
        rule_ids: ids.map(str::to_owned).collect(),
    }
}

/// SHA-256 over names and contents in the given order, each with its length, so that no two lists look alike.
pub(crate) fn revision_of<'a>(parts: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut hash = Sha256::new();
    for text in parts.into_iter().flat_map(|(name, content)| [name, content]) {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    }
    hex::encode(hash.finalize())
}
