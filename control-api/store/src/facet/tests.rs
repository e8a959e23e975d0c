//! Counts by finding, denying rule and score against the same counts over the list of calls.

use std::collections::BTreeMap;

use aegis_core::decision::{Decision, Outcome};

use super::{Facet, NO_RULE, daily_scores, ranked, scores};
use crate::both;
use crate::ledger::ingest::ingest;
use crate::tally::days_until;
use crate::testing::history::{self, Call};
use crate::testing::sidecar::{TestSidecar, decision_of, outcome_of};
use crate::usage::Window;

fn counted<'a>(values: impl Iterator<Item = (&'a Call, String)>) -> (Vec<(String, u64)>, u64) {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    values.for_each(|(_, value)| *counts.entry(value).or_default() += 1);
    let total = counts.values().sum();
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    (counts, total)
}

fn findings(call: &Call) -> impl Iterator<Item = (&Call, String)> {
    call.findings.iter().map(move |id| (call, id.to_string()))
}

fn reason(call: &Call) -> Option<(&Call, String)> {
    call.is_denied().then(|| (call, call.rule.clone().unwrap_or_else(|| NO_RULE.to_owned())))
}

both! {
    async fn counts_are_those_of_the_calls(t: TestStore) {
        let tenant = t.tenant().await;
        let calls = history::seed(&t, tenant).await;
        let mut db = t.store.read(tenant).await.unwrap();
        let week = days_until(t.store.now(), 7, Some(history::agent(2)));
        for window in [Window::default(), week] {
            let inside: Vec<&Call> = calls
                .iter()
                .filter(|c| window.from.is_none_or(|from| c.ts >= from) && window.agent_id.is_none_or(|a| a == c.agent))
                .collect();
            assert!(inside.len() > 10);
            let wanted = counted(inside.iter().flat_map(|c| findings(c)));
            assert_eq!(ranked(&mut db, tenant, Facet::Finding, window, 99).await.unwrap(), wanted);
            let wanted = counted(inside.iter().filter_map(|c| reason(c)));
            assert_eq!(ranked(&mut db, tenant, Facet::DenyReason, window, 99).await.unwrap(), wanted);
            let (first, total) = ranked(&mut db, tenant, Facet::DenyReason, window, 2).await.unwrap();
            assert_eq!((first.as_slice(), total), (&wanted.0[..2], wanted.1));
            let mut by_score: BTreeMap<u8, u64> = BTreeMap::new();
            for c in &inside {
                *by_score.entry(c.risk).or_default() += 1;
            }
            assert_eq!(scores(&mut db, tenant, window).await.unwrap(), by_score.into_iter().collect::<Vec<_>>());
            let mut daily: BTreeMap<_, u64> = BTreeMap::new();
            for c in &inside {
                *daily.entry((c.ts.day(), c.risk)).or_default() += 1;
            }
            let found = daily_scores(&mut db, tenant, window).await.unwrap();
            let found: Vec<_> = found.into_iter().map(|(day, risk, calls)| ((day.day(), risk), calls)).collect();
            assert_eq!(found, daily.into_iter().collect::<Vec<_>>());
        }
    }

    async fn an_approved_escalation_whose_tool_was_not_called_is_denied_once(t: TestStore) {
        let tenant = t.tenant().await;
        let mut sidecar = TestSidecar::enrol(&t, tenant).await;
        let pending = decision_of(history::agent(0), t.store.now(), Decision::Escalate, Outcome::Pending);
        let bodies = [sidecar.open(), pending.clone(), outcome_of(&pending, Outcome::NotExecuted, 0)];
        let entries: Vec<_> = bodies.into_iter().map(|body| sidecar.next(body)).collect();
        ingest(&t.store, sidecar.source, sidecar.lines(&entries).concat()).await.unwrap();
        let mut db = t.store.read(tenant).await.unwrap();
        let found = ranked(&mut db, tenant, Facet::DenyReason, Window::default(), 9).await.unwrap();
        assert_eq!(found, (vec![("rule".to_owned(), 1)], 1));
        assert_eq!(crate::tally::total(&mut db, tenant, Window::default()).await.unwrap().denied(), 1);
    }
}
