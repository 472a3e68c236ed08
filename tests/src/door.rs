//! A proxy with a lock on its door, in front of an archive with one: what the tests of access share.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::json;

use crate::issuer::{Issuer, TokenKey, in_seconds};
use crate::{Archive, Guard, Keeper, Place, Proxy, Reply, lightbox};

/// The key by which the URLs and cookies of tests are made.
pub const SIGNING_KEY: &str = "k1:0123456789abcdef0123456789abcdef0123456789";

/// Who decides who is shown what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Nobody: whoever asks is shown everything.
    Open,
    /// The proxy, by a file of users.
    Basic,
    /// The proxy, by the tokens of an issuer.
    Oidc,
    /// The archive.
    Caller,
}

/// What somebody shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shown {
    /// Nothing.
    Nothing,
    /// What nobody knows.
    Wrong,
    /// What was good until a while ago.
    Expired,
    /// What opens another study.
    Others,
    /// What opens the study.
    Right,
}

/// Archive, proxy and issuer.
#[derive(Debug)]
pub struct Door {
    /// Who decides.
    pub mode: Mode,
    /// Studies 1 and 2, of a series of two images each.
    pub archive: Archive,
    /// Whom it shows what.
    pub guard: Guard,
    /// Whose tokens are taken.
    pub issuer: Issuer,
    /// By which it signs.
    pub key: TokenKey,
    /// The proxy.
    pub proxy: Proxy,
    keeper: Keeper,
    _files: tempfile::TempDir,
}

impl Door {
    /// With these keys beside those of the mode.
    pub async fn start(mode: Mode, keys: &[(&str, &str)]) -> Self {
        let archive = Archive::of_ct_studies(&[1, 2], 1, 2).await;
        Self::before(archive, mode, keys).await
    }

    /// In front of an archive of other studies; 1 is that of who shows what is right, 2 that of others.
    pub async fn before(archive: Archive, mode: Mode, keys: &[(&str, &str)]) -> Self {
        let guard = Guard::default();
        archive.between().guarded_by(&guard);
        let key = TokenKey::new("one");
        let issuer = Issuer::start(&[&key]).await;
        let files = tempfile::tempdir().expect("a folder");
        let users = files.path().join("users");
        let hash = bcrypt::hash("right", 4).expect("it hashes");
        std::fs::write(&users, format!("eva:{hash}\n")).expect("the users are written");
        let (users, url) = (users.to_str().expect("a plain path"), issuer.url());
        let own = [
            ("upstream_credentials", "basic"),
            ("upstream_user", "lightbox"),
            ("upstream_password", "own"),
        ];
        let of_mode: Vec<(&str, &str)> = match mode {
            Mode::Open => vec![("upstream_credentials", "none")],
            Mode::Basic => [&own[..], &[("access", "basic"), ("access_users", users)]].concat(),
            Mode::Oidc => {
                let oidc = [
                    ("access", "oidc"),
                    ("oidc_issuer", &*url),
                    ("oidc_audience", "pacs"),
                    ("oidc_studies_claim", "studies"),
                ];
                [&own[..], &oidc].concat()
            }
            Mode::Caller => Vec::new(),
        };
        match mode {
            Mode::Open => guard.allow_all(""),
            Mode::Basic | Mode::Oidc => guard.allow_all(&basic("lightbox", "own")),
            Mode::Caller => {
                guard.allow("Bearer right", &[mine().study_uid()]);
                guard.allow("Bearer others", &[theirs().study_uid()]);
                guard.expire("Bearer expired");
            }
        }
        // Of two values for a key the last counts.
        let keeper = Keeper::new(&[&of_mode[..], &[("signing_keys", SIGNING_KEY)], keys].concat());
        let proxy = keeper.start(&archive.url()).await;
        Self { mode, archive, guard, issuer, key, proxy, keeper, _files: files }
    }

    /// Ends the proxy and starts another one, with what this one has kept.
    pub async fn restart(&mut self) {
        self.proxy.signal("TERM");
        let _ = self.proxy.ended(Duration::from_secs(30)).await;
        self.proxy = self.keeper.start(&self.archive.url()).await;
    }

    /// What the proxy has kept on disk.
    pub fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// The file of the users of [`Mode::Basic`].
    pub fn users(&self) -> std::path::PathBuf {
        self._files.path().join("users")
    }

    /// The `Authorization` of somebody; none for none.
    pub fn authorization(&self, shown: Shown) -> Option<String> {
        let token = |studies: &Place| self.key.token(&self.issuer.claims(&[studies.study_uid()]));
        Some(match (self.mode, shown) {
            (_, Shown::Nothing) => return None,
            (Mode::Basic | Mode::Open, Shown::Right) => basic("eva", "right"),
            (Mode::Basic | Mode::Open, _) => basic("eva", "wrong"),
            (Mode::Oidc, Shown::Right) => format!("Bearer {}", token(&mine())),
            (Mode::Oidc, Shown::Others) => format!("Bearer {}", token(&theirs())),
            (Mode::Oidc, Shown::Expired) => {
                let mut claims = self.issuer.claims(&[mine().study_uid()]);
                claims["exp"] = json!(in_seconds(-70));
                format!("Bearer {}", self.key.token(&claims))
            }
            (Mode::Oidc, Shown::Wrong) => {
                let claims = self.issuer.claims(&[mine().study_uid()]);
                format!("Bearer {}", TokenKey::new("one").token(&claims))
            }
            (Mode::Caller, Shown::Right) => "Bearer right".to_owned(),
            (Mode::Caller, Shown::Others) => "Bearer others".to_owned(),
            (Mode::Caller, Shown::Expired) => "Bearer expired".to_owned(),
            (Mode::Caller, Shown::Wrong) => "Bearer nobody-knows".to_owned(),
        })
    }

    /// A request by somebody, with these headers beside.
    pub async fn ask(&self, shown: Shown, path: &str, headers: &[(&str, &str)]) -> Reply {
        self.ask_by(Method::GET, shown, path, headers).await
    }

    /// The same by another method.
    pub async fn ask_by(
        &self,
        method: Method,
        shown: Shown,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Reply {
        let authorization = self.authorization(shown);
        let own = authorization.as_deref().map(|value| ("authorization", value));
        let all: Vec<(&str, &str)> = own.into_iter().chain(headers.iter().copied()).collect();
        self.proxy.send(method, path, &all).await
    }

    /// The cookie that somebody is given for the study of a place, as it is sent back; and the answer.
    pub async fn cookie(&self, shown: Shown, place: &Place) -> (Option<String>, Reply) {
        let path = format!("{}/lightbox-session", place.study_path());
        let reply = self.ask_by(Method::POST, shown, &path, &[]).await;
        let given = (reply.status() == 204)
            .then(|| reply.header("set-cookie").split(';').next().unwrap_or_default().to_owned());
        (given, reply)
    }

    /// What the archive was asked has nothing of ours in it, and nothing of the client's that it is not
    /// to see.
    pub fn assert_nothing_of_ours_went_on(&self) {
        let own = match self.mode {
            Mode::Open => Some(String::new()),
            Mode::Basic | Mode::Oidc => Some(basic("lightbox", "own")),
            Mode::Caller => None,
        };
        for call in self.archive.between().received() {
            let query = call.query.clone().unwrap_or_default();
            assert!(!query.contains("lightbox-"), "{}?{query}", call.path);
            let cookies: Vec<_> = call.headers.get_all("cookie").iter().collect();
            assert!(!format!("{cookies:?}").contains("lightbox-study"), "{cookies:?}");
            if let Some(own) = &own {
                assert_eq!((call.header("authorization"), cookies.len()), (&**own, 0));
            }
        }
    }
}

/// The study of who shows what is right.
pub const fn mine() -> Place {
    Place::new(1, 1, 1)
}

/// Somebody else's.
pub const fn theirs() -> Place {
    Place::new(2, 1, 1)
}

/// RFC 7617.
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// A URL, signed by `lightbox sign` for this long with these keys.
pub fn signed_with(keys: &[&str], expires: &str, url: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder for the file");
    let toml = format!("upstream = \"http://127.0.0.1:1\"\nsigning_keys = {keys:?}\n");
    std::fs::write(folder.path().join("lightbox.toml"), toml).expect("the file is written");
    let arguments = ["sign", "--config", "lightbox.toml", "--expires", expires, url];
    let done = lightbox(folder.path(), &arguments);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    done.stdout.trim().to_owned()
}

/// The same with the key of the proxies here, for an hour.
pub fn signed(url: &str) -> String {
    signed_with(&[SIGNING_KEY], "1h", url)
}

/// Panics where an answer has anything of a picture or of a patient in it.
pub fn assert_shows_nothing(what: &str, reply: &Reply, pictures: &[&Reply]) {
    assert!(!reply.status.is_success() && reply.status() != 304, "{what}: {}", reply.status());
    for name in ["etag", "content-location", "x-representative", "cache-status", "age"] {
        assert_eq!(reply.header(name), "", "{what}: {name} of a refusal");
    }
    assert!(!reply.text().contains("Doe"), "{what}: {}", reply.text());
    for picture in pictures {
        assert!(!shows(&reply.body, picture), "{what}: bytes of the picture in a refusal");
    }
}

/// Whether something has a piece of a JPEG picture in it: of its scan, as tables are the same in all.
pub fn shows(bytes: &[u8], picture: &Reply) -> bool {
    let scan = picture.body.windows(2).rposition(|marker| marker == b"\xFF\xDA");
    let scan = &picture.body[scan.expect("a JPEG picture")..];
    let piece = &scan[scan.len() / 2..][..(scan.len() / 2).min(24)];
    bytes.windows(piece.len()).any(|window| window == piece)
}
