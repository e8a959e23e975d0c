//! The short-lived credential of a sidecar.

use aegis_core::id::SourceId;
use aegis_core::sidecar::SidecarCredential;
use aegis_store::source;

use crate::error::ApiError;
use crate::state::App;

/// Issues a credential for all the tenants the source speaks for now.
pub(super) async fn issue(app: &App, source: SourceId) -> Result<SidecarCredential, ApiError> {
    let tenants = source::tenants(&mut *app.store.read_platform().await?, source).await?;
    let issued = app.signer.for_sidecar(source, tenants.clone(), app.clock.now(), &*app.entropy)?;
    Ok(SidecarCredential {
        source,
        credential: issued.text.expose().to_owned(),
        expires_at: issued.expires_at(),
        tenants,
        deployment: app.config.deployment.clone(),
    })
}
