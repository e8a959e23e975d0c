//! Lines of a member, one after the other, in bounded memory.

use std::io::{BufRead as _, BufReader, Read};

/// Bytes a line may have at most: an entry, its signature and its columns.
pub const LINE_BYTES_MAX: usize = 256 * 1024;

/// Why there is no next line.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The member cannot be read, or its compression is damaged.
    #[error("line {0}: {1}")]
    Io(u64, std::io::Error),
    /// The line is longer than allowed, does not end, or is not UTF-8.
    #[error("line {0}: {1}")]
    Form(u64, &'static str),
}

/// The lines of a stream.
pub struct Lines<R> {
    inner: BufReader<R>,
    buffer: Vec<u8>,
    number: u64,
    bytes_max: usize,
}

impl<R: Read> Lines<R> {
    /// From its beginning.
    pub fn new(inner: R, bytes_max: usize) -> Self {
        Self { inner: BufReader::with_capacity(64 * 1024, inner), buffer: Vec::new(), number: 0, bytes_max }
    }

    /// The number of the line read last, from 1.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Reads the next line, without its newline, into the caller's buffer; false at the end.
    pub fn next_into(&mut self, line: &mut String) -> Result<bool, LineError> {
        line.clear();
        self.buffer.clear();
        self.number += 1;
        let limit = self.bytes_max as u64 + 1;
        let read = self.inner.by_ref().take(limit).read_until(b'\n', &mut self.buffer);
        let count = read.map_err(|e| LineError::Io(self.number, e))?;
        if count == 0 {
            return Ok(false);
        }
        if self.buffer.pop() != Some(b'\n') {
            return Err(LineError::Form(self.number, "it is too long or has no end"));
        }
        let text = std::str::from_utf8(&self.buffer).map_err(|_| LineError::Form(self.number, "not UTF-8"))?;
        line.push_str(text);
        Ok(true)
    }
}
