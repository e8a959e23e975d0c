//! The trust policy that verifiers of evidence start from, made from the key files.

use std::path::Path;

use aegis_core::entropy::Entropy;
use aegis_core::id::TenantId;
use aegis_core::time::Clock;
use aegis_ledger::checkpoint::{FIRST_EPOCH, origin, verifier};
use aegis_store::Keys;
use clap::Args;

/// Files without which there is nothing to trust yet.
const NEEDED: [&str; 2] = ["source.id", "source.key"];

/// Prints the trust policy for `aegis-verify`, from the key files alone.
#[derive(Debug, Args)]
pub(crate) struct Trust {
    /// The tenant whose evidence is to be verified.
    #[arg(long)]
    tenant: TenantId,
}

/// The policy's text: public keys only.
///
/// # Errors
/// If the key files are not there: keys made now would have signed nothing.
pub(crate) fn policy(
    arguments: &Trust,
    deployment: &str,
    keys_dir: &Path,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<String, Box<dyn std::error::Error>> {
    if let Some(missing) = NEEDED.iter().map(|name| keys_dir.join(name)).find(|path| !path.exists()) {
        return Err(
            format!("{} is not there: run this where the control plane keeps its keys", missing.display()).into()
        );
    }
    let keys = Keys::load(keys_dir, clock, entropy)?;
    let tenant = arguments.tenant;
    Ok(format!(
        "aegis-trust/1\n\
         # Public keys of the deployment `{deployment}`, for `aegis-verify --policy`. Hand it over by another way than\n\
         # the evidence. Add `control` lines of further replicas and `witness` lines as needed.\n\
         origin {}\n\
         tenant {tenant}\n\
         log {}\n\
         control {} {}\n",
        origin(deployment, tenant, FIRST_EPOCH),
        verifier(deployment, tenant, FIRST_EPOCH, keys.checkpoint.current().private.public())?,
        keys.source,
        keys.identity.public().to_base64(),
    ))
}
