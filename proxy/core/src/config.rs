//! Configuration: one TOML file, overridden by environment variables, strict about what it knows.
//!
//! `PREFIX__SECTION__KEY=value` overrides `section.key`; the value is read as TOML, else as text.

use serde::de::DeserializeOwned;

/// What is wrong with the configuration, for the operator.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not TOML.
    #[error("the configuration is not valid TOML: {0}")]
    Syntax(String),
    /// A key nobody reads.
    #[error("unknown key `{key}`{}", suggestion.as_ref().map(|s| format!(", did you mean `{s}`?")).unwrap_or_default())]
    UnknownKey {
        /// The full key.
        key: String,
        /// The known key nearest to it.
        suggestion: Option<String>,
    },
    /// A value that does not fit its key.
    #[error("`{key}`: {problem}")]
    Value {
        /// The full key.
        key: String,
        /// What is wrong.
        problem: String,
    },
}

/// Reads a configuration from a file's text and the environment.
///
/// `T` should derive `Deserialize` with `deny_unknown_fields` and `default` on every table.
pub fn load<T: DeserializeOwned>(
    text: &str,
    prefix: &str,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<T, ConfigError> {
    let mut table: toml::Table = text.parse().map_err(|e: toml::de::Error| ConfigError::Syntax(e.to_string()))?;
    let marker = format!("{prefix}__");
    for (name, value) in environment {
        if let Some(path) = name.strip_prefix(&marker) {
            let path: Vec<String> = path.split("__").map(str::to_ascii_lowercase).collect();
            set(&mut table, &path, parse_value(&value))?;
        }
    }
    serde_path_to_error::deserialize(toml::Value::Table(table))
        .map_err(|e| explain(&e.path().to_string(), &e.inner().to_string()))
}

fn parse_value(text: &str) -> toml::Value {
    let as_document = format!("v = {text}");
    as_document
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut table| table.remove("v"))
        .unwrap_or_else(|| toml::Value::String(text.to_owned()))
}

fn set(table: &mut toml::Table, path: &[String], value: toml::Value) -> Result<(), ConfigError> {
    match path {
        [] => Ok(()),
        [key] => {
            // A text stays a text where the file already holds one: `"8000"` is not a number there.
            let value = match (table.get(key), value) {
                (Some(toml::Value::String(_)), v) if !v.is_str() => toml::Value::String(v.to_string()),
                (_, v) => v,
            };
            table.insert(key.clone(), value);
            Ok(())
        }
        [key, rest @ ..] => match table.entry(key.clone()).or_insert_with(|| toml::Value::Table(toml::Table::new())) {
            toml::Value::Table(inner) => set(inner, rest, value),
            _ => Err(ConfigError::Value { key: path.join("."), problem: "is not a table".into() }),
        },
    }
}

fn explain(path: &str, message: &str) -> ConfigError {
    let mut quoted = message.split('`').skip(1).step_by(2);
    if message.starts_with("unknown field") {
        let unknown = quoted.next().unwrap_or_default();
        let nearest = quoted.map(|known| (strsim::damerau_levenshtein(unknown, known), known)).min();
        let suggestion =
            nearest.filter(|(distance, _)| *distance <= 3).map(|(_, known)| join_key(path, unknown, known));
        let key = if path.ends_with(unknown) { path.to_owned() } else { format!("{path}.{unknown}") };
        return ConfigError::UnknownKey { key: key.trim_start_matches(['.']).to_owned(), suggestion };
    }
    ConfigError::Value { key: path.to_owned(), problem: message.lines().next().unwrap_or_default().to_owned() }
}

fn join_key(path: &str, unknown: &str, known: &str) -> String {
    let parent = path.strip_suffix(unknown).unwrap_or(path).trim_end_matches('.');
    if parent.is_empty() || parent == "." { known.to_owned() } else { format!("{parent}.{known}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, Default, PartialEq)]
    #[serde(deny_unknown_fields, default)]
    struct Root {
        listen: Listen,
        workers: u32,
    }

    #[derive(Debug, Deserialize, Default, PartialEq)]
    #[serde(deny_unknown_fields, default)]
    struct Listen {
        address: String,
        port: u16,
    }

    fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let environment =
            env(&[("AEGIS_X__LISTEN__PORT", "9"), ("AEGIS_X__LISTEN__ADDRESS", "::1"), ("OTHER__WORKERS", "5")]);
        let root: Root = load("workers = 2\n[listen]\nport = 1", "AEGIS_X", environment).unwrap();
        assert_eq!(root, Root { listen: Listen { address: "::1".into(), port: 9 }, workers: 2 });
    }

    #[test]
    fn unknown_keys_are_errors_with_a_suggestion() {
        let error = load::<Root>("[listen]\nprot = 1", "AEGIS_X", env(&[])).unwrap_err();
        assert_eq!(error.to_string(), "unknown key `listen.prot`, did you mean `listen.port`?");
        let error = load::<Root>("", "AEGIS_X", env(&[("AEGIS_X__WORKER", "5")])).unwrap_err();
        assert_eq!(error.to_string(), "unknown key `worker`, did you mean `workers`?");
    }

    #[test]
    fn wrong_values_name_their_key() {
        let error = load::<Root>("[listen]\nport = 70000", "AEGIS_X", env(&[])).unwrap_err();
        assert!(error.to_string().starts_with("`listen.port`"), "{error}");
    }
}
