//! What became of a check: said for each claim, never as one tick.

use aegis_core::words;

words! {
    /// What became of one check.
    pub(super) enum Claim {
        /// It holds.
        Ok = "ok",
        /// It does not hold.
        Failed = "failed",
        /// It was not checked; the errors may say why.
        NotChecked = "not_checked",
    }
}

impl Claim {
    /// The claim that a check's result makes; a failure's reason goes with the others.
    pub(super) fn of<E: std::fmt::Display>(name: &str, result: Result<(), E>, errors: &mut Vec<String>) -> Self {
        match result {
            Ok(()) => Self::Ok,
            Err(why) => {
                errors.push(format!("{name}: {why}"));
                Self::Failed
            }
        }
    }
}
