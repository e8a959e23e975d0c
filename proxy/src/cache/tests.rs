//! The cache gives back what it was given, or says that it cannot.

use super::*;
use aegis_core::id::{AgentId, TenantId};
use aegis_core::snapshot::{Item, KillSwitch, Revocation};
use uuid::Uuid;

fn tenant() -> TenantId {
    TenantId::from_uuid(Uuid::from_u128(1))
}

fn change(version: u64, item: Item) -> Change {
    Change { version, tenant_id: tenant(), key: item.key(), item: Some(item) }
}

fn kill_switch() -> Item {
    Item::KillSwitch(KillSwitch {
        engaged_at: Timestamp::from_seconds(1),
        engaged_by: "user:1".into(),
        reason: "r".into(),
    })
}

fn revoked(n: u128) -> Item {
    let agent_id = AgentId::from_uuid(Uuid::from_u128(n));
    Item::Revocation(Revocation::Agent { agent_id, issued_until: Timestamp::from_seconds(5) })
}

fn part(cache: &SledCache) -> (u64, Timestamp, bool, usize) {
    let snapshot = cache.snapshot().unwrap().unwrap();
    let (_, tenant) = snapshot.tenants().next().unwrap();
    (snapshot.version, snapshot.confirmed_at, tenant.kill_switch.is_some(), tenant.revoked_agents.len())
}

#[test]
fn items_survive_a_restart_and_a_full_reset_forgets_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let at = Timestamp::from_seconds(9);
    {
        let cache = SledCache::open(folder.path()).unwrap();
        assert!(cache.snapshot().unwrap().is_none());
        cache.apply(true, &[change(3, kill_switch()), change(4, revoked(1))], 4, at).unwrap();
        let gone = Change { version: 5, tenant_id: tenant(), key: "kill_switch".into(), item: None };
        cache.apply(false, &[gone, change(6, revoked(2))], 6, at).unwrap();
        cache.set_state("counters", b"abc").unwrap();
        cache.flush().unwrap();
    }
    let cache = SledCache::open(folder.path()).unwrap();
    assert_eq!(part(&cache), (6, at, false, 2));
    assert_eq!(cache.state("counters").unwrap().as_deref(), Some(b"abc".as_slice()));
    let later = Timestamp::from_seconds(11);
    cache.confirm(later).unwrap();
    assert_eq!(part(&cache).1, later);
    cache.apply(true, &[change(7, revoked(3))], 7, later).unwrap();
    assert_eq!(part(&cache), (7, later, false, 1));
    cache.forget().unwrap();
    assert!(cache.snapshot().unwrap().is_none());
    assert!(cache.state("counters").unwrap().is_some());
}

#[test]
fn one_damaged_item_spoils_the_whole_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let cache = SledCache::open(folder.path()).unwrap();
    cache.apply(true, &[change(3, kill_switch()), change(4, revoked(1))], 4, Timestamp::default()).unwrap();
    cache.damage(&change(4, revoked(1)));
    assert!(matches!(cache.snapshot(), Err(CacheError::Corrupt(_))));
}

#[test]
fn state_of_another_form_starts_anew() {
    let folder = tempfile::tempdir().unwrap();
    let cache = SledCache::open(folder.path()).unwrap();
    set_state(&cache, "numbers", &vec![1, 2]);
    assert_eq!(state::<Vec<u8>>(&cache, "numbers"), Some(vec![1, 2]));
    assert_eq!(state::<String>(&cache, "numbers"), None);
    assert_eq!(state::<String>(&cache, "absent"), None);
}
