//! Content encodings of answers: undone before anyone looks, under a limit on what comes out.

use std::io;
use std::pin::Pin;

use async_compression::tokio::bufread::{BrotliDecoder, DeflateDecoder, GzipDecoder, ZlibDecoder};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _};
use tokio_util::io::StreamReader;

/// Bytes read from a decoder at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// How an answer is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// gzip (RFC 1952).
    Gzip,
    /// Brotli (RFC 7932).
    Brotli,
    /// zlib (RFC 1950), or raw deflate (RFC 1951), which some servers send under this name.
    Deflate,
}

/// An encoding that is not known, or several of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownEncoding;

/// Why a body could not be read.
#[derive(Debug)]
pub enum BodyError {
    /// It broke off or does not decode.
    Broken(io::Error),
    /// It is longer than allowed, decoded.
    TooLong,
}

impl Encoding {
    /// What the headers say.
    pub fn of(headers: &HeaderMap) -> Result<Self, UnknownEncoding> {
        let mut found = Self::Identity;
        for value in headers.get_all(CONTENT_ENCODING) {
            let text = value.to_str().map_err(|_| UnknownEncoding)?;
            for word in text.split(',').map(|w| w.trim().to_ascii_lowercase()) {
                let next = match word.as_str() {
                    "" | "identity" => continue,
                    "gzip" | "x-gzip" => Self::Gzip,
                    "br" => Self::Brotli,
                    "deflate" => Self::Deflate,
                    _ => return Err(UnknownEncoding),
                };
                if found != Self::Identity {
                    return Err(UnknownEncoding);
                }
                found = next;
            }
        }
        Ok(found)
    }
}

/// A body as it comes, decoded piece by piece.
pub struct Body {
    reader: Pin<Box<dyn AsyncRead + Send>>,
    left: usize,
}

impl Body {
    /// Decodes `stream`; at most `limit` bytes come out.
    pub async fn new<S>(stream: S, encoding: Encoding, limit: usize) -> Result<Self, BodyError>
    where
        S: Stream<Item = reqwest::Result<Bytes>> + Send + Unpin + 'static,
    {
        let mut input = StreamReader::new(stream.map(|chunk| chunk.map_err(io::Error::other)));
        let reader: Pin<Box<dyn AsyncRead + Send>> = match encoding {
            Encoding::Identity => Box::pin(input),
            Encoding::Gzip => Box::pin(GzipDecoder::new(input)),
            Encoding::Brotli => Box::pin(BrotliDecoder::new(input)),
            Encoding::Deflate if begins_like_zlib(&mut input).await? => Box::pin(ZlibDecoder::new(input)),
            Encoding::Deflate => Box::pin(DeflateDecoder::new(input)),
        };
        Ok(Self { reader, left: limit })
    }

    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
        let read = self.reader.read_buf(&mut chunk).await.map_err(BodyError::Broken)?;
        if read == 0 {
            return Ok(None);
        }
        self.left = self.left.checked_sub(read).ok_or(BodyError::TooLong)?;
        Ok(Some(chunk.freeze()))
    }

    /// All of it.
    pub async fn read_all(mut self) -> Result<Bytes, BodyError> {
        let mut all = BytesMut::new();
        while let Some(chunk) = self.next().await? {
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }
}

/// The two-byte header of RFC 1950: method 8, and a multiple of 31.
async fn begins_like_zlib<R: AsyncBufRead + Unpin>(input: &mut R) -> Result<bool, BodyError> {
    // A first piece of one byte is not worth a buffer of our own: it is taken for raw deflate, and if it was
    // not that, it does not decode and is withheld.
    let start = input.fill_buf().await.map_err(BodyError::Broken)?;
    Ok(match start {
        [method, flags, ..] => method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]).is_multiple_of(31),
        [_] | [] => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_compression::tokio::bufread::{BrotliEncoder, DeflateEncoder, GzipEncoder, ZlibEncoder};
    use futures::stream;

    async fn packed(encoder: impl AsyncRead) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = std::pin::pin!(encoder);
        encoder.read_to_end(&mut out).await.unwrap();
        out
    }

    async fn decode(bytes: &[u8], encoding: Encoding, limit: usize) -> Result<Bytes, BodyError> {
        let chunks: Vec<_> = bytes.chunks(7).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
        Body::new(stream::iter(chunks), encoding, limit).await?.read_all().await
    }

    #[tokio::test]
    async fn every_known_encoding_is_undone() {
        let text = b"hello hello hello hello".as_slice();
        let cases = [
            (Encoding::Identity, text.to_vec()),
            (Encoding::Gzip, packed(GzipEncoder::new(text)).await),
            (Encoding::Brotli, packed(BrotliEncoder::new(text)).await),
            (Encoding::Deflate, packed(ZlibEncoder::new(text)).await),
            (Encoding::Deflate, packed(DeflateEncoder::new(text)).await),
        ];
        for (encoding, bytes) in cases {
            assert_eq!(decode(&bytes, encoding, 1_000).await.unwrap(), text, "{encoding:?}");
        }
    }

    #[tokio::test]
    async fn bombs_and_broken_bodies_are_refused() {
        let bomb = packed(GzipEncoder::new(vec![0_u8; 1_000_000].as_slice())).await;
        assert!(bomb.len() < 10_000);
        assert!(matches!(decode(&bomb, Encoding::Gzip, 65_536).await, Err(BodyError::TooLong)));
        let half = bomb.get(..bomb.len() / 2).unwrap();
        assert!(matches!(decode(half, Encoding::Gzip, 10_000_000).await, Err(BodyError::Broken(_))));
        assert!(matches!(decode(b"not packed", Encoding::Gzip, 1_000).await, Err(BodyError::Broken(_))));
    }

    #[test]
    fn unknown_and_stacked_encodings_are_refused() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, http::HeaderValue::from_static(value));
            }
            Encoding::of(&headers)
        };
        assert_eq!(of(&[]), Ok(Encoding::Identity));
        assert_eq!(of(&["GZIP"]), Ok(Encoding::Gzip));
        assert_eq!(of(&["identity, br"]), Ok(Encoding::Brotli));
        for values in [&["zstd"][..], &["gzip, br"], &["gzip", "gzip"], &["x"]] {
            assert_eq!(of(values), Err(UnknownEncoding), "{values:?}");
        }
    }
}
