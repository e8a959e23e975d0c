//! End to end: real binaries, real sockets, on SQLite and on PostgreSQL.

mod bad_input;
mod configuration;
mod cut_off;
mod evidence;
mod first_call;
mod foreign;
mod governance;
mod push;
mod transport;
mod upstreams;

/// Makes each test run on SQLite and on PostgreSQL.
#[macro_export]
macro_rules! both {
    ($(async fn $name:ident($deployment:ident) $body:block)+) => {$(
        mod $name {
            use super::*;

            async fn run($deployment: aegis_tests::deployment::Deployment) $body

            #[tokio::test]
            async fn sqlite() {
                run(aegis_tests::deployment::Deployment::start(aegis_tests::deployment::Database::Sqlite).await).await;
            }

            #[tokio::test]
            async fn postgres() {
                run(aegis_tests::deployment::Deployment::start(aegis_tests::deployment::Database::Postgres).await).await;
            }
        }
    )+};
}
