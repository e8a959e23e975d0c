//! What can go wrong in a sample tool, and how it is said: `{"error": {"code", "message"}}`.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde_json::json;

/// Why a tool did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ToolFault {
    /// No such tool or page.
    #[error("nothing is served at {path}; GET / lists the tools")]
    NoSuchPath {
        /// The path asked for.
        path: String,
    },
    /// The payload is not what the tool takes.
    #[error("{0}")]
    BadPayload(String),
    /// The payload asks for something outside the sandbox.
    #[error("{0}")]
    OutsideSandbox(String),
    /// The thing named does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The work took too long or grew too large.
    #[error("{0}")]
    LimitReached(String),
    /// The database said no.
    #[error("{0}")]
    Sql(String),
    /// The machine said no.
    #[error("input or output failed: {0}")]
    Io(#[from] std::io::Error),
    /// The database file could not be used.
    #[error("the shop database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// The HTTP client failed.
    #[error("the fetch failed: {0}")]
    Fetch(#[from] reqwest::Error),
    /// The work was dropped half-way.
    #[error("the tool was interrupted")]
    Interrupted,
}

impl ToolFault {
    const fn status(&self) -> StatusCode {
        match self {
            Self::NoSuchPath { .. } | Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::BadPayload(_) | Self::Sql(_) => StatusCode::BAD_REQUEST,
            Self::OutsideSandbox(_) => StatusCode::FORBIDDEN,
            Self::LimitReached(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Io(_) | Self::Database(_) | Self::Interrupted => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Fetch(_) => StatusCode::BAD_GATEWAY,
        }
    }

    const fn code(&self) -> &'static str {
        match self {
            Self::NoSuchPath { .. } => "no_such_path",
            Self::BadPayload(_) => "bad_payload",
            Self::OutsideSandbox(_) => "outside_sandbox",
            Self::NotFound(_) => "not_found",
            Self::LimitReached(_) => "limit_reached",
            Self::Sql(_) => "sql_error",
            Self::Io(_) => "io_error",
            Self::Database(_) => "database_error",
            Self::Fetch(_) => "fetch_error",
            Self::Interrupted => "interrupted",
        }
    }
}

impl IntoResponse for ToolFault {
    fn into_response(self) -> Response {
        let body = json!({ "error": { "code": self.code(), "message": self.to_string() } });
        (self.status(), Json(body)).into_response()
    }
}

/// A JSON payload; whatever is wrong with it becomes a [`ToolFault::BadPayload`].
pub struct Payload<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Payload<T> {
    type Rejection = ToolFault;

    async fn from_request(request: Request, state: &S) -> Result<Self, ToolFault> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(payload)) => Ok(Self(payload)),
            Err(rejection) => Err(ToolFault::BadPayload(explain(&rejection))),
        }
    }
}

fn explain(rejection: &JsonRejection) -> String {
    rejection.body_text()
}
