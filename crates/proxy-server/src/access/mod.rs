//! Who may see what: asked of every request, hit, miss and pass-through, before anything else is done.
//!
//! Whom an archive shows its images, it decides itself where the client's own credentials are forwarded to
//! it (`upstream_credentials = "caller"`): what is kept is then shown to those only to whom the archive
//! has just shown the study (`proof`). Where this server asks by a right of its own, or of nobody, it keeps
//! the door itself: `open`, `basic` or `oidc`. For `<img>`, which sends no header, there are signed URLs
//! (`signed`) and cookies that hold a client's credentials, sealed, for one study (`session`).

mod basic;
mod credential;
mod keyring;
mod limits;
mod oidc;
mod proof;
mod session;
mod signed;
mod verified;

use std::collections::BTreeSet;
use std::sync::Arc;

use dicomweb_types::Uid;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, header};
use wadors_client::{Caller, UpstreamError};

pub(crate) use credential::Credential;
pub(crate) use keyring::Keyring;
pub(crate) use limits::only_theirs;
pub(crate) use proof::{Proof, Proofs};
pub use signed::sign_url;

use crate::cache::Shows;
use crate::config::{AccessKind, Config};
use crate::error::ServerError;
use crate::route::{Scope, Target};
use crate::upstream::Upstream;
use basic::Users;
use limits::{Limits, Within};
use oidc::Oidc;
use session::Session;

/// Who asks, and by what right.
#[derive(Clone, Debug)]
pub(crate) struct Visitor {
    /// What an archive is shown that is asked with the client's credentials.
    pub(crate) caller: Caller,
    pub(crate) right: Right,
    /// The only study that he reaches: that of a cookie, in which the archive decides what he sees.
    pub(crate) within: Option<Uid>,
    pub(crate) who: Who,
}

/// What somebody may see.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Right {
    /// All that this server sees.
    All,
    /// These studies.
    Studies(Arc<BTreeSet<Uid>>),
    /// What the archive shows to these credentials.
    AsTheArchiveSays(Credential),
}

/// Who it is, for the audit; never the credentials themselves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Who {
    /// Nobody has asked.
    Anybody,
    /// Whoever has credentials that only the archive knows.
    Holder(Credential),
    /// A user of ours, or the subject of a token.
    Named(Arc<str>),
    /// Whoever was given a URL signed with this key.
    Signed(Arc<str>),
}

/// Why somebody is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AccessError {
    #[error("this asks for a user and a password (Authorization: Basic)")]
    Password,
    #[error(
        "NTLM and Negotiate log connections in, which are shared here: show the archive credentials of another kind"
    )]
    ByConnection,
    #[error("this asks for a token (Authorization: Bearer)")]
    Token,
    #[error("the token is not valid: {0}")]
    BadToken(&'static str),
    #[error("tokens cannot be checked at the moment: the keys of their issuer are not to be had")]
    NoKeys,
    #[error("the signature of this URL is not valid, or it has expired")]
    Signature,
    #[error(
        "the archive itself decides who sees what (upstream_credentials = \"caller\"): a signed URL opens nothing there"
    )]
    SignedForCaller,
    #[error("a signed URL and a cookie are good for reading only")]
    OnlyReading,
    #[error("these credentials do not open what was asked for")]
    NotTheirs,
    #[error("too many passwords are being checked at the moment")]
    Busy,
    /// Whether it is theirs cannot be told.
    #[error(transparent)]
    Archive(UpstreamError),
    #[error("cookies are not given: set signing_keys")]
    NoSessions,
    #[error("a cookie is given to who shows credentials: Authorization is missing")]
    NothingToKeep,
    #[error("the credentials are too long for a cookie")]
    TooLong,
}

/// The door.
pub(crate) struct Access {
    kind: AccessKind,
    users: Option<Users>,
    oidc: Option<Oidc>,
    keys: Keyring,
    sessions: Session,
    limits: Limits,
}

impl Access {
    /// As configured.
    ///
    /// # Errors
    /// What cannot be read or set up.
    pub(crate) fn new(config: &Config) -> Result<Self, String> {
        let users = match (config.access, &config.access_users) {
            (AccessKind::Basic, Some(file)) => Some(
                Users::open(file.clone(), config.proof_ttl)
                    .map_err(|e| format!("access_users: {e}"))?,
            ),
            _ => None,
        };
        let oidc = match config.access {
            AccessKind::Oidc => Some(Oidc::new(config)?),
            AccessKind::Open | AccessKind::Basic => None,
        };
        let keys = Keyring::read(&config.signing_keys)?;
        Ok(Self {
            kind: config.access,
            users,
            oidc,
            keys,
            limits: Limits::default(),
            sessions: Session::new(config.session_ttl, config.is_reached_by_tls()),
        })
    }

    /// Lets a request in, or not. What is ours of it (signatures, cookies) is taken off.
    ///
    /// # Errors
    /// Why not. It says nothing of what there is.
    pub(crate) async fn admit(
        &self,
        upstream: &Upstream,
        target: &Target,
        request: &mut Parts,
    ) -> Result<Visitor, AccessError> {
        let signed = signed::take_off(&self.keys, request)?;
        if let Some(key) = signed {
            return by_signature(upstream, request, key);
        }
        let session = self.sessions.take_off(&self.keys, upstream, target, &mut request.headers);
        let mut visitor = self.recognise(upstream, &request.headers).await?;
        if let Some(study) = session {
            if !is_reading(&request.method) {
                return Err(AccessError::OnlyReading);
            }
            visitor = visitor.only_in(study);
        }
        if let Some(studies) = visitor.limit() {
            self.limits.check(upstream, &studies, &visitor.caller, target, request).await?;
        }
        Ok(visitor)
    }

    /// Whether what a picture is to be fetched of lies where its path says, for who may see some studies only.
    ///
    /// # Errors
    /// That it does not, or that this cannot be told.
    pub(crate) async fn stays_within(
        &self,
        upstream: &Upstream,
        visitor: &Visitor,
        scope: &Scope,
    ) -> Result<(), ServerError> {
        if visitor.limit().is_none() {
            return Ok(());
        }
        let within = Within::of(scope);
        let lies = self.limits.lies_in_its_study(upstream, &within, &visitor.caller);
        lies.await.map_err(|error| match error {
            // As if the picture itself had been asked for.
            AccessError::Archive(error) => error.into(),
            other => other.into(),
        })
    }

    /// Whether there may be visitors who see some studies only.
    pub(crate) fn may_limit(&self) -> bool {
        self.oidc.is_some() || self.keys.first().is_some()
    }

    /// Who is known already and may see a study, without anything to wait for. `None` says nothing: the request
    /// is to be admitted.
    pub(crate) fn at_hand(
        &self,
        shows: &Shows,
        proofs: &Proofs,
        headers: &HeaderMap,
    ) -> Option<Who> {
        if session::is_shown(headers) {
            return None;
        }
        if shows.upstream.client.forwards_callers() {
            let credential = Credential::of(headers);
            let is_proved = proofs.is_at_hand(&shows.group, &credential);
            return is_proved.then(|| who_holds(credential));
        }
        let (right, who) = match self.kind {
            AccessKind::Open => return Some(Who::Anybody),
            AccessKind::Basic => (Right::All, self.users.as_ref()?.at_hand(headers)?),
            AccessKind::Oidc => self.oidc.as_ref()?.at_hand(headers)?,
        };
        right.covers(&shows.study).then_some(who)
    }

    /// A cookie by which one study opens to who shows credentials for it.
    ///
    /// # Errors
    /// That it is not given.
    pub(crate) fn cookie(
        &self,
        upstream: &Upstream,
        study: &Uid,
        headers: &HeaderMap,
    ) -> Result<http::HeaderValue, AccessError> {
        self.sessions.cookie(&self.keys, upstream, study, headers)
    }

    /// Whether somebody who opens the page for people has to say first who he is, as browsers ask for it.
    pub(crate) async fn admit_to_page(&self, headers: &HeaderMap) -> Result<(), AccessError> {
        match &self.users {
            Some(users) => users.verify(headers).await.map(drop),
            None => Ok(()),
        }
    }

    async fn recognise(
        &self,
        upstream: &Upstream,
        headers: &HeaderMap,
    ) -> Result<Visitor, AccessError> {
        let caller = Caller::from_headers(headers);
        if upstream.client.forwards_callers() {
            if headers.get_all(header::AUTHORIZATION).iter().any(is_by_connection) {
                return Err(AccessError::ByConnection);
            }
            let credential = Credential::of(headers);
            let who = who_holds(credential);
            let right = Right::AsTheArchiveSays(credential);
            return Ok(Visitor { caller, right, within: None, who });
        }
        // Whoever it is, the archive is not told.
        let caller = Caller::anonymous();
        let (right, who) = match (self.kind, &self.users, &self.oidc) {
            (AccessKind::Basic, Some(users), _) => (Right::All, users.verify(headers).await?),
            (AccessKind::Oidc, _, Some(oidc)) => oidc.verify(headers).await?,
            (AccessKind::Open, ..) => (Right::All, Who::Anybody),
            // `new` has set up what the kind needs.
            (AccessKind::Basic, None, _) => return Err(AccessError::Password),
            (AccessKind::Oidc, _, None) => return Err(AccessError::Token),
        };
        Ok(Visitor { caller, right, within: None, who })
    }
}

/// Whether a challenge, or what is shown, is of a kind that archives remember for the whole connection. Ours
/// are for all who ask.
pub(crate) fn is_by_connection(value: &HeaderValue) -> bool {
    let is_such = |part: &[u8]| {
        let scheme = part.trim_ascii().split(|b| *b == b' ').next().unwrap_or_default();
        scheme.eq_ignore_ascii_case(b"ntlm") || scheme.eq_ignore_ascii_case(b"negotiate")
    };
    value.as_bytes().split(|b| *b == b',').any(is_such)
}

/// Takes challenges of that kind off an answer.
pub(crate) fn without_connections(headers: &mut HeaderMap) {
    let challenges: Vec<HeaderValue> =
        headers.get_all(header::WWW_AUTHENTICATE).iter().cloned().collect();
    headers.remove(header::WWW_AUTHENTICATE);
    for challenge in challenges.into_iter().filter(|challenge| !is_by_connection(challenge)) {
        headers.append(header::WWW_AUTHENTICATE, challenge);
    }
}

fn who_holds(credential: Credential) -> Who {
    if credential == Credential::none() { Who::Anybody } else { Who::Holder(credential) }
}

/// Who has the key of a signature vouches for whom he gave the URL.
fn by_signature(
    upstream: &Upstream,
    request: &Parts,
    key: Arc<str>,
) -> Result<Visitor, AccessError> {
    if upstream.client.forwards_callers() {
        return Err(AccessError::SignedForCaller);
    }
    if !is_reading(&request.method) {
        return Err(AccessError::OnlyReading);
    }
    let (caller, who) = (Caller::anonymous(), Who::Signed(key));
    Ok(Visitor { caller, right: Right::All, within: None, who })
}

fn is_reading(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

impl Visitor {
    /// This server itself, for whom nobody has asked.
    pub(crate) fn nobody(upstream: &Upstream) -> Self {
        let right = if upstream.client.forwards_callers() {
            Right::AsTheArchiveSays(Credential::none())
        } else {
            Right::All
        };
        Self { caller: Caller::anonymous(), right, within: None, who: Who::Anybody }
    }

    /// The same, who reaches no other study.
    fn only_in(self, study: Uid) -> Self {
        match self.right {
            Right::All | Right::Studies(_) if !self.right.covers(&study) => {
                Self { right: Right::Studies(Arc::default()), ..self }
            }
            Right::All | Right::Studies(_) => {
                Self { right: Right::Studies(Arc::new([study].into())), ..self }
            }
            Right::AsTheArchiveSays(_) => Self { within: Some(study), ..self },
        }
    }

    /// The studies that he reaches, if not all.
    pub(crate) fn limit(&self) -> Option<Arc<BTreeSet<Uid>>> {
        match (&self.right, &self.within) {
            (Right::Studies(studies), _) => Some(studies.clone()),
            (_, Some(study)) => Some(Arc::new([study.clone()].into())),
            (Right::All | Right::AsTheArchiveSays(_), None) => None,
        }
    }

    /// Whether anybody else would be shown the same.
    pub(crate) fn is_anybody(&self) -> bool {
        self.who == Who::Anybody
    }
}

impl Right {
    /// As far as it is known without the archive.
    fn covers(&self, study: &Uid) -> bool {
        match self {
            Self::All | Self::AsTheArchiveSays(_) => true,
            Self::Studies(studies) => studies.contains(study),
        }
    }
}
