//! The outbox under faults: nothing acknowledged is lost, nothing is doubled, no number is skipped.
