//! What a parameter is for: said by the route, else read from its name, the tool's name and its shape.

use std::collections::BTreeMap;

use aegis_core::words;

use super::words::{ends_with_word, words_of};

words! {
    /// What a parameter holds.
    pub enum Role {
        /// An SQL statement: judged by what it does.
        Sql = "sql",
        /// A file or folder name.
        Path = "path",
        /// An address to be reached.
        Url = "url",
        /// A shell command line: judged by what it does.
        Shell = "shell",
        /// Anything else: judged by whether it breaks out of its place.
        Text = "text",
    }
}

/// Longer texts are not taken for a path, URL or statement by their looks.
const SHAPE_BYTES_MAX: usize = 4_096;

const SQL_TOOLS: [&str; 13] = [
    "db",
    "sql",
    "database",
    "postgres",
    "postgresql",
    "mysql",
    "sqlite",
    "mssql",
    "snowflake",
    "bigquery",
    "redshift",
    "clickhouse",
    "warehouse",
];
const SHELL_TOOLS: [&str; 7] = ["shell", "bash", "exec", "terminal", "command", "cmd", "powershell"];
const SQL_KEYS: [&str; 6] = ["sql", "statement", "statements", "stmt", "dml", "ddl"];
const QUERY_KEYS: [&str; 3] = ["query", "queries", "q"];
const SHELL_KEYS: [&str; 9] =
    ["command", "commands", "cmd", "cmdline", "commandline", "shell", "bash", "script", "powershell"];
const PATH_KEYS: [&str; 15] = [
    "path",
    "paths",
    "file",
    "files",
    "filename",
    "filenames",
    "filepath",
    "dir",
    "directory",
    "folder",
    "cwd",
    "src",
    "dst",
    "attachment",
    "attachments",
];
const URL_KEYS: [&str; 12] =
    ["url", "urls", "uri", "uris", "endpoint", "href", "link", "links", "webhook", "callback", "redirect", "proxy"];

/// The role of a parameter called `key` (empty for none) of `tool`, holding `text`.
pub(crate) fn role_of(hints: &BTreeMap<String, Role>, tool: &str, key: &str, text: &str) -> Role {
    hints.get(key).copied().unwrap_or_else(|| inferred(tool, key, text))
}

fn inferred(tool: &str, key: &str, text: &str) -> Role {
    if text.len() < 2 {
        return Role::Text;
    }
    let shape = shape_of(text);
    if ends_with_word(key, &SQL_KEYS) {
        return Role::Sql;
    }
    if ends_with_word(key, &QUERY_KEYS) {
        return if shape == Role::Sql || any_word(tool, &SQL_TOOLS) { Role::Sql } else { shape };
    }
    if ends_with_word(key, &SHELL_KEYS) {
        return if shape == Role::Sql && any_word(tool, &SQL_TOOLS) { Role::Sql } else { Role::Shell };
    }
    if any_word(tool, &SHELL_TOOLS) && matches!(key, "args" | "argv" | "input" | "line" | "code" | "run") {
        return Role::Shell;
    }
    if text.len() <= SHAPE_BYTES_MAX && !text.contains('\n') {
        if ends_with_word(key, &URL_KEYS) {
            return if shape == Role::Path { Role::Path } else { Role::Url };
        }
        if ends_with_word(key, &PATH_KEYS) {
            return if shape == Role::Url { Role::Url } else { Role::Path };
        }
    }
    shape
}

fn any_word(name: &str, set: &[&str]) -> bool {
    words_of(name).any(|word| set.iter().any(|s| word.eq_ignore_ascii_case(s)))
}

/// What a text is by its looks alone.
fn shape_of(text: &str) -> Role {
    let text = text.trim();
    if text.len() > SHAPE_BYTES_MAX {
        return if looks_like_statement(text) { Role::Sql } else { Role::Text };
    }
    let one_word = !text.bytes().any(|b| b.is_ascii_whitespace());
    if one_word && has_scheme(text) {
        Role::Url
    } else if one_word && is_rooted(text) {
        Role::Path
    } else if looks_like_statement(text) {
        Role::Sql
    } else {
        Role::Text
    }
}

fn has_scheme(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| {
        scheme.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
    })
}

fn is_rooted(text: &str) -> bool {
    let drive = matches!(text.as_bytes(), [d, b':', b'\\' | b'/', ..] if d.is_ascii_alphabetic());
    drive || ["/", "~/", "./", "../", "..\\", "\\\\"].iter().any(|start| text.starts_with(start))
}

/// Whether a text begins as SQL statements do: the verb and the word that must follow it.
pub(crate) fn looks_like_statement(text: &str) -> bool {
    let head = text.get(..text.floor_char_boundary(400)).unwrap_or(text);
    let lower = head.to_ascii_lowercase();
    let mut words =
        lower.split(|c: char| c.is_ascii_whitespace() || matches!(c, '(' | ';' | '*')).filter(|w| !w.is_empty());
    let first = words.next().unwrap_or("");
    let second = words.next().unwrap_or("");
    match first {
        "select" => lower.contains('*') || lower.contains(" from ") || lower.contains("\nfrom ") || lower.contains('('),
        "insert" | "merge" => second == "into",
        "delete" => second == "from",
        "update" => lower.contains(" set ") && lower.contains('='),
        "drop" | "create" | "alter" => matches!(
            second,
            "table"
                | "database"
                | "schema"
                | "view"
                | "index"
                | "user"
                | "role"
                | "function"
                | "trigger"
                | "column"
                | "procedure"
                | "or"
                | "temporary"
                | "temp"
                | "unique"
                | "materialized"
                | "extension"
        ),
        "truncate" => second == "table",
        "with" => lower.contains(" as ") && lower.contains("select"),
        "grant" => lower.contains(" to ") && lower.contains(" on "),
        "exec" | "execute" => second.starts_with("xp_") || second.starts_with("sp_") || second.starts_with("master"),
        "pragma" | "attach" => !second.is_empty() && lower.len() < 200,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_shapes_tell_the_role() {
        for (tool, key, text, role) in [
            ("db.query", "query", "anything", Role::Sql),
            ("web.search", "query", "how to select a table from a shop", Role::Text),
            ("web.search", "query", "SELECT * FROM users", Role::Sql),
            ("reports.run", "sql", "x = 1", Role::Sql),
            ("fs.read", "file_path", "notes.txt", Role::Path),
            ("fs.read", "filePath", "notes.txt", Role::Path),
            ("fs.write", "file_content", "hello there", Role::Text),
            ("http.fetch", "url", "example.org/a", Role::Url),
            ("crm.note", "text", "https://example.org/a", Role::Url),
            ("crm.note", "text", "see https://example.org/a", Role::Text),
            ("shell.run", "args", "ls", Role::Shell),
            ("shell.run", "command", "ls", Role::Shell),
            ("crm.note", "text", "/etc/hosts", Role::Path),
            ("crm.note", "text", "drop the table off at noon", Role::Text),
            ("crm.note", "text", "update me when the set is ready", Role::Text),
        ] {
            assert_eq!(role_of(&BTreeMap::new(), tool, key, text), role, "{tool} {key} {text}");
        }
    }

    #[test]
    fn the_route_is_believed_before_names() {
        let hints = BTreeMap::from([("body".to_owned(), Role::Shell)]);
        assert_eq!(role_of(&hints, "mail.send", "body", "hello"), Role::Shell);
    }
}
