//! Signatures beside Project Wycheproof's vectors, and hostile keys.

use aegis_ledger::signing::PublicKey;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use wycheproof::TestResult;
use wycheproof::eddsa::{TestName, TestSet};

#[test]
fn ed25519_signatures_are_judged_as_wycheproof_judges_them() {
    let set = TestSet::load(TestName::Ed25519).unwrap();
    let (mut good, mut bad) = (0, 0);
    for group in set.test_groups {
        let key: [u8; 32] = group.key.pk.as_ref().try_into().unwrap();
        let key = PublicKey::from_bytes(&key).unwrap();
        for test in group.tests {
            let judged = key.verify(&test.msg, &BASE64.encode(&test.sig)).is_ok();
            assert_eq!(judged, test.result == TestResult::Valid, "{}: {}", test.tc_id, test.comment);
            *if judged { &mut good } else { &mut bad } += 1;
        }
    }
    assert!(good >= 80 && bad >= 60, "{good} good and {bad} bad vectors");
}
