//! The kill switch: before a call, during it, and after it is released again.

use aegis_core::decision::Outcome;

use crate::harness::Harness;

#[tokio::test(flavor = "multi_thread")]
async fn an_engaged_switch_refuses_and_says_who_engaged_it() {
    let harness = Harness::start().await;
    harness.set_kill_switch(true);
    let got = harness.call("sample.ok").await;
    assert_eq!((got.status, got.error()), (403, "kill_switch_engaged"));
    assert_eq!((&got.body["data"]["engaged_by"], &got.body["data"]["reason"]), (&"user:1".into(), &"drill".into()));
    assert_eq!(harness.upstream.calls(), 0);
    let (decisions, _) = harness.rows().await;
    assert!(decisions[0].reason.starts_with("kill_switch_engaged"));
    harness.set_kill_switch(false);
    assert_eq!(harness.call("sample.ok").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn engaging_the_switch_aborts_calls_under_way() {
    let harness = Harness::start().await;
    let call = async { harness.call("sample.gated").await };
    let engage = async {
        while harness.upstream.calls() == 0 {
            tokio::task::yield_now().await;
        }
        harness.set_kill_switch(true);
    };
    let (got, ()) = tokio::join!(call, engage);
    assert_eq!((got.status, got.error()), (403, "kill_switch_engaged"), "{}", got.body);
    let (decisions, _) = harness.rows().await;
    assert_eq!((decisions.len(), decisions[0].outcome), (1, Outcome::Unknown));
}
