//! Every known way to tamper is caught, by the check that is meant for it.

use aegis_verify::archive::Archive;
use aegis_verify::attack;
use aegis_verify::testing;

use crate::question;

#[test]
fn every_attack_on_a_bundle_is_caught() {
    for batch in [1, 5] {
        let (bundle, _) = testing::sample(Vec::new(), 40, batch);
        let outcome = attack::run(&Archive::open(bundle).unwrap(), &question());
        assert_eq!(outcome.baseline, 0);
        assert!(outcome.all_caught(), "{}", outcome.to_text());
        assert!(outcome.tried.len() > 70, "{}", outcome.tried.len());
        let kinds: std::collections::BTreeSet<&str> = outcome.tried.iter().map(|t| t.name).collect();
        let expected = [
            "dropped middle",
            "dropped prefix",
            "dropped tail",
            "duplicated entry",
            "field flip",
            "foreign tenant's entry",
            "forged whole bundle",
            "reorder",
            "rotated key",
            "stranger's key",
            "swapped root",
            "truncated tile",
        ];
        assert_eq!(kinds.into_iter().collect::<Vec<_>>(), expected);
        for (name, detail, check) in [
            ("field flip", "/entry/tool", "leaf"),
            ("field flip", "/entry/tool, leaf hash fitted", "signature"),
            ("field flip", "/row/decision", "row"),
            ("field flip", "/signature/signature", "signature"),
            ("dropped middle", "entry 6", "missing"),
            ("reorder", "two neighbours", "order"),
            ("reorder", "two neighbours, indexes and leaf hashes fitted", "chain"),
            ("stranger's key", "signs an entry", "signature"),
            ("stranger's key", "opens a source's boot", "boot"),
            ("foreign tenant's entry", "in place of one", "tenant"),
            ("swapped root", "signed by the forger", "checkpoint"),
            ("forged whole bundle", "under the forger's keys", "boot"),
            ("rotated key", "to the forger's, by an entry of his own", "signature"),
            ("truncated tile", "within a leaf hash", "missing"),
            ("duplicated entry", "the same line twice", "order"),
        ] {
            let tried = outcome.tried.iter().find(|t| t.name == name && t.detail == detail);
            let caught = tried.map(|t| t.caught_by.iter().any(|c| c.as_str() == check));
            assert_eq!(caught, Some(true), "{name}, {detail}: {tried:?}");
        }
    }
}
