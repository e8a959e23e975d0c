//! Analysts' notes on rows: entries of the ledger themselves, so that none is changed afterwards.

use aegis_core::id::AuditId;
use aegis_core::time::Timestamp;
use aegis_ledger::entry::Body as EntryBody;
use aegis_ledger::rows::{Note, NoteType};
use aegis_store::audit::{self, AuditRow};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::caller::Caller;
use crate::envelope::Answer;
use crate::error::{ApiError, Issues};
use crate::extract::{Body, Path, RequestBody};
use crate::state::App;

/// Characters of a note at most.
const NOTE_MAX: usize = 4_096;

/// A note to append.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewNote {
    /// What kind of note; `analysis` by default.
    #[serde(default = "analysis")]
    #[schema(value_type = String, examples("analysis"))]
    note_type: NoteType,
    /// The note.
    #[schema(min_length = 1, max_length = 4096, examples("Looked into it: a planned export."))]
    body: String,
    /// Filled from the credential; may be given only if it names the caller.
    #[expect(dead_code, reason = "documented; taken out of the body before it is read")]
    created_by: Option<String>,
}

const fn analysis() -> NoteType {
    NoteType::Analysis
}

impl RequestBody for NewNote {
    fn validate(&self, issues: &mut Issues) {
        let text = self.body.trim();
        issues.check(!text.is_empty(), "body", "must not be blank");
        issues.check(text.chars().count() <= NOTE_MAX, "body", format!("may have {NOTE_MAX} characters at most"));
    }
}

/// A note.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NoteView {
    /// The id of the note's own row in the ledger.
    id: AuditId,
    /// The row that it is about.
    audit_id: AuditId,
    #[schema(value_type = String, examples("analysis"))]
    note_type: NoteType,
    #[schema(examples("Looked into it: a planned export."))]
    body: String,
    /// Who wrote it.
    #[schema(examples("user:0192f0c1-7c3e-7a51-9d3b-6f1f0a5e4b21"))]
    created_by: String,
    created_at: Timestamp,
}

impl NoteView {
    fn of(row: &AuditRow) -> Result<Option<Self>, ApiError> {
        let EntryBody::Note(note) = row.entry()?.body else { return Ok(None) };
        Ok(Some(Self {
            id: row.audit_id,
            audit_id: note.about,
            note_type: note.note_type,
            body: note.body,
            created_by: note.actor,
            created_at: row.ts,
        }))
    }
}

pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(about): Path<AuditId>,
) -> Result<Answer<Vec<NoteView>>, ApiError> {
    let tenant = caller.tenant_id();
    let mut tx = app.store.read(tenant).await?;
    seen(audit::get(&mut tx, tenant, about).await?, &caller)?;
    let rows = audit::notes(&mut tx, tenant, about).await?;
    let notes: Vec<NoteView> = rows.iter().filter_map(|row| NoteView::of(row).transpose()).collect::<Result<_, _>>()?;
    let total = notes.len() as u64;
    Ok(Answer::ok(notes).paged(total, None))
}

pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    Path(about): Path<AuditId>,
    Body(new): Body<NewNote>,
) -> Result<Answer<NoteView>, ApiError> {
    let tenant = caller.tenant_id();
    let mut tx = app.store.write(tenant).await?;
    seen(audit::get(&mut tx, tenant, about).await?, &caller)?;
    let body = new.body.trim().to_owned();
    let note = Note { actor: caller.label(), about, note_type: new.note_type, body };
    let mut tx = tx.record(EntryBody::Note(note)).await?;
    // The ledger gave it its id and its time.
    let row = tx.recorded(tenant).await?;
    tx.commit().await?;
    NoteView::of(&row)?.map(Answer::created).ok_or(ApiError::NotFound("note"))
}

/// The row that a note is about, if the caller may see it.
fn seen(row: Option<AuditRow>, caller: &Caller) -> Result<(), ApiError> {
    let visible = |row: &AuditRow| caller.only_agent().is_none_or(|own| row.agent_id == Some(own));
    row.filter(visible).map(drop).ok_or(ApiError::NotFound("audit row"))
}
