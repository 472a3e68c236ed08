//! The configuration: one validated struct.
//!
//! Every key stands once in [`KEYS`], with its explanation, how its text is read and how its value is
//! written. A file gives keys as flat TOML, the environment as `LIGHTBOX_` and the key in capitals; a
//! flag beats the environment, the environment beats the file. All mistakes are reported at once.

use std::fmt;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use core_render::{Limits, Overlays};
use url::Url;

use crate::cors::Origins;
use crate::units;

/// Everything that can be configured, typed and in range.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// Where clients are served.
    pub listen: SocketAddr,
    /// Where health is served.
    pub admin_listen: SocketAddr,
    /// The path below which DICOMweb is served.
    pub base_path: BasePath,
    /// The archive's DICOMweb base URL; whoever serves needs one.
    pub upstream: Option<Url>,
    /// How long connecting to the archive, and each read from it, may take.
    pub upstream_timeout: Duration,
    /// How many objects are fetched from the archive for pictures at the same time.
    pub upstream_concurrency: NonZeroUsize,
    /// Which web pages may use the answers.
    pub cors_origins: Origins,
    /// How many pictures are drawn at the same time.
    pub render_workers: NonZeroUsize,
    /// How many requests for pictures may be under way beyond those that are being drawn.
    pub queue: usize,
    /// How long a request for a picture may take as a whole.
    pub request_timeout: Duration,
    /// The largest source frame, in pixels.
    pub max_source_pixels: u64,
    /// The largest object or frame fetched for a picture, in bytes.
    pub max_source_bytes: u64,
    /// The largest picture, in pixels.
    pub max_output_pixels: u64,
    /// The longest side of a thumbnail that no viewport sizes, in pixels.
    pub thumbnail_size: NonZeroU32,
    /// Whether modality and series number are drawn in a corner of thumbnails.
    pub thumbnail_label: bool,
    /// Whether overlay planes are drawn on rendered pictures.
    pub overlays: Overlays,
    /// Whether studies and series are rendered as all of their images, too.
    pub collections: bool,
    /// Which image stands for a series.
    pub representative: Representative,
    /// Whether every leniency towards clients is off.
    pub strict: bool,
    /// Filter of the log.
    pub log: LogFilter,
    /// Form of the log.
    pub log_format: LogFormat,
}

impl Default for Config {
    fn default() -> Self {
        let limits = Limits::default();
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 9090)),
            base_path: BasePath::default(),
            upstream: None,
            upstream_timeout: Duration::from_secs(5),
            upstream_concurrency: const { NonZeroUsize::new(8).unwrap() },
            cors_origins: Origins::Any,
            render_workers: cores,
            queue: 256,
            request_timeout: Duration::from_secs(60),
            max_source_pixels: limits.source_pixels,
            max_source_bytes: limits.source_bytes,
            max_output_pixels: limits.output_pixels,
            thumbnail_size: const { NonZeroU32::new(256).unwrap() },
            thumbnail_label: false,
            overlays: Overlays::Draw,
            collections: true,
            representative: Representative::Middle,
            strict: false,
            log: LogFilter::default(),
            log_format: LogFormat::Text,
        }
    }
}

impl Config {
    /// What a rendering may cost.
    pub fn limits(&self) -> Limits {
        Limits {
            source_pixels: self.max_source_pixels,
            source_bytes: self.max_source_bytes,
            output_pixels: self.max_output_pixels,
            ..Limits::default()
        }
    }

    /// Reads the sources in the order of their strength.
    ///
    /// # Errors
    /// Every mistake of every source.
    pub fn load(sources: &Sources<'_>) -> Result<Self, ConfigError> {
        let mut reader = Reader::default();
        if let Some(path) = sources.file {
            reader.file(path);
        }
        reader.environment(sources.environment);
        reader.flags(sources.flags);
        reader.finish()
    }

    /// The same, of the text of one file alone.
    ///
    /// # Errors
    /// Every mistake in the text.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let mut reader = Reader::default();
        reader.toml(text);
        reader.finish()
    }

    /// The configuration as an annotated file that loads again.
    pub fn to_toml(&self) -> String {
        let mut out = String::from("# Lightbox: the configuration in effect.\n");
        for key in KEYS {
            let value = (key.show)(self);
            out.push('\n');
            for line in key.about.lines() {
                out.push_str(&format!("# {line}\n"));
            }
            out.push_str(&match value {
                Some(value) => format!("{} = {value}\n", key.name),
                None => format!("# {} = \"…\"\n", key.name),
            });
        }
        out
    }
}

/// Where a configuration comes from, the weakest first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sources<'a> {
    /// A TOML file.
    pub file: Option<&'a Path>,
    /// The variables of the environment.
    pub environment: &'a [(String, String)],
    /// Keys and values of the command line.
    pub flags: &'a [(&'static str, String)],
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

/// The path below which DICOMweb is served: empty, or `/a/b` without a slash at its end.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BasePath(String);

impl BasePath {
    /// `""` or `/a/b`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BasePath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = text.trim_matches('/');
        if path.is_empty() {
            return Ok(Self::default());
        }
        let segment = |s: &str| {
            !matches!(s, "" | "." | "..")
                && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
        };
        if !path.split('/').all(segment) {
            return Err("must be a path such as /dicom-web, of letters, digits and - . _ ~".into());
        }
        Ok(Self(format!("/{path}")))
    }
}

/// A filter of the log that is known to parse.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogFilter(String);

impl LogFilter {
    /// The directives.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        tracing_subscriber::EnvFilter::try_new(text)
            .map(|_| Self(text.to_owned()))
            .map_err(|_| "must be error, warn, info, debug, trace or filter directives".into())
    }
}

/// Which image stands for a series (R5.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Representative {
    /// The first by Instance Number.
    First,
    /// The middle one, as OHIF shows it.
    Middle,
    /// The one of the highest contrast among a few.
    Richest,
}

/// Form of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// One key: the only place that knows it.
struct Key {
    name: &'static str,
    about: &'static str,
    set: fn(&mut Config, &str) -> Result<(), String>,
    /// Its value as TOML; `None` where it has none.
    show: fn(&Config) -> Option<String>,
}

const KEYS: &[Key] = &[
    Key {
        name: "listen",
        about: "Where clients are served.",
        set: |c, text| put(&mut c.listen, address(text)),
        show: |c| quoted(c.listen),
    },
    Key {
        name: "admin_listen",
        about: "Where /healthz (this process) and /readyz (the archive answers) are served. Keep it private.",
        set: |c, text| put(&mut c.admin_listen, address(text)),
        show: |c| quoted(c.admin_listen),
    },
    Key {
        name: "base_path",
        about: "The path below which DICOMweb is served, such as \"/dicom-web\"; \"\" serves it at the root.",
        set: |c, text| put(&mut c.base_path, text.parse()),
        show: |c| quoted(c.base_path.as_str()),
    },
    Key {
        name: "upstream",
        about: "The archive's DICOMweb base URL, such as \"http://127.0.0.1:8042/dicom-web\". Required to serve.",
        set: |c, text| put(&mut c.upstream, upstream(text).map(Some)),
        show: |c| quoted(c.upstream.as_ref()?),
    },
    Key {
        name: "upstream_timeout",
        about: "How long connecting to the archive, and each read for a picture, may take. What passes through\n\
                waits as long as its client does.",
        set: |c, text| put(&mut c.upstream_timeout, units::duration(text)),
        show: |c| quoted(units::show_duration(c.upstream_timeout)),
    },
    Key {
        name: "upstream_concurrency",
        about: "How many objects are fetched from the archive for pictures at the same time; others wait.",
        set: |c, text| put(&mut c.upstream_concurrency, whole(text)),
        show: |c| Some(c.upstream_concurrency.to_string()),
    },
    Key {
        name: "cors_origins",
        about: "Which web pages may use the answers: [\"*\"] for all (then without credentials), a list of origins\n\
                such as \"https://viewer.example\" (then with credentials), or [] for none.",
        set: |c, text| put(&mut c.cors_origins, text.parse()),
        show: |c| Some(format!("{:?}", c.cors_origins.as_list())),
    },
    Key {
        name: "render_workers",
        about: "How many pictures are drawn at the same time. Default: the number of processor cores.",
        set: |c, text| put(&mut c.render_workers, whole(text)),
        show: |c| Some(c.render_workers.to_string()),
    },
    Key {
        name: "queue",
        about: "How many requests for pictures may wait beyond those being drawn; above it they get 503 and Retry-After.",
        set: |c, text| put(&mut c.queue, whole(text)),
        show: |c| Some(c.queue.to_string()),
    },
    Key {
        name: "request_timeout",
        about: "How long a request for a picture may take as a whole; above it 504.",
        set: |c, text| put(&mut c.request_timeout, units::duration(text)),
        show: |c| quoted(units::show_duration(c.request_timeout)),
    },
    Key {
        name: "max_source_pixels",
        about: "The largest frame that is decoded, in pixels (kP, MP, GP); above it 413.",
        set: |c, text| put(&mut c.max_source_pixels, units::pixels(text)),
        show: |c| quoted(units::show_pixels(c.max_source_pixels)),
    },
    Key {
        name: "max_source_bytes",
        about: "The largest object or frame that is fetched for a picture; above it 413.",
        set: |c, text| put(&mut c.max_source_bytes, units::bytes(text)),
        show: |c| quoted(units::show_bytes(c.max_source_bytes)),
    },
    Key {
        name: "max_output_pixels",
        about: "The largest picture that is drawn, in pixels (kP, MP, GP).",
        set: |c, text| put(&mut c.max_output_pixels, units::pixels(text)),
        show: |c| quoted(units::show_pixels(c.max_output_pixels)),
    },
    Key {
        name: "thumbnail_size",
        about: "The longest side of a thumbnail in pixels, where the request names no viewport; never enlarged.",
        set: |c, text| put(&mut c.thumbnail_size, whole(text)),
        show: |c| Some(c.thumbnail_size.to_string()),
    },
    Key {
        name: "thumbnail_label",
        about: "Whether modality and series number, and nothing else, are drawn in a corner of thumbnails.",
        set: |c, text| put(&mut c.thumbnail_label, boolean(text)),
        show: |c| Some(c.thumbnail_label.to_string()),
    },
    Key {
        name: "overlays",
        about: "Whether overlay planes (60xx) are drawn on rendered pictures; on thumbnails they never are.",
        set: |c, text| put(&mut c.overlays, overlays(text)),
        show: |c| Some((c.overlays == Overlays::Draw).to_string()),
    },
    Key {
        name: "collections",
        about: "Whether /rendered of a study or series can be all of its images, as multipart/related. Without it\n\
                there is only the one that stands for them.",
        set: |c, text| put(&mut c.collections, boolean(text)),
        show: |c| Some(c.collections.to_string()),
    },
    Key {
        name: "representative",
        about: "Which image stands for a series: \"middle\" as OHIF shows it, \"first\", or \"richest\", the one of\n\
                the highest contrast among a few, which costs as many fetches.",
        set: |c, text| put(&mut c.representative, representative(text)),
        show: |c| {
            quoted(match c.representative {
                Representative::First => "first",
                Representative::Middle => "middle",
                Representative::Richest => "richest",
            })
        },
    },
    Key {
        name: "strict",
        about: "Whether PS3.18 is taken by the letter: 406 without an Accept header, no window names, and no\n\
                window, quality and iccprofile for thumbnails.",
        set: |c, text| put(&mut c.strict, boolean(text)),
        show: |c| Some(c.strict.to_string()),
    },
    Key {
        name: "log",
        about: "What is logged: error, warn, info, debug, trace, or directives such as \"info,hyper=debug\".\n\
                UIDs and paths are never logged at info or above.",
        set: |c, text| put(&mut c.log, text.parse()),
        show: |c| quoted(c.log.as_str()),
    },
    Key {
        name: "log_format",
        about: "\"text\" for people, \"json\" for machines.",
        set: |c, text| put(&mut c.log_format, log_format(text)),
        show: |c| {
            quoted(match c.log_format {
                LogFormat::Text => "text",
                LogFormat::Json => "json",
            })
        },
    },
];

fn put<T>(slot: &mut T, value: Result<T, String>) -> Result<(), String> {
    *slot = value?;
    Ok(())
}

/// Sets keys one by one and gathers what is wrong with them.
#[derive(Default)]
struct Reader {
    config: Config,
    mistakes: Vec<String>,
}

impl Reader {
    fn file(&mut self, path: &Path) {
        match std::fs::read_to_string(path) {
            Ok(text) => self.toml(&text),
            Err(error) => self.mistakes.push(format!("{}: {error}", path.display())),
        }
    }

    fn toml(&mut self, text: &str) {
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
        match as_text(value) {
            Some(text) => self.set(key, key, &text),
            None => self.mistakes.push(format!("{key}: must be a plain value or a list of texts")),
        }
    }

    fn environment(&mut self, variables: &[(String, String)]) {
        for (variable, value) in variables {
            let Some(key) = variable.strip_prefix("LIGHTBOX_").map(str::to_ascii_lowercase) else {
                continue;
            };
            // Orchestrators put variables of their own beside ours (a service named `lightbox` gives
            // LIGHTBOX_PORT), so only what looks like a misspelt key is a mistake here.
            if find(&key).is_some() || nearest(&key).is_some() {
                self.set(&key, variable, value);
            }
        }
    }

    fn flags(&mut self, flags: &[(&'static str, String)]) {
        for (key, value) in flags {
            self.set(key, &format!("--{}", key.replace('_', "-")), value);
        }
    }

    fn set(&mut self, key: &str, shown: &str, text: &str) {
        let outcome = match find(key) {
            Some(known) => (known.set)(&mut self.config, text.trim()),
            None => Err(match nearest(key) {
                Some(near) => format!("there is no such key; did you mean {near}?"),
                None => "there is no such key".to_owned(),
            }),
        };
        if let Err(problem) = outcome {
            self.mistakes.push(format!("{shown}: {problem}"));
        }
    }

    fn finish(self) -> Result<Config, ConfigError> {
        if self.mistakes.is_empty() { Ok(self.config) } else { Err(ConfigError(self.mistakes)) }
    }
}

fn find(key: &str) -> Option<&'static Key> {
    KEYS.iter().find(|k| k.name == key)
}

/// The known key that looks most like this one, if one does.
fn nearest(key: &str) -> Option<&'static str> {
    KEYS.iter()
        .map(|k| (edit_distance(key, k.name), k.name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 5)
        .min()
        .map(|(_, name)| name)
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
        toml::Value::Array(items) => {
            let texts: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
            texts.map(|texts| texts.join(","))
        }
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

fn quoted(value: impl fmt::Display) -> Option<String> {
    Some(toml::Value::String(value.to_string()).to_string())
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "must be an address and a port, such as 127.0.0.1:8080".to_owned())
}

fn upstream(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|_| "must be a URL such as http://host:8042/dicom-web")?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err("must be a http or https URL".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user name or password".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not hold a query or fragment".into());
    }
    Ok(url)
}

fn whole<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "must be a whole number in range".to_owned())
}

fn overlays(text: &str) -> Result<Overlays, String> {
    Ok(if boolean(text)? { Overlays::Draw } else { Overlays::Omit })
}

fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" | "yes" => Ok(true),
        "false" | "no" => Ok(false),
        _ => Err("must be true or false".into()),
    }
}

fn representative(text: &str) -> Result<Representative, String> {
    match text {
        "first" => Ok(Representative::First),
        "middle" => Ok(Representative::Middle),
        "richest" => Ok(Representative::Richest),
        _ => Err("must be first, middle or richest".into()),
    }
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("must be text or json".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_mistakes_are_reported_at_once_by_key() {
        let Err(ConfigError(mistakes)) = Config::from_toml(
            r#"
            listen = "nowhere"
            upstraem = "http://127.0.0.1:8042"
            upstream = "ftp://host"
            request_timeout = 30
            max_source_bytes = "512"
            thumbnail_size = 0
            zzz = 1
            log = "info"
            overlays = 2
            [upstreams.two]
            upstream = "http://x"
            "#,
        ) else {
            panic!("mistakes are found")
        };
        let of = |key: &str| mistakes.iter().find(|m| m.starts_with(&format!("{key}:")));
        for key in [
            "listen",
            "upstraem",
            "upstream",
            "request_timeout",
            "max_source_bytes",
            "thumbnail_size",
            "zzz",
            "overlays",
            "upstreams",
        ] {
            assert!(of(key).is_some(), "{key} is missing in {mistakes:#?}");
        }
        assert_eq!(mistakes.len(), 9, "{mistakes:#?}");
        assert!(of("upstraem").unwrap().contains("did you mean upstream?"));
        assert!(!of("zzz").unwrap().contains("did you mean"));
    }

    #[test]
    fn what_is_printed_loads_again() {
        for config in [
            Config::default(),
            Config {
                upstream: Some("https://pacs.example/dcm4chee-arc/aets/A/rs".parse().unwrap()),
                base_path: "/dicom-web".parse().unwrap(),
                cors_origins: "https://a.example,https://b.example".parse().unwrap(),
                request_timeout: Duration::from_millis(1500),
                max_source_bytes: 123_456_789,
                max_output_pixels: 12_345,
                overlays: Overlays::Omit,
                log_format: LogFormat::Json,
                queue: 0,
                ..Config::default()
            },
        ] {
            assert_eq!(
                Config::from_toml(&config.to_toml()),
                Ok(config.clone()),
                "{}",
                config.to_toml()
            );
        }
    }

    #[test]
    fn the_example_file_loads_and_holds_every_key() {
        let text = include_str!("../../../deploy/lightbox.toml");
        assert!(Config::from_toml(text).is_ok(), "{:?}", Config::from_toml(text));
        for key in KEYS {
            let here = |line: &str| {
                line.trim_start_matches(['#', ' '])
                    .strip_prefix(key.name)
                    .is_some_and(|rest| rest.starts_with(" ="))
            };
            assert!(text.lines().any(here), "{} is not in the example", key.name);
        }
    }

    #[test]
    fn flags_beat_the_environment_and_that_beats_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lightbox.toml");
        std::fs::write(&file, "queue = 1\nthumbnail_size = 100\nlisten = \"127.0.0.1:1\"").unwrap();
        let environment = [
            ("LIGHTBOX_THUMBNAIL_SIZE".to_owned(), "200".to_owned()),
            ("LIGHTBOX_LISTEN".to_owned(), "127.0.0.1:2".to_owned()),
            ("PATH".to_owned(), "/bin".to_owned()),
        ];
        let flags = [("listen", "127.0.0.1:3".to_owned())];
        let config =
            Config::load(&Sources { file: Some(&file), environment: &environment, flags: &flags })
                .unwrap();
        assert_eq!((config.queue, config.thumbnail_size.get()), (1, 200));
        assert_eq!(config.listen.port(), 3);
    }

    #[test]
    fn misspelt_variables_are_mistakes_and_foreign_ones_are_not() {
        let load = |name: &str| {
            let environment = [(name.to_owned(), "x".to_owned())];
            Config::load(&Sources { environment: &environment, ..Sources::default() })
        };
        assert!(load("LIGHTBOX_UPSTRAEM").unwrap_err().0[0].contains("did you mean upstream?"));
        assert_eq!(load("LIGHTBOX_SERVICE_HOST"), Ok(Config::default()));
    }

    #[test]
    fn base_paths_are_plain() {
        for (text, path) in
            [("", ""), ("/", ""), ("/dicom-web/", "/dicom-web"), ("a/B_c/rs", "/a/B_c/rs")]
        {
            assert_eq!(text.parse::<BasePath>().unwrap().as_str(), path);
        }
        for text in ["/a//b", "/../a", "/a b", "/a?b", "/ä", "/<script>"] {
            assert!(text.parse::<BasePath>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error =
            Config::load(&Sources { file: Some(Path::new("/no/such.toml")), ..Sources::default() });
        assert!(error.unwrap_err().0[0].starts_with("/no/such.toml: "));
    }
}
