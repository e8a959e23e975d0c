//! What stands in the tree, and how long files are.

use std::collections::BTreeSet;
use std::process::Command;

use aegis_tests::repository::{root, rust_files};

/// What the top level may hold besides dot-files.
const TOP_LEVEL: [&str; 14] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "Makefile",
    "README.md",
    "benches",
    "config",
    "control-api",
    "deploy",
    "policies",
    "proxy",
    "tests",
];
/// Handlers that may write outside a recorded transaction: sessions alone, which are no management state.
const UNRECORDED: [&str; 1] = ["control-api/src/api/auth/session.rs"];
/// Lines of a Rust file at most; beyond 400 one should look for the seam.
const LINES_MAX: usize = 600;

#[test]
fn the_top_level_is_the_given_one() {
    let output = Command::new("git").args(["ls-files"]).current_dir(root()).output();
    let names: BTreeSet<String> = match output {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.lines().filter_map(|line| line.split('/').next().map(str::to_owned)).collect()
        }
        // An exported tree without git: everything but build output counts.
        _ => std::fs::read_dir(root())
            .expect("the repository")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .filter(|name| !name.starts_with("target"))
            .collect(),
    };
    let strangers: Vec<_> = names.iter().filter(|n| !n.starts_with('.') && !TOP_LEVEL.contains(&n.as_str())).collect();
    assert!(strangers.is_empty(), "not part of the house: {strangers:?}");
}

#[test]
fn handlers_write_in_recorded_transactions_only() {
    // The store's other write transaction has no commit before an entry is recorded.
    let mut writers = BTreeSet::new();
    for (path, text) in rust_files(&root().join("control-api/src/api")) {
        if text.contains(".upkeep") {
            let path = path.strip_prefix(root()).unwrap_or(&path);
            writers.insert(path.display().to_string());
        }
    }
    assert_eq!(writers, BTreeSet::from(UNRECORDED.map(str::to_owned)));
}

#[test]
fn rust_files_say_what_they_are_for_and_stay_short() {
    let mut wrong = Vec::new();
    for (path, text) in rust_files(&root()) {
        let lines = text.lines().count();
        if !text.starts_with("//!") {
            wrong.push(format!("{}: the first line does not say its purpose (//!)", path.display()));
        }
        if lines > LINES_MAX {
            wrong.push(format!("{}: {lines} lines", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_named_for_having_no_purpose() {
    for (path, _) in rust_files(&root()) {
        let name = path.file_stem().and_then(|n| n.to_str()).unwrap_or_default();
        assert!(
            !matches!(name, "util" | "utils" | "helper" | "helpers" | "common" | "manager" | "misc"),
            "{}",
            path.display()
        );
    }
}

#[test]
fn stage_files_carry_no_numbers() {
    for (path, _) in rust_files(&root().join("proxy/pipeline/src/stages")) {
        let name = path.file_stem().and_then(|n| n.to_str()).unwrap_or_default();
        assert!(
            !name.chars().any(|c| c.is_ascii_digit()),
            "{}: the order is written once, in pipeline.rs",
            path.display()
        );
    }
}

#[test]
fn no_test_is_ignored() {
    let marker = concat!("#[", "ignore");
    for (path, text) in rust_files(&root()) {
        assert!(!text.contains(marker), "{} ignores a test", path.display());
    }
}
