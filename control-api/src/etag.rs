//! Entity tags: a name of an object's state, by which a write says what it means to change (RFC 9110, 13).

use http::header::{self, HeaderMap, HeaderValue};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::error::ApiError;

/// The name of a state: a digest of how it looks in answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ETag(HeaderValue);

impl ETag {
    /// Of a view.
    pub(crate) fn of<T: Serialize>(view: &T) -> Result<Self, ApiError> {
        let text = serde_json::to_vec(view).map_err(|e| ApiError::bug("etag", &e))?;
        let digest = hex::encode(Sha256::digest(text));
        let tag = digest.get(..32).unwrap_or_default();
        HeaderValue::try_from(format!("\"{tag}\"")).map(Self).map_err(|e| ApiError::bug("etag", &e))
    }

    /// The header's value.
    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }

    /// Refuses a write whose `If-Match` names other states than this. Without the header every state is right.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let mut named = headers.get_all(header::IF_MATCH).iter().peekable();
        if named.peek().is_none() {
            return Ok(());
        }
        let own = self.0.as_bytes();
        // A weak tag (`W/"…"`) never matches: it does not promise the same state.
        let matches = named.any(|value| {
            value
                .as_bytes()
                .split(|b| *b == b',')
                .any(|one| matches!(one.trim_ascii(), one if one == b"*" || one == own))
        });
        if matches { Ok(()) } else { Err(ApiError::PreconditionFailed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::IF_MATCH, HeaderValue::from_str(text).unwrap())])
    }

    #[test]
    fn only_the_same_state_matches() {
        let (tag, other) = (ETag::of(&[1, 2]).unwrap(), ETag::of(&[2, 1]).unwrap());
        let text = tag.header().to_str().unwrap().to_owned();
        let other = other.header().to_str().unwrap().to_owned();
        assert!(tag.check(&HeaderMap::new()).is_ok());
        for good in ["*".to_owned(), text.clone(), format!("{other}, {text}")] {
            assert!(tag.check(&named(&good)).is_ok(), "{good}");
        }
        for bad in [other, format!("W/{text}"), String::new(), text.trim_matches('"').to_owned()] {
            assert!(tag.check(&named(&bad)).is_err(), "{bad}");
        }
    }
}
