//! Every kind on a sample in its documented format, and on what only looks like one.

use super::*;

fn kinds(text: &str) -> Vec<&'static str> {
    SecretScanner::new().kinds_in(text.as_bytes()).map(SecretKind::name).collect()
}

/// Samples are put together here, so that no whole key stands in the source.
fn sample(anchor: &str, alphabet: &str, length: usize) -> String {
    let body: String = alphabet.chars().cycle().step_by(7).take(length).collect();
    format!("{anchor}{body}")
}

const ALNUM: &str = "a1B2c3D4e5F6g7H8i9J0kLmNoPq";
const UPPER: &str = "A1B2C3D4E5F6G7H8J9";
const HEX: &str = "0a1b2c3d4e5f6789";

#[test]
fn the_table_fits_the_vectorised_searcher() {
    assert!(table::RULES.len() <= 64);
    assert!(table::RULES.iter().all(|rule| rule.anchor.len() >= 3));
}

#[test]
fn provider_keys_are_found() {
    for (key, name) in [
        (sample("AKIA", UPPER, 16), "aws_access_key"),
        (sample("ghp_", ALNUM, 36), "github_token"),
        (sample("github_pat_", ALNUM, 82), "github_token"),
        (sample("glpat-", ALNUM, 20), "gitlab_token"),
        (sample("xoxb-", ALNUM, 50), "slack_token"),
        (sample("sk_live_", ALNUM, 24), "stripe_key"),
        (sample("AIza", ALNUM, 35), "google_api_key"),
        (sample("sk-ant-api03-", ALNUM, 80), "model_provider_key"),
        (sample("sk-", ALNUM, 48), "model_provider_key"),
        (sample("npm_", ALNUM, 36), "npm_token"),
        (sample("pypi-AgE", ALNUM, 100), "pypi_token"),
        (sample("SG.", ALNUM, 22) + &sample(".", ALNUM, 43), "sendgrid_key"),
        (sample("AccountKey=", ALNUM, 86) + "==", "azure_storage_key"),
        (sample("dapi", HEX, 32), "databricks_token"),
        (sample("hvs.", ALNUM, 90), "vault_token"),
        (sample("acp_", ALNUM, 43), "aegis_key"),
    ] {
        for text in [key.clone(), format!("use {key} now"), format!(r#"{{"a":"{key}"}}"#), format!(r"line\n{key}\n")] {
            assert_eq!(kinds(&text), [name], "{text}");
        }
    }
}

#[test]
fn general_forms_are_found() {
    let jwt = format!("{}.{}.{}", sample("eyJ", ALNUM, 30), sample("eyJ", ALNUM, 60), sample("", ALNUM, 43));
    for (text, name) in [
        (jwt.clone(), "jwt"),
        (format!("Authorization: Bearer {}", sample("", ALNUM, 40)), "bearer_token"),
        ("postgres://app:s3cr3tpw@db.example/shop".to_owned(), "connection_string"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE".to_owned(), "private_key"),
        ("-----BEGIN PRIVATE KEY-----".to_owned(), "private_key"),
        (format!("client_secret={}", sample("", ALNUM, 32)), "secret"),
        (format!(r#"{{"password": "{}"}}"#, "xK9#mQ2$vL5p"), "secret"),
        (format!(r#"{{\"api_key\": \"{}\"}}"#, sample("", HEX, 32)), "secret"),
    ] {
        assert_eq!(kinds(&text), [name], "{text}");
    }
}

#[test]
fn near_misses_are_left_alone() {
    for text in [
        "AKIA is the prefix of a key id",
        "MAKIA1B2C3D4E5F6G7H8J9",
        "sk-learn-pipelines-and-more-words-here",
        "the task-force of disk-encryption-and-other-long-kebab-case",
        "eyJ is how tokens begin",
        "eyJhbGciOi and no dots at all",
        "https://example.org/a:b@c",
        "https://user@example.org/",
        "https://example.org:8080/x",
        "postgres://app:${DB_PASSWORD}@db/shop",
        "postgres://app:********@db/shop",
        "-----BEGIN CERTIFICATE-----",
        "-----BEGIN PUBLIC KEY-----",
        "the bearer of bad news",
        "Bearer authentication-scheme",
        "password: please reset mine",
        "I forgot my password, it says: wrong credentials",
        "secret = os.environ['TOKEN']",
        "api_key: your_api_key_goes_here_123",
        r#"{"access_token_id": "018f6f1e-5c0a-7000-8000-000000000001"}"#,
        "018f6f1e5c0a70008000000000000001",
        "secret_path: /run/app/v1/k3y-m4terial",
    ] {
        assert_eq!(kinds(text), [""; 0], "{text}");
    }
}
