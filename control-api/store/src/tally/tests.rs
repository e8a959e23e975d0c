//! Sums against the same sums over the list of calls.

use std::collections::{BTreeMap, BTreeSet};

use aegis_core::decision::Decision;
use aegis_core::time::MICROS_PER_HOUR;

use super::{Grain, Order, Tally, by_agent, by_time, by_tool, days_of, days_until, total};
use crate::both;
use crate::testing::history::{self, Call};
use crate::usage::Window;

/// The bucket of a call.
type Key<'a> = &'a dyn Fn(&Call) -> i64;
/// What a ranking sorts by, and then by.
type Rank = fn(&Tally) -> (u64, u64);

/// Sums over calls, the slow way.
fn sums<'a>(calls: impl IntoIterator<Item = &'a Call>) -> Tally {
    let (mut tally, mut agents, mut tools) = (Tally::default(), BTreeSet::new(), BTreeSet::new());
    for call in calls {
        tally.calls += 1;
        tally.risk_sum += u64::from(call.risk);
        tally.cost_micro_usd += call.cost;
        agents.insert(call.agent);
        tools.insert(call.tool);
        match call.decision {
            Decision::Allow => tally.allowed += 1,
            Decision::Monitor => tally.monitored += 1,
            Decision::Throttle => tally.throttled += 1,
            Decision::Escalate => {
                tally.escalated += 1;
                tally.unapproved += u64::from(call.is_denied());
            }
            Decision::Kill => tally.killed += 1,
            Decision::Refused => tally.refused += 1,
        }
    }
    Tally { agents: agents.len() as u64, tools: tools.len() as u64, ..tally }
}

fn grouped<K: Ord>(calls: &[Call], key: impl Fn(&Call) -> K) -> BTreeMap<K, Tally> {
    let mut groups: BTreeMap<K, Vec<&Call>> = BTreeMap::new();
    for call in calls {
        groups.entry(key(call)).or_default().push(call);
    }
    groups.into_iter().map(|(key, calls)| (key, sums(calls))).collect()
}

both! {
    async fn sums_are_those_of_the_calls(t: TestStore) {
        let (tenant, other) = (t.tenant().await, t.tenant().await);
        let calls = history::seed(&t, tenant).await;
        let mut db = t.store.read(tenant).await.unwrap();
        let db = &mut *db;
        let all = Window::default();
        assert_eq!(total(db, tenant, all).await.unwrap(), sums(&calls));
        assert_eq!(total(db, other, all).await.unwrap(), Tally::default());
        let one = Window { agent_id: Some(history::agent(1)), ..all };
        assert_eq!(total(db, tenant, one).await.unwrap(), sums(calls.iter().filter(|c| c.agent == history::agent(1))));
        let hour = |call: &Call| call.ts.as_micros() / MICROS_PER_HOUR;
        let keys: [(Grain, Key<'_>); 4] = [
            (Grain::Day, &|c| c.ts.day() * 24 * MICROS_PER_HOUR),
            (Grain::Hour, &|c| hour(c) * MICROS_PER_HOUR),
            (Grain::HourOfDay, &|c| i64::from(c.ts.hour())),
            (Grain::HourOfWeek, &|c| i64::from(c.ts.weekday() - 1) * 24 + i64::from(c.ts.hour())),
        ];
        for (grain, key) in keys {
            assert_eq!(by_time(db, tenant, all, grain).await.unwrap(), grouped(&calls, key), "{grain:?}");
        }
    }

    async fn a_window_of_days_ends_today(t: TestStore) {
        let tenant = t.tenant().await;
        let calls = history::seed(&t, tenant).await;
        let mut db = t.store.read(tenant).await.unwrap();
        let now = t.store.now();
        let days: Vec<_> = days_of(now, 7).collect();
        assert_eq!((days.len(), days[6].day()), (7, now.day()));
        let found = total(&mut db, tenant, days_until(now, 7, None)).await.unwrap();
        assert_eq!(found, sums(calls.iter().filter(|c| c.ts >= days[0])));
        assert!(found.calls > 0 && found.calls < calls.len() as u64);
    }

    async fn rankings_put_first_what_they_should(t: TestStore) {
        let tenant = t.tenant().await;
        let calls = history::seed(&t, tenant).await;
        let mut db = t.store.read(tenant).await.unwrap();
        let tools = grouped(&calls, |c| c.tool.to_owned());
        let agents = grouped(&calls, |c| c.agent);
        let orders: [(Order, Rank); 4] = [
            (Order::Calls, |t| (t.calls, 0)),
            (Order::Denied, |t| (t.denied(), t.calls)),
            (Order::Threats, |t| (t.threats(), t.risk_sum * 1_000 / t.calls)),
            (Order::Risk, |t| (t.risk_sum * 1_000 / t.calls, t.calls)),
        ];
        for (order, measure) in orders {
            let mut wanted: Vec<_> = tools.clone().into_iter().collect();
            wanted.sort_by_key(|(tool, tally)| (std::cmp::Reverse(measure(tally)), tool.clone()));
            assert_eq!(by_tool(&mut db, tenant, Window::default(), order, 3).await.unwrap(), wanted[..3], "{order:?}");
            let mut wanted: Vec<_> = agents.clone().into_iter().collect();
            wanted.sort_by_key(|(agent, tally)| (std::cmp::Reverse(measure(tally)), agent.to_string()));
            assert_eq!(by_agent(&mut db, tenant, Window::default(), order, 9).await.unwrap(), wanted, "{order:?}");
        }
    }
}
