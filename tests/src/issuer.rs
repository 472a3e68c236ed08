//! An OpenID Connect issuer whose tokens a test writes, rightly or wrongly.

use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING as ES256, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

use crate::{Answer, ScriptedOrigin};

/// It publishes its keys, and where they are.
#[derive(Debug)]
pub struct Issuer {
    server: ScriptedOrigin,
    published: Arc<Mutex<Published>>,
}

#[derive(Debug, Default)]
struct Published {
    keys: Vec<Value>,
    is_down: bool,
}

/// A key that signs by ES256.
#[derive(Debug)]
pub struct TokenKey {
    id: String,
    pair: EcdsaKeyPair,
}

impl Issuer {
    /// One that publishes these keys.
    pub async fn start(keys: &[&TokenKey]) -> Self {
        let server = ScriptedOrigin::start().await;
        let published = Arc::new(Mutex::new(Published::default()));
        let base = server.url();
        server.on("/.well-known/openid-configuration", move |_| {
            let about = json!({"issuer": base, "jwks_uri": format!("{base}/keys")});
            Answer::new(200, "application/json", about.to_string())
        });
        let shown = published.clone();
        server.on("/keys", move |_| {
            let shown = shown.lock().unwrap();
            if shown.is_down {
                return Answer::status(500);
            }
            Answer::new(200, "application/json", json!({ "keys": shown.keys }).to_string())
        });
        let issuer = Self { server, published };
        issuer.publish(keys);
        issuer
    }

    /// Publishes these keys from now on, and no others.
    pub fn publish(&self, keys: &[&TokenKey]) {
        self.published.lock().unwrap().keys = keys.iter().map(|key| key.public()).collect();
    }

    /// Whether its keys cannot be had.
    pub fn set_down(&self, is_down: bool) {
        self.published.lock().unwrap().is_down = is_down;
    }

    /// How often its keys were asked for.
    pub fn asked(&self) -> usize {
        self.server.received().iter().filter(|call| call.path == "/keys").count()
    }

    /// What its tokens name as `iss`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The claims of a good token for `pacs` that opens these studies, for ten minutes.
    pub fn claims(&self, studies: &[String]) -> Value {
        json!({
            "iss": self.url(), "aud": "pacs", "sub": "eva", "studies": studies,
            "nbf": in_seconds(-10), "exp": in_seconds(600),
        })
    }
}

impl TokenKey {
    /// A new one of this name.
    pub fn new(id: &str) -> Self {
        let random = SystemRandom::new();
        let made = EcdsaKeyPair::generate_pkcs8(&ES256, &random).expect("random numbers");
        let pair = EcdsaKeyPair::from_pkcs8(&ES256, made.as_ref(), &random).expect("a key");
        Self { id: id.to_owned(), pair }
    }

    /// A token of these claims, as it should be.
    pub fn token(&self, claims: &Value) -> String {
        self.token_under(&json!({"alg": "ES256", "typ": "JWT", "kid": self.id}), claims)
    }

    /// The same under another header.
    pub fn token_under(&self, header: &Value, claims: &Value) -> String {
        let said = unsigned(header, claims);
        let signature = self.pair.sign(&SystemRandom::new(), said.as_bytes()).expect("it signs");
        format!("{said}.{}", BASE64.encode(signature))
    }

    /// As a JWK (RFC 7518 §6.2.1).
    pub fn public(&self) -> Value {
        let (x, y) = self.point()[1..].split_at(32);
        json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.id,
            "x": BASE64.encode(x), "y": BASE64.encode(y),
        })
    }

    /// The public point, uncompressed.
    pub fn point(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }
}

/// Header and claims of a token, before its signature.
pub fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()))
}

/// A NumericDate so many seconds from now.
pub fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
    i64::try_from(now).expect("before the end of time") + seconds
}
