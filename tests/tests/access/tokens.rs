//! Tokens of an issuer: which are taken, and which are not, whatever they look like.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use lightbox_tests::door::{Door, Mode, Shown, assert_shows_nothing, mine, theirs};
use lightbox_tests::issuer::{Issuer, TokenKey, in_seconds, unsigned};
use lightbox_tests::{Archive, Keeper, Reply};
use ring::hmac;
use serde_json::{Value, json};

fn picture() -> String {
    format!("{}/thumbnail?viewport=40,40", mine().path())
}

async fn with(door: &Door, token: &str) -> Reply {
    let value = format!("Bearer {token}");
    door.proxy.get_with(&picture(), &[("authorization", &value)]).await
}

/// A door behind which the picture is kept, and what it looks like.
async fn kept() -> (Door, Reply) {
    let door = Door::start(Mode::Oidc, &[("cache_disk", "off"), ("cache_memory", "64MB")]).await;
    let reply = door.ask(Shown::Right, &picture(), &[]).await;
    assert_eq!(reply.status(), 200, "{}", reply.text());
    (door, reply)
}

fn but(claims: &Value, name: &str, value: Value) -> Value {
    let mut claims = claims.clone();
    match value {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
        value => claims[name] = value,
    }
    claims
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_must_be_for_this_server_and_for_now() {
    let (door, shown) = kept().await;
    let claims = door.issuer.claims(&[mine().study_uid()]);
    let good = [
        ("aud", json!(["other", "pacs"])),
        ("nbf", Value::Null),
        // Clocks differ by a minute.
        ("exp", json!(in_seconds(-40))),
        ("nbf", json!(in_seconds(40))),
        ("studies", json!(format!("{} {}", theirs().study_uid(), mine().study_uid()))),
    ];
    for (name, value) in good {
        let reply = with(&door, &door.key.token(&but(&claims, name, value.clone()))).await;
        assert_eq!(reply.status(), 200, "{name} = {value}: {}", reply.text());
    }
    let url = door.issuer.url();
    let bad = [
        ("aud", json!("other")),
        ("aud", json!(["other"])),
        ("aud", json!([])),
        ("aud", json!("PACS")),
        ("aud", json!("pacs ")),
        ("aud", json!({"pacs": 1})),
        ("aud", Value::Null),
        ("iss", json!("http://127.0.0.1:1")),
        ("iss", json!(format!("{url}/"))),
        ("iss", json!([url])),
        ("iss", json!(url.to_uppercase())),
        ("iss", Value::Null),
        ("exp", json!(in_seconds(-70))),
        ("exp", json!(0)),
        ("exp", json!(-1)),
        ("exp", json!("9999999999")),
        ("exp", Value::Null),
        ("exp", json!(true)),
        ("exp", json!([in_seconds(600)])),
        ("nbf", json!(in_seconds(80))),
        ("nbf", json!(in_seconds(80).to_string())),
        ("nbf", json!(1e300)),
    ];
    let mut taken = Vec::new();
    for (name, value) in bad {
        let reply = with(&door, &door.key.token(&but(&claims, name, value.clone()))).await;
        let what = format!("{name} = {value}");
        if reply.status() != 401 {
            taken.push(format!("{what}: {}", reply.status()));
            continue;
        }
        let challenge = reply.header("www-authenticate");
        assert!(challenge.starts_with("Bearer") && challenge.contains("invalid_token"), "{what}");
        assert_shows_nothing(&what, &reply, &[&shown]);
    }
    for studies in [
        json!([]),
        json!(""),
        json!([theirs().study_uid()]),
        json!([format!("{}*", mine().study_uid())]),
        json!([mine().study_uid().trim_end_matches('1')]),
        json!([format!("{}.0", mine().study_uid())]),
        json!([[mine().study_uid()]]),
        json!({mine().study_uid(): true}),
        json!(1),
        json!(true),
        Value::Null,
    ] {
        let reply = with(&door, &door.key.token(&but(&claims, "studies", studies.clone()))).await;
        assert_eq!(reply.status(), 403, "{studies}: {}", reply.text());
        assert_shows_nothing(&studies.to_string(), &reply, &[&shown]);
    }
    assert!(taken.is_empty(), "\n{}", taken.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_must_be_the_issuers() {
    let (door, shown) = kept().await;
    let claims = door.issuer.claims(&[mine().study_uid()]);
    let es256 = json!({"alg": "ES256", "kid": "one"});
    let good = door.key.token(&claims);
    let signature = good.rsplit_once('.').unwrap().1;
    let stranger = TokenKey::new("one");
    let of_mac = |header: Value, secret: &[u8]| {
        let said = unsigned(&header, &claims);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), said.as_bytes());
        format!("{said}.{}", URL_SAFE_NO_PAD.encode(tag))
    };
    // What a server that takes a public key for a secret would take.
    let spki_start = STANDARD.decode("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE").unwrap();
    let spki = [&spki_start, &door.key.point()[1..]].concat();
    let encoded = STANDARD.encode(&spki);
    let (first, second) = encoded.split_at(64);
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{first}\n{second}\n-----END PUBLIC KEY-----\n");
    let jwk = door.key.public().to_string();
    let mut tokens = vec![
        ("a stranger's key of the same name", stranger.token(&claims)),
        (
            "a key in the token's own header",
            stranger.token_under(
                &json!({"alg": "ES256", "kid": "one", "jwk": stranger.public()}),
                &claims,
            ),
        ),
        (
            "no name of a key and a stranger's",
            stranger.token_under(&json!({"alg": "ES256"}), &claims),
        ),
        (
            "a name that nobody knows",
            door.key.token_under(&json!({"alg": "ES256", "kid": "two"}), &claims),
        ),
        ("an empty name", door.key.token_under(&json!({"alg": "ES256", "kid": ""}), &claims)),
        (
            "a name that is a path",
            door.key.token_under(&json!({"alg": "ES256", "kid": "../../../dev/null"}), &claims),
        ),
        ("another algorithm of the kind", {
            door.key.token_under(&json!({"alg": "ES384", "kid": "one"}), &claims)
        }),
        ("RS256", door.key.token_under(&json!({"alg": "RS256", "kid": "one"}), &claims)),
        (
            "an extension that nobody here knows",
            door.key.token_under(
                &json!({"alg": "ES256", "kid": "one", "crit": ["b64"], "b64": true}),
                &claims,
            ),
        ),
        ("es256", door.key.token_under(&json!({"alg": "es256", "kid": "one"}), &claims)),
        ("no algorithm", door.key.token_under(&json!({"kid": "one"}), &claims)),
        ("none", format!("{}.", unsigned(&json!({"alg": "none", "kid": "one"}), &claims))),
        (
            "none with a signature",
            format!("{}.{signature}", unsigned(&json!({"alg": "none", "kid": "one"}), &claims)),
        ),
        ("nOnE", format!("{}.", unsigned(&json!({"alg": "nOnE", "kid": "one"}), &claims))),
        ("no signature", format!("{}.", unsigned(&es256, &claims))),
        (
            "a signature of zeros",
            format!("{}.{}", unsigned(&es256, &claims), URL_SAFE_NO_PAD.encode([0; 64])),
        ),
        (
            "the signature of other claims",
            format!("{}.{signature}", unsigned(&es256, &but(&claims, "sub", json!("adam")))),
        ),
        ("two parts", good.rsplit_once('.').unwrap().0.to_owned()),
        ("four parts", format!("{good}.{signature}")),
        ("a byte more", format!("{good}A")),
        ("padded", format!("{good}==")),
        ("nothing", String::new()),
        ("dots", "..".to_owned()),
        ("no JSON", format!("{}.{}.{signature}", "e30", "bm90IGpzb24")),
        ("two in one header", format!("{good}, {good}")),
        ("very long", format!("{good}{}", "A".repeat(40_000))),
    ];
    for (secret, name) in [
        (pem.as_bytes(), "HS256 with the public key as PEM"),
        (pem.trim_end().as_bytes(), "HS256 with the public key as PEM without its last line end"),
        (&spki, "HS256 with the public key as DER"),
        (door.key.point(), "HS256 with the public point"),
        (&door.key.point()[1..], "HS256 with the coordinates"),
        (jwk.as_bytes(), "HS256 with the JWK"),
        (b"", "HS256 with nothing"),
    ] {
        tokens.push((name, of_mac(json!({"alg": "HS256", "kid": "one"}), secret)));
    }
    for (what, token) in tokens {
        let reply = with(&door, &token).await;
        assert!(matches!(reply.status(), 401 | 431), "{what}: {} {}", reply.status(), reply.text());
        assert_shows_nothing(what, &reply, &[&shown]);
    }
    assert_eq!(with(&door, &good).await.status(), 200);
    // Every bit counts, but for those of a last character that say nothing.
    for at in (0..good.len() - 1).filter(|at| at % 3 == 0) {
        for bit in [0, 1, 4] {
            let mut other = good.clone().into_bytes();
            other[at] ^= 1 << bit;
            // What no header can hold is not sent.
            if !other.iter().all(u8::is_ascii_graphic) {
                continue;
            }
            let other = String::from_utf8(other).unwrap();
            let reply = with(&door, &other).await;
            assert_eq!(reply.status(), 401, "{other}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_and_those_that_nobody_knows_make_no_storm() {
    let (door, _) = kept().await;
    let claims = door.issuer.claims(&[mine().study_uid()]);
    let (two, stranger) = (TokenKey::new("two"), TokenKey::new("stranger"));
    assert_eq!(with(&door, &two.token(&claims)).await.status(), 401);
    let before = door.issuer.asked();
    for number in 0..30 {
        let other = but(&claims, "jti", json!(number));
        assert_eq!(with(&door, &stranger.token(&other)).await.status(), 401);
    }
    assert!(door.issuer.asked() - before <= 2, "{}", door.issuer.asked() - before);
    door.issuer.publish(&[&door.key, &two]);
    let taken = async {
        loop {
            if with(&door, &two.token(&claims)).await.status() == 200 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), taken).await.expect("the new key is found");
    assert_eq!(with(&door, &door.key.token(&claims)).await.status(), 200, "the old one stays good");
    // The issuer is down: its keys of before are good, new ones are unknown.
    door.issuer.set_down(true);
    let fresh = but(&claims, "jti", json!("fresh"));
    assert_eq!(with(&door, &two.token(&fresh)).await.status(), 200);
    let reply = with(&door, &TokenKey::new("three").token(&claims)).await;
    assert!(matches!(reply.status(), 401 | 503), "{}", reply.status());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_nobody_is_let_in_and_they_are_asked_for_again() {
    let archive = Archive::of_ct_studies(&[1], 1, 2).await;
    let key = TokenKey::new("one");
    let issuer = Issuer::start(&[&key]).await;
    issuer.set_down(true);
    let url = issuer.url();
    let keys = [
        ("upstream_credentials", "none"),
        ("access", "oidc"),
        ("oidc_issuer", &*url),
        ("oidc_audience", "pacs"),
    ];
    let proxy = Keeper::new(&keys).start(&archive.url()).await;
    let token = format!("Bearer {}", key.token(&issuer.claims(&[])));
    let path = picture();
    let headers = [("authorization", &*token)];
    let asked = || proxy.get_with(&path, &headers);
    let reply = asked().await;
    assert_eq!(reply.status(), 503, "{}", reply.text());
    assert_shows_nothing("without keys", &reply, &[]);
    assert_eq!(archive.between().calls(), 0);
    // Those who wait for the same answer have it together, also where it is none.
    let before = issuer.asked();
    let all = futures_util::future::join_all((0..20).map(|_| asked())).await;
    assert!(all.iter().all(|reply| reply.status() == 503));
    let tried = issuer.asked() - before;
    assert!(tried < 20, "{tried} of 20 have asked the issuer themselves");
    issuer.set_down(false);
    // Without oidc_studies_claim a token opens all.
    assert_eq!(asked().await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_not_remembered_beyond_its_end() {
    let (door, shown) = kept().await;
    let mut claims = door.issuer.claims(&[mine().study_uid()]);
    claims["exp"] = json!(in_seconds(-57));
    let token = door.key.token(&claims);
    assert_eq!(with(&door, &token).await.status(), 200);
    tokio::time::sleep(Duration::from_millis(4500)).await;
    let reply = with(&door, &token).await;
    assert_eq!(reply.status(), 401, "proof_ttl does not prolong a token");
    assert_shows_nothing("an old token", &reply, &[&shown]);
}
