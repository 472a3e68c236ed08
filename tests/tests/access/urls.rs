//! Signed URLs and cookies: they open what they are for, as long as they are for it, and nothing else.

use std::collections::HashSet;
use std::time::Duration;

use http::Method;
use lightbox_tests::door::{
    Door, Mode, SIGNING_KEY, Shown, assert_shows_nothing, mine, shows, signed, signed_with, theirs,
};
use lightbox_tests::{Reply, eventually, raw_exchange};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MEMORY: [(&str, &str); 2] = [("cache_disk", "off"), ("cache_memory", "64MB")];

fn picture() -> String {
    format!("{}/thumbnail?viewport=40,40&quality=70", mine().path())
}

async fn open_to_the_signed(mode: Mode) -> (Door, String, Reply) {
    let door = Door::start(mode, &MEMORY).await;
    let url = signed(&picture());
    let reply = door.proxy.get(&url).await;
    assert_eq!(reply.status(), 200, "{}", reply.text());
    assert_eq!(door.ask(Shown::Right, &picture(), &[]).await.body, reply.body);
    (door, url, reply)
}

/// The answers to GETs of these targets, byte for byte as they stand, on as few connections as the proxy
/// allows: status and body.
async fn raw(address: &str, targets: &[Vec<u8>]) -> Vec<(u16, Vec<u8>)> {
    let mut answers = Vec::new();
    let mut stream = TcpStream::connect(address).await.unwrap();
    for target in targets {
        let request =
            [b"GET ", &target[..], b" HTTP/1.1\r\nHost: lightbox\r\nAccept: */*\r\n\r\n"].concat();
        let answer = match exchange(&mut stream, &request).await {
            Some(answer) => answer,
            // It was closed after the answer before.
            None => {
                stream = TcpStream::connect(address).await.unwrap();
                exchange(&mut stream, &request).await.unwrap_or_default()
            }
        };
        answers.push(answer);
    }
    answers
}

async fn exchange(stream: &mut TcpStream, request: &[u8]) -> Option<(u16, Vec<u8>)> {
    stream.write_all(request).await.ok()?;
    let mut read = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).await.ok()?;
        if count == 0 {
            return None;
        }
        read.extend_from_slice(&piece[..count]);
        let Some(at) = read.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&read[..at]).to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok())
            .unwrap_or(0);
        if read.len() >= at + 4 + length {
            let status = head.split(' ').nth(1)?.parse().ok()?;
            return Some((status, read[at + 4..].to_vec()));
        }
    }
}

fn is_refused(shown: &Reply, (status, body): &(u16, Vec<u8>)) -> bool {
    (400..500).contains(status) && !shows(body, shown)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_bit_of_a_signed_url_can_be_another() {
    for mode in [Mode::Basic, Mode::Oidc] {
        let (door, url, shown) = open_to_the_signed(mode).await;
        let mut targets = Vec::new();
        for at in 0..url.len() {
            for bit in 0..8 {
                let mut other = url.clone().into_bytes();
                other[at] ^= 1 << bit;
                // Blanks and line ends would end the target, and make another request of it.
                if !other.iter().any(|byte| b" \r\n\t".contains(byte)) {
                    targets.push(other);
                }
            }
        }
        assert!(targets.len() > url.len() * 7);
        let answers = raw(door.proxy.address(), &targets).await;
        let taken: Vec<String> = targets
            .iter()
            .zip(&answers)
            .filter(|(_, answer)| !is_refused(&shown, answer))
            .map(|(target, (status, _))| format!("{status} {}", String::from_utf8_lossy(target)))
            .collect();
        assert!(
            taken.is_empty(),
            "{mode:?}: {} of {}:\n{}",
            taken.len(),
            targets.len(),
            taken.join("\n")
        );
        assert_eq!(raw(door.proxy.address(), &[url.into_bytes()]).await[0].0, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_can_be_added_left_out_or_spelled_otherwise() {
    let (door, url, shown) = open_to_the_signed(Mode::Basic).await;
    let (path, query) = url.split_once('?').unwrap();
    let pairs: Vec<&str> = query.split('&').collect();
    let expires = pairs.iter().find(|p| p.starts_with("lightbox-expires=")).unwrap();
    let seconds: u64 = expires.split_once('=').unwrap().1.parse().unwrap();
    let signature = pairs.last().unwrap();
    assert!(signature.starts_with("lightbox-signature="), "the signature stands last: {query}");
    let mut others: Vec<String> = (1..url.len()).map(|end| url[..end].to_owned()).collect();
    // Each parameter left out, doubled, moved; each two exchanged.
    let of = |pairs: &[&str]| format!("{path}?{}", pairs.join("&"));
    for at in 0..pairs.len() {
        let mut some = pairs.clone();
        let one = some.remove(at);
        others.push(of(&some));
        for to in (0..pairs.len()).filter(|to| *to != at) {
            let mut moved = some.clone();
            moved.insert(to, one);
            others.push(of(&moved));
            let mut doubled = pairs.clone();
            doubled.insert(to, one);
            others.push(of(&doubled));
        }
        let mut empty = pairs.clone();
        let name = format!("{}=", one.split('=').next().unwrap());
        empty[at] = &name;
        others.push(of(&empty));
    }
    others.extend([
        format!("{url}&viewport=400,400"),
        format!("{url}&x"),
        format!("{url}&"),
        format!("{url}0"),
        format!("{url}%00"),
        format!("{url}&{signature}"),
        format!("{url}&lightbox-x=1"),
        format!("{path}?x=1&{query}"),
        format!("{path}?&{query}"),
        format!("{path}??{query}"),
        format!("{path}/?{query}"),
        format!("/{path}?{query}"),
        format!("{}?{query}", path.replace("/thumbnail", "/rendered")),
        format!("{}?{query}", path.replace("/thumbnail", "/frames/1/thumbnail")),
        format!("{}?{query}", path.replace("thumbnail", "metadata")),
        format!("{}?{query}", path.replace("thumbnail", "%74humbnail")),
        format!("{}/thumbnail?{query}", theirs().path()),
        format!("{}/thumbnail?{query}", mine().series_path()),
        format!("{}/thumbnail?{query}", mine().study_path()),
        format!("/studies?{query}"),
        format!("{}/metadata?{query}", mine().study_path()),
        url.replace("40,40", "41,41"),
        url.replace("40,40", "40%2C40"),
        url.replace("quality", "%71uality"),
        url.replace("lightbox-", "Lightbox-"),
        url.replace("lightbox-", "lightbox%2D"),
        url.replace("lightbox-signature", "LIGHTBOX-SIGNATURE"),
        url.replace(expires, &format!("lightbox-expires={}", seconds + 1)),
        url.replace(expires, "lightbox-expires=99999999999"),
        url.replace(expires, &format!("lightbox-expires=0{seconds}")),
        url.replace(expires, &format!("lightbox-expires=+{seconds}")),
        url.replace(expires, &format!("lightbox-expires={seconds}.0")),
        url.replace(expires, &format!("lightbox-expires={seconds}&lightbox-expires=99999999999")),
        url.replace("lightbox-key=k1", "lightbox-key=k2"),
        url.replace("lightbox-key=k1", "lightbox-key="),
        url.replace("lightbox-key=k1", "lightbox-key=K1"),
        url.replace("lightbox-key=k1", "lightbox-key=k%31"),
        format!(
            "{path}?{}&lightbox-signature={}",
            pairs[..pairs.len() - 1].join("&"),
            "0".repeat(64)
        ),
        format!(
            "{path}?{}",
            query.replace(
                signature,
                &signature.to_uppercase().replace("LIGHTBOX-SIGNATURE", "lightbox-signature")
            )
        ),
        signed_with(&["k1:another-secret-of-more-than-32-characters"], "1h", &picture()),
        signed_with(&["k2:0123456789abcdef0123456789abcdef0123456789"], "1h", &picture()),
    ]);
    let mut seen = HashSet::new();
    others.retain(|other| *other != url && other.starts_with('/') && seen.insert(other.clone()));
    let targets: Vec<Vec<u8>> = others.iter().map(|other| other.clone().into_bytes()).collect();
    let answers = raw(door.proxy.address(), &targets).await;
    let taken: Vec<String> = others
        .iter()
        .zip(&answers)
        .filter(|(_, answer)| !is_refused(&shown, answer))
        .map(|(target, (status, _))| format!("{status} {target}"))
        .collect();
    assert!(taken.is_empty(), "{} of {}:\n{}", taken.len(), others.len(), taken.join("\n"));
    door.assert_nothing_of_ours_went_on();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_url_is_for_reading_and_until_it_expires() {
    let (door, url, shown) = open_to_the_signed(Mode::Basic).await;
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
        let reply = door.proxy.send(method.clone(), &url, &[]).await;
        assert!(matches!(reply.status(), 403 | 405), "{method}: {}", reply.status());
        assert_shows_nothing(method.as_str(), &reply, &[&shown]);
    }
    let head = door.proxy.send(Method::HEAD, &url, &[]).await;
    assert_eq!((head.status(), head.body.len()), (200, 0));
    let same = door.proxy.get_with(&url, &[("if-none-match", shown.header("etag"))]).await;
    assert_eq!(same.status(), 304);
    let short = signed_with(&[SIGNING_KEY], "1s", &picture());
    tokio::time::sleep(Duration::from_millis(2100)).await;
    for headers in [&[][..], &[("if-none-match", shown.header("etag"))]] {
        let reply = door.proxy.get_with(&short, headers).await;
        assert_eq!(reply.status(), 403, "it has expired");
        assert_shows_nothing("expired", &reply, &[&shown]);
    }
    // What passes through can be signed, too; neither the signature nor its key reach the archive.
    let metadata = door.proxy.get(&signed(&format!("{}/metadata", mine().path()))).await;
    assert!(metadata.status() == 200 && metadata.text().contains("Doe"), "{}", metadata.text());
    // A URL whole is signed as its path is.
    let whole = signed(&format!("{}{}", door.proxy.url(), picture()));
    let reply = door.proxy.get(whole.strip_prefix(&door.proxy.url()).unwrap()).await;
    assert_eq!((reply.status(), reply.body), (200, shown.body.clone()));
    // It opens no cookie.
    let session = signed(&format!("{}/lightbox-session", mine().study_path()));
    for method in [Method::POST, Method::GET] {
        let reply = door.proxy.send(method, &session, &[]).await;
        assert_shows_nothing("a session", &reply, &[&shown]);
        assert_eq!(reply.count("set-cookie"), 0);
    }
    door.assert_nothing_of_ours_went_on();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_changed_without_breaking_what_was_signed_before() {
    let old = "k0:00000000000000000000000000000000000000";
    let both = format!("{SIGNING_KEY}\n{old}");
    let door = Door::start(Mode::Basic, &[&MEMORY[..], &[("signing_keys", &*both)]].concat()).await;
    for keys in [[SIGNING_KEY, old], [old, SIGNING_KEY]] {
        assert_eq!(door.proxy.get(&signed_with(&keys, "1h", &picture())).await.status(), 200);
    }
    let without = Door::start(Mode::Basic, &MEMORY).await;
    assert_eq!(without.proxy.get(&signed_with(&[old], "1h", &picture())).await.status(), 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_caller_mode_a_signed_url_opens_nothing_whoever_shows_it() {
    let door = Door::start(Mode::Caller, &MEMORY).await;
    let shown = door.ask(Shown::Right, &picture(), &[]).await;
    let calls = door.archive.between().calls();
    for who in [Shown::Nothing, Shown::Wrong, Shown::Others, Shown::Right] {
        for path in [picture(), format!("{}/metadata", mine().path()), "/studies".to_owned()] {
            let reply = door.ask(who, &signed(&path), &[]).await;
            assert_eq!(reply.status(), 403, "{who:?}: {path}");
            assert_shows_nothing(&path, &reply, &[&shown]);
        }
    }
    assert_eq!(door.archive.between().calls(), calls, "the archive was asked");
}

// Cookies ------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_is_given_for_credentials_that_open_the_study() {
    for mode in [Mode::Basic, Mode::Oidc, Mode::Caller] {
        let door = Door::start(mode, &[&MEMORY[..], &[("base_path", "/dicom-web")]].concat()).await;
        let session = format!("/dicom-web{}/lightbox-session", mine().study_path());
        let reply = door.ask_by(Method::POST, Shown::Right, &session, &[]).await;
        assert_eq!((reply.status(), reply.body.len()), (204, 0), "{mode:?}");
        let cookie = reply.header("set-cookie");
        assert!(cookie.starts_with("lightbox-study="), "{cookie}");
        let attributes: Vec<&str> = cookie.split("; ").skip(1).collect();
        let path = format!("Path=/dicom-web{}", mine().study_path());
        for attribute in ["HttpOnly", "SameSite=Strict", &path] {
            assert!(
                attributes.contains(&attribute),
                "{mode:?}: {attribute} is missing in {cookie}"
            );
        }
        let authorization = door.authorization(Shown::Right).unwrap();
        let secret = authorization.split(' ').nth(1).unwrap();
        assert!(!cookie.contains(secret), "the credentials stand in the cookie");
        assert!(reply.header("cache-control").contains("no-store"));
        for who in [Shown::Nothing, Shown::Wrong, Shown::Expired, Shown::Others] {
            let reply = door.ask_by(Method::POST, who, &session, &[]).await;
            if mode == Mode::Basic && who == Shown::Others {
                continue;
            }
            assert!((400..500).contains(&reply.status()), "{mode:?}, {who:?}: {}", reply.status());
            assert_eq!(reply.count("set-cookie"), 0, "{mode:?}, {who:?}");
        }
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let reply = door.ask_by(method, Shown::Right, &session, &[]).await;
            assert_eq!((reply.status(), reply.count("set-cookie")), (405, 0), "{mode:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_caller_mode_who_asks_for_a_cookie_is_told_what_the_archive_says() {
    let door = Door::start(Mode::Caller, &MEMORY).await;
    let mut wrong = Vec::new();
    for (who, expected) in [
        (Shown::Nothing, 401),
        (Shown::Wrong, 403),
        (Shown::Expired, 401),
        (Shown::Others, 404),
        (Shown::Right, 204),
    ] {
        let reply = door.cookie(who, &mine()).await.1;
        if reply.status() != expected {
            wrong.push(format!("{who:?}: {} instead of {expected}", reply.status()));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    door.archive.between().stop();
    // Its last connections take a moment to end.
    eventually("it is down", || async {
        matches!(door.cookie(Shown::Wrong, &mine()).await.1.status(), 502..=504)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_opens_the_reading_of_its_study_only() {
    for mode in [Mode::Basic, Mode::Oidc, Mode::Caller] {
        let door = Door::start(mode, &[&MEMORY[..], &[("allow_writes", "true")]].concat()).await;
        let shown = door.ask(Shown::Right, &picture(), &[]).await;
        // A user of ours sees every study.
        let others = if mode == Mode::Basic { Shown::Right } else { Shown::Others };
        let other = door.ask(others, &picture().replace("2.25.1", "2.25.2"), &[]).await;
        let cookie = door.cookie(Shown::Right, &mine()).await.0.unwrap();
        let with = |method: Method, path: String, cookie: String| {
            let door = &door;
            async move { door.proxy.send(method, &path, &[("cookie", &cookie)]).await }
        };
        let reply = with(Method::GET, picture(), cookie.clone()).await;
        assert_eq!((reply.status(), &reply.body), (200, &shown.body), "{mode:?}");
        let among = format!("a=1; {cookie}; b=2");
        let reply = with(Method::GET, picture(), among).await;
        // Where the archive decides, other cookies are credentials of their own: it may know them or not.
        assert_eq!(reply.status(), 200, "{mode:?}: {}", reply.text());
        for path in [
            picture().replace("2.25.1", "2.25.2"),
            format!("{}/thumbnail", theirs().study_path()),
            format!("{}/metadata", theirs().study_path()),
            "/studies".to_owned(),
            format!("/studies?StudyInstanceUID={}", mine().study_uid()),
            format!("/series?StudyInstanceUID={}", mine().study_uid()),
        ] {
            let reply = with(Method::GET, path.clone(), cookie.clone()).await;
            assert_eq!(reply.status(), 401, "{mode:?}: {path}");
            assert_shows_nothing(&path, &reply, &[&shown, &other]);
        }
        for method in [Method::POST, Method::DELETE, Method::PUT, Method::PATCH] {
            for path in [picture(), mine().study_path(), "/studies".to_owned()] {
                let calls = door.archive.between().received().len();
                let reply = with(method.clone(), path.clone(), cookie.clone()).await;
                let what = format!("{mode:?}: {method} {path}");
                assert!((400..500).contains(&reply.status()), "{what}: {}", reply.status());
                let went_on = door.archive.between().received()[calls..].to_vec();
                let right = door.authorization(Shown::Right).unwrap();
                let own = lightbox_tests::door::basic("lightbox", "own");
                for call in went_on {
                    let shown = call.header("authorization");
                    assert!(shown != right && shown != own, "{what} reached the archive");
                }
            }
        }
        let session = format!("{}/lightbox-session", mine().study_path());
        let reply = with(Method::POST, session, cookie.clone()).await;
        assert_eq!(reply.count("set-cookie"), 0, "{mode:?}: a cookie makes no cookie");
        // Tampered with.
        let (name, value) = cookie.split_once('=').unwrap();
        for at in 0..value.len() - 1 {
            let mut bad = value.to_owned().into_bytes();
            bad[at] ^= 1;
            let bad = String::from_utf8(bad).unwrap();
            if bad.contains([';', ',', '"', '\\', ' ']) {
                continue;
            }
            let reply = with(Method::GET, picture(), format!("{name}={bad}")).await;
            assert_eq!(reply.status(), 401, "{mode:?}: byte {at}");
            assert_shows_nothing("a cookie with a flaw", &reply, &[&shown]);
        }
        door.assert_nothing_of_ours_went_on();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_is_good_for_session_ttl_and_no_longer_than_its_token() {
    let door = Door::start(Mode::Oidc, &[&MEMORY[..], &[("session_ttl", "2s")]].concat()).await;
    let shown = door.ask(Shown::Right, &picture(), &[]).await;
    let cookie = door.cookie(Shown::Right, &mine()).await.0.unwrap();
    assert_eq!(door.proxy.get_with(&picture(), &[("cookie", &cookie)]).await.status(), 200);
    tokio::time::sleep(Duration::from_millis(3100)).await;
    let reply = door.proxy.get_with(&picture(), &[("cookie", &cookie)]).await;
    assert_eq!(reply.status(), 401);
    assert_shows_nothing("an old cookie", &reply, &[&shown]);
}

#[tokio::test(flavor = "multi_thread")]
async fn our_cookie_never_reaches_the_archive_however_it_is_written() {
    for mode in [Mode::Open, Mode::Caller, Mode::Basic] {
        let door = Door::start(mode, &MEMORY).await;
        let cookie = door.cookie(Shown::Right, &mine()).await.0.unwrap();
        let authorization = door.authorization(Shown::Right).unwrap();
        let value = cookie.split_once('=').unwrap().1;
        let mut wrong = Vec::new();
        for header in [
            format!("Cookie: {cookie}"),
            format!("cookie: a=1;{cookie};b=2"),
            format!("COOKIE: {cookie}\r\nCookie: {cookie}"),
            format!("Cookie: {cookie}; {cookie}"),
            format!("Cookie: lightbox-study ={value}"),
            format!("Cookie: lightbox-study= {value}"),
            format!("Cookie:\tlightbox-study={value}"),
            format!("Cookie: LIGHTBOX-STUDY={value}"),
            format!("Cookie: \"lightbox-study\"={value}"),
            format!("Cookie: lightbox-study=\"{value}\""),
            format!("Cookie: a=1,{cookie}"),
            format!("Cookie: \u{e4}=1; {cookie}"),
            format!("Cookie: $Version=1; {cookie}; $Path=/"),
            "Cookie: lightbox-study".to_owned(),
        ] {
            for path in [format!("{}/metadata", mine().path()), mine().path(), picture()] {
                let before = door.archive.between().calls();
                let request = format!(
                    "GET {path} HTTP/1.1\r\nHost: lightbox\r\nAuthorization: {authorization}\r\n{header}\r\nConnection: close\r\n\r\n"
                );
                let answer = raw_exchange(door.proxy.address(), request.as_bytes()).await;
                assert!(answer.starts_with(b"HTTP/1.1 "), "{header}");
                for call in &door.archive.between().received()[before..] {
                    for sent in call.headers.get_all("cookie") {
                        let bytes = sent.as_bytes();
                        let has = bytes.windows(value.len()).any(|w| w == value.as_bytes());
                        if has {
                            let sent = String::from_utf8_lossy(bytes).replace(value, "VALUE");
                            wrong.push(
                                format!("{header}: {path}: {sent:?}").replace(value, "VALUE"),
                            );
                        }
                    }
                }
            }
        }
        assert!(wrong.is_empty(), "{mode:?}:\n{}", wrong.join("\n"));
    }
}
