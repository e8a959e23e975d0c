//! Addresses: into the own network, to metadata services, through local schemes, to places that collect stolen data.

mod place;

use aegis_core::finding::FindingId;
use url::Url;

use self::place::{Place, is_bare_place, place_of};
use super::DetectInput;
use super::decode::View;
use super::findings::Findings;
use super::leaf::Leaf;
use super::path::{contains, find};
use super::role::Role;

/// Addresses that are looked at in one text.
const URLS_MAX: usize = 32;
/// Bytes of one address; the rest is cut.
const URL_BYTES_MAX: usize = 4_096;
/// What an address in the middle of prose counts at most: talking about a place is not going there.
const MENTION_SCORE: u8 = 40;

const LOCAL_SCHEMES: [&str; 20] = [
    "file",
    "gopher",
    "dict",
    "ldap",
    "ldaps",
    "tftp",
    "netdoc",
    "jar",
    "phar",
    "php",
    "expect",
    "glob",
    "zip",
    "compress.zlib",
    "ogg",
    "local_file",
    "view-source",
    "rar",
    "ssh2",
    "zlib",
];

/// Paths that change or show who may do what.
const PRIVILEGE_PATHS: [&str; 12] = [
    "/actuator/",
    "/admin/users",
    "/admin/roles",
    "/admin/grants",
    "/api/admin",
    "/v1/sys/",
    "/.well-known/openid-keys",
    "/users/promote",
    "/iam/security-credentials",
    "/_security/user",
    "/jolokia",
    "/_cluster/settings",
];

/// Adds what the view's addresses say.
pub(crate) fn scan(input: &DetectInput<'_>, leaf: &Leaf<'_>, view: &View<'_>, findings: &mut Findings) {
    let whole = leaf.role == Role::Url || is_one_word(&view.text);
    if leaf.role == Role::Url && !contains(view.text.as_bytes(), b"://") && view.depth == 0 {
        // Without a scheme a client assumes http.
        let text = view.text.trim().trim_start_matches(['/', '\\']);
        if !text.contains(['.', ':', '/']) && !is_bare_place(text) {
            return;
        }
        let url = if has_local_scheme(text) { text.to_owned() } else { format!("http://{text}") };
        address(input, leaf, &url, true, findings);
    }
    for url in urls(&view.text) {
        address(input, leaf, url, whole, findings);
    }
}

fn is_one_word(text: &str) -> bool {
    !text.trim().bytes().any(|b| b.is_ascii_whitespace())
}

fn has_local_scheme(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, _)| LOCAL_SCHEMES.iter().any(|s| scheme.eq_ignore_ascii_case(s)))
}

/// Everything in the text that is written like an address, scheme included.
fn urls(text: &str) -> impl Iterator<Item = &str> {
    let bytes = text.as_bytes();
    let mut from = 0;
    std::iter::from_fn(move || {
        let at = from + find(bytes.get(from..)?, b"://")?;
        let scheme = bytes
            .get(from..at)?
            .iter()
            .rev()
            .take(20)
            .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.' | b'_'));
        let start = at - scheme.count();
        let is_end = |b: &u8| {
            b.is_ascii_whitespace() || matches!(b, b'"' | b'\'' | b'<' | b'>' | b'`' | b')' | b'}' | b'|' | b',')
        };
        let tail = bytes.get(at + 3..)?;
        let length = tail.iter().take(URL_BYTES_MAX).position(is_end).unwrap_or(tail.len().min(URL_BYTES_MAX));
        from = at + 3 + length;
        Some(text.get(start..from).unwrap_or(""))
    })
    .take(URLS_MAX)
}

fn address(input: &DetectInput<'_>, leaf: &Leaf<'_>, text: &str, whole: bool, findings: &mut Findings) {
    let scheme = text.split(':').next().unwrap_or("").to_ascii_lowercase();
    let score = |base: u8| if whole { base } else { base.min(MENTION_SCORE) };
    if LOCAL_SCHEMES.contains(&scheme.as_str()) {
        findings.add(FindingId::SsrfLocalFile, score(FindingId::SsrfLocalFile.registry().1), leaf.pointer);
        return;
    }
    if !matches!(scheme.as_str(), "http" | "https" | "ws" | "wss" | "ftp") {
        return;
    }
    let Ok(url) = Url::parse(text.trim_end_matches(['.', ';', '!', '?'])) else { return };
    let Some(host) = url.host() else { return };
    let name = url.host_str().unwrap_or("").trim_end_matches('.');
    if input.hints.allowed_destinations.iter().any(|d| d.matches(name, url.port_or_known_default())) {
        return;
    }
    match place_of(&host) {
        Place::Metadata => {
            let base = FindingId::SsrfCloudMetadata.registry().1;
            findings.add(FindingId::SsrfCloudMetadata, if whole { base } else { 60 }, leaf.pointer);
        }
        Place::Internal => {
            findings.add(
                FindingId::SsrfInternalNetwork,
                score(FindingId::SsrfInternalNetwork.registry().1),
                leaf.pointer,
            );
        }
        Place::Unqualified => findings.add(FindingId::SsrfInternalNetwork, score(70), leaf.pointer),
        Place::Collector => {
            findings.add(
                FindingId::KnownExfilDestination,
                score(FindingId::KnownExfilDestination.registry().1),
                leaf.pointer,
            );
        }
        Place::External => findings.add(FindingId::ExternalGet, FindingId::ExternalGet.registry().1, leaf.pointer),
    }
    let path = url.path().to_ascii_lowercase();
    if whole && leaf.role == Role::Url && PRIVILEGE_PATHS.iter().any(|p| path.contains(p)) {
        findings.add_base(FindingId::PrivilegeUrlAccess, leaf.pointer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_prose() {
        let text = r#"see (http://a.example/x), "https://b.example" and gopher://c/_GET."#;
        assert_eq!(urls(text).collect::<Vec<_>>(), ["http://a.example/x", "https://b.example", "gopher://c/_GET."]);
    }
}
