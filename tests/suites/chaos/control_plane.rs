//! The control plane is killed while rows arrive.

use aegis_tests::deployment::{Database, Deployment};
use aegis_tests::wait::until;

use crate::load::{Load, TOOLS};
use crate::sidecar::check;

const KILLS: usize = 10;

async fn killed_during_ingest(database: Database) {
    let mut d = Deployment::start(database).await;
    let agent = d.agent("steady", &TOOLS).await;
    let load = Load::start(&[(agent, d.url().to_owned())], 8);
    for _ in 0..KILLS {
        let before = load.count();
        until("calls go on", async || (load.count() >= before + 50).then_some(())).await;
        d.kill_control().await;
        let before = load.count();
        until("calls go on without it", async || (load.count() >= before + 20).then_some(())).await;
        d.start_control().await;
    }
    let answered = load.stop().await;
    check(&d, &answered).await;
}

#[tokio::test]
async fn a_control_plane_killed_during_ingest_loses_and_doubles_nothing_on_sqlite() {
    killed_during_ingest(Database::Sqlite).await;
}

#[tokio::test]
async fn a_control_plane_killed_during_ingest_loses_and_doubles_nothing_on_postgres() {
    killed_during_ingest(Database::Postgres).await;
}
