//! Every key: the only place that knows it.

use super::values::{
    access, address, audit, audit_studies, boolean, http_caching, isolation, issuer, log_format,
    memory, overlays, path, patience, quoted, representative, room, service_url, show_audit,
    show_room, show_signing_keys, signing_keys, text, whole, words,
};
use super::{
    AuditStudies, Config, CredentialsKind, HttpCaching, IsolationKind, LogFormat, Representative,
    UpstreamConfig,
};
use crate::units;
use core_render::Overlays;

/// One key of a `T`.
pub(super) struct Key<T> {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) set: fn(&mut T, &str) -> Result<(), String>,
    /// Its value as TOML; `None` where it has none, or one that is not to be shown.
    pub(super) show: fn(&T) -> Option<String>,
}

impl<T> Key<T> {
    /// Writes it with its explanation, its value in effect.
    pub(super) fn print(&self, of: &T, out: &mut String) {
        out.push('\n');
        for line in self.about.lines() {
            out.push_str(&format!("# {line}\n"));
        }
        out.push_str(&match (self.show)(of) {
            Some(value) => format!("{} = {value}\n", self.name),
            None => format!("# {} = \"…\"\n", self.name),
        });
    }
}

/// The keys of the server.
pub(super) const KEYS: &[Key<Config>] = &[
    Key {
        name: "listen",
        about: "Where clients are served.",
        set: |c, text| put(&mut c.listen, address(text)),
        show: |c| quoted(c.listen),
    },
    Key {
        name: "admin_listen",
        about: "Where /healthz (this process), /readyz (the archive answers) and /metrics are served. Keep it private.",
        set: |c, text| put(&mut c.admin_listen, address(text)),
        show: |c| quoted(c.admin_listen),
    },
    Key {
        name: "admin_token",
        about: "What orders on the admin listener (POST, DELETE) have to show as Authorization: Bearer, itself or\n\
                \"file:/path\". Without it they are taken only where the listener is on loopback.",
        set: |c, text| put(&mut c.admin_token, parsed(text).map(Some)),
        show: |c| c.admin_token.as_ref()?.file().and_then(|file| quoted(format!("file:{file}"))),
    },
    Key {
        name: "tls_cert",
        about: "The certificate that clients are shown, followed by those that sign it (PEM): with it listen speaks TLS,\n\
                with tls_key beside it. Both files are taken anew when they change.",
        set: |c, text| put(&mut c.tls_cert, path(text).map(Some)),
        show: |c| quoted(c.tls_cert.as_ref()?.display()),
    },
    Key {
        name: "tls_key",
        about: "Its key (PEM).",
        set: |c, text| put(&mut c.tls_key, path(text).map(Some)),
        show: |c| quoted(c.tls_key.as_ref()?.display()),
    },
    Key {
        name: "trusted_proxies",
        about: "The proxies before this server, as addresses or networks (\"10.0.0.0/8\"): what they say of a client\n\
                (Forwarded, X-Forwarded-For, -Host, -Proto) is believed. From all others it is dropped.",
        set: |c, text| put(&mut c.trusted_proxies, text.parse()),
        show: |c| Some(format!("{:?}", c.trusted_proxies.as_list())),
    },
    Key {
        name: "client_timeout",
        about: "How long a client may send nothing of a request that it has begun, or take nothing of an answer; then it is\n\
                cut off.",
        set: |c, text| put(&mut c.client_timeout, patience(text)),
        show: |c| quoted(units::show_duration(c.client_timeout)),
    },
    Key {
        name: "max_request_bytes",
        about: "The largest body of a request that passes through to the archive, such as STOW-RS; above it 413. Default: \"off\",\n\
                what the archive takes.",
        set: |c, text| put(&mut c.max_request_bytes, room(text)),
        show: |c| quoted(show_room(c.max_request_bytes)),
    },
    Key {
        name: "public_url",
        about: "The URL by which clients reach this server, such as \"https://images.example\", for the URLs in answers\n\
                that rewrite_urls corrects. Default: the host that the client names.",
        set: |c, text| put(&mut c.public_url, service_url(text).map(Some)),
        show: |c| quoted(c.public_url.as_ref()?),
    },
    Key {
        name: "access",
        about: "Who is let in where the archive does not decide itself, which it does for upstream_credentials =\n\
                \"caller\": \"open\" (whoever reaches this server), \"basic\" (access_users) or \"oidc\" (oidc_issuer,\n\
                oidc_audience).",
        set: |c, text| put(&mut c.access, access(text)),
        show: |c| quoted(c.access.as_str()),
    },
    Key {
        name: "access_users",
        about: "The file of users for \"basic\": lines NAME:HASH as `htpasswd -B` writes them. Read again when it changes.",
        set: |c, text| put(&mut c.access_users, path(text).map(Some)),
        show: |c| quoted(c.access_users.as_ref()?.display()),
    },
    Key {
        name: "oidc_issuer",
        about: "The issuer of tokens (JWT) for \"oidc\", as they name it (iss). Its keys are looked up below it\n\
                (/.well-known/openid-configuration).",
        set: |c, text| put(&mut c.oidc_issuer, issuer(text).map(Some)),
        show: |c| quoted(c.oidc_issuer.as_ref()?),
    },
    Key {
        name: "oidc_audience",
        about: "Whom the tokens are for (aud).",
        set: |c, value| put(&mut c.oidc_audience, text(value).map(Some)),
        show: |c| quoted(c.oidc_audience.as_ref()?),
    },
    Key {
        name: "oidc_jwks",
        about: "Where the issuer's keys are, if it does not publish where.",
        set: |c, text| {
            put(&mut c.oidc_jwks, issuer(text).and_then(|url| service_url(&url)).map(Some))
        },
        show: |c| quoted(c.oidc_jwks.as_ref()?),
    },
    Key {
        name: "oidc_studies_claim",
        about: "The claim of a token that names the studies which it opens: Study Instance UIDs as a list or with spaces\n\
                between, or \"*\"; none without the claim. Default: every token opens all studies.",
        set: |c, value| put(&mut c.oidc_studies_claim, text(value).map(Some)),
        show: |c| quoted(c.oidc_studies_claim.as_ref()?),
    },
    Key {
        name: "oidc_ca",
        about: "PEM file of the certificates that sign the issuer's, trusted instead of the system's.",
        set: |c, text| put(&mut c.oidc_ca, path(text).map(Some)),
        show: |c| quoted(c.oidc_ca.as_ref()?.display()),
    },
    Key {
        name: "proof_ttl",
        about: "How long it holds that somebody may see a study, before the archive (upstream_credentials = \"caller\"), the\n\
                file of users or the issuer's keys are asked again.",
        set: |c, text| put(&mut c.proof_ttl, units::duration(text)),
        show: |c| quoted(units::show_duration(c.proof_ttl)),
    },
    Key {
        name: "proof_grace",
        about: "How long the archive's last word on that stands while it cannot be asked.",
        set: |c, text| put(&mut c.proof_grace, units::duration(text)),
        show: |c| quoted(units::show_duration(c.proof_grace)),
    },
    Key {
        name: "signing_keys",
        about: "Keys of signed URLs (`lightbox sign`) and of cookies, such as [\"2026a:file:/run/secrets/lightbox-2026a\"]:\n\
                names and secrets of at least 32 characters. The first signs, all are good. Default: none.",
        set: |c, text| put(&mut c.signing_keys, signing_keys(text)),
        show: |c| show_signing_keys(&c.signing_keys),
    },
    Key {
        name: "session_ttl",
        about: "How long a cookie for a study is good (POST …/studies/UID/lightbox-session).",
        set: |c, text| put(&mut c.session_ttl, units::duration(text)),
        show: |c| quoted(units::show_duration(c.session_ttl)),
    },
    Key {
        name: "audit",
        about: "Where it is written down who has seen what, a line of JSON (FHIR AuditEvent) each: \"stdout\", the path of a\n\
                file, or \"off\".",
        set: |c, text| put(&mut c.audit, audit(text)),
        show: |c| show_audit(c.audit.as_ref()),
    },
    Key {
        name: "audit_studies",
        about: "How studies are named there: \"hash\" (of the UID, with audit_salt) or \"plain\".",
        set: |c, text| put(&mut c.audit_studies, audit_studies(text)),
        show: |c| {
            quoted(match c.audit_studies {
                AuditStudies::Hash => "hash",
                AuditStudies::Plain => "plain",
            })
        },
    },
    Key {
        name: "audit_salt",
        about: "A secret that goes into these hashes, itself or \"file:/path\": the same study then has the same hash on every\n\
                node and after a restart. Default: another one at each start.",
        set: |c, text| put(&mut c.audit_salt, parsed(text).map(Some)),
        show: |c| c.audit_salt.as_ref()?.file().and_then(|file| quoted(format!("file:{file}"))),
    },
    Key {
        name: "i_know_this_is_public",
        about: "Whether anybody who reaches this server may see what its own credentials for the archive open. Asked\n\
                for where it has any and listens beyond this machine.",
        set: |c, text| put(&mut c.i_know_this_is_public, boolean(text)),
        show: |c| Some(c.i_know_this_is_public.to_string()),
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
        name: "render_memory",
        about: "What rendering may take in memory: a quarter for what was fetched, the rest for drawing, of all pictures\n\
                together. One that needs more than half of it is answered 413.",
        set: |c, text| put(&mut c.render_memory, memory(text)),
        show: |c| quoted(units::show_bytes(c.render_memory)),
    },
    Key {
        name: "isolation",
        about: "Where pictures are drawn: \"process\", in processes of their own, where a crash costs one request (Linux,\n\
                and the default there); or \"thread\", in this one.",
        set: |c, text| put(&mut c.isolation, isolation(text)),
        show: |c| {
            quoted(match c.isolation {
                IsolationKind::Process => "process",
                IsolationKind::Thread => "thread",
            })
        },
    },
    Key {
        name: "render_worker",
        about: "The command that starts a worker process, with a sandbox of your own around it, such as\n\
                \"/usr/bin/bwrap --ro-bind / / --unshare-all --die-with-parent /usr/bin/lightbox render-worker\".\n\
                Default: this program.",
        set: |c, text| put(&mut c.render_worker, words(text)),
        show: |c| (!c.render_worker.is_empty()).then(|| format!("{:?}", c.render_worker.join(" "))),
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
        name: "burned_in",
        about: "What becomes, on thumbnails, of texts in the pixels of images, which may name the patient: where Burned In\n\
                Annotation is YES, and around the regions of ultrasound images unless it is NO. \"pixelate\": drawn so\n\
                coarsely that they cannot be read; \"icon\": where it is YES, a card instead of the image; \"render\": as\n\
                they are. Rendered pictures show them always.",
        set: |c, text| put(&mut c.burned_in, parsed(text)),
        show: |c| quoted(c.burned_in.as_str()),
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
        name: "cache_dir",
        about: "The directory where pictures, and what they are drawn from, are kept; made where it is not there, and for\n\
                this server alone: they show patients. Default: that of the platform for caches.",
        set: |c, text| put(&mut c.cache_dir, path(text).map(Some)),
        show: |c| quoted(c.cache_dir.as_ref()?.display()),
    },
    Key {
        name: "cache_memory",
        about: "What may be kept in memory of what was fetched and drawn before: half of it for pictures; or \"off\".",
        set: |c, text| put(&mut c.cache_memory, room(text)),
        show: |c| quoted(show_room(c.cache_memory)),
    },
    Key {
        name: "cache_disk",
        about: "The same on disk: three quarters of it for pictures; or \"off\". The studies that were not looked at for\n\
                the longest time leave first.",
        set: |c, text| put(&mut c.cache_disk, room(text)),
        show: |c| quoted(show_room(c.cache_disk)),
    },
    Key {
        name: "cache_shared",
        about: "The Redis or Valkey, version 7 or later, by which several nodes share pictures: \"redis://host:6379/0\",\n\
                \"rediss://:password@host\", \"unix:///path\"; or \"file:/path\" of a file that holds it. Not shown.",
        set: |c, text| put(&mut c.cache_shared, parsed(text).map(Some)),
        show: |c| c.cache_shared.as_ref()?.file().and_then(|file| quoted(format!("file:{file}"))),
    },
    Key {
        name: "cache_shared_ca",
        about: "PEM file of the certificates that sign that server's, trusted instead of the system's.",
        set: |c, text| put(&mut c.cache_shared_ca, path(text).map(Some)),
        show: |c| quoted(c.cache_shared_ca.as_ref()?.display()),
    },
    Key {
        name: "cache_ttl",
        about: "How long a picture is shown without asking the archive whether its object has changed.",
        set: |c, text| put(&mut c.cache_ttl, units::duration(text)),
        show: |c| quoted(units::show_duration(c.cache_ttl)),
    },
    Key {
        name: "index_ttl",
        about: "The same of which image stands for a study or a series that has just changed. One that has stayed as it\n\
                is for longer is trusted for longer, up to cache_ttl.",
        set: |c, text| put(&mut c.index_ttl, units::duration(text)),
        show: |c| quoted(units::show_duration(c.index_ttl)),
    },
    Key {
        name: "stale_while_revalidate",
        about: "How long after that a picture is still shown at once, while the archive is asked for the next time.",
        set: |c, text| put(&mut c.stale_while_revalidate, units::duration(text)),
        show: |c| quoted(units::show_duration(c.stale_while_revalidate)),
    },
    Key {
        name: "stale_if_error",
        about: "How long after that a picture is still shown, marked as stale, while the archive does not answer.",
        set: |c, text| put(&mut c.stale_if_error, units::duration(text)),
        show: |c| quoted(units::show_duration(c.stale_if_error)),
    },
    Key {
        name: "http_caching",
        about: "What lies between this server and its clients may keep of pictures: \"private\", nothing but a browser, which\n\
                asks each time whether it is still right; or \"public\": nginx, Varnish or a CDN too, for as long as the\n\
                picture is fresh here. Public needs i_know_this_is_public: such a cache checks nobody.",
        set: |c, text| put(&mut c.http_caching, http_caching(text)),
        show: |c| {
            quoted(match c.http_caching {
                HttpCaching::Private => "private",
                HttpCaching::Public => "public",
            })
        },
    },
    Key {
        name: "warm_up",
        about: "Whether thumbnails of a study are made, at low priority, when it was stored or a viewer opens it, before\n\
                they are asked for: with the credentials of whoever stored or opened it, where the archive is asked with these.",
        set: |c, text| put(&mut c.warm_up, boolean(text)),
        show: |c| Some(c.warm_up.to_string()),
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

/// The keys of an archive.
pub(super) const UPSTREAM_KEYS: &[Key<UpstreamConfig>] = &[
    Key {
        name: "base_path",
        about: "The path below which DICOMweb is served, such as \"/dicom-web\"; \"\" serves it at the root.",
        set: |c, text| put(&mut c.base_path, text.parse()),
        show: |c| quoted(c.base_path.as_str()),
    },
    Key {
        name: "upstream",
        about: "The archive's DICOMweb base URL, such as \"http://127.0.0.1:8042/dicom-web\". Required to serve.",
        set: |c, text| put(&mut c.url, service_url(text).map(Some)),
        show: |c| quoted(c.url.as_ref()?),
    },
    Key {
        name: "upstream_timeout",
        about: "How long connecting to the archive, and each read for a picture, may take. What passes through\n\
                waits as long as its client does.",
        set: |c, text| put(&mut c.timeout, units::duration(text)),
        show: |c| quoted(units::show_duration(c.timeout)),
    },
    Key {
        name: "upstream_concurrency",
        about: "How many calls of the archive for pictures are under way at the same time, and how many objects are being\n\
                fetched or wait in memory to be drawn; others wait.",
        set: |c, text| put(&mut c.concurrency, whole(text)),
        show: |c| Some(c.concurrency.to_string()),
    },
    Key {
        name: "upstream_rate",
        about: "The most calls for pictures in any second or minute, such as \"50/s\" or \"600/min\". Default: no limit.",
        set: |c, text| put(&mut c.rate, parsed(text).map(Some)),
        show: |c| quoted(c.rate?),
    },
    Key {
        name: "upstream_credentials",
        about: "By whose right the archive is asked: \"caller\" (the client's Authorization and Cookie are forwarded),\n\
                \"none\", or our own: \"basic\" (upstream_user, upstream_password), \"bearer\" (upstream_token_file),\n\
                \"oauth2\" (upstream_token_url, upstream_client_id, upstream_client_secret, upstream_scope) or\n\
                \"mtls\" (upstream_cert, upstream_key). With our own, the client's are never forwarded.",
        set: |c, text| put(&mut c.credentials, CredentialsKind::read(text)),
        show: |c| quoted(c.credentials.as_str()),
    },
    Key {
        name: "upstream_user",
        about: "The user, for \"basic\".",
        set: |c, value| put(&mut c.user, text(value).map(Some)),
        show: |c| quoted(c.user.as_ref()?),
    },
    Key {
        name: "upstream_password",
        about: "The password, for \"basic\": itself, or \"file:/path\".",
        set: |c, text| put(&mut c.password, parsed(text).map(Some)),
        show: |c| c.password.as_ref()?.file().and_then(|file| quoted(format!("file:{file}"))),
    },
    Key {
        name: "upstream_token_file",
        about: "The file with the token, for \"bearer\". Read for each call: replace it at any time.",
        set: |c, text| put(&mut c.token_file, path(text).map(Some)),
        show: |c| quoted(c.token_file.as_ref()?.display()),
    },
    Key {
        name: "upstream_token_url",
        about: "The token endpoint, for \"oauth2\" (client credentials). Tokens are renewed ahead of their end.",
        set: |c, text| put(&mut c.token_url, service_url(text).map(Some)),
        show: |c| quoted(c.token_url.as_ref()?),
    },
    Key {
        name: "upstream_client_id",
        about: "The client's id at the token endpoint.",
        set: |c, value| put(&mut c.client_id, text(value).map(Some)),
        show: |c| quoted(c.client_id.as_ref()?),
    },
    Key {
        name: "upstream_client_secret",
        about: "The client's secret: itself, or \"file:/path\".",
        set: |c, text| put(&mut c.client_secret, parsed(text).map(Some)),
        show: |c| c.client_secret.as_ref()?.file().and_then(|file| quoted(format!("file:{file}"))),
    },
    Key {
        name: "upstream_scope",
        about: "What tokens are asked for, such as \"https://dicom.healthcareapis.azure.com/.default\".",
        set: |c, value| put(&mut c.scope, text(value).map(Some)),
        show: |c| quoted(c.scope.as_ref()?),
    },
    Key {
        name: "upstream_cert",
        about: "PEM file of our certificate for the archive's TLS; needs upstream_key. Good beside any credentials.",
        set: |c, text| put(&mut c.cert, path(text).map(Some)),
        show: |c| quoted(c.cert.as_ref()?.display()),
    },
    Key {
        name: "upstream_key",
        about: "PEM file of the key of upstream_cert.",
        set: |c, text| put(&mut c.key, path(text).map(Some)),
        show: |c| quoted(c.key.as_ref()?.display()),
    },
    Key {
        name: "upstream_ca",
        about: "PEM file of the certificates that sign those of the archive and of the token endpoint, trusted instead\n\
                of the system's.",
        set: |c, text| put(&mut c.ca, path(text).map(Some)),
        show: |c| quoted(c.ca.as_ref()?.display()),
    },
    Key {
        name: "upstream_headers",
        about: "Headers that every request to the archive carries, such as [\"X-Api-Key: 123\"]. Not shown.",
        set: |c, text| put(&mut c.headers, text.parse()),
        show: |c| c.headers.0.is_empty().then(|| "[]".to_owned()),
    },
    Key {
        name: "allow_writes",
        about: "Whether our own credentials go with requests other than GET and HEAD too, so that whoever reaches this\n\
                server may store and delete.",
        set: |c, text| put(&mut c.allow_writes, boolean(text)),
        show: |c| Some(c.allow_writes.to_string()),
    },
    Key {
        name: "dialect",
        about: "What kind of archive it is: orthanc, dcm4chee, google, azure, aws or generic. Default: told by its URL;\n\
                what it accepts is found out and remembered in any case.",
        set: |c, text| put(&mut c.dialect, parsed(text).map(Some)),
        show: |c| quoted(c.dialect?.as_str()),
    },
    Key {
        name: "rewrite_urls",
        about: "Whether URLs of the archive's own host in its JSON answers become ones of this server.",
        set: |c, text| put(&mut c.rewrite_urls, boolean(text)),
        show: |c| Some(c.rewrite_urls.to_string()),
    },
    Key {
        name: "orthanc_changes",
        about: "How often Orthanc is asked for its changes (/changes of its REST API, beside /dicom-web), such as \"10s\", so that\n\
                what was stored past this server is known once it is stable. Default: never.",
        set: |c, text| put(&mut c.orthanc_changes, units::duration(text).map(Some)),
        show: |c| quoted(units::show_duration(c.orthanc_changes?)),
    },
];

fn put<T>(slot: &mut T, value: Result<T, String>) -> Result<(), String> {
    *slot = value?;
    Ok(())
}

fn parsed<T: std::str::FromStr>(text: &str) -> Result<T, String>
where
    T::Err: ToString,
{
    text.parse().map_err(|error: T::Err| error.to_string())
}
