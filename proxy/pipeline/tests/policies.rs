//! The shipped policies pass every one of their `test_*` rules, whatever the order the files are read in.

use std::path::Path;

use regorus::{Engine, Value};

/// The texts of the bundle with their paths, sorted by path.
fn bundle() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies");
    let folders = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let mut files: Vec<_> = folders
        .flat_map(|folder| std::fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "rego"))
        .map(|path| (path.display().to_string(), std::fs::read_to_string(&path).unwrap()))
        .collect();
    files.sort();
    files
}

fn failures(files: &[(String, String)]) -> (usize, Vec<String>) {
    let mut engine = Engine::new();
    // As in the pipeline: a built-in that fails is an error, not a rule that is silent.
    engine.set_strict_builtin_errors(true);
    let mut tests = Vec::new();
    for (path, text) in files {
        let package = engine.add_policy(path.clone(), text.clone()).unwrap();
        let names =
            text.lines().filter_map(|line| line.split_whitespace().next()).filter(|word| word.starts_with("test_"));
        tests.extend(names.map(|name| format!("{package}.{name}")));
    }
    let total = tests.len();
    let failed = tests.into_iter().filter_map(|test| match engine.eval_rule(test.clone()) {
        Ok(Value::Bool(true)) => None,
        other => Some(format!("{test}: {other:?}")),
    });
    (total, failed.collect())
}

#[test]
fn shipped_policies_pass_their_tests_in_any_file_order() {
    let mut files = bundle();
    for _ in 0..2 {
        let (total, failed) = failures(&files);
        assert!(total >= 50, "only {total} tests were found");
        assert!(failed.is_empty(), "{failed:#?}");
        files.reverse();
    }
}

#[test]
fn every_shipped_rule_has_a_test_that_names_it() {
    let files = bundle();
    let (tests, rules): (Vec<_>, Vec<_>) = files.iter().partition(|(path, _)| path.ends_with("_test.rego"));
    let ids: Vec<_> = rules
        .iter()
        .flat_map(|(_, text)| text.split("\"id\": \"").skip(1))
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert!(ids.len() >= 15, "{ids:?}");
    for id in ids {
        let quoted = format!("\"{id}\"");
        assert!(tests.iter().any(|(_, text)| text.contains(&quoted)), "no test names {id}");
    }
}
