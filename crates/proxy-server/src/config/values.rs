//! What values of the configuration may be, and how their texts are read.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use core_render::Overlays;
use http::{HeaderMap, HeaderName, HeaderValue};
use url::Url;
use wadors_client::Secret;

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

/// Where pictures are drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IsolationKind {
    /// In processes of their own: Linux.
    Process,
    /// In threads of this process.
    Thread,
}

impl Default for IsolationKind {
    fn default() -> Self {
        if cfg!(target_os = "linux") { Self::Process } else { Self::Thread }
    }
}

pub(super) fn isolation(text: &str) -> Result<IsolationKind, String> {
    match text {
        "process" if cfg!(target_os = "linux") => Ok(IsolationKind::Process),
        "process" => Err("worker processes need Linux; \"thread\" works everywhere".to_owned()),
        "thread" => Ok(IsolationKind::Thread),
        _ => Err("must be \"process\" or \"thread\"".to_owned()),
    }
}

/// The words of a command.
pub(super) fn words(text: &str) -> Result<Vec<String>, String> {
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

/// Bytes that rendering may take; with less, little could be drawn.
pub(super) fn memory(text: &str) -> Result<u64, String> {
    const LEAST: u64 = 64_000_000;
    match crate::units::bytes(text)? {
        bytes if bytes >= LEAST => Ok(bytes),
        _ => Err("must be at least 64MB".to_owned()),
    }
}

/// How long a client is waited for; with less, slow networks would be cut off.
pub(super) fn patience(text: &str) -> Result<Duration, String> {
    match crate::units::duration(text)? {
        time if time >= Duration::from_secs(1) => Ok(time),
        _ => Err("must be at least 1s".to_owned()),
    }
}

/// Whether caches between this server and its clients may keep pictures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HttpCaching {
    /// Only a browser, which asks each time.
    Private,
    /// All of them, for as long as a picture is fresh.
    Public,
}

pub(super) fn http_caching(text: &str) -> Result<HttpCaching, String> {
    match text {
        "private" => Ok(HttpCaching::Private),
        "public" => Ok(HttpCaching::Public),
        _ => Err("must be \"private\" or \"public\"".to_owned()),
    }
}

/// Bytes of a cache, or none.
pub(super) fn room(text: &str) -> Result<u64, String> {
    if text == "off" {
        return Ok(0);
    }
    crate::units::bytes(text).map_err(|problem| format!("{problem}, or off"))
}

pub(super) fn show_room(bytes: u64) -> String {
    if bytes == 0 { "off".to_owned() } else { crate::units::show_bytes(bytes) }
}

/// Where this platform wants caches: what systemd names, else as the XDG Base Directory Specification has
/// it.
pub(super) fn platform_cache(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
    absolute("CACHE_DIRECTORY")
        .or_else(|| absolute("XDG_CACHE_HOME").map(|dir| dir.join("lightbox")))
        .or_else(|| absolute("HOME").map(|dir| dir.join(".cache/lightbox")))
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

/// A password or the like: itself, or as `file:PATH` where it stands. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

impl SecretText {
    /// The secret, without the line break that ends a file.
    ///
    /// # Errors
    /// Why the file cannot be read.
    pub fn read(&self) -> Result<Secret, String> {
        let Some(path) = self.file() else { return Ok(Secret::new(self.0.as_str())) };
        let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
        Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
    }

    /// The file that holds it.
    pub fn file(&self) -> Option<&str> {
        self.0.strip_prefix("file:")
    }
}

impl FromStr for SecretText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" | "file:" => Err("must be the secret itself, or file:PATH".into()),
            text => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

/// Who is let in where the archive does not decide itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccessKind {
    /// Whoever reaches this server.
    Open,
    /// Users with passwords.
    Basic,
    /// Who has a token of an issuer.
    Oidc,
}

impl AccessKind {
    /// Its name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Basic => "basic",
            Self::Oidc => "oidc",
        }
    }
}

pub(super) fn access(text: &str) -> Result<AccessKind, String> {
    [AccessKind::Open, AccessKind::Basic, AccessKind::Oidc]
        .into_iter()
        .find(|kind| kind.as_str() == text)
        .ok_or_else(|| "must be open, basic or oidc".to_owned())
}

/// The issuer of tokens, as these name it: the text is compared, so that it stays as it is.
pub(super) fn issuer(text: &str) -> Result<String, String> {
    let url = service_url(text)?;
    let is_here = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    // Its keys decide who is let in: nobody on the way may give others.
    if url.scheme() == "https" || is_here {
        Ok(text.to_owned())
    } else {
        Err("must be https, but on this machine".to_owned())
    }
}

/// A key of signed URLs and cookies: `NAME:SECRET` or `NAME:file:PATH`. `Debug` shows its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SigningKey {
    /// Its name, which stands in what is signed.
    pub id: String,
    /// At least 32 characters.
    pub secret: SecretText,
}

pub(super) fn signing_keys(text: &str) -> Result<Vec<SigningKey>, String> {
    const EXPECTED: &str =
        "must be a list of NAME:SECRET or NAME:file:PATH, a name of letters, digits, - . _";
    let lines = text.split('\n').map(str::trim).filter(|line| !line.is_empty());
    let keys = lines.map(|line| {
        let (id, secret) = line.split_once(':').ok_or(EXPECTED)?;
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
        if id.is_empty() || !id.bytes().all(is_name) {
            return Err(EXPECTED.to_owned());
        }
        Ok(SigningKey { id: id.to_owned(), secret: secret.parse()? })
    });
    keys.collect()
}

/// The keys that stand in files; `None` where one does not, which is not to be shown.
pub(super) fn show_signing_keys(keys: &[SigningKey]) -> Option<String> {
    let files = keys.iter().map(|key| Some(format!("{}:file:{}", key.id, key.secret.file()?)));
    let files: Vec<String> = files.collect::<Option<_>>()?;
    Some(format!("{files:?}"))
}

/// Where it is written down who has seen what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AuditTarget {
    /// On the standard output.
    Stdout,
    /// At the end of a file.
    File(PathBuf),
}

pub(super) fn audit(text: &str) -> Result<Option<AuditTarget>, String> {
    Ok(match text {
        "" => return Err("must be off, stdout or the path of a file".to_owned()),
        "off" => None,
        "stdout" => Some(AuditTarget::Stdout),
        path => Some(AuditTarget::File(path.into())),
    })
}

pub(super) fn show_audit(target: Option<&AuditTarget>) -> Option<String> {
    match target {
        None => quoted("off"),
        Some(AuditTarget::Stdout) => quoted("stdout"),
        Some(AuditTarget::File(path)) => quoted(path.display()),
    }
}

/// How studies are named in the audit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AuditStudies {
    /// By a salted hash of their UID.
    Hash,
    /// By their UID.
    Plain,
}

pub(super) fn audit_studies(text: &str) -> Result<AuditStudies, String> {
    match text {
        "hash" => Ok(AuditStudies::Hash),
        "plain" => Ok(AuditStudies::Plain),
        _ => Err("must be hash or plain".to_owned()),
    }
}

/// Headers that go with every request. `Debug` shows their names.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(pub HeaderMap);

impl FromStr for Headers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "must be a list of headers, such as [\"X-Api-Key: 123\"]";
        let mut headers = HeaderMap::new();
        for line in text.split('\n').filter(|line| !line.trim().is_empty()) {
            let (name, value) = line.split_once(':').ok_or(EXPECTED)?;
            let name: HeaderName = name.trim().parse().map_err(|_| EXPECTED)?;
            let mut value: HeaderValue = value.trim().parse().map_err(|_| EXPECTED)?;
            // These belong to one request or to a connection, or are configured by keys of their own.
            if matches!(
                name.as_str(),
                "host"
                    | "accept"
                    | "authorization"
                    | "cookie"
                    | "content-length"
                    | "connection"
                    | "transfer-encoding"
                    | "accept-encoding"
                    | "te"
                    | "upgrade"
            ) {
                return Err(format!("{name} cannot be set here"));
            }
            value.set_sensitive(true);
            headers.append(name, value);
        }
        Ok(Self(headers))
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

pub(super) fn quoted(value: impl fmt::Display) -> Option<String> {
    Some(toml::Value::String(value.to_string()).to_string())
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "must be an address and a port, such as 127.0.0.1:8080".to_owned())
}

/// A path to a file.
pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("must be a path".into()) } else { Ok(text.into()) }
}

/// A text of at least one character.
pub(super) fn text(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("must not be empty".into()) } else { Ok(text.to_owned()) }
}

/// The URL of a service: no credentials, query or fragment.
pub(super) fn service_url(text: &str) -> Result<Url, String> {
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

pub(super) fn whole<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "must be a whole number in range".to_owned())
}

pub(super) fn overlays(text: &str) -> Result<Overlays, String> {
    Ok(if boolean(text)? { Overlays::Draw } else { Overlays::Omit })
}

pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" | "yes" => Ok(true),
        "false" | "no" => Ok(false),
        _ => Err("must be true or false".into()),
    }
}

pub(super) fn representative(text: &str) -> Result<Representative, String> {
    match text {
        "first" => Ok(Representative::First),
        "middle" => Ok(Representative::Middle),
        "richest" => Ok(Representative::Richest),
        _ => Err("must be first, middle or richest".into()),
    }
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
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
    fn caches_lie_where_the_platform_wants_them() {
        let of = |pairs: &[(&str, &str)]| {
            let pairs: Vec<(String, OsString)> =
                pairs.iter().map(|(n, v)| ((*n).to_owned(), OsString::from(v))).collect();
            platform_cache(|name| Some(pairs.iter().find(|(n, _)| n == name)?.1.clone()))
        };
        let all =
            [("HOME", "/home/a"), ("XDG_CACHE_HOME", "/x"), ("CACHE_DIRECTORY", "/var/cache/l")];
        assert_eq!(of(&all), Some("/var/cache/l".into()));
        assert_eq!(of(&all[..2]), Some("/x/lightbox".into()));
        assert_eq!(of(&all[..1]), Some("/home/a/.cache/lightbox".into()));
        assert_eq!(of(&[("HOME", "not/absolute")]), None);
    }

    #[test]
    fn a_cache_has_a_size_or_is_off() {
        assert_eq!((room("off"), room("2GiB")), (Ok(0), Ok(2 << 30)));
        assert!(room("0").is_err() && room("none").is_err());
        assert_eq!((show_room(0), show_room(2 << 30)), ("off".to_owned(), "2GiB".to_owned()));
    }

    #[test]
    fn headers_are_lines_and_some_are_not_ours_to_set() {
        let headers: Headers = "X-Api-Key: a:b\nX-Tenant:  c ".parse().unwrap();
        assert_eq!(
            (&headers.0["x-api-key"], &headers.0["x-tenant"]),
            (&"a:b".parse().unwrap(), &"c".parse().unwrap())
        );
        assert!(!format!("{headers:?}").contains("a:b"));
        for text in ["no colon", "Host: x", "authorization: y", "a b: c", "x: \u{7f}"] {
            assert!(text.parse::<Headers>().is_err(), "{text}");
        }
    }

    #[test]
    fn secrets_stand_in_the_configuration_or_in_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "pass word\n").unwrap();
        let secret = |text: String| text.parse::<SecretText>().unwrap().read();
        assert_eq!(secret("pass word".into()), Ok(Secret::new("pass word")));
        assert_eq!(secret(format!("file:{}", file.path().display())), Ok(Secret::new("pass word")));
        assert!(secret("file:/no/such/file".into()).is_err());
        assert!(!format!("{:?}", "hidden".parse::<SecretText>().unwrap()).contains("hidden"));
    }
}
