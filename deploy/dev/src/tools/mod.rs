//! The sample tools: they really act, on a sandbox folder and an embedded shop database.
//!
//! `POST /tools/<name>` takes the payload as JSON body and answers with JSON. Nothing here decides who may
//! do what: that is Aegis' business. The tools only keep to their sandbox.

pub mod fault;
pub mod files;
pub mod mail;
pub mod pages;
pub mod query;
pub mod shell;
pub mod shop;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use aegis_core::time::Clock;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::Uri;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use fault::{Payload, ToolFault};

/// Bytes of a payload at most.
pub const PAYLOAD_BYTES_MAX: usize = 2 * 1024 * 1024;
/// The tools, as the catalogue lists them.
pub const TOOLS: [&str; 7] = ["db.query", "fs.read", "fs.write", "fs.list", "http.fetch", "mail.send", "shell.run"];

/// Everything the tools act on.
#[derive(Clone)]
pub struct Sandbox {
    shop: shop::Shop,
    files: files::Folder,
    outbound: pages::Fetcher,
    mailbox: mail::Mailbox,
    shell: shell::Shell,
}

impl Sandbox {
    /// Opens the sandbox in `dir`, filling it the first time; `own` is where the server will listen.
    ///
    /// # Errors
    /// If the folder or the database can't be made or opened.
    pub async fn open(dir: &Path, own: SocketAddr, clock: Arc<dyn Clock>) -> Result<Self, ToolFault> {
        let root = dir.join("files");
        std::fs::create_dir_all(&root)?;
        std::fs::create_dir_all(dir.join("mail"))?;
        files::seed(&root)?;
        Ok(Self {
            shop: shop::Shop::open(&dir.join("shop.db"), Arc::clone(&clock)).await?,
            files: files::Folder::open(&root)?,
            outbound: pages::Fetcher::new(own)?,
            mailbox: mail::Mailbox::new(dir.join("mail"), clock),
            shell: shell::Shell::new(root),
        })
    }
}

/// The server's routes.
pub fn router(sandbox: Sandbox) -> Router {
    Router::new()
        .route("/", get(catalogue))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/tools/db.query", post(db_query))
        .route("/tools/fs.read", post(fs_read))
        .route("/tools/fs.write", post(fs_write))
        .route("/tools/fs.list", post(fs_list))
        .route("/tools/http.fetch", post(http_fetch))
        .route("/tools/mail.send", post(mail_send))
        .route("/tools/shell.run", post(shell_run))
        .route("/pages/{name}", get(pages::page))
        .fallback(|uri: Uri| async move { ToolFault::NoSuchPath { path: uri.path().to_owned() } })
        .layer(DefaultBodyLimit::max(PAYLOAD_BYTES_MAX))
        .with_state(sandbox)
}

async fn catalogue() -> Json<Value> {
    Json(json!({ "tools": TOOLS, "call": "POST /tools/<name> with the payload as JSON body" }))
}

async fn db_query(State(sandbox): State<Sandbox>, payload: Payload<query::Query>) -> Result<Json<Value>, ToolFault> {
    sandbox.shop.run(payload.0).await.map(Json)
}

async fn fs_read(State(sandbox): State<Sandbox>, payload: Payload<files::Read>) -> Result<Json<Value>, ToolFault> {
    blocking(move || sandbox.files.read(&payload.0)).await
}

async fn fs_write(State(sandbox): State<Sandbox>, payload: Payload<files::Write>) -> Result<Json<Value>, ToolFault> {
    blocking(move || sandbox.files.write(&payload.0)).await
}

async fn fs_list(State(sandbox): State<Sandbox>, payload: Payload<files::List>) -> Result<Json<Value>, ToolFault> {
    blocking(move || sandbox.files.list(&payload.0)).await
}

async fn http_fetch(State(sandbox): State<Sandbox>, payload: Payload<pages::Fetch>) -> Result<Json<Value>, ToolFault> {
    sandbox.outbound.fetch(&payload.0).await.map(Json)
}

async fn mail_send(State(sandbox): State<Sandbox>, payload: Payload<mail::Message>) -> Result<Json<Value>, ToolFault> {
    blocking(move || sandbox.mailbox.send(&payload.0)).await
}

async fn shell_run(State(sandbox): State<Sandbox>, payload: Payload<shell::Command>) -> Result<Json<Value>, ToolFault> {
    sandbox.shell.run(&payload.0).await.map(Json)
}

async fn blocking(act: impl FnOnce() -> Result<Value, ToolFault> + Send + 'static) -> Result<Json<Value>, ToolFault> {
    tokio::task::spawn_blocking(act).await.map_err(|_| ToolFault::Interrupted)?.map(Json)
}
