//! Limits hold exactly, whatever the order, the hour or the number of threads.

use std::collections::HashSet;
use std::time::Duration;

use aegis_core::time::{Clock, ManualClock, Timestamp};

use super::*;
use crate::fixtures::{NOW, agent_id, tenant_id};

fn limits() -> Limits {
    Limits {
        requests_per_second: 50,
        burst: 100,
        daily_request_cap: 1_000_000,
        monthly_request_cap: None,
        daily_cost_cap_micro_usd: None,
    }
}

fn request(limits: Limits) -> CountRequest {
    CountRequest {
        tenant_id: tenant_id(),
        agent_id: agent_id(1),
        limits,
        agent_rps: None,
        agent_cost_cap: None,
        cost: MicroUsd::ZERO,
    }
}

/// Calls admitted out of `n` at one moment, and what stopped the others.
fn admitted(
    counters: &MemoryCounters,
    request: &CountRequest,
    n: usize,
    now: Timestamp,
) -> (usize, HashSet<LimitType>) {
    let results: Vec<_> = (0..n).map(|_| counters.admit(request, now)).collect();
    let stopped = results.iter().filter_map(|r| r.as_ref().err()).map(|limit| limit.limit_type).collect();
    (results.iter().filter(|r| r.is_ok()).count(), stopped)
}

#[test]
fn a_burst_passes_and_then_the_sustained_rate() {
    let counters = MemoryCounters::default();
    let request = request(limits());
    assert_eq!(admitted(&counters, &request, 150, NOW), (100, [LimitType::TenantRps].into()));
    assert_eq!(admitted(&counters, &request, 150, NOW.plus(Duration::from_secs(1))).0, 50);
    assert_eq!(admitted(&counters, &request, 150, NOW.plus(Duration::from_mins(1))).0, 100);
    assert_eq!(admitted(&counters, &request, 9, NOW).0, 0, "a clock set back gives nothing");
    let wait = counters.admit(&request, NOW.plus(Duration::from_mins(1))).unwrap_err().retry_after;
    assert_eq!(wait, Duration::from_millis(20));
}

#[test]
fn agents_have_their_own_rate_and_refused_calls_do_not_count() {
    let counters = MemoryCounters::default();
    let slow = CountRequest { agent_rps: Some(5), ..request(limits()) };
    assert_eq!(admitted(&counters, &slow, 40, NOW), (5, [LimitType::AgentRps].into()));
    let other = CountRequest { agent_id: agent_id(2), ..request(limits()) };
    assert_eq!(admitted(&counters, &other, 150, NOW).0, 95, "only the five admitted ones were taken from the tenant");
}

#[test]
fn days_and_months_begin_at_utc_midnight() {
    let counters = MemoryCounters::default();
    let clock = ManualClock::at(Timestamp::parse("2024-01-31T23:59:59Z").unwrap());
    let caps = Limits { daily_request_cap: 10, monthly_request_cap: Some(25), ..limits() };
    let take = |n| {
        let got = admitted(&counters, &request(caps), n, clock.now());
        clock.advance(Duration::from_hours(24));
        got
    };
    assert_eq!(take(20), (10, [LimitType::TenantDailyRequest].into()));
    assert_eq!(take(20), (10, [LimitType::TenantDailyRequest].into()), "February: a new month and day");
    assert_eq!(take(20), (10, [LimitType::TenantDailyRequest].into()));
    assert_eq!(take(20), (5, [LimitType::TenantMonthlyRequest].into()));
    let refused = counters.admit(&request(caps), clock.now()).unwrap_err();
    assert_eq!(refused.reset_at.to_string(), "2024-03-01T00:00:00.000000Z");
    assert_eq!(admitted(&counters, &request(caps), 1, clock.now().minus(Duration::from_hours(240))).0, 0);
}

#[test]
fn money_is_reserved_settled_and_given_back() {
    let counters = MemoryCounters::default();
    let usd = |n: u64| MicroUsd::from_micros(n * 1_000_000);
    let caps = Limits { daily_cost_cap_micro_usd: Some(usd(10)), ..limits() };
    let paid = CountRequest { cost: usd(3), agent_cost_cap: Some(usd(6)), ..request(caps) };
    let first = counters.admit(&paid, NOW).unwrap();
    let second = counters.admit(&paid, NOW).unwrap();
    assert_eq!(counters.admit(&paid, NOW).unwrap_err().limit_type, LimitType::AgentCost);
    let other = CountRequest { agent_id: agent_id(2), ..paid };
    let third = counters.admit(&other, NOW).unwrap();
    assert_eq!(counters.admit(&other, NOW).unwrap_err().limit_type, LimitType::TenantCost);
    counters.settle(first.reservation, usd(1), NOW);
    counters.settle(second.reservation, MicroUsd::ZERO, NOW);
    assert_eq!(counters.usage(NOW)[0].day_cost, usd(4));
    assert!(counters.admit(&paid, NOW).is_ok());
    let tomorrow = NOW.next_day();
    counters.settle(third.reservation, MicroUsd::ZERO, tomorrow);
    assert_eq!(counters.usage(tomorrow)[0].day_cost, MicroUsd::ZERO, "yesterday's money is not given back today");
    assert!(counters.admit(&CountRequest { cost: usd(7), ..paid }, tomorrow).is_err());
}

#[test]
fn cool_downs_double_and_are_forgiven() {
    let counters = MemoryCounters::default();
    let mut now = NOW;
    for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
        let reached = counters.throttle(tenant_id(), agent_id(1), now);
        assert_eq!((reached.limit_type, reached.retry_after.as_secs()), (LimitType::Throttled, seconds));
        let refused = counters.admit(&request(limits()), now).unwrap_err();
        assert_eq!(refused.limit_type, LimitType::Throttled);
        now = reached.reset_at;
        assert!(counters.admit(&request(limits()), now).is_ok());
    }
    let later = now.plus(Duration::from_mins(1));
    assert_eq!(counters.throttle(tenant_id(), agent_id(1), later).retry_after.as_secs(), 1);
}

#[test]
fn threads_never_exceed_a_limit() {
    const THREADS: usize = 8;
    const CALLS: usize = 500;
    let counters = MemoryCounters::default();
    let cap = MicroUsd::from_micros(777);
    let caps = Limits { requests_per_second: 1, burst: 1_000_000, daily_request_cap: 1_000, ..limits() };
    let paid = CountRequest { cost: MicroUsd::from_micros(1), agent_cost_cap: Some(cap), ..request(caps) };
    let free = CountRequest { agent_id: agent_id(2), ..request(caps) };
    let work = |counters: &MemoryCounters| {
        let mut admitted = (0_usize, 0_usize);
        for _ in 0..CALLS {
            admitted.0 += usize::from(counters.admit(&paid, NOW).is_ok());
            admitted.1 += usize::from(counters.admit(&free, NOW).is_ok());
        }
        admitted
    };
    let (paid, free) = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(|| work(&counters))).collect();
        workers.into_iter().map(|w| w.join().unwrap()).fold((0, 0), |(a, b), (x, y)| (a + x, b + y))
    });
    assert_eq!(paid + free, 1_000, "the day's cap, exactly");
    assert!(paid <= 777, "{paid}");
    let usage = counters.usage(NOW);
    assert_eq!((usage[0].day_used, usage[0].day_cost.as_micros()), (1_000, paid as u64));
}

#[test]
fn a_restart_changes_nothing() {
    let counters = MemoryCounters::default();
    let caps = Limits { daily_request_cap: 60, ..limits() };
    let slow = CountRequest { agent_rps: Some(5), cost: MicroUsd::from_micros(3), ..request(caps) };
    assert_eq!(admitted(&counters, &slow, 9, NOW).0, 5);
    let _ = counters.throttle(tenant_id(), agent_id(2), NOW);
    let kept: CountersState =
        serde_json::from_str(&serde_json::to_string(&counters.export(NOW)[&tenant_id()]).unwrap()).unwrap();
    let again = MemoryCounters::restored([(tenant_id(), kept.clone())], NOW);
    assert_eq!(again.export(NOW)[&tenant_id()], kept);
    assert_eq!(again.usage(NOW), counters.usage(NOW));
    let throttled = CountRequest { agent_id: agent_id(2), ..slow };
    assert_eq!(admitted(&again, &throttled, 1, NOW), (0, [LimitType::Throttled].into()));
    assert_eq!(admitted(&again, &slow, 1, NOW), (0, [LimitType::AgentRps].into()));
    let next_day = MemoryCounters::restored([(tenant_id(), kept)], NOW.next_day());
    assert_eq!(next_day.usage(NOW.next_day())[0].day_used, 0);
}

#[test]
fn an_agent_cannot_push_another_out() {
    let counters = MemoryCounters::default();
    let caps = Limits { requests_per_second: 1, burst: 2_000_000_000, daily_request_cap: u64::MAX, ..limits() };
    let slow = CountRequest { agent_rps: Some(1), ..request(caps) };
    assert!(counters.admit(&slow, NOW).is_ok());
    for n in 0..AGENTS_MAX as u128 + 10 {
        let passing = CountRequest { agent_id: agent_id(10 + n), ..request(caps) };
        assert!(counters.admit(&passing, NOW).is_ok(), "agents without debts make room for each other");
    }
    assert_eq!(counters.admit(&slow, NOW).unwrap_err().limit_type, LimitType::AgentRps);
}

#[test]
fn what_is_left_is_told() {
    let counters = MemoryCounters::default();
    let caps = Limits { monthly_request_cap: Some(7), ..limits() };
    let counted = counters.admit(&CountRequest { agent_rps: Some(5), ..request(caps) }, NOW).unwrap();
    let left: Vec<_> = counted.limits.iter().map(|view| (view.limit_type, view.limit, view.remaining)).collect();
    let expected = [
        (LimitType::TenantRps, 100, 99),
        (LimitType::AgentRps, 5, 4),
        (LimitType::TenantDailyRequest, 1_000_000, 999_999),
        (LimitType::TenantMonthlyRequest, 7, 6),
    ];
    assert_eq!(left, expected);
}

#[test]
fn the_use_of_monthly_and_cost_caps_is_warned_of_once_a_period() {
    let counters = MemoryCounters::default();
    let caps = Limits {
        monthly_request_cap: Some(11),
        daily_cost_cap_micro_usd: Some(MicroUsd::from_micros(100)),
        ..limits()
    };
    let request = CountRequest {
        cost: MicroUsd::from_micros(10),
        agent_cost_cap: Some(MicroUsd::from_micros(50)),
        ..request(caps)
    };
    let told = |now| counters.admit(&request, now).map(|counted| counted.near).unwrap_or_default();
    let near: Vec<_> = (0..5).map(|_| told(NOW)).collect();
    assert_eq!(near, [vec![], vec![], vec![], vec![LimitType::AgentCost], vec![]]);
    let others = CountRequest { agent_id: agent_id(2), agent_cost_cap: None, ..request };
    let near: Vec<_> = (0..4).map(|_| counters.admit(&others, NOW).unwrap().near).collect();
    assert_eq!(near, [vec![], vec![], vec![LimitType::TenantCost], vec![LimitType::TenantMonthlyRequest]]);
    // A new day: money again, the month's calls not.
    let tomorrow = NOW.plus(Duration::from_hours(24));
    let reservation = counters.admit(&CountRequest { cost: MicroUsd::from_micros(85), ..others }, tomorrow).unwrap();
    assert_eq!(reservation.near, [LimitType::TenantCost]);
    // What is given back and spent again is no news.
    counters.settle(reservation.reservation, MicroUsd::ZERO, tomorrow);
    let again = CountRequest { cost: MicroUsd::from_micros(85), ..others };
    assert_eq!(counters.admit(&again, tomorrow).unwrap().near, []);
}
