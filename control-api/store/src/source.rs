//! Sources of ledger entries: enrolled sidecars, and the control plane.

use aegis_core::time::Timestamp;

use crate::conn::Conn;
use crate::error::StoreError;
use crate::ledger::control::{CONTROL_NAME, ControlSource};
use crate::sql::Sql;

/// Makes the control plane itself known as a source.
pub(crate) async fn register_control(db: &mut Conn, control: &ControlSource, now: Timestamp) -> Result<(), StoreError> {
    let sql = Sql::new(
        "INSERT INTO sources (source_id, kind, name, identity_key, identity_key_id, status, version, public_url, \
         enrolled_at, last_seen_at) VALUES ($1, 'control', $2, $3, $4, 'active', $5, '', $6, $6) \
         ON CONFLICT (source_id) DO UPDATE SET version = excluded.version, last_seen_at = excluded.last_seen_at",
    );
    let identity = control.identity();
    let sql = sql.bind(control.source()).bind(CONTROL_NAME).bind(identity.to_base64()).bind(identity.id().0);
    db.execute(sql.bind(control.software()).bind(now)).await.map(drop)
}
