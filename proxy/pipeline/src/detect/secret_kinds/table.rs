//! The rules: providers' documented key formats, and the general forms.

use super::SecretKind::{BearerToken, ConnectionString, InContext, Jwt, PrivateKey, ProviderKey};
use super::{Rule, SecretKind};

/// What must follow an anchor.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// So many bytes of a class, as one word.
    Token {
        /// The class.
        body: fn(u8) -> bool,
        /// Bytes at least.
        least: usize,
        /// Bytes at most: a longer run is something else.
        most: usize,
        /// Whether digits and both cases must occur.
        mixed: bool,
    },
    /// Header and payload in base64url.
    Jwt,
    /// A private key's label.
    Pem,
    /// `user:password@` after `://`.
    Userinfo,
    /// A credential after `Bearer` or `Basic`.
    Scheme,
    /// A random-looking value after a name like `password`.
    Assignment,
}

const fn key(anchor: &'static str, provider: &'static str, body: fn(u8) -> bool, least: usize, most: usize) -> Rule {
    Rule { anchor, kind: ProviderKey(provider), shape: Shape::Token { body, least, most, mixed: false } }
}

const fn mixed(anchor: &'static str, provider: &'static str, body: fn(u8) -> bool, least: usize, most: usize) -> Rule {
    Rule { anchor, kind: ProviderKey(provider), shape: Shape::Token { body, least, most, mixed: true } }
}

const fn named(anchor: &'static str) -> Rule {
    Rule { anchor, kind: InContext, shape: Shape::Assignment }
}

const fn rule(anchor: &'static str, kind: SecretKind, shape: Shape) -> Rule {
    Rule { anchor, kind, shape }
}

fn upper(b: u8) -> bool {
    b.is_ascii_uppercase() || b.is_ascii_digit()
}

fn alnum(b: u8) -> bool {
    b.is_ascii_alphanumeric()
}

fn word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

fn url(b: u8) -> bool {
    super::is_base64url(b)
}

fn dotted(b: u8) -> bool {
    super::is_base64url(b) || b == b'.'
}

fn slashed(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'/'
}

fn padded(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=')
}

fn signature(b: u8) -> bool {
    padded(b) || b == b'%'
}

fn hexadecimal(b: u8) -> bool {
    b.is_ascii_hexdigit()
}

/// At most 64, of at least three bytes each: what the vectorised searcher takes.
pub(super) static RULES: &[Rule] = &[
    key("AKIA", "aws_access_key", upper, 16, 16),
    key("ASIA", "aws_access_key", upper, 16, 16),
    key("ghp_", "github_token", alnum, 36, 251),
    key("gho_", "github_token", alnum, 36, 251),
    key("ghu_", "github_token", alnum, 36, 251),
    key("ghs_", "github_token", alnum, 36, 251),
    key("ghr_", "github_token", alnum, 36, 251),
    key("github_pat_", "github_token", word, 22, 244),
    key("glpat-", "gitlab_token", dotted, 20, 300),
    key("xoxb-", "slack_token", url, 20, 300),
    key("xoxp-", "slack_token", url, 20, 300),
    key("xoxa-", "slack_token", url, 20, 300),
    key("xoxe-", "slack_token", url, 20, 300),
    key("xapp-", "slack_token", url, 20, 300),
    key("hooks.slack.com/services/", "slack_webhook", slashed, 30, 90),
    key("sk_live_", "stripe_key", alnum, 16, 250),
    key("rk_live_", "stripe_key", alnum, 16, 250),
    key("sk_test_", "stripe_key", alnum, 16, 250),
    key("whsec_", "stripe_key", padded, 24, 100),
    key("AIza", "google_api_key", url, 35, 35),
    key("ya29.", "google_token", url, 20, 1_000),
    key("GOCSPX-", "google_client_secret", url, 28, 28),
    mixed("sk-", "model_provider_key", url, 20, 250),
    key("npm_", "npm_token", alnum, 36, 36),
    key("pypi-AgE", "pypi_token", url, 50, 800),
    key("SG.", "sendgrid_key", dotted, 60, 80),
    key("AccountKey=", "azure_storage_key", padded, 60, 100),
    key("AccessKey=", "azure_shared_access_key", padded, 40, 100),
    key("sig=", "azure_sas", signature, 43, 100),
    key("hf_", "huggingface_token", alnum, 34, 40),
    key("dapi", "databricks_token", hexadecimal, 32, 32),
    key("shpat_", "shopify_token", hexadecimal, 32, 32),
    key("hvs.", "vault_token", url, 24, 300),
    key("dop_v1_", "digitalocean_token", hexadecimal, 64, 64),
    key("PMAK-", "postman_key", url, 50, 70),
    key("lin_api_", "linear_key", alnum, 32, 64),
    key("AGE-SECRET-KEY-1", "age_key", upper, 58, 58),
    key("acp_", "aegis_key", url, 43, 43),
    rule("eyJ", Jwt, Shape::Jwt),
    rule("-----BEGIN ", PrivateKey, Shape::Pem),
    rule("://", ConnectionString, Shape::Userinfo),
    rule("Bearer ", BearerToken, Shape::Scheme),
    rule("bearer ", BearerToken, Shape::Scheme),
    rule("BEARER ", BearerToken, Shape::Scheme),
    rule("Basic ", BearerToken, Shape::Scheme),
    named("assword"),
    named("ASSWORD"),
    named("asswd"),
    named("ASSWD"),
    named("ecret"),
    named("ECRET"),
    named("pi_key"),
    named("pi-key"),
    named("piKey"),
    named("pikey"),
    named("PI_KEY"),
    named("ccess_key"),
    named("ccessKey"),
    named("CCESS_KEY"),
    named("s_token"),
    named("h_token"),
    named("_TOKEN"),
    named("sToken"),
    named("hToken"),
];
