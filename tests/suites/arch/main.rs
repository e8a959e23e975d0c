//! The rules of the house that a compiler does not know: who may depend on whom, what stands where, how long a file is.

mod crates;
mod tree;
