//! Credentials among a call's arguments, by the redactor's own table of kinds.

use aegis_core::finding::FindingId;

use super::findings::Findings;
use super::leaf::Leaf;
use super::secret_kinds::{SecretKind, SecretScanner};

/// Adds the strongest credential of the leaf.
pub(crate) fn scan(scanner: &SecretScanner, leaf: &Leaf<'_>, findings: &mut Findings) {
    let strongest = scanner.kinds_in(leaf.text.as_bytes()).map(score_of).max();
    if let Some(score) = strongest {
        findings.add(FindingId::SecretInArguments, score, leaf.pointer);
    }
}

/// How much a credential of the kind means among arguments: own keys of providers most, guesses by context least.
fn score_of(kind: SecretKind) -> u8 {
    let base = FindingId::SecretInArguments.registry().1;
    match kind {
        SecretKind::PrivateKey => 85,
        SecretKind::ProviderKey(_) | SecretKind::ConnectionString => base,
        SecretKind::Jwt | SecretKind::BearerToken => 60,
        SecretKind::InContext => 30,
    }
}
