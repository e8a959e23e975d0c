//! The session's cookies: access token, refresh token, and the CSRF token that pages read.

use aegis_core::secret::Secret;
use axum_extra::extract::cookie::{Cookie, SameSite};
use http::HeaderValue;

use crate::credential::{CSRF_COOKIE, REFRESH_COOKIE, TOKEN_COOKIE, csrf_token};
use crate::error::ApiError;

/// Cookies that carry a session. `secure` is false in dev mode only.
pub(crate) fn session(
    access: &Secret,
    access_ttl_s: i64,
    refresh: &Secret,
    refresh_ttl_s: i64,
    secure: bool,
) -> Result<Vec<HeaderValue>, ApiError> {
    let csrf = csrf_token(access);
    Ok(vec![
        header(TOKEN_COOKIE, access.expose(), access_ttl_s, true, secure)?,
        header(REFRESH_COOKIE, refresh.expose(), refresh_ttl_s, true, secure)?,
        header(CSRF_COOKIE, &csrf, refresh_ttl_s, false, secure)?,
    ])
}

/// Cookies that end a session.
pub(crate) fn cleared(secure: bool) -> Result<Vec<HeaderValue>, ApiError> {
    [(TOKEN_COOKIE, true), (REFRESH_COOKIE, true), (CSRF_COOKIE, false)]
        .into_iter()
        .map(|(name, http_only)| header(name, "", 0, http_only, secure))
        .collect()
}

fn header(name: &'static str, value: &str, ttl_s: i64, http_only: bool, secure: bool) -> Result<HeaderValue, ApiError> {
    let cookie = Cookie::build((name, value)).path("/").same_site(SameSite::Strict).http_only(http_only).secure(secure);
    let text = format!("{}; Max-Age={ttl_s}", cookie.build());
    HeaderValue::from_str(&text).map_err(|e| ApiError::bug("cookie", &e))
}
