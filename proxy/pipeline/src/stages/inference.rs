//! Stage 3, inference: what does this call try to do? Findings only; it never refuses.

use aegis_core::finding::Finding;

use crate::detect::{DetectInput, Detectors};

/// What the detectors see in the call, the most telling first.
pub fn infer(detectors: &Detectors, input: &DetectInput<'_>) -> Vec<Finding> {
    detectors.scan(input)
}
