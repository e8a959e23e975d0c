//! What publishing promises: one log that only grows, whatever dies, is restored, or runs beside it.

use std::path::PathBuf;

use aegis_ledger::proof::{verify_consistency, verify_inclusion};

use super::*;
use crate::both;
use crate::ledger::check::verify;
use crate::ledger::ingest::ingest;
use crate::sql::Sql;
use crate::testing::sidecar::TestSidecar;
use crate::testing::{TestStore, admin};

const DEPLOYMENT: &str = "test";

fn folder(t: &TestStore) -> PathBuf {
    t.folder().join("checkpoints")
}

fn publisher(t: &TestStore) -> Publisher {
    Publisher::new(t.store.clone(), DEPLOYMENT, &folder(t)).unwrap()
}

async fn write(store: &Store, tenant: TenantId, entries: usize) {
    for _ in 0..entries {
        store.write(tenant).await.unwrap().record(admin("write", "x")).await.unwrap().commit().await.unwrap();
    }
}

fn signed(published: Published) -> Stored {
    match published {
        Published::Signed(checkpoint) => checkpoint,
        other => panic!("{other:?}"),
    }
}

/// Every kept checkpoint verifies with its key and is consistent with the last.
async fn log_is_sound(t: &TestStore, publisher: &Publisher, tenant: TenantId) -> Vec<Stored> {
    let mut db = t.store.read(tenant).await.unwrap();
    let last = checkpoint::latest(&mut db, tenant).await.unwrap().unwrap();
    let kept = checkpoint::list(&mut db, tenant, last.epoch, 0).await.unwrap();
    assert_eq!(kept.last(), Some(&last));
    for c in &kept {
        let keys = publisher.verifiers(tenant, c.epoch, c.size).await.unwrap();
        assert_eq!(keys.len(), 1);
        let read = Checkpoint::open(&c.note, &keys[0]).unwrap();
        assert_eq!((read.size, read.root), (c.size, c.root));
        let proof = proof::consistency(&mut db, tenant, c.size, last.size).await.unwrap();
        assert_eq!(verify_consistency((c.size, c.root), (last.size, last.root), &proof), Ok(()));
    }
    drop(db);
    assert_eq!(verify(&t.store, tenant, 0, None).await.unwrap().faults, []);
    kept
}

both! {
    async fn a_checkpoint_follows_the_ledger_and_rests_with_it(t: TestStore) {
        let tenant = t.tenant().await;
        let publisher = publisher(&t);
        let first = publisher.turn().await.unwrap();
        assert_eq!(first.len(), 1);
        // open, enrol, tenant.create, and the key's introduction.
        let checkpoint = signed(first.into_iter().next().unwrap().1.unwrap());
        assert_eq!((checkpoint.epoch, checkpoint.size), (1, 4));
        assert!(publisher.turn().await.unwrap().is_empty());
        t.clock.advance(IDLE);
        let idle = publisher.turn().await.unwrap().remove(0).1.unwrap();
        assert!(matches!(idle, Published::Unchanged(c) if c.note == checkpoint.note));
        assert_eq!(publisher.turn().await.unwrap().len(), 0);
        write(&t.store, tenant, 300).await;
        assert_eq!(signed(publisher.publish(tenant).await.unwrap()).size, 304);
        log_is_sound(&t, &publisher, tenant).await;
        let introduced = log_key::introduced(&mut t.store.read(tenant).await.unwrap(), tenant).await.unwrap();
        assert_eq!((introduced.len(), introduced[0].index), (1, 3));
    }

    async fn lost_tiles_are_made_anew(t: TestStore) {
        let tenant = t.tenant().await;
        let publisher = publisher(&t);
        let mut sidecar = TestSidecar::enrol(&t, tenant).await;
        for part in sidecar.run(800).chunks(500) {
            ingest(&t.store, sidecar.source, part.concat()).await.unwrap();
        }
        let before = signed(publisher.publish(tenant).await.unwrap());
        for damage in [
            "DELETE FROM ledger_tiles",
            "DELETE FROM ledger_tiles WHERE idx = 1",
            "UPDATE ledger_tiles SET root = hashes, hashes = root WHERE idx = 0",
        ] {
            let mut db = t.store.upkeep().await.unwrap();
            assert!(db.execute(Sql::new(damage)).await.unwrap() > 0);
            db.commit().await.unwrap();
            write(&t.store, tenant, 1).await;
            assert!(signed(publisher.publish(tenant).await.unwrap()).size > before.size, "{damage}");
            log_is_sound(&t, &publisher, tenant).await;
        }
    }

    async fn whoever_dies_between_the_steps_leaves_a_log_that_goes_on(t: TestStore) {
        let tenant = t.tenant().await;
        let publisher = publisher(&t);
        publisher.introduce(tenant).await.unwrap();
        write(&t.store, tenant, 600).await;
        // Dead after the commit and some of the tiles.
        tile::write(&t.store, tenant, 256).await.unwrap();
        write(&t.store, tenant, 5).await;
        // Dead after the record, before it is published.
        let (size, root) = publisher.tree(tenant).await.unwrap();
        let recorded = publisher.next(tenant, None, (size, root), &publisher.key().unwrap().private).unwrap();
        publisher.records.swap(tenant, None, &recorded).unwrap();
        let mut db = t.store.read(tenant).await.unwrap();
        assert_eq!(checkpoint::latest(&mut db, tenant).await.unwrap(), None);
        drop(db);
        let after = Publisher::new(t.again().await, DEPLOYMENT, &folder(&t)).unwrap();
        // The same note is published, not another one.
        let again = after.publish(tenant).await.unwrap();
        assert!(matches!(again, Published::Unchanged(c) if Some(&c.note) == recorded.note.as_ref()));
        write(&t.store, tenant, 1).await;
        assert_eq!(signed(after.publish(tenant).await.unwrap()).size, size + 1);
        assert_eq!(log_is_sound(&t, &after, tenant).await.len(), 2);
    }

    async fn a_restored_backup_seals_the_log_and_opens_an_epoch(t: TestStore) {
        let tenant = t.tenant().await;
        let before = publisher(&t);
        write(&t.store, tenant, 300).await;
        let old = signed(before.publish(tenant).await.unwrap());
        let backup = t.backup().await;
        write(&t.store, tenant, 40).await;
        let lost = signed(before.publish(tenant).await.unwrap());
        let t = t.restore(backup).await;
        let after = Publisher::new(t.store.clone(), DEPLOYMENT, &folder(&t)).unwrap();
        // A signer that believed the database alone would sign this smaller tree.
        assert_eq!(Head::read(&mut t.store.read(tenant).await.unwrap(), tenant).await.unwrap().size, old.size);
        let reopened = after.publish(tenant).await.unwrap();
        let Published::Reopened { sealed_size, checkpoint } = reopened else { panic!("{reopened:?}") };
        assert_eq!((sealed_size, checkpoint.epoch), (lost.size, 2));
        let key = |epoch| after.verifiers(tenant, epoch, checkpoint.size);
        let first = Checkpoint::open(&checkpoint.note, &key(2).await.unwrap()[0]).unwrap();
        assert!(Checkpoint::open(&checkpoint.note, &key(1).await.unwrap()[0]).is_err());
        let sealed = Hash::of(&[lost.note.as_bytes()]);
        assert_eq!(first.epoch(), Some(Epoch { number: 2, sealed }));
        // The ledger itself says so.
        let mut db = t.store.read(tenant).await.unwrap();
        let epochs = checkpoint::epochs(&mut db, tenant).await.unwrap();
        assert_eq!((epochs.len(), epochs[0].epoch, epochs[0].sealed.as_str()), (1, 2, lost.note.as_str()));
        let row = crate::audit::since(&mut db, tenant, epochs[0].index, 1).await.unwrap().remove(0);
        assert_eq!(row.action, EPOCH_ACTION);
        drop(db);
        // And it goes on.
        write(&t.store, tenant, 20).await;
        assert_eq!(signed(after.publish(tenant).await.unwrap()).epoch, 2);
        assert_eq!(log_is_sound(&t, &after, tenant).await.len(), 2);
    }

    async fn a_fork_of_the_same_length_is_not_signed_either(t: TestStore) {
        let tenant = t.tenant().await;
        let before = publisher(&t);
        before.publish(tenant).await.unwrap();
        let backup = t.backup().await;
        write(&t.store, tenant, 7).await;
        let lost = signed(before.publish(tenant).await.unwrap());
        let t = t.restore(backup).await;
        write(&t.store, tenant, 9).await;
        let after = Publisher::new(t.store.clone(), DEPLOYMENT, &folder(&t)).unwrap();
        let reopened = after.publish(tenant).await.unwrap();
        assert!(matches!(reopened, Published::Reopened { sealed_size, .. } if sealed_size == lost.size));
        log_is_sound(&t, &after, tenant).await;
    }

    async fn whoever_dies_while_opening_an_epoch_opens_it_later(t: TestStore) {
        let tenant = t.tenant().await;
        let before = publisher(&t);
        before.publish(tenant).await.unwrap();
        let backup = t.backup().await;
        write(&t.store, tenant, 7).await;
        let lost = signed(before.publish(tenant).await.unwrap());
        let t = t.restore(backup).await;
        let after = Publisher::new(t.store.clone(), DEPLOYMENT, &folder(&t)).unwrap();
        let kept = after.records.read(tenant).unwrap();
        let sealed = Some(lost.note);
        let next = Record { epoch: 2, size: 0, root: hash::root(&[]), note: None, sealed };
        after.records.swap(tenant, kept.as_ref(), &next).unwrap();
        assert_eq!(signed(after.publish(tenant).await.unwrap()).epoch, 2);
        let mut db = t.store.read(tenant).await.unwrap();
        assert_eq!(checkpoint::epoch(&mut db, tenant).await.unwrap(), 2);
    }

    async fn without_its_record_the_signer_goes_on_from_what_is_published(t: TestStore) {
        let tenant = t.tenant().await;
        let before = publisher(&t);
        let first = signed(before.publish(tenant).await.unwrap());
        std::fs::remove_dir_all(folder(&t)).unwrap();
        let after = publisher(&t);
        write(&t.store, tenant, 3).await;
        assert_eq!(signed(after.publish(tenant).await.unwrap()).size, first.size + 3);
        log_is_sound(&t, &after, tenant).await;
    }

    async fn where_the_record_cannot_be_kept_nothing_is_signed(t: TestStore) {
        let tenant = t.tenant().await;
        let publisher = publisher(&t);
        let first = signed(publisher.publish(tenant).await.unwrap());
        write(&t.store, tenant, 3).await;
        // The disk says no: something stands where the new record is written aside.
        let aside = folder(&t).join(format!("{tenant}.new"));
        std::fs::create_dir(&aside).unwrap();
        assert!(matches!(publisher.publish(tenant).await, Err(StoreError::Record { .. })));
        let kept = checkpoint::latest(&mut t.store.read(tenant).await.unwrap(), tenant).await.unwrap();
        assert_eq!(kept, Some(first));
        std::fs::remove_dir(&aside).unwrap();
        signed(publisher.publish(tenant).await.unwrap());
        log_is_sound(&t, &publisher, tenant).await;
    }

    async fn a_strangers_key_signs_nothing(t: TestStore) {
        let tenant = t.tenant().await;
        publisher(&t).publish(tenant).await.unwrap();
        let stranger = Publisher::new(t.stranger().await, DEPLOYMENT, &folder(&t)).unwrap();
        write(&t.store, tenant, 1).await;
        let refused = stranger.publish(tenant).await;
        assert!(matches!(refused, Err(StoreError::Conflict { reason: "other_key", .. })), "{refused:?}");
    }

    async fn two_replicas_write_and_publish_at_once_without_a_fork(t: TestStore) {
        let tenant = t.tenant().await;
        publisher(&t).publish(tenant).await.unwrap();
        let mut tasks = Vec::new();
        for _ in 0..2 {
            let store = t.again().await;
            let publisher = Publisher::new(store.clone(), DEPLOYMENT, &folder(&t)).unwrap();
            tasks.push(tokio::spawn(async move {
                for _ in 0..20 {
                    write(&store, tenant, 5).await;
                    // Both sign at once, past every lease: the record lets one of them.
                    match publisher.publish(tenant).await {
                        Ok(Published::Signed(_) | Published::Unchanged(_))
                        | Err(StoreError::Conflict { reason: "changed_meanwhile" | "backwards", .. }) => {}
                        other => panic!("{other:?}"),
                    }
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        let publisher = publisher(&t);
        publisher.publish(tenant).await.unwrap();
        let kept = log_is_sound(&t, &publisher, tenant).await;
        assert!(kept.len() > 2);
        assert!(kept.iter().all(|c| c.epoch == 1));
    }

    async fn every_entry_is_included_in_what_is_published(t: TestStore) {
        let tenant = t.tenant().await;
        let publisher = publisher(&t);
        write(&t.store, tenant, 270).await;
        let c = signed(publisher.publish(tenant).await.unwrap());
        let mut db = t.store.read(tenant).await.unwrap();
        let leaves = tile::leaves(&mut db, tenant, 0, c.size).await.unwrap();
        for (index, leaf) in (0..).zip(leaves) {
            let proof = proof::inclusion(&mut db, tenant, index, c.size).await.unwrap();
            assert_eq!(verify_inclusion(leaf, index, c.size, &proof, c.root), Ok(()));
        }
        assert!(proof::inclusion(&mut db, tenant, c.size, c.size).await.is_err());
    }

    async fn a_rotated_key_is_taken_up_while_replicas_run_and_old_proofs_stay_good(t: TestStore) {
        let tenant = t.tenant().await;
        let running = publisher(&t);
        let first = signed(running.publish(tenant).await.unwrap());
        let other = t.again().await;
        let keys = other.control().checkpoint_keys();
        let old = keys.current().private.public();
        let new = keys.rotate(t.store.now(), other.entropy()).unwrap().private.public();
        // Rotated once more before the ledger was told at all.
        let newest = keys.rotate(t.store.now(), other.entropy()).unwrap().private.public();
        write(&t.store, tenant, 3).await;
        let second = signed(running.publish(tenant).await.unwrap());
        let known = log_key::keys(&mut t.store.read(tenant).await.unwrap(), tenant).await.unwrap();
        assert_eq!(known.all().iter().map(|k| k.key).collect::<Vec<_>>(), [old, new, newest]);
        let speaks = |size| known.in_force(size).collect::<Vec<_>>();
        assert_eq!((speaks(first.size), speaks(second.size)), (vec![old], vec![newest]));
        // The ledger is told once, whoever tells it.
        assert_eq!(introduce_everywhere(&t.store).await.unwrap(), 1);
        assert!(matches!(running.publish(tenant).await.unwrap(), Published::Unchanged(c) if c == Stored { signed_at: c.signed_at, ..second.clone() }));
        assert_eq!(log_is_sound(&t, &running, tenant).await.len(), 2);
        // A process that starts now goes on with it.
        let later = Publisher::new(t.again().await, DEPLOYMENT, &folder(&t)).unwrap();
        write(&t.store, tenant, 1).await;
        signed(later.publish(tenant).await.unwrap());
        log_is_sound(&t, &later, tenant).await;
    }

    async fn days_sealed_before_and_after_a_rotation_verify(t: TestStore) {
        let tenant = t.tenant().await;
        let publisher = publisher(&t);
        publisher.publish(tenant).await.unwrap();
        let day_length = std::time::Duration::from_hours(24);
        t.clock.advance(day_length);
        assert_eq!(publisher.seal_days().await.unwrap(), 1);
        let keys = t.store.control().checkpoint_keys();
        keys.rotate(t.store.now(), t.store.entropy()).unwrap();
        t.clock.advance(day_length);
        // Sealed with the new key before the ledger knows it.
        assert_eq!(publisher.seal_days().await.unwrap(), 1);
        publisher.publish(tenant).await.unwrap();
        t.clock.advance(day_length);
        assert_eq!(publisher.seal_days().await.unwrap(), 1);
        publisher.publish(tenant).await.unwrap();
        let days = day::list(&mut t.store.read(tenant).await.unwrap(), tenant, None, None, 9).await.unwrap();
        let signers: Vec<_> = days.iter().rev().map(|d| d.statement.public_key_fingerprint.clone()).collect();
        assert!(signers[0] != signers[1] && signers[1] == signers[2], "{signers:?}");
        log_is_sound(&t, &publisher, tenant).await;
    }

    async fn a_restored_ledger_is_told_of_the_rotation_that_it_lost(t: TestStore) {
        let tenant = t.tenant().await;
        let before = publisher(&t);
        write(&t.store, tenant, 20).await;
        before.publish(tenant).await.unwrap();
        let backup = t.backup().await;
        let new = t.store.control().checkpoint_keys().rotate(t.store.now(), t.store.entropy()).unwrap();
        write(&t.store, tenant, 20).await;
        before.publish(tenant).await.unwrap();
        let t = t.restore(backup).await;
        let after = Publisher::new(t.store.clone(), DEPLOYMENT, &folder(&t)).unwrap();
        assert!(matches!(after.publish(tenant).await.unwrap(), Published::Reopened { .. }));
        let known = log_key::keys(&mut t.store.read(tenant).await.unwrap(), tenant).await.unwrap();
        assert_eq!(known.last().unwrap().key, new.private.public());
        log_is_sound(&t, &after, tenant).await;
    }

    async fn a_key_in_use_is_not_reported_but_replaced(t: TestStore) {
        let tenant = t.tenant().await;
        let publisher = publisher(&t);
        publisher.publish(tenant).await.unwrap();
        let keys = t.store.control().checkpoint_keys();
        let old = keys.current().private.public().id().0;
        let refused = compromise(&t.store, &old).await;
        assert!(matches!(refused, Err(StoreError::Conflict { reason: "in_use", .. })), "{refused:?}");
        let own = t.store.control().boot_key().id().0;
        assert!(matches!(compromise(&t.store, &own).await, Err(StoreError::Conflict { reason: "in_use", .. })));
        assert!(matches!(compromise(&t.store, "nobody's").await, Err(StoreError::NotFound("key"))));
        keys.rotate(t.store.now(), t.store.entropy()).unwrap();
        publisher.publish(tenant).await.unwrap();
        assert_eq!(compromise(&t.store, &old).await.unwrap(), 1);
        assert_eq!(compromise(&t.store, &old).await.unwrap(), 1);
        let mut db = t.store.read(tenant).await.unwrap();
        assert_eq!(log_key::compromised(&mut db, tenant).await.unwrap().len(), 1);
        drop(db);
        publisher.publish(tenant).await.unwrap();
        log_is_sound(&t, &publisher, tenant).await;
    }
}
