//! Arrows between our crates, and who may name which library.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use aegis_tests::repository::{root, rust_files};
use serde_json::Value;

/// Every arrow between our crates that may exist; tests and benches look at everything.
const ARROWS: [(&str, &[&str]); 10] = [
    ("aegis-core", &[]),
    ("aegis-ledger", &["aegis-core"]),
    ("aegis-pipeline", &["aegis-core"]),
    ("aegis-store", &["aegis-core", "aegis-ledger"]),
    ("aegis-verify", &["aegis-core", "aegis-ledger"]),
    ("aegis-control-api", &["aegis-core", "aegis-ledger", "aegis-pipeline", "aegis-store"]),
    ("aegis-proxy", &["aegis-core", "aegis-ledger", "aegis-pipeline"]),
    ("aegis-dev", &["aegis-core"]),
    ("aegis-tests", &["aegis-core", "aegis-store"]),
    ("aegis-benches", &["aegis-core", "aegis-ledger", "aegis-pipeline", "aegis-store", "aegis-tests", "aegis-verify"]),
];

/// Libraries that shape a part stay in that part. The sample tools, the tests and the benches are programs of their own.
const CONFINED: [(&str, &[&str]); 7] = [
    ("pingora", &["aegis-proxy"]),
    ("pingora-proxy", &["aegis-proxy"]),
    ("sled", &["aegis-proxy"]),
    ("sqlx", &["aegis-store", "aegis-dev", "aegis-benches"]),
    ("axum", &["aegis-control-api", "aegis-dev", "aegis-tests"]),
    ("regorus", &["aegis-pipeline"]),
    ("flate2", &["aegis-verify"]),
];

/// The libraries the product is built on: each is a direct dependency of a shipped crate, and used.
const CARD: [&str; 12] = [
    "pingora",
    "tokio",
    "serde",
    "jsonwebtoken",
    "regorus",
    "dashmap",
    "ed25519-dalek",
    "sha2",
    "sled",
    "reqwest",
    "prometheus",
    "tracing",
];

const SHIPPED: [&str; 7] =
    ["aegis-core", "aegis-ledger", "aegis-pipeline", "aegis-store", "aegis-verify", "aegis-control-api", "aegis-proxy"];

/// A dependency as a manifest declares it.
struct Dependency {
    name: String,
    is_dev: bool,
}

struct Package {
    folder: std::path::PathBuf,
    dependencies: Vec<Dependency>,
}

fn packages() -> BTreeMap<String, Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo metadata");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let package = |p: &Value| {
        let manifest = std::path::PathBuf::from(p["manifest_path"].as_str().expect("a path"));
        let dependencies = p["dependencies"].as_array().expect("a list").iter();
        let dependencies = dependencies
            .map(|d| Dependency { name: d["name"].as_str().expect("a name").into(), is_dev: d["kind"] == "dev" })
            .collect();
        (
            p["name"].as_str().expect("a name").to_owned(),
            Package { folder: manifest.parent().expect("a folder").into(), dependencies },
        )
    };
    metadata["packages"].as_array().expect("a list").iter().map(package).collect()
}

#[test]
fn arrows_between_our_crates_go_one_way() {
    let packages = packages();
    let known: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        packages.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        known,
        "a new crate needs its arrows here"
    );
    for (name, allowed) in ARROWS {
        for dependency in packages[name].dependencies.iter().filter(|d| known.contains(d.name.as_str())) {
            // A crate may use itself with more features in its own tests.
            let itself = dependency.is_dev && dependency.name == name;
            assert!(
                itself || allowed.contains(&dependency.name.as_str()),
                "{name} must not depend on {}",
                dependency.name
            );
        }
    }
}

#[test]
fn libraries_stay_where_they_belong() {
    let packages = packages();
    for (library, allowed) in CONFINED {
        for (name, package) in &packages {
            let named = package.dependencies.iter().any(|d| d.name == library && !d.is_dev);
            assert!(!named || allowed.contains(&name.as_str()), "{name} must not name {library}");
        }
    }
}

#[test]
fn sql_is_written_only_in_the_store() {
    for (path, text) in rust_files(&root().join("control-api/src")).into_iter().chain(rust_files(&root().join("proxy")))
    {
        assert!(!text.contains("sqlx::"), "{} names sqlx", path.display());
    }
}

/// The verifier would prove nothing if it read with the writer's eyes.
#[test]
fn the_verifier_shares_only_hashing_and_encoding_with_the_writer() {
    let folder = root().join("control-api/verify/src");
    for (path, text) in rust_files(&folder).into_iter().filter(|(path, _)| !path.ends_with("testing.rs")) {
        let product = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (crate_name, shared) in [("aegis_ledger::", ["hash::", "hash::"]), ("aegis_core::", ["json", "words;"])] {
            for used in product.split(crate_name).skip(1) {
                assert!(shared.iter().any(|s| used.starts_with(s)), "{} uses {crate_name}{used:.20}", path.display());
            }
        }
    }
    let verifier = &packages()["aegis-verify"];
    for library in ["tokio", "reqwest", "sqlx", "aegis-store", "rand"] {
        assert!(verifier.dependencies.iter().all(|d| d.name != library), "the verifier needs no {library}");
    }
}

#[test]
fn every_library_of_the_card_is_a_direct_and_used_dependency() {
    let packages = packages();
    for library in CARD {
        let ident = library.replace('-', "_");
        let used = SHIPPED.iter().any(|name| {
            let package = &packages[*name];
            package.dependencies.iter().any(|d| d.name == library && !d.is_dev)
                && rust_files(&package.folder.join("src")).iter().any(|(_, text)| names(text, &ident))
        });
        assert!(used, "{library} is not a direct, used dependency of a shipped crate");
    }
}

/// Whether the code names the crate: as `ident::`, `use ident` or in a derive (`serde`).
fn names(text: &str, ident: &str) -> bool {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).any(|line| line.contains(&format!("{ident}::")))
}

#[test]
fn every_shared_dependency_says_why_it_is_there() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let table = manifest.split("[workspace.dependencies]").nth(1).expect("a table");
    let table = table.split("\n[").next().expect("its lines");
    for line in table.lines().filter(|l| l.contains(" = ") && !l.trim_start().starts_with('#')) {
        let ours = line.starts_with("aegis-");
        assert!(ours || line.split_once(" # ").is_some_and(|(_, why)| why.trim().len() > 5), "no reason given: {line}");
    }
}

#[test]
fn members_take_their_dependencies_from_the_workspace() {
    for package in packages().values() {
        let text = std::fs::read_to_string(package.folder.join("Cargo.toml")).expect("a manifest");
        let manifest: toml::Table = text.parse().expect("TOML");
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for (name, value) in manifest.get(table).and_then(toml::Value::as_table).into_iter().flatten() {
                let from_workspace = value.get("workspace").and_then(toml::Value::as_bool) == Some(true);
                let itself =
                    value.get("path").is_some() && name == manifest["package"]["name"].as_str().unwrap_or_default();
                assert!(
                    from_workspace || itself,
                    "{}: {name} is not taken from the workspace",
                    package.folder.display()
                );
            }
        }
    }
}
