//! Credentials: where a request carries one, and the one function that makes a principal of it.

use std::net::IpAddr;

use aegis_core::principal::Principal;
use aegis_core::secret::Secret;
use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::error::ApiError;
use crate::state::App;

/// The cookie that carries the access token.
pub(crate) const TOKEN_COOKIE: &str = "acp_token";
/// The header that proves that a write by cookie comes from our own page.
pub(crate) const CSRF_HEADER: &str = "x-csrf-token";
/// Bytes a credential may have at most.
const CREDENTIAL_BYTES_MAX: usize = 8 * 1024;

/// A credential as it came with a request.
#[derive(Debug)]
pub(crate) struct Presented {
    text: Secret,
    by_cookie: bool,
}

impl Presented {
    /// Finds the credential: the `Authorization` header, else the cookie, else `token` or `access_token` of the query
    /// where the operation allows it.
    pub(crate) fn find(headers: &HeaderMap, query: Option<&str>) -> Result<Self, ApiError> {
        let mut authorization = headers.get_all(AUTHORIZATION).iter();
        match (authorization.next(), authorization.next()) {
            (Some(value), None) => {
                let value = value.to_str().map_err(|_| ApiError::InvalidToken)?;
                let (scheme, token) = value.split_once(' ').ok_or(ApiError::InvalidToken)?;
                if !scheme.eq_ignore_ascii_case("bearer") {
                    return Err(ApiError::InvalidToken);
                }
                return Self::of(token.trim(), false);
            }
            // Two credentials have two readings.
            (Some(_), Some(_)) => return Err(ApiError::InvalidToken),
            (None, _) => {}
        }
        if let Some(token) = cookie(headers, TOKEN_COOKIE) {
            return Self::of(token, true);
        }
        let from_query = query.and_then(|query| {
            query.split('&').find_map(|pair| pair.strip_prefix("token=").or_else(|| pair.strip_prefix("access_token=")))
        });
        // Tokens are base64url and dots: nothing in them is percent-encoded.
        from_query.map_or(Err(ApiError::InvalidToken), |token| Self::of(token, false))
    }

    fn of(token: &str, by_cookie: bool) -> Result<Self, ApiError> {
        if token.is_empty() || token.len() > CREDENTIAL_BYTES_MAX {
            return Err(ApiError::InvalidToken);
        }
        Ok(Self { text: Secret::new(token), by_cookie })
    }

    /// Refuses a write by cookie without the header that only our own page can send.
    pub(crate) fn check_csrf(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        if !self.by_cookie {
            return Ok(());
        }
        let given = headers.get(CSRF_HEADER).map(|v| v.as_bytes()).unwrap_or_default();
        if bool::from(given.ct_eq(csrf_token(&self.text).as_bytes())) { Ok(()) } else { Err(ApiError::CsrfRequired) }
    }
}

/// The CSRF token that belongs to a session: derived, so nothing is stored and no stranger can make one.
pub(crate) fn csrf_token(token: &Secret) -> String {
    hex::encode(Sha256::digest([b"aegis-csrf/1\n", token.expose().as_bytes()].concat()))
}

/// The value of a cookie.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

/// Makes a principal of a credential, or refuses it with one text for all reasons.
#[expect(clippy::unused_async, reason = "revocations are looked up in the store")]
pub(crate) async fn verify(app: &App, _presented: &Presented, _client: IpAddr) -> Result<Principal, ApiError> {
    app.metrics.credentials_refused.with_label_values(&["unknown"]).inc();
    Err(ApiError::InvalidToken)
}
