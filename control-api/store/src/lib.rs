//! The only SQL of Aegis: one file per noun, SQLite and PostgreSQL with the same statements.
//!
//! Reads: `store.read(tenant)` gives a [`ReadTx`]; functions take `&mut Conn` and the tenant.
//! Management writes: `store.write(tenant)` gives a [`WriteTx`], which cannot be committed; [`WriteTx::record`]
//! appends the ledger entry and turns it into a [`RecordedTx`], which can. Upkeep of state that is no management
//! write (sessions, counters, leases) goes through `store.upkeep()`.

pub mod agent;
pub mod agent_activity;
pub mod api_key;
pub mod audit;
pub mod boot_key;
pub mod checkpoint_key;
pub mod credential;
pub mod error;
pub mod facet;
pub mod grant;
pub mod idempotency;
pub mod insight;
pub mod invite;
pub mod item;
pub mod join_token;
pub mod keys;
pub mod kill_switch;
pub mod lease;
pub mod ledger;
pub mod notice;
pub mod policy;
pub mod propagation;
pub mod publish;
pub mod refresh;
pub mod registry;
pub mod revocation;
pub mod source;
pub mod tally;
pub mod tenant;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod token_key;
pub mod totp;
pub mod usage;
pub mod user;
pub mod weights;

mod conn;
mod dialect;
mod row_security;
mod sealing;
mod sql;
mod store;
mod tx;

pub use conn::Conn;
pub use error::StoreError;
pub use keys::Keys;
pub use store::Store;
pub use tx::{ReadTx, RecordedTx, UpkeepTx, WriteTx};
