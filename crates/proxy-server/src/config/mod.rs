//! The configuration: one validated struct.
//!
//! Every key stands once in [`keys`], with its explanation, how its text is read and how its value is
//! written. A file gives keys as flat TOML, the environment as `LIGHTBOX_` and the key in capitals; a
//! flag beats the environment, the environment beats the file. Only `[upstreams.NAME]` nests, in a file: the
//! keys of one further archive each. All mistakes are reported at once.

mod keys;
mod reader;
mod upstream;
mod values;

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use core_render::{BurnedIn, Limits, Overlays};
use url::Url;

use crate::cors::Origins;
use crate::forwarded::TrustedProxies;
use keys::{KEYS, UPSTREAM_KEYS};
use reader::Reader;
pub use upstream::{CredentialsKind, UpstreamConfig};
pub use values::{
    AccessKind, AuditStudies, AuditTarget, BasePath, Headers, HttpCaching, IsolationKind,
    LogFilter, LogFormat, Representative, SecretText, SigningKey,
};

/// Everything that can be configured, typed and in range.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// Where clients are served.
    pub listen: SocketAddr,
    /// Where health is served.
    pub admin_listen: SocketAddr,
    /// What orders on the admin listener have to show; without it they are taken from this machine only.
    pub admin_token: Option<SecretText>,
    /// The certificate that clients are shown, and those that sign it.
    pub tls_cert: Option<PathBuf>,
    /// Its key.
    pub tls_key: Option<PathBuf>,
    /// Whose word on clients counts.
    pub trusted_proxies: TrustedProxies,
    /// How long a client may do nothing where it is its turn.
    pub client_timeout: Duration,
    /// The largest body of a request, in bytes; any for 0.
    pub max_request_bytes: u64,
    /// The URL by which clients reach this server, where that is not the one they name.
    pub public_url: Option<Url>,
    /// Who is let in where the archive does not decide itself.
    pub access: AccessKind,
    /// File of the users of `basic`.
    pub access_users: Option<PathBuf>,
    /// The issuer of the tokens of `oidc`.
    pub oidc_issuer: Option<String>,
    /// Whom they are for.
    pub oidc_audience: Option<String>,
    /// Where the issuer's keys are, if it does not say so itself.
    pub oidc_jwks: Option<Url>,
    /// The claim that names the studies which a token opens; all without it.
    pub oidc_studies_claim: Option<String>,
    /// PEM file of the certificates that sign the issuer's.
    pub oidc_ca: Option<PathBuf>,
    /// How long it holds that somebody may see a study.
    pub proof_ttl: Duration,
    /// The same while the archive cannot be asked.
    pub proof_grace: Duration,
    /// The keys of signed URLs and of cookies; the first signs.
    pub signing_keys: Vec<SigningKey>,
    /// How long a cookie for a study is good.
    pub session_ttl: Duration,
    /// Where it is written down who has seen what.
    pub audit: Option<AuditTarget>,
    /// How studies are named there.
    pub audit_studies: AuditStudies,
    /// What makes the hashes there ones that cannot be told from UIDs.
    pub audit_salt: Option<SecretText>,
    /// The archive of the flat keys.
    pub upstream: UpstreamConfig,
    /// Further archives, each with a name.
    pub upstreams: Vec<UpstreamConfig>,
    /// Whether anybody who reaches this server may see what our own credentials open.
    pub i_know_this_is_public: bool,
    /// Which web pages may use the answers.
    pub cors_origins: Origins,
    /// How many pictures are drawn at the same time.
    pub render_workers: NonZeroUsize,
    /// Bytes that rendering may take.
    pub render_memory: u64,
    /// Where pictures are drawn.
    pub isolation: IsolationKind,
    /// The words of the command that starts a worker process, if it is not this program.
    pub render_worker: Vec<String>,
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
    /// What becomes, on thumbnails, of texts in the pixels of the images.
    pub burned_in: BurnedIn,
    /// Whether overlay planes are drawn on rendered pictures.
    pub overlays: Overlays,
    /// Whether studies and series are rendered as all of their images, too.
    pub collections: bool,
    /// Which image stands for a series.
    pub representative: Representative,
    /// Whether every leniency towards clients is off.
    pub strict: bool,
    /// Where pictures and sources are kept on disk; nowhere without it.
    pub cache_dir: Option<PathBuf>,
    /// Bytes of memory for what was fetched and drawn before; none for 0.
    pub cache_memory: u64,
    /// Bytes of disk for the same; none for 0.
    pub cache_disk: u64,
    /// The Redis or Valkey by which several nodes share pictures.
    pub cache_shared: Option<SecretText>,
    /// PEM file of the certificates that sign that server's.
    pub cache_shared_ca: Option<PathBuf>,
    /// How long an object is taken to be as it was.
    pub cache_ttl: Duration,
    /// The same of what stands for a study or series that has just changed.
    pub index_ttl: Duration,
    /// How long after that it is shown while the archive is asked.
    pub stale_while_revalidate: Duration,
    /// How long after that it is shown while the archive cannot be asked.
    pub stale_if_error: Duration,
    /// Whether caches between this server and its clients may keep pictures.
    pub http_caching: HttpCaching,
    /// Whether thumbnails are made before they are asked for.
    pub warm_up: bool,
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
            admin_token: None,
            tls_cert: None,
            tls_key: None,
            trusted_proxies: TrustedProxies::default(),
            client_timeout: Duration::from_secs(60),
            max_request_bytes: 0,
            public_url: None,
            access: AccessKind::Open,
            access_users: None,
            oidc_issuer: None,
            oidc_audience: None,
            oidc_jwks: None,
            oidc_studies_claim: None,
            oidc_ca: None,
            proof_ttl: Duration::from_secs(60),
            proof_grace: Duration::from_secs(3600),
            signing_keys: Vec::new(),
            session_ttl: Duration::from_secs(900),
            audit: None,
            audit_studies: AuditStudies::Hash,
            audit_salt: None,
            upstream: UpstreamConfig::default(),
            upstreams: Vec::new(),
            i_know_this_is_public: false,
            cors_origins: Origins::Any,
            render_workers: cores,
            render_memory: 2 << 30,
            isolation: IsolationKind::default(),
            render_worker: Vec::new(),
            queue: 256,
            request_timeout: Duration::from_secs(60),
            max_source_pixels: limits.source_pixels,
            max_source_bytes: limits.source_bytes,
            max_output_pixels: limits.output_pixels,
            thumbnail_size: const { NonZeroU32::new(256).unwrap() },
            thumbnail_label: false,
            burned_in: BurnedIn::Pixelate,
            overlays: Overlays::Draw,
            collections: true,
            representative: Representative::Middle,
            strict: false,
            cache_dir: values::platform_cache(|name| std::env::var_os(name)),
            cache_memory: 256 << 20,
            cache_disk: 10 << 30,
            cache_shared: None,
            cache_shared_ca: None,
            cache_ttl: Duration::from_secs(3600),
            index_ttl: Duration::from_secs(10),
            stale_while_revalidate: Duration::from_secs(24 * 3600),
            stale_if_error: Duration::from_secs(30 * 24 * 3600),
            http_caching: HttpCaching::Private,
            warm_up: true,
            log: LogFilter::default(),
            log_format: LogFormat::Text,
        }
    }
}

impl Config {
    /// Every archive that is configured; the one of the flat keys first.
    pub fn archives(&self) -> impl Iterator<Item = &UpstreamConfig> {
        let flat = Some(&self.upstream).filter(|upstream| upstream.url.is_some());
        flat.into_iter().chain(&self.upstreams)
    }

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

    /// The configuration as an annotated file that loads again, but for secrets, which it does not show.
    pub fn to_toml(&self) -> String {
        let mut out = String::from("# Lightbox: the configuration in effect.\n");
        KEYS.iter().for_each(|key| key.print(self, &mut out));
        UPSTREAM_KEYS.iter().for_each(|key| key.print(&self.upstream, &mut out));
        for upstream in &self.upstreams {
            out.push_str(&format!("\n[upstreams.{}]\n", upstream.name));
            UPSTREAM_KEYS.iter().for_each(|key| key.print(upstream, &mut out));
        }
        out
    }

    /// What is wrong with keys together, each of which is right by itself.
    fn contradictions(&self) -> Vec<String> {
        let mut mistakes: Vec<String> =
            self.archives().flat_map(UpstreamConfig::contradictions).collect();
        let mut bases: Vec<&BasePath> = self.archives().map(|archive| &archive.base_path).collect();
        bases.sort_by_key(|base| base.as_str());
        for pair in bases.windows(2).filter(|pair| pair[0] == pair[1]) {
            mistakes.push(format!("base_path: two archives are served at {:?}", pair[0].as_str()));
        }
        let has_own = self.archives().any(UpstreamConfig::is_opened_by_us);
        if has_own
            && self.access == AccessKind::Open
            && !self.listen.ip().is_loopback()
            && !self.i_know_this_is_public
        {
            mistakes.push(
                "listen: whoever reaches this address would see what our own credentials for the archive \
                 open; set access, listen on 127.0.0.1 behind a server that checks who asks, or set \
                 i_know_this_is_public = true"
                    .to_owned(),
            );
        }
        if self.http_caching == HttpCaching::Public && !self.i_know_this_is_public {
            mistakes.push(
                "http_caching: \"public\" lets whatever lies between this server and its clients hand pictures to \
                 anybody; set i_know_this_is_public = true beside it"
                    .to_owned(),
            );
        }
        match (&self.tls_cert, &self.tls_key) {
            (Some(_), None) => mistakes.push("tls_key: needed by tls_cert".to_owned()),
            (None, Some(_)) => mistakes.push("tls_cert: needed by tls_key".to_owned()),
            _ => {}
        }
        mistakes.extend(self.contradictions_of_access());
        mistakes
    }

    fn contradictions_of_access(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let kind = self.access.as_str();
        let mut say = |is_wrong: bool, what: String| {
            if is_wrong {
                mistakes.push(what);
            }
        };
        let is_kept = self.access != AccessKind::Open;
        let decides = |archive: &UpstreamConfig| archive.credentials == CredentialsKind::Caller;
        let all_decide = self.archives().next().is_some() && self.archives().all(decides);
        say(
            is_kept && all_decide,
            format!(
                "access: with upstream_credentials = \"caller\" the archive itself decides who sees what; \
                 {kind:?} needs credentials of our own, or \"none\""
            ),
        );
        say(
            is_kept && self.http_caching == HttpCaching::Public,
            format!("http_caching: \"public\" would hand on what access = {kind:?} keeps"),
        );
        let missing = |key: &str| format!("{key}: needed by access = {kind:?}");
        let (is_basic, is_oidc) =
            (self.access == AccessKind::Basic, self.access == AccessKind::Oidc);
        say(is_basic && self.access_users.is_none(), missing("access_users"));
        say(is_oidc && self.oidc_issuer.is_none(), missing("oidc_issuer"));
        say(is_oidc && self.oidc_audience.is_none(), missing("oidc_audience"));
        let mut ids: Vec<&str> = self.signing_keys.iter().map(|key| key.id.as_str()).collect();
        ids.sort_unstable();
        say(
            ids.windows(2).any(|pair| pair[0] == pair[1]),
            "signing_keys: two keys have the same name".to_owned(),
        );
        mistakes
    }

    /// Whether clients reach this server by TLS, as far as it knows.
    pub(crate) fn is_reached_by_tls(&self) -> bool {
        let public = self.public_url.as_ref();
        self.tls_cert.is_some() || public.is_some_and(|url| url.scheme() == "https")
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
            upstreem = "http://x"
            upstream_rate = "5"
            upstream_credentials = "basic"
            upstream_user = "u"
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
            "upstreams.two.upstreem",
            "upstreams.two.upstream",
            "upstreams.two.upstream_rate",
            "upstreams.two.upstream_password",
        ] {
            assert!(of(key).is_some(), "{key} is missing in {mistakes:#?}");
        }
        assert_eq!(mistakes.len(), 12, "{mistakes:#?}");
        assert!(of("upstraem").unwrap().contains("did you mean upstream?"));
        assert!(!of("zzz").unwrap().contains("did you mean"));
    }

    #[test]
    fn what_is_printed_loads_again() {
        for config in [
            Config::default(),
            Config {
                upstream: UpstreamConfig {
                    url: Some("https://pacs.example/dcm4chee-arc/aets/A/rs".parse().unwrap()),
                    base_path: "/dicom-web".parse().unwrap(),
                    rate: Some("50/s".parse().unwrap()),
                    dialect: Some(wadors_client::Dialect::Dcm4chee),
                    ..UpstreamConfig::default()
                },
                upstreams: vec![UpstreamConfig {
                    name: "cloud".to_owned(),
                    url: Some("https://cloud.example/v1".parse().unwrap()),
                    base_path: "/cloud".parse().unwrap(),
                    credentials: CredentialsKind::OAuth2,
                    token_url: Some("https://id.example/token".parse().unwrap()),
                    client_id: Some("client".to_owned()),
                    client_secret: Some("file:/run/secrets/cloud".parse().unwrap()),
                    rewrite_urls: true,
                    ..UpstreamConfig::default()
                }],
                cors_origins: "https://a.example,https://b.example".parse().unwrap(),
                tls_cert: Some(PathBuf::from("/etc/light box.pem")),
                tls_key: Some(PathBuf::from("/etc/key.pem")),
                trusted_proxies: "10.0.0.0/8,::1".parse().unwrap(),
                client_timeout: Duration::from_secs(90),
                max_request_bytes: 5_000_000_000,
                request_timeout: Duration::from_millis(1500),
                max_source_bytes: 123_456_789,
                max_output_pixels: 12_345,
                overlays: Overlays::Omit,
                log_format: LogFormat::Json,
                queue: 0,
                render_memory: 300_000_001,
                isolation: IsolationKind::Thread,
                render_worker: vec!["/usr/bin/cage".to_owned(), "lightbox".to_owned()],
                cache_dir: Some(PathBuf::from("/var/cache/light box")),
                cache_memory: 0,
                cache_disk: 0,
                index_ttl: Duration::from_millis(1500),
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
        let text = include_str!("../../../../deploy/lightbox.toml");
        assert!(Config::from_toml(text).is_ok(), "{:?}", Config::from_toml(text));
        let names = KEYS.iter().map(|key| key.name).chain(UPSTREAM_KEYS.iter().map(|key| key.name));
        for name in names {
            let here = |line: &str| {
                line.trim_start_matches(['#', ' '])
                    .strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with(" ="))
            };
            assert!(text.lines().any(here), "{name} is not in the example");
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
    fn a_missing_file_is_named() {
        let error =
            Config::load(&Sources { file: Some(Path::new("/no/such.toml")), ..Sources::default() });
        assert!(error.unwrap_err().0[0].starts_with("/no/such.toml: "));
    }

    #[test]
    fn own_credentials_are_not_opened_to_the_network_by_oversight() {
        let text = |listen: &str, more: &str| {
            format!(
                "listen = {listen:?}\nupstream = \"http://h\"\nupstream_credentials = \"bearer\"\n\
                 upstream_token_file = \"/t\"\n{more}"
            )
        };
        assert!(Config::from_toml(&text("127.0.0.1:1", "")).is_ok());
        assert!(Config::from_toml(&text("0.0.0.0:1", "i_know_this_is_public = true")).is_ok());
        let refused = Config::from_toml(&text("0.0.0.0:1", "")).unwrap_err().0;
        assert!(refused[0].starts_with("listen: ") && refused.len() == 1, "{refused:?}");
        let public = |more: &str| Config::from_toml(&format!("http_caching = \"public\"\n{more}"));
        assert!(public("").unwrap_err().0[0].starts_with("http_caching: "));
        assert!(public("i_know_this_is_public = true").is_ok());
        // The key of a gateway is one, too, where the client's credentials do not decide.
        let key = |credentials: &str| {
            format!(
                "listen = \"0.0.0.0:1\"\nupstream = \"http://h\"\nupstream_credentials = {credentials:?}\n\
                 upstream_headers = [\"X-Api-Key: k\"]"
            )
        };
        assert!(Config::from_toml(&key("none")).unwrap_err().0[0].starts_with("listen: "));
        assert!(Config::from_toml(&key("caller")).is_ok());
    }

    #[test]
    fn a_certificate_goes_with_its_key() {
        let mistake = |text: &str| Config::from_toml(text).unwrap_err().0.concat();
        assert!(mistake("tls_cert = \"/c\"").starts_with("tls_key: "));
        assert!(mistake("tls_key = \"/k\"").starts_with("tls_cert: "));
        let both = Config::from_toml("tls_cert = \"/c\"\ntls_key = \"/k\"").unwrap();
        assert!(both.is_reached_by_tls());
    }

    #[test]
    fn archives_by_name_stand_beside_the_flat_one_each_at_a_path_of_its_own() {
        let text = "upstream = \"http://a\"\n[upstreams.b]\nupstream = \"http://b\"\n\
                    [upstreams.c]\nupstream = \"http://c\"\nbase_path = \"/x/y\"\n";
        let config = Config::from_toml(text).unwrap();
        let bases: Vec<&str> = config.archives().map(|a| a.base_path.as_str()).collect();
        assert_eq!(bases, ["", "/b", "/x/y"]);
        let twice = "[upstreams.a]\nupstream = \"http://a\"\nbase_path = \"/b\"\n\
                     [upstreams.b]\nupstream = \"http://b\"\n";
        assert!(Config::from_toml(twice).unwrap_err().0[0].contains("two archives"));
    }

    #[test]
    fn secrets_are_not_printed() {
        let text = "upstream_password = \"hidden\"\nupstream_headers = [\"X-Key: hidden\"]";
        let config = Config::from_toml(text).unwrap();
        assert!(!config.to_toml().contains("hidden") && !format!("{config:?}").contains("hidden"));
    }
}
