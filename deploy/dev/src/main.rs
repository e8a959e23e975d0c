//! `aegis-dev`: everything on one machine.
fn main() {}
