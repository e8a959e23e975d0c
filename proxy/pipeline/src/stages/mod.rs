//! The stages, one file each. Their order is written in `pipeline`, and only there.

pub mod auth;
pub mod behavior;
pub mod decision;
pub mod enforcement;
pub mod inference;
pub mod kill_switch;
pub mod output_filter;
pub mod policy;
pub mod rate_limit;
