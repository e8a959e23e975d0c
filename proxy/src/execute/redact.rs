//! Stage 9 over a whole answer.

use std::collections::BTreeMap;

use aegis_pipeline::stages::output_filter::Redactor;

/// Bytes looked at before other calls get a turn.
const TURN_BYTES: usize = 256 * 1_024;

/// The answer without what must not be told, and what was taken out, by kind.
pub(super) async fn whole(mut redactor: Redactor, answer: &[u8]) -> (Vec<u8>, BTreeMap<String, u64>) {
    let mut out = Vec::with_capacity(answer.len());
    for chunk in answer.chunks(TURN_BYTES) {
        redactor.push(chunk, &mut out);
        if chunk.len() == TURN_BYTES {
            tokio::task::yield_now().await;
        }
    }
    redactor.finish(&mut out);
    (out, counts(&redactor))
}

/// What was taken out so far.
pub(super) fn counts(redactor: &Redactor) -> BTreeMap<String, u64> {
    redactor.counts().iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect()
}
