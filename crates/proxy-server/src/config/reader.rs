//! Sources → configuration, gathering every mistake.

use std::path::Path;

use super::keys::{KEYS, Key, UPSTREAM_KEYS};
use super::{BasePath, Config, ConfigError, UpstreamConfig};

/// Sets keys one by one and gathers what is wrong with them.
#[derive(Default)]
pub(super) struct Reader {
    config: Config,
    mistakes: Vec<String>,
}

impl Reader {
    pub(super) fn file(&mut self, path: &Path) {
        match std::fs::read_to_string(path) {
            Ok(text) => self.toml(&text),
            Err(error) => self.mistakes.push(format!("{}: {error}", path.display())),
        }
    }

    pub(super) fn toml(&mut self, text: &str) {
        match text.parse::<toml::Table>() {
            Ok(table) => {
                for (key, value) in &table {
                    self.value(key, value);
                }
            }
            Err(error) => self.mistakes.push(format!("not TOML: {}", error.to_string().trim_end())),
        }
    }

    fn value(&mut self, key: &str, value: &toml::Value) {
        if let ("upstreams", toml::Value::Table(archives)) = (key, value) {
            archives.iter().for_each(|(name, keys)| self.archive(name, keys));
            return;
        }
        match as_text(value) {
            Some(text) => self.set(key, key, &text),
            None => self.mistakes.push(format!("{key}: must be a plain value or a list of texts")),
        }
    }

    /// `[upstreams.NAME]`: nothing of the flat keys is inherited, since credentials are for one archive.
    fn archive(&mut self, name: &str, keys: &toml::Value) {
        let shown = format!("upstreams.{name}");
        let toml::Value::Table(keys) = keys else {
            self.mistakes.push(format!("{shown}: must be a table of keys"));
            return;
        };
        let mut archive = UpstreamConfig { name: name.to_owned(), ..UpstreamConfig::default() };
        match format!("/{name}").parse::<BasePath>() {
            Ok(base_path) => archive.base_path = base_path,
            Err(_) => self.mistakes.push(format!("{shown}: a name is letters, digits and - . _ ~")),
        }
        for (key, value) in keys {
            let outcome = match (as_text(value), find(UPSTREAM_KEYS, key)) {
                (Some(text), Some(known)) => (known.set)(&mut archive, text.trim()),
                (None, Some(_)) => Err("must be a plain value or a list of texts".to_owned()),
                (_, None) => Err(no_such_key(nearest(UPSTREAM_KEYS, key))),
            };
            if let Err(problem) = outcome {
                self.mistakes.push(format!("{shown}.{key}: {problem}"));
            }
        }
        if archive.url.is_none() {
            self.mistakes.push(format!("{shown}.upstream: name the archive's DICOMweb base URL"));
        }
        self.config.upstreams.push(archive);
    }

    pub(super) fn environment(&mut self, variables: &[(String, String)]) {
        for (variable, value) in variables {
            let Some(key) = variable.strip_prefix("LIGHTBOX_").map(str::to_ascii_lowercase) else {
                continue;
            };
            // Orchestrators put variables of their own beside ours (a service named `lightbox` gives
            // LIGHTBOX_PORT), so only what looks like a misspelt key is a mistake here.
            if is_known(&key) || nearest_of_all(&key).is_some() {
                self.set(&key, variable, value);
            }
        }
    }

    pub(super) fn flags(&mut self, flags: &[(&'static str, String)]) {
        for (key, value) in flags {
            self.set(key, &format!("--{}", key.replace('_', "-")), value);
        }
    }

    fn set(&mut self, key: &str, shown: &str, text: &str) {
        let text = text.trim();
        let outcome = match (find(KEYS, key), find(UPSTREAM_KEYS, key)) {
            (Some(known), _) => (known.set)(&mut self.config, text),
            (None, Some(known)) => (known.set)(&mut self.config.upstream, text),
            (None, None) => Err(no_such_key(nearest_of_all(key))),
        };
        if let Err(problem) = outcome {
            self.mistakes.push(format!("{shown}: {problem}"));
        }
    }

    pub(super) fn finish(mut self) -> Result<Config, ConfigError> {
        self.mistakes.extend(self.config.contradictions());
        if self.mistakes.is_empty() { Ok(self.config) } else { Err(ConfigError(self.mistakes)) }
    }
}

fn no_such_key(near: Option<&str>) -> String {
    match near {
        Some(near) => format!("there is no such key; did you mean {near}?"),
        None => "there is no such key".to_owned(),
    }
}

fn find<T>(keys: &'static [Key<T>], name: &str) -> Option<&'static Key<T>> {
    keys.iter().find(|key| key.name == name)
}

fn is_known(name: &str) -> bool {
    find(KEYS, name).is_some() || find(UPSTREAM_KEYS, name).is_some()
}

fn nearest_of_all(name: &str) -> Option<&'static str> {
    nearest(KEYS, name).or_else(|| nearest(UPSTREAM_KEYS, name))
}

/// The known key that looks most like this one, if one does.
fn nearest<T>(keys: &'static [Key<T>], name: &str) -> Option<&'static str> {
    keys.iter()
        .map(|key| (edit_distance(name, key.name), key.name))
        .filter(|(distance, known)| *distance <= 1 + known.len() / 5)
        .min()
        .map(|(_, known)| known)
}

fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

fn as_text(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        // A line each: items may hold commas.
        toml::Value::Array(items) => {
            let texts: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
            texts.map(|texts| texts.join("\n"))
        }
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}
