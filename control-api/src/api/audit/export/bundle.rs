//! Writing the archive `aegis-bundle/1` (see `control-api/ledger/FORMATS.md`), piece by piece.

use std::io::{self, Write};
use std::sync::Arc;

use aegis_core::json;
use aegis_ledger::hash::Hash;
use aegis_store::ledger::evidence::Evidence;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use zip::CompressionMethod;
use zip::result::ZipError;
use zip::write::{SimpleFileOptions, StreamWriter, ZipWriter};

/// Entries a segment spans.
pub(super) const SEGMENT: u64 = 65_536;
/// Fast: evidence is mostly hashes and signatures, which do not shrink.
const COMPRESSION_LEVEL: i64 = 3;

/// Collects what the archive has become since it was last asked.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An archive under way.
pub(super) struct Bundle {
    sink: Sink,
    zip: ZipWriter<StreamWriter<Sink>>,
    /// Leaf hashes of the segment under way.
    leaves: Vec<u8>,
    size: u64,
}

impl Bundle {
    /// Begins with the members that are known before the entries.
    pub(super) fn begin(members: &[(&str, Vec<u8>)]) -> Result<Self, ZipError> {
        let sink = Sink::default();
        let zip = ZipWriter::new_stream(sink.clone());
        let mut bundle = Self { sink, zip, leaves: Vec::new(), size: 0 };
        for (name, bytes) in members {
            bundle.member(name, CompressionMethod::Deflated)?;
            bundle.zip.write_all(bytes)?;
        }
        bundle.segment()?;
        Ok(bundle)
    }

    fn member(&mut self, name: &str, method: CompressionMethod) -> Result<(), ZipError> {
        let options = SimpleFileOptions::default().compression_method(method);
        let options = match method {
            CompressionMethod::Deflated => options.compression_level(Some(COMPRESSION_LEVEL)),
            _ => options,
        };
        self.zip.start_file(name, options)
    }

    fn segment(&mut self) -> Result<(), ZipError> {
        self.member(&format!("entries/{:012}.ndjson", self.size / SEGMENT), CompressionMethod::Deflated)
    }

    /// The next leaf, with its entry unless that is withheld.
    pub(super) fn entry(&mut self, leaf: Hash, shown: Option<&Evidence>) -> Result<(), ZipError> {
        if let Some(evidence) = shown {
            self.zip.write_all(&line(evidence))?;
        }
        self.leaves.extend_from_slice(leaf.as_bytes());
        self.size += 1;
        if self.size.is_multiple_of(SEGMENT) {
            self.end_segment()?;
            self.segment()?;
        }
        Ok(())
    }

    fn end_segment(&mut self) -> Result<(), ZipError> {
        let leaves = std::mem::take(&mut self.leaves);
        if leaves.is_empty() {
            return Ok(());
        }
        self.member(&format!("leaves/{:012}.bin", (self.size - 1) / SEGMENT), CompressionMethod::Stored)?;
        Ok(self.zip.write_all(&leaves)?)
    }

    /// What has been written since the last time.
    pub(super) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.sink.0.lock())
    }

    /// Ends the archive; the rest of it.
    pub(super) fn finish(mut self) -> Result<Vec<u8>, ZipError> {
        self.end_segment()?;
        let sink = self.sink.clone();
        self.zip.finish()?;
        Ok(std::mem::take(&mut *sink.0.lock()))
    }
}

/// One line of a segment: canonical, with the entry's bytes exactly as they are stored.
fn line(evidence: &Evidence) -> Vec<u8> {
    let row: Map<String, Value> =
        evidence.row.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let mut line = Vec::with_capacity(evidence.bytes.len() + 1_024);
    line.extend_from_slice(b"{\"entry\":");
    line.extend_from_slice(&evidence.bytes);
    let rest = format!(
        ",\"index\":{},\"received_at\":\"{}\",\"row\":{},\"signature\":{}}}\n",
        evidence.index,
        evidence.received_at,
        json::canonical_object(&row),
        json::canonical(&evidence.signature)
    );
    line.extend_from_slice(rest.as_bytes());
    line
}
