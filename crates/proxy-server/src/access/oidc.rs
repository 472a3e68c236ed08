//! Tokens of an OpenID Connect issuer (JWT, RFC 7519), checked against the keys that it publishes.
//!
//! Good is a token that is signed with one of these keys, by an algorithm with a public key, says `iss`, `aud`
//! and `exp` as configured, and has begun (`nbf`). Which studies it opens is said by a claim, if one is
//! configured: Study Instance UIDs as a list, or with spaces between, or `*` for all; without the claim it opens
//! none.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use dicomweb_types::Uid;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::Value;
use url::Url;
use wadors_client::Tls;

use super::credential::Credential;
use super::verified::Verified;
use super::{AccessError, Right, Who};
use crate::config::Config;

/// Clocks differ.
const LEEWAY: Duration = Duration::from_secs(60);
/// Longer tokens are none.
const LONGEST: usize = 16 << 10;
/// Keys are looked up again after so long, so that those that were withdrawn are no longer good.
const KEYS_FOR: Duration = Duration::from_secs(600);
/// While the issuer cannot be asked, its keys of before are good for so long.
const KEYS_AT_MOST: Duration = Duration::from_secs(24 * 3600);
/// Tokens with keys that nobody knows have them looked up at most so often.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// How long the issuer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer of the issuer.
const LONGEST_ANSWER: usize = 1 << 20;

/// Those with a public key: with any other, who can check could sign.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

pub(super) struct Oidc {
    issuer: String,
    audience: String,
    /// Where the keys are; asked of the issuer where it is not configured.
    jwks: Option<Url>,
    studies_claim: Option<String>,
    http: reqwest::Client,
    keys: Mutex<Keys>,
    asking: tokio::sync::Mutex<()>,
    verified: Verified<(Right, Who)>,
}

#[derive(Default)]
struct Keys {
    keys: Arc<Vec<Jwk>>,
    /// When they were had.
    had: Option<Instant>,
    /// When they were last asked for.
    asked: Option<Instant>,
    /// When that came to an end, good or bad.
    answered: Option<Instant>,
}

impl Oidc {
    pub(super) fn new(config: &Config) -> Result<Self, String> {
        let issuer =
            config.oidc_issuer.clone().ok_or("oidc_issuer: needed by access = \"oidc\"")?;
        let audience =
            config.oidc_audience.clone().ok_or("oidc_audience: needed by access = \"oidc\"")?;
        let tls = Tls { ca: config.oidc_ca.clone(), identity: None };
        let named = config.oidc_jwks.as_ref().map_or(issuer.as_str(), Url::as_str);
        let http = wadors_client::plain_client(named.starts_with("https:"), PATIENCE, &tls)
            .map_err(|error| format!("oidc: {error}"))?;
        Ok(Self {
            issuer,
            audience,
            jwks: config.oidc_jwks.clone(),
            studies_claim: config.oidc_studies_claim.clone(),
            http,
            keys: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            verified: Verified::new(config.proof_ttl),
        })
    }

    /// Who was verified a moment ago.
    pub(super) fn at_hand(&self, headers: &HeaderMap) -> Option<(Right, Who)> {
        self.verified.get(&Credential::of_authorization(headers))
    }

    pub(super) async fn verify(&self, headers: &HeaderMap) -> Result<(Right, Who), AccessError> {
        if let Some(known) = self.at_hand(headers) {
            return Ok(known);
        }
        let token = token_of(headers)?;
        let header = decode_header(token).map_err(|_| AccessError::BadToken("it is no JWT"))?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(AccessError::BadToken("it is signed by an algorithm that is not taken"));
        }
        if names_extensions(token) {
            return Err(AccessError::BadToken("it asks for extensions that are not known here"));
        }
        let key = self.key(header.kid.as_deref(), header.alg).await?;
        let claims = self.claims(token, &key, header.alg)?;
        let found = (self.right(&claims), who(&claims));
        let left =
            claims.get("exp").and_then(Value::as_f64).map(|exp| left(exp, SystemTime::now()));
        self.verified.keep(Credential::of_authorization(headers), found.clone(), left);
        Ok(found)
    }

    fn claims(&self, token: &str, key: &Jwk, alg: Algorithm) -> Result<Value, AccessError> {
        let key = DecodingKey::from_jwk(key)
            .map_err(|_| AccessError::BadToken("its key cannot be used"))?;
        let mut rules = Validation::new(alg);
        rules.leeway = LEEWAY.as_secs();
        rules.validate_nbf = true;
        rules.set_issuer(&[&self.issuer]);
        rules.set_audience(&[&self.audience]);
        rules.set_required_spec_claims(&["exp", "iss", "aud"]);
        let claims = decode::<Value>(token, &key, &rules).map_err(|error| bad(&error))?.claims;
        // What is no number is not to count as absent.
        let is_number = |name| claims.get(name).is_none_or(Value::is_number);
        if !claims.get("iss").is_some_and(Value::is_string) {
            return Err(AccessError::BadToken("it is of another issuer"));
        }
        if !is_number("nbf") || !is_number("exp") {
            return Err(AccessError::BadToken("its times are no numbers"));
        }
        Ok(claims)
    }

    fn right(&self, claims: &Value) -> Right {
        let Some(name) = &self.studies_claim else { return Right::All };
        let named: Vec<&str> = match claims.get(name) {
            Some(Value::String(text)) => text.split_whitespace().collect(),
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if named == ["*"] {
            return Right::All;
        }
        let studies: BTreeSet<Uid> = named.iter().filter_map(|uid| uid.parse().ok()).collect();
        Right::Studies(Arc::new(studies))
    }

    /// The key of a token: of those at hand, else of those that the issuer has now.
    async fn key(&self, id: Option<&str>, alg: Algorithm) -> Result<Jwk, AccessError> {
        let (keys, had) = self.at_hand_keys();
        let is_new = had.is_some_and(|had| had.elapsed() < KEYS_FOR);
        if let Some(key) = chosen(&keys, id, alg).filter(|_| is_new) {
            return Ok(key.clone());
        }
        self.renew(had).await;
        let (keys, had) = self.at_hand_keys();
        if had.is_none_or(|had| had.elapsed() >= KEYS_AT_MOST) {
            return Err(AccessError::NoKeys);
        }
        chosen(&keys, id, alg).cloned().ok_or(AccessError::BadToken("nobody knows its key"))
    }

    fn at_hand_keys(&self) -> (Arc<Vec<Jwk>>, Option<Instant>) {
        let keys = self.lock();
        (keys.keys.clone(), keys.had)
    }

    /// Has the keys anew, unless somebody else has them meanwhile or they were asked for a moment ago.
    async fn renew(&self, had: Option<Instant>) {
        let began = Instant::now();
        let _turn = self.asking.lock().await;
        let now = Instant::now();
        {
            let mut keys = self.lock();
            let lately = keys.asked.is_some_and(|asked| now.duration_since(asked) < ASK_AGAIN);
            // Somebody has tried while this one waited: that counts for both.
            let meanwhile = keys.answered.is_some_and(|answered| answered >= began);
            // The first are asked for whenever there are none.
            if keys.had != had || meanwhile || (lately && keys.had.is_some()) {
                return;
            }
            keys.asked = Some(now);
        }
        let fetched = self.fetched().await;
        self.lock().answered = Some(Instant::now());
        match fetched {
            Ok(new) => {
                let mut keys = self.lock();
                keys.keys = Arc::new(new);
                keys.had = Some(Instant::now());
            }
            Err(reason) => tracing::warn!(reason, "the keys of oidc_issuer are not to be had"),
        }
    }

    async fn fetched(&self) -> Result<Vec<Jwk>, &'static str> {
        let url = match &self.jwks {
            Some(url) => url.clone(),
            None => {
                let base = self.issuer.trim_end_matches('/');
                let url = format!("{base}/.well-known/openid-configuration");
                let about: About =
                    self.json(url.parse().map_err(|_| "oidc_issuer is no URL")?).await?;
                if about.issuer != self.issuer {
                    return Err("it says that it is another issuer");
                }
                let keys: Url = about.jwks_uri.parse().map_err(|_| "its jwks_uri is no URL")?;
                if keys.scheme() != "https" && self.issuer.starts_with("https:") {
                    return Err("its keys are not to be had by TLS");
                }
                keys
            }
        };
        let set: Set = self.json(url).await?;
        // One that we do not know must not lose the others.
        let keys: Vec<Jwk> =
            set.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok()).collect();
        if keys.is_empty() { Err("it has no key that can be used") } else { Ok(keys) }
    }

    async fn json<T: serde::de::DeserializeOwned>(&self, url: Url) -> Result<T, &'static str> {
        let asked = async {
            let mut answer = self.http.get(url).send().await.map_err(|_| "no answer")?;
            if !answer.status().is_success() {
                return Err("it answered with another status than 200");
            }
            let mut bytes = Vec::new();
            while let Some(chunk) = answer.chunk().await.map_err(|_| "it broke off")? {
                bytes.extend_from_slice(&chunk);
                if bytes.len() > LONGEST_ANSWER {
                    return Err("its answer is too long");
                }
            }
            serde_json::from_slice(&bytes).map_err(|_| "its answer cannot be read")
        };
        tokio::time::timeout(PATIENCE, asked).await.map_err(|_| "no answer in time")?
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// OpenID Connect Discovery 1.0 §3.
#[derive(Deserialize)]
struct About {
    issuer: String,
    jwks_uri: String,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

/// `Bearer` (RFC 6750 §2.1).
fn token_of(headers: &HeaderMap) -> Result<&str, AccessError> {
    let value = headers.get(AUTHORIZATION).ok_or(AccessError::Token)?;
    let value = value.to_str().map_err(|_| AccessError::BadToken("it is no JWT"))?;
    let (scheme, token) = value.split_once(' ').ok_or(AccessError::Token)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(AccessError::Token);
    }
    if token.len() > LONGEST {
        Err(AccessError::BadToken("it is too long"))
    } else {
        Ok(token.trim())
    }
}

/// Whether its header says that it is not to be taken without knowing more (`crit`, RFC 7515 §4.1.11).
fn names_extensions(token: &str) -> bool {
    let header = token.split('.').next().unwrap_or_default();
    let header = BASE64.decode(header).ok().and_then(|json| serde_json::from_slice(&json).ok());
    header.is_none_or(|header: Value| header.get("crit").is_some())
}

/// The key that a token names; the only one that suits where it names none.
fn chosen<'a>(keys: &'a [Jwk], id: Option<&str>, alg: Algorithm) -> Option<&'a Jwk> {
    let mut suiting = keys.iter().filter(|key| suits(key, alg));
    match id {
        Some(id) => suiting.find(|key| key.common.key_id.as_deref() == Some(id)),
        None => suiting.next().filter(|_| suiting.next().is_none()),
    }
}

fn suits(key: &Jwk, alg: Algorithm) -> bool {
    let is_for_signing = matches!(key.common.public_key_use, None | Some(PublicKeyUse::Signature));
    let names_alg =
        key.common.key_algorithm.as_ref().is_none_or(|named| {
            named.to_string().parse::<Algorithm>().is_ok_and(|named| named == alg)
        });
    is_for_signing && names_alg && has_kind(&key.algorithm, alg)
}

/// Whether a key of this kind can have signed by `alg`.
fn has_kind(key: &AlgorithmParameters, alg: Algorithm) -> bool {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    match key {
        AlgorithmParameters::RSA(_) => matches!(alg, RS256 | RS384 | RS512 | PS256 | PS384 | PS512),
        AlgorithmParameters::EllipticCurve(_) => matches!(alg, ES256 | ES384),
        AlgorithmParameters::OctetKeyPair(_) => matches!(alg, EdDSA),
        _ => false,
    }
}

fn who(claims: &Value) -> Who {
    let subject = claims.get("sub").and_then(Value::as_str).unwrap_or("(no subject)");
    Who::Named(subject.into())
}

/// How long a token is still good.
fn left(expires: f64, now: SystemTime) -> Duration {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    Duration::try_from_secs_f64(expires + LEEWAY.as_secs_f64() - now).unwrap_or_default()
}

fn bad(error: &jsonwebtoken::errors::Error) -> AccessError {
    use jsonwebtoken::errors::ErrorKind as Kind;
    AccessError::BadToken(match error.kind() {
        Kind::ExpiredSignature => "it has expired",
        Kind::ImmatureSignature => "its time has not begun",
        Kind::InvalidIssuer => "it is of another issuer",
        Kind::InvalidAudience => "it is for somebody else",
        Kind::InvalidSignature => "its signature is wrong",
        Kind::MissingRequiredClaim(_) => "it lacks exp, iss or aud",
        _ => "it is no JWT that can be checked",
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn oidc(claim: Option<&str>) -> Oidc {
        let config = Config {
            oidc_issuer: Some("http://127.0.0.1:1".to_owned()),
            oidc_audience: Some("pacs".to_owned()),
            oidc_studies_claim: claim.map(str::to_owned),
            ..Config::default()
        };
        Oidc::new(&config).unwrap()
    }

    #[test]
    fn a_claim_says_which_studies_are_opened() {
        let studies = |uids: &[&str]| {
            Right::Studies(Arc::new(uids.iter().map(|uid| uid.parse().unwrap()).collect()))
        };
        let limited = oidc(Some("studies"));
        for (claim, right) in [
            (json!({"studies": ["1.2", "1.3"]}), studies(&["1.2", "1.3"])),
            (json!({"studies": "1.2 1.3"}), studies(&["1.2", "1.3"])),
            (json!({"studies": "*"}), Right::All),
            (json!({"studies": ["*"]}), Right::All),
            (json!({"studies": ["1.2", "*"]}), studies(&["1.2"])),
            (json!({"studies": []}), studies(&[])),
            (json!({"studies": 5}), studies(&[])),
            (json!({"Studies": "*"}), studies(&[])),
            (json!({}), studies(&[])),
        ] {
            assert_eq!(limited.right(&claim), right, "{claim}");
        }
        assert_eq!(oidc(None).right(&json!({})), Right::All);
    }

    #[test]
    fn a_key_is_chosen_by_its_name_its_kind_and_its_use() {
        let key = |extra: Value| -> Jwk {
            let mut key = json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"});
            key.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            serde_json::from_value(key).unwrap()
        };
        let a = key(json!({"kid": "a", "alg": "RS256", "use": "sig"}));
        let b = key(json!({"kid": "b"}));
        let sealing = key(json!({"kid": "c", "use": "enc"}));
        let keys = [a.clone(), b.clone(), sealing];
        assert_eq!(chosen(&keys, Some("a"), Algorithm::RS256), Some(&a));
        assert_eq!(chosen(&keys, Some("a"), Algorithm::RS512), None);
        assert_eq!(chosen(&keys, Some("b"), Algorithm::PS512), Some(&b));
        assert_eq!(chosen(&keys, Some("b"), Algorithm::ES256), None);
        assert_eq!(chosen(&keys, Some("c"), Algorithm::RS256), None);
        assert_eq!(chosen(&keys, None, Algorithm::RS256), None, "two would do");
        assert_eq!(chosen(&keys, None, Algorithm::RS512), Some(&b));
    }

    #[tokio::test]
    async fn what_is_no_token_is_refused_before_anybody_is_asked() {
        let oidc = oidc(None);
        let of = |value: &str| HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
        assert_eq!(oidc.verify(&HeaderMap::new()).await, Err(AccessError::Token));
        assert_eq!(oidc.verify(&of("Basic eA==")).await, Err(AccessError::Token));
        for token in ["", "x", "a.b.c", &"x".repeat(LONGEST + 1)] {
            let refused = oidc.verify(&of(&format!("Bearer {token}"))).await;
            assert!(matches!(refused, Err(AccessError::BadToken(_))), "{token:.20}");
        }
        // {"alg":"none"} and {"alg":"HS256"}, both {}.
        for token in ["eyJhbGciOiJub25lIn0.e30.", "eyJhbGciOiJIUzI1NiJ9.e30.AAAA"] {
            let refused = oidc.verify(&of(&format!("Bearer {token}"))).await;
            assert!(matches!(refused, Err(AccessError::BadToken(_))), "{token}");
        }
    }

    #[test]
    fn a_token_is_remembered_no_longer_than_it_is_good() {
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        assert_eq!(left(1000.0, now), LEEWAY);
        assert_eq!(left(900.0, now), Duration::ZERO);
        assert_eq!(left(f64::NAN, now), Duration::ZERO);
    }
}
