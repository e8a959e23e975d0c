//! Keys on the command line: a new one in the place of the one that signs checkpoints, and reports of stolen ones.

use aegis_store::{Store, publish};
use clap::Subcommand;
use serde_json::{Value, json};

type Fault = Box<dyn std::error::Error>;

/// What is done to keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Puts a new key in the place of the one that signs checkpoints and daily roots, signed by both and written into
    /// every ledger. Running replicas that share the key folder take it up within a second; the private half of the
    /// old key is destroyed.
    Rotate,
    /// Writes into every ledger that knows a key that somebody else may have it: what it signs from then on does not
    /// count. A checkpoint key is rotated first.
    Compromised {
        /// The key's id: `key_id` of receipts, `fingerprint` of checkpoint keys.
        #[arg(long)]
        key_id: String,
    },
}

/// Runs `keys`; the JSON to print.
pub(crate) async fn run(command: &Keys, store: &Store) -> Result<Value, Fault> {
    match command {
        Keys::Rotate => {
            let keys = store.control().checkpoint_keys();
            let before = keys.refreshed()?.private.public().id();
            let key = keys.rotate(store.now(), store.entropy())?;
            // Dead after this: the key is in use, and whoever publishes next tells each ledger.
            let ledgers = publish::introduce_everywhere(store).await?;
            Ok(json!({ "retired": before, "active": key.private.public().id(), "ledgers": ledgers }))
        }
        Keys::Compromised { key_id } => {
            let ledgers = publish::compromise(store, key_id).await?;
            Ok(json!({ "compromised": key_id, "ledgers": ledgers }))
        }
    }
}
