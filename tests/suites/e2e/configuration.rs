//! `--check` of both binaries: what is valid, what is not, and how an operator learns of it.

use std::process::{Command, Output};

use aegis_tests::process::binary;
use aegis_tests::repository::root;

/// Environment variables.
type Variables = [(&'static str, &'static str)];

/// Runs a binary with `--check` on a file, from the repository's root.
fn check(name: &str, file: &str, environment: &Variables) -> Output {
    let mut command = Command::new(binary(name));
    command.args(["--config", file, "--check"]).current_dir(root()).envs(environment.iter().copied());
    command.output().expect("it runs")
}

fn is_valid(output: &Output) -> bool {
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.success(), text.contains("the configuration is valid"), "{output:?}");
    output.status.success()
}

#[test]
fn the_documented_files_are_valid_as_they_are() {
    assert!(is_valid(&check("aegis-control-api", "config/control-api.toml", &[])));
    assert!(is_valid(&check("aegis-proxy", "config/proxy.toml", &[("MAIL_TOKEN", "x")])));
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_a_suggestion() {
    let token = ("MAIL_TOKEN", "s3cret-token");
    let cases: [(&str, &str, &Variables, &[&str]); 9] = [
        ("aegis-proxy", "config/proxy.toml", &[], &["`mail.*`", "MAIL_TOKEN is not set"]),
        (
            "aegis-proxy",
            "config/proxy.toml",
            &[token, ("AEGIS_PROXY__LISTEN__ADRESS", "127.0.0.1:1")],
            &["unknown key `listen.adress`", "did you mean `listen.address`?"],
        ),
        (
            "aegis-proxy",
            "config/proxy.toml",
            &[token, ("AEGIS_PROXY__LIMITS__BODY_BYTES", "many")],
            &["`limits.body_bytes`"],
        ),
        (
            "aegis-proxy",
            "config/proxy.toml",
            &[token, ("AEGIS_PROXY__CONTROL__URL", "http://10.0.0.1")],
            &["control.url"],
        ),
        ("aegis-proxy", "config/proxy.toml", &[token, ("AEGIS_PROXY__TOOLS_FILE", "nowhere.toml")], &["nowhere.toml"]),
        ("aegis-proxy", "nowhere.toml", &[token], &["nowhere.toml"]),
        (
            "aegis-control-api",
            "config/control-api.toml",
            &[("AEGIS_CONTROL__DATABASE__URI", "sqlite:x")],
            &["unknown key `database.uri`", "did you mean `database.url`?"],
        ),
        ("aegis-control-api", "config/control-api.toml", &[("AEGIS_CONTROL__DEPLOYMENT", "a b")], &["deployment"]),
        ("aegis-control-api", "config/proxy.toml", &[], &["unknown key"]),
    ];
    for (name, file, environment, told) in cases {
        let output = check(name, file, environment);
        assert!(!is_valid(&output), "{name} {environment:?}");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(told.iter().all(|part| text.contains(part)), "{name} {environment:?}: {text}");
        assert!(!text.contains(token.1), "{text}");
    }
}
