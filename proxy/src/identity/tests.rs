//! The identity survives restarts and refuses company.

use super::*;
use aegis_core::entropy::SystemEntropy;
use uuid::Uuid;

#[test]
fn the_key_is_made_once_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let first = Identity::open(folder.path(), &SystemEntropy).unwrap();
    let again = Identity::open(folder.path(), &SystemEntropy).unwrap();
    assert_eq!(first.key().public(), again.key().public());
    let mode = std::fs::metadata(folder.path().join(KEY_FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(Identity::open(folder.path(), &SystemEntropy).unwrap());
    let path = folder.path().join(KEY_FILE);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(Identity::open(folder.path(), &SystemEntropy), Err(IdentityError::Mode { mode: 0o640, .. })));
}

#[test]
fn a_damaged_key_is_an_error_and_not_a_new_key() {
    let folder = tempfile::tempdir().unwrap();
    drop(Identity::open(folder.path(), &SystemEntropy).unwrap());
    std::fs::write(folder.path().join(KEY_FILE), "abc").unwrap();
    assert!(matches!(Identity::open(folder.path(), &SystemEntropy), Err(IdentityError::Content { .. })));
}

#[test]
fn enrolment_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::open(folder.path(), &SystemEntropy).unwrap();
    assert_eq!(identity.enrolment().unwrap(), None);
    let enrolment = Enrolment {
        source: SourceId::from_uuid(Uuid::from_u128(5)),
        deployment: "local".into(),
        tenants: vec![TenantId::from_uuid(Uuid::from_u128(6))],
    };
    identity.set_enrolment(&enrolment).unwrap();
    let again = Identity::open(folder.path(), &SystemEntropy).unwrap();
    assert_eq!(again.enrolment().unwrap(), Some(enrolment));
}
