//! Tag `ops`: liveness, health, public status.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Level;
use crate::envelope::Answer;
use crate::error::ApiError;
use crate::operation::{Operation, get, tagged};
use crate::state::App;
use crate::tag::Tag;

/// The operations of this tag.
pub(crate) fn operations() -> Vec<Operation> {
    tagged(Tag::Ops, vec![get("/health", Level::Public, health, "Liveness")])
}

/// The process is up.
#[derive(Debug, Serialize, ToSchema)]
struct Health {
    /// Always `ok`: a process that is not does not answer.
    #[schema(examples("ok"))]
    status: &'static str,
    /// The binary.
    #[schema(examples("aegis-control-api"))]
    service: &'static str,
    /// Its version.
    #[schema(examples("0.1.0"))]
    version: &'static str,
    /// Seconds since its start.
    uptime_s: u64,
}

#[expect(clippy::unused_async, reason = "handlers are async")]
async fn health(State(app): State<App>) -> Result<Answer<Health>, ApiError> {
    Ok(Answer::ok(Health {
        status: "ok",
        service: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        uptime_s: app.clock.monotonic().since(app.started).as_secs(),
    }))
}
