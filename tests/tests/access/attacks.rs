//! What somebody without a right may try, and what it must not get him.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use lightbox_tests::door::{Door, Mode, Shown, assert_shows_nothing, mine, shows, signed, theirs};
use lightbox_tests::{
    Answer, Between, Fault, Guard, Keeper, Place, Proxy, Reply, ScriptedOrigin, TestImage, client,
    closed_port, places, raw_exchange,
};

const MEMORY: [(&str, &str); 2] = [("cache_disk", "off"), ("cache_memory", "64MB")];

const LOCKED: [Mode; 3] = [Mode::Basic, Mode::Oidc, Mode::Caller];

fn picture_of(place: &Place) -> String {
    format!("{}/thumbnail?viewport=40,40", place.path())
}

fn picture() -> String {
    picture_of(&mine())
}

/// A door behind which pictures of both studies are kept, and these pictures.
async fn kept(mode: Mode, keys: &[(&str, &str)]) -> (Door, Reply, Reply) {
    let door = Door::start(mode, &[&MEMORY[..], keys].concat()).await;
    let reply = door.ask(Shown::Right, &picture(), &[]).await;
    assert_eq!(reply.status(), 200, "{}", reply.text());
    let others = if mode == Mode::Basic { Shown::Right } else { Shown::Others };
    for path in [
        format!("{}/thumbnail", theirs().series_path()),
        format!("{}/thumbnail", theirs().study_path()),
        format!("{}/frames/1/rendered", theirs().path()),
    ] {
        assert_eq!(door.ask(others, &path, &[]).await.status(), 200, "{path}");
    }
    let other = door.ask(others, &picture_of(&theirs()), &[]).await;
    assert_eq!(other.status(), 200, "{}", other.text());
    (door, reply, other)
}

/// Who has no right, and what he is told.
fn outsiders(mode: Mode) -> Vec<(Shown, u16)> {
    match mode {
        Mode::Open => Vec::new(),
        Mode::Basic => vec![(Shown::Nothing, 401), (Shown::Wrong, 401)],
        Mode::Oidc => vec![(Shown::Nothing, 401), (Shown::Wrong, 401), (Shown::Others, 403)],
        Mode::Caller => vec![(Shown::Nothing, 401), (Shown::Wrong, 403), (Shown::Others, 404)],
    }
}

/// An answer of which every byte was read.
fn parsed(answer: &[u8]) -> (u16, String) {
    let text = String::from_utf8_lossy(answer).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, text)
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_and_ranges_tell_nothing_to_who_has_no_right() {
    for mode in LOCKED {
        let (door, shown, _) = kept(mode, &[]).await;
        let etag = shown.header("etag");
        let weak = format!("W/{etag}");
        let length = format!("bytes={}-", shown.body.len() - 1);
        let headers: &[&[(&str, &str)]] = &[
            &[("if-none-match", etag)],
            &[("if-none-match", &weak)],
            &[("if-none-match", "*")],
            &[("if-match", etag)],
            &[("if-match", "\"x\"")],
            &[("if-modified-since", "Fri, 31 Dec 2999 23:59:59 GMT")],
            &[("if-unmodified-since", "Thu, 01 Jan 1970 00:00:00 GMT")],
            &[("if-range", etag), ("range", "bytes=0-0")],
            &[("range", "bytes=0-0")],
            &[("range", "bytes=-10")],
            &[("range", &length)],
            &[("range", "bytes=99999999-")],
            &[("cache-control", "only-if-cached")],
            &[("cache-control", "only-if-cached, max-stale")],
            &[("cache-control", "no-cache")],
            &[("pragma", "no-cache")],
            &[("priority", "u=7")],
            &[("priority", "u=7, i"), ("if-none-match", "*")],
            &[("accept", "text/plain")],
            &[("accept", "image/png")],
            &[("expect", "100-continue")],
            &[("x-forwarded-for", "127.0.0.1"), ("forwarded", "for=127.0.0.1")],
            &[("x-forwarded-user", "eva"), ("remote-user", "eva"), ("x-remote-user", "eva")],
            &[("te", "trailers"), ("upgrade-insecure-requests", "1")],
        ];
        for (who, expected) in outsiders(mode) {
            for headers in headers {
                for method in [Method::GET, Method::HEAD] {
                    let reply = door.ask_by(method.clone(), who, &picture(), headers).await;
                    let what = format!("{mode:?}, {who:?}: {method} with {headers:?}");
                    // What is refused for another reason may be refused for that first.
                    let is_fine = reply.status() == expected || reply.status() == 406;
                    assert!(is_fine, "{what}: {}", reply.status());
                    assert_shows_nothing(&what, &reply, &[&shown]);
                    let told = reply.header("content-length");
                    assert_ne!(told, shown.body.len().to_string(), "{what}: its length");
                    assert_eq!(reply.header("content-range"), "", "{what}");
                }
            }
        }
        // Who has the right is told what he asks for.
        let held = door.ask(Shown::Right, &picture(), &[("if-none-match", etag)]).await;
        assert_eq!((held.status(), held.body.len()), (304, 0), "{mode:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_on_a_picture_show_nothing() {
    for mode in LOCKED {
        let (door, shown, _) = kept(mode, &[]).await;
        for (who, _) in outsiders(mode) {
            for method in ["OPTIONS", "POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "GETX"]
            {
                let name = Method::from_bytes(method.as_bytes()).unwrap();
                let reply = door.ask_by(name, who, &picture(), &[]).await;
                let what = format!("{mode:?}, {who:?}: {method}: {}", reply.status());
                assert!(
                    reply.status() == 204 && method == "OPTIONS" || reply.status() >= 400,
                    "{what}"
                );
                assert!(!shows(&reply.body, &shown) && reply.header("etag").is_empty(), "{what}");
                assert!(!reply.text().contains("Doe"), "{what}");
            }
        }
        // Nor does what he shows stand in the answer.
        let marked = [("authorization", "Bearer zzzzzzzz"), ("cookie", "zzzzzzzz=1")];
        for method in [Method::TRACE, Method::GET, Method::OPTIONS] {
            let reply = door.proxy.send(method, &picture(), &marked).await;
            let all = format!("{:?}{}", reply.headers, reply.text());
            assert!(!all.contains("zzzzzzzz"), "{mode:?}: {all}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http_2_the_same_is_asked_and_cookies_in_pieces_are_one() {
    // It sets up the cryptography that the other one needs, too.
    let _http1 = client();
    let http2 = reqwest::Client::builder().no_proxy().http2_prior_knowledge();
    let http2 = http2.timeout(Duration::from_secs(30)).build().unwrap();
    for mode in LOCKED {
        let (door, shown, _) = kept(mode, &[]).await;
        let get = async |headers: &[(&str, &str)]| {
            let request = http2.get(format!("{}{}", door.proxy.url(), picture()));
            let request = headers.iter().fold(request, |request, (n, v)| request.header(*n, *v));
            let answer = request.send().await.unwrap();
            assert_eq!(answer.version(), http::Version::HTTP_2);
            Reply::read(answer).await
        };
        for (who, refusal) in outsiders(mode) {
            let authorization = door.authorization(who);
            let headers: Vec<_> =
                authorization.iter().map(|value| ("authorization", &**value)).collect();
            let reply = get(&headers).await;
            assert_eq!(reply.status(), refusal, "{mode:?}, {who:?}");
            assert_shows_nothing("over HTTP/2", &reply, &[&shown]);
        }
        let right = door.authorization(Shown::Right).unwrap();
        let calls = door.archive.between().calls();
        let reply = get(&[("authorization", &right)]).await;
        assert_eq!((reply.status(), &reply.body), (200, &shown.body), "{mode:?}");
        assert_eq!(door.archive.between().calls(), calls, "{mode:?}: it is a hit");
        let cookie = door.cookie(Shown::Right, &mine()).await.0.unwrap();
        let reply = get(&[("cookie", "a=1"), ("cookie", &cookie), ("cookie", "b=2")]).await;
        assert_eq!((reply.status(), &reply.body), (200, &shown.body), "{mode:?}");
        if mode == Mode::Caller {
            let last = door.archive.between().received().pop().unwrap();
            let cookies: Vec<_> = last.headers.get_all("cookie").iter().collect();
            assert_eq!(cookies, ["a=1; b=2"], "as HTTP/1.1 has them");
        }
        door.assert_nothing_of_ours_went_on();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_credentials_none_is_taken_for_the_other() {
    for mode in LOCKED {
        let (door, shown, _) = kept(mode, &[]).await;
        let right = door.authorization(Shown::Right).unwrap();
        let wrong = door.authorization(Shown::Wrong).unwrap();
        let ask = |headers: String| {
            let address = door.proxy.address().to_owned();
            async move {
                let request = format!(
                    "GET {} HTTP/1.1\r\nHost: lightbox\r\n{headers}Connection: close\r\n\r\n",
                    picture()
                );
                raw_exchange(&address, request.as_bytes()).await
            }
        };
        let header = |value: &str| format!("Authorization: {value}\r\n");
        // However the name and the scheme are written, they are the same.
        let (scheme, rest) = right.split_once(' ').unwrap();
        for name in ["authorization", "AUTHORIZATION", "aUtHoRiZaTiOn"] {
            let answer = ask(format!("{name}: {right}\r\n")).await;
            assert_eq!(parsed(&answer).0, 200, "{mode:?}: {name}");
            assert_ne!(
                parsed(&ask(format!("{name}: {wrong}\r\n")).await).0,
                200,
                "{mode:?}: {name}"
            );
        }
        for scheme in [scheme.to_lowercase(), scheme.to_uppercase()] {
            let (status, _) = parsed(&ask(header(&format!("{scheme} {rest}"))).await);
            // The archive here takes it by the letter.
            let expected = if mode == Mode::Caller { 403 } else { 200 };
            assert_eq!(status, expected, "{mode:?}: {scheme}");
        }
        let nothing = [
            // The first of two counts, for the archive here as well.
            header(&wrong) + &header(&right),
            header("") + &header(&right),
            header(&format!("{wrong}, {right}")),
            header(&format!("{wrong},{right}")),
            header(&format!("{rest} {scheme}")),
            header(rest),
            header(scheme),
            header(&format!("{scheme}{rest}")),
            header(&format!("{scheme}\t{rest}")),
            format!("Proxy-Authorization: {right}\r\n"),
            format!("X-Authorization: {right}\r\n"),
            format!("Authorization2: {right}\r\n"),
            format!("X: y\r\n Authorization: {right}\r\n"),
            format!("Authorization : {right}\r\n"),
            format!("{}Connection: authorization\r\n", header(&wrong)),
            format!("Cookie: authorization={right}\r\n"),
            header(&wrong) + &format!("X-Original-Authorization: {right}\r\n"),
        ];
        for headers in nothing {
            for _ in 0..2 {
                let answer = ask(headers.clone()).await;
                let (status, text) = parsed(&answer);
                assert!((400..500).contains(&status), "{mode:?}: {headers:?}: {text}");
                assert!(!shows(&answer, &shown), "{mode:?}: {headers:?}");
            }
        }
        // One more that is wrong may be refused; where it is not, it must not become a right of its own.
        let answer = ask(header(&right) + &header(&wrong)).await;
        assert!(matches!(parsed(&answer).0, 200 | 400..=403), "{mode:?}: {}", parsed(&answer).1);
        let answer = ask(header(&wrong)).await;
        assert!(!shows(&answer, &shown));
        // A cookie of ours does not help who shows something wrong beside it.
        let cookie = door.cookie(Shown::Right, &mine()).await.0.unwrap();
        let reply = door
            .proxy
            .get_with(&picture(), &[("authorization", &wrong), ("cookie", &cookie)])
            .await;
        assert!(matches!(reply.status(), 401 | 403), "{mode:?}: {}", reply.status());
        assert_shows_nothing("wrong credentials beside a cookie", &reply, &[&shown]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_limited_to_a_study_reaches_no_other_however_it_is_spelled() {
    let (door, shown, other) = kept(Mode::Oidc, &[]).await;
    let (own, foreign) = (mine().study_uid(), theirs().study_uid());
    let metadata = format!("{}/metadata", theirs().path());
    let dotted = foreign.replace('.', "%2E");
    let targets = [
        "/".to_owned() + "studies",
        "/studies/".to_owned(),
        "//studies".to_owned(),
        "/studies//".to_owned(),
        "/STUDIES".to_owned(),
        "/%73tudies".to_owned(),
        "/studies?".to_owned(),
        "/studies?limit=1".to_owned(),
        "/series".to_owned(),
        format!("/series?StudyInstanceUID={own}"),
        "/instances".to_owned(),
        format!("/instances?StudyInstanceUID={own}"),
        format!("/studies?StudyInstanceUID={foreign}"),
        format!("/studies?StudyInstanceUID={dotted}"),
        format!("/studies?0020000D={foreign}"),
        format!("/studies?0020000d={foreign}"),
        format!("/studies?StudyInstanceUID={own},{foreign}"),
        format!("/studies?StudyInstanceUID={own}%5C{foreign}"),
        format!("/studies?StudyInstanceUID={own}&StudyInstanceUID={foreign}"),
        format!("/studies?StudyInstanceUID={own}&0020000D={foreign}"),
        format!("/studies?StudyInstanceUID={own}&0020%30%30%30D={foreign}"),
        format!("/studies?StudyInstanceUID={own};StudyInstanceUID={foreign}"),
        "/studies?StudyInstanceUID=".to_owned(),
        "/studies?StudyInstanceUID=*".to_owned(),
        "/studies?StudyInstanceUID=2.25.*".to_owned(),
        "/studies?StudyInstanceUID=2.25.?".to_owned(),
        format!("/studies/?StudyInstanceUID={own}"),
        format!("/studies/{foreign}"),
        format!("/studies/{dotted}/metadata"),
        "/studies/%32.25.2/metadata".to_owned(),
        metadata.clone(),
        format!("/{metadata}"),
        format!("/.{metadata}"),
        format!("/x/..{metadata}"),
        format!("/studies/{own}/../{foreign}/metadata"),
        format!("/studies/{own}/%2e%2e/{foreign}/metadata"),
        format!("/studies/{own}/%2E%2E/{foreign}/metadata"),
        format!("/studies/{own}/..%2f{foreign}/metadata"),
        format!("/studies/{own}%2f..%2f{foreign}/metadata"),
        format!("/studies/{own}/%252e%252e/{foreign}/metadata"),
        format!("/studies/{own}/..\\{foreign}/metadata"),
        format!("/studies/{own}/..%5c{foreign}/metadata"),
        // Servlet containers cut `;…` off each segment before they resolve the dots.
        format!("/studies/{own}/..;/{foreign}/metadata"),
        format!("/studies/{own}/..;x=y/{foreign}/metadata"),
        format!("/studies/{own}/%2e%2e;/{foreign}/metadata"),
        format!("/studies/{own}/..%3b/{foreign}/metadata"),
        format!("/studies/{own};x/../{foreign}/metadata"),
        format!("/studies/{own};/{foreign}/metadata"),
        format!("/studies/{own}/series/..;/..;/{foreign}/metadata"),
        format!("/studies/{own}/.;/..;/{foreign}/metadata"),
        format!("/studies/{own}//../{foreign}/metadata"),
        format!("/studies/{own}%00/metadata"),
        format!("/studies/{own}%00{foreign}/metadata"),
        format!("/studies/{own}%20/metadata"),
        format!("/studies/{own}.0/metadata"),
        format!("/studies/{own}2/metadata"),
        format!("/studies/{own},{foreign}/metadata"),
        format!("/studies/{own}//studies/{foreign}"),
        format!("/wado?requestType=WADO&studyUID={foreign}"),
        "/bulkdata/1".to_owned(),
        "/".to_owned() + &"x".repeat(10),
        picture_of(&theirs()),
        format!("/{}", picture_of(&theirs())),
        picture_of(&theirs()).replace("2.25.2/", "2%2E25%2E2/"),
        format!("http://other.example{metadata}"),
        format!("http://other.example{}", picture_of(&theirs())),
    ];
    let authorization = door.authorization(Shown::Right).unwrap();
    let mut wrong = Vec::new();
    for target in targets {
        let before = door.archive.between().calls();
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: lightbox\r\nAuthorization: {authorization}\r\nConnection: close\r\n\r\n"
        );
        let answer = raw_exchange(door.proxy.address(), request.as_bytes()).await;
        let (status, text) = parsed(&answer);
        let reached = &door.archive.between().received()[before..];
        if !(400..500).contains(&status) || shows(&answer, &other) || text.contains("Doe") {
            wrong.push(format!("{target}: {status}"));
        } else if let Some(call) = reached.first() {
            wrong.push(format!("{target}: {status}, and the archive was asked for {}", call.path));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    // What is theirs opens.
    for path in [
        mine().study_path(),
        format!("{}/metadata", mine().path()),
        format!("{}/series", mine().study_path()),
        format!("/studies?StudyInstanceUID={own}"),
        format!("/studies?0020000D={own}&includefield=all&limit=1"),
    ] {
        assert_eq!(door.ask(Shown::Right, &path, &[]).await.status(), 200, "{path}");
    }
    for method in [Method::POST, Method::DELETE, Method::PUT] {
        let reply = door.ask_by(method.clone(), Shown::Right, &mine().study_path(), &[]).await;
        assert_eq!(reply.status(), 403, "{method}");
    }
    assert!(!shows(&shown.body, &other), "the pictures can be told apart");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_within_an_allowed_study_names_no_other() {
    let (door, ..) = kept(Mode::Oidc, &[]).await;
    let (study, series, foreign) =
        (mine().study_path(), mine().series_path(), theirs().study_uid());
    let mut wrong = Vec::new();
    for path in [
        format!("{study}/series?StudyInstanceUID={foreign}"),
        format!("{study}/series?0020000D={foreign}"),
        format!("{study}/instances?StudyInstanceUID={foreign}"),
        format!("{series}/instances?StudyInstanceUID={foreign}"),
    ] {
        let before = door.archive.between().calls();
        let reply = door.ask(Shown::Right, &path, &[]).await;
        // An archive may let the query win over the path.
        if door.archive.between().calls() > before || reply.text().contains("Doe") {
            wrong.push(format!("{path}: {}, and it reached the archive", reply.status()));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Paths of one study that go on in another one.
fn mixed() -> Vec<String> {
    let study = mine().study_path();
    let (series, instance) = (theirs().series_uid(), theirs().instance_uid());
    let other_series = format!("{study}/series/{series}");
    let other_instance = format!("{other_series}/instances/{instance}");
    let under_own_series = format!("{}/instances/{instance}", mine().series_path());
    let mut paths = Vec::new();
    for instance in [&other_instance, &under_own_series] {
        for rest in
            ["thumbnail?viewport=40,40", "rendered", "frames/1/rendered", "frames/1/thumbnail"]
        {
            paths.push(format!("{instance}/{rest}"));
        }
    }
    paths.push(format!("{other_series}/thumbnail"));
    paths.push(format!("{other_series}/rendered"));
    paths.push(format!("{other_series}/rendered?accept=image/jpeg"));
    paths
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_of_another_study_is_not_found_below_an_allowed_one() {
    for mode in [Mode::Oidc, Mode::Caller] {
        let (door, _, other) = kept(mode, &[]).await;
        for path in mixed() {
            for accept in ["image/jpeg", "*/*", "multipart/related; type=\"image/jpeg\""] {
                let reply = door.ask(Shown::Right, &path, &[("accept", accept)]).await;
                let what = format!("{mode:?}: {path}");
                assert!((400..500).contains(&reply.status()), "{what}: {}", reply.status());
                assert_shows_nothing(&what, &reply, &[&other]);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_looks_at_the_last_uid_only_shows_no_limited_caller_another_study() {
    let (door, _, other) = kept(Mode::Oidc, &[]).await;
    let all: Vec<Place> = [places(1, 1, 2), places(2, 1, 2)].concat();
    door.archive.between().look_at_last_uid_only(&all);
    let full = format!("{}/rendered", theirs().path());
    let full = door.ask(Shown::Others, &full, &[]).await;
    let mut wrong = Vec::new();
    for path in mixed() {
        for accept in ["image/jpeg", "multipart/related; type=\"image/jpeg\""] {
            let reply = door.ask(Shown::Right, &path, &[("accept", accept)]).await;
            if !(400..600).contains(&reply.status())
                || shows(&reply.body, &other)
                || shows(&reply.body, &full)
            {
                wrong.push(format!("{path} ({accept}): {}", reply.status()));
            }
        }
    }
    assert!(wrong.is_empty(), "pictures of another study:\n{}", wrong.join("\n"));
    // Nor does it find its way to who asks rightly.
    let again = door.ask(Shown::Right, &picture(), &[]).await;
    assert!(again.status() == 200 && !shows(&again.body, &other));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_looks_at_the_last_uid_only_passes_nothing_of_another_study_to_a_limited_caller()
 {
    let (door, ..) = kept(Mode::Oidc, &[]).await;
    let all: Vec<Place> = [places(1, 1, 2), places(2, 1, 2)].concat();
    door.archive.between().look_at_last_uid_only(&all);
    let study = mine().study_path();
    let series = format!("{study}/series/{}", theirs().series_uid());
    let instance = format!("{series}/instances/{}", theirs().instance_uid());
    let mut wrong = Vec::new();
    for path in [
        format!("{instance}/metadata"),
        instance.clone(),
        format!("{instance}/frames/1"),
        format!("{series}/metadata"),
        format!("{series}/instances"),
        series,
    ] {
        let reply = door.ask(Shown::Right, &path, &[]).await;
        let uid = theirs().study_uid();
        if reply.status() == 200 {
            let says = reply.text().contains(&uid) || reply.text().contains("Doe");
            wrong.push(format!("{path}: 200{}", if says { ", of the other study" } else { "" }));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_makes_no_other_request_of_one_with_our_credentials() {
    let (door, ..) = kept(Mode::Oidc, &[]).await;
    let other = format!("{}/metadata", theirs().path());
    let mut wrong = Vec::new();
    for (name, value) in [
        ("x-http-method-override", "DELETE"),
        ("x-http-method", "DELETE"),
        ("x-method-override", "DELETE"),
        ("x-original-url", &*other),
        ("x-rewrite-url", &other),
        ("proxy-authorization", "Basic eDp5"),
        ("x-forwarded-user", "root"),
        ("remote-user", "root"),
        ("x-remote-group", "admin"),
        ("x-api-key", "other"),
        // What others take for the same (CGI).
        ("x_http_method_override", "DELETE"),
        ("x_forwarded_for", "203.0.113.9"),
    ] {
        let before = door.archive.between().calls();
        let path = format!("{}/metadata", mine().path());
        door.ask(Shown::Right, &path, &[(name, value)]).await;
        let calls = door.archive.between().received();
        if calls[before..].iter().any(|call| !call.header(name).is_empty()) {
            wrong.push(name);
        }
    }
    assert!(
        wrong.is_empty(),
        "these go to the archive together with our own credentials: {wrong:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_caches_on_the_way_may_keep_is_never_what_somebody_was_shown_by_credentials() {
    let keys = [("http_caching", "public"), ("i_know_this_is_public", "true")];
    let door = Door::start(Mode::Caller, &[&MEMORY[..], &keys].concat()).await;
    door.guard.allow("", &[theirs().study_uid()]);
    let is_public = |reply: &Reply| reply.header("cache-control").contains("public");
    let (open, closed) = (picture_of(&theirs()), picture());
    for round in 0..3 {
        let reply = door.ask(Shown::Right, &closed, &[]).await;
        assert!(reply.status() == 200 && !is_public(&reply), "{round}: {:?}", reply.headers);
        let reply = door.ask(Shown::Others, &open, &[]).await;
        assert!(reply.status() == 200 && !is_public(&reply), "{round}: {:?}", reply.headers);
        let held = door.ask(Shown::Others, &open, &[("if-none-match", reply.header("etag"))]).await;
        assert!(held.status() == 304 && !is_public(&held), "{round}: {:?}", held.headers);
        let cookie = door.cookie(Shown::Others, &theirs()).await.0.unwrap();
        let reply = door.proxy.get_with(&open, &[("cookie", &cookie)]).await;
        assert!(reply.status() == 200 && !is_public(&reply), "{round}: {:?}", reply.headers);
        let reply = door.ask(Shown::Nothing, &closed, &[]).await;
        assert_eq!(reply.status(), 404, "{round}");
        assert!(!is_public(&reply), "{round}: a refusal is kept on the way");
        // What nobody's credentials open, anybody may keep.
        let reply = door.ask(Shown::Nothing, &open, &[]).await;
        assert!(reply.status() == 200 && is_public(&reply), "{round}: {:?}", reply.headers);
    }
    // Public and closed do not go together.
    for (mode, access) in [("basic", "access_users"), ("oidc", "oidc_issuer")] {
        let toml = format!(
            "upstream = \"http://127.0.0.1:1\"\nupstream_credentials = \"none\"\naccess = {mode:?}\n\
             {access} = \"http://127.0.0.1:1\"\nhttp_caching = \"public\"\ni_know_this_is_public = true\n"
        );
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("l.toml"), toml).unwrap();
        let done = lightbox_tests::lightbox(folder.path(), &["config", "--check", "l.toml"]);
        assert!(done.code != Some(0) && done.stderr.contains("http_caching"), "{}", done.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_not_kept_on_the_way() {
    for mode in LOCKED {
        let (door, ..) = kept(mode, &[]).await;
        for (who, _) in outsiders(mode) {
            for path in [picture(), format!("{}/rendered", mine().series_path())] {
                let reply = door.ask(who, &path, &[]).await;
                let control = reply.header("cache-control");
                // RFC 9111 §4.2.2: 404 may be kept by default, and then shown to who has the right.
                let is_safe =
                    ["no-store", "private", "no-cache"].iter().any(|word| control.contains(word));
                let varies = reply.header("vary").to_ascii_lowercase().contains("authorization");
                assert!(
                    reply.status() != 404 || is_safe || varies,
                    "{mode:?}, {who:?}: {path}: {:?}",
                    reply.headers
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_beyond_loopback_ask_for_the_admin_token() {
    let (door, ..) = kept(Mode::Open, &[]).await;
    for (listen, token, shown, expected) in [
        ("0.0.0.0", None, None, 401),
        ("0.0.0.0", None, Some("Bearer "), 401),
        ("0.0.0.0", Some("open sesame"), None, 401),
        ("0.0.0.0", Some("open sesame"), Some("Bearer wrong"), 401),
        ("0.0.0.0", Some("open sesame"), Some("Bearer open sesam"), 401),
        ("0.0.0.0", Some("open sesame"), Some("Basic open sesame"), 401),
        ("0.0.0.0", Some("open sesame"), Some("Bearer open sesame"), 204),
        ("127.0.0.1", None, None, 204),
        ("127.0.0.1", Some("open sesame"), None, 401),
    ] {
        let port = closed_port();
        let address = format!("{listen}:{port}");
        let mut keys = vec![("admin_listen", &*address)];
        keys.extend(token.map(|token| ("admin_token", token)));
        let _proxy = Proxy::start_with(&door.archive.url(), &keys).await;
        let url = format!("http://127.0.0.1:{port}/cache/studies/{}", mine().study_uid());
        let mut request = client().delete(&url);
        if let Some(shown) = shown {
            request = request.header("authorization", shown);
        }
        let reply = Reply::read(request.send().await.unwrap()).await;
        let what = format!("{listen}, {token:?}, {shown:?}");
        let is_refused = expected == 401 && matches!(reply.status(), 401 | 403);
        assert!(is_refused || reply.status() == expected, "{what}: {}", reply.status());
        let warm = format!("http://127.0.0.1:{port}/warm?study={}", mine().study_uid());
        let reply = Reply::read(client().post(&warm).send().await.unwrap()).await;
        if shown.is_none() && expected == 401 {
            assert!(matches!(reply.status(), 401 | 403), "{what}: /warm {}", reply.status());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_finds_more_than_was_asked_for_shows_it_to_nobody_who_is_limited() {
    let (door, ..) = kept(Mode::Oidc, &[]).await;
    let (mine, theirs) = (mine().study_uid(), theirs().study_uid());
    for query in [
        "studyinstanceuid",
        "STUDYINSTANCEUID",
        "StudyInstanceUID%20",
        "+StudyInstanceUID",
        "x0020000D",
    ] {
        let reply = door.ask(Shown::Right, &format!("/studies?{query}={mine}"), &[]).await;
        assert_eq!(reply.status(), 403, "{query}: {}", reply.text());
    }
    let other = format!("/studies?StudyInstanceUID={theirs}");
    let all = door.ask(Shown::Others, &other, &[]).await;
    assert!(all.status() == 200 && all.text().contains(&theirs), "{}", all.text());
    // One that does not know the key.
    let found = format!("[{{}},{},{}]", of_study(&mine), of_study(&theirs));
    let careless = ScriptedOrigin::start().await;
    careless
        .on("/studies", move |_| Answer::json(found.clone()).header("warning", "299 a \"2 of 2\""));
    door.archive.between().lead_to(&careless.url());
    for accept in
        ["application/dicom+json", "*/*", "multipart/related; type=\"application/dicom+xml\""]
    {
        let path = format!("/studies?StudyInstanceUID={mine}&includefield=all");
        let headers = [("accept", accept), ("accept-encoding", "gzip")];
        let reply = door.ask(Shown::Right, &path, &headers).await;
        assert_eq!(
            (reply.status(), reply.text()),
            (200, format!("[{}]", of_study(&mine))),
            "{accept}"
        );
        assert_eq!(reply.header("content-length"), reply.body.len().to_string());
        assert!(reply.header("cache-control").contains("private"), "{:?}", reply.headers);
    }
    careless.on("/studies", |_| Answer::new(200, "application/dicom+json", "<all of them>"));
    let path = format!("/studies?StudyInstanceUID={mine}");
    assert_eq!(door.ask(Shown::Right, &path, &[]).await.status(), 502);
}

fn of_study(uid: &str) -> String {
    format!(r#"{{"0020000D":{{"Value":["{uid}"],"vr":"UI"}}}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_opens_no_other_study_of_an_archive_that_looks_at_the_last_uid_only() {
    for mode in [Mode::Basic, Mode::Oidc, Mode::Caller] {
        let (door, ..) = kept(mode, &[]).await;
        door.guard.allow("Bearer right", &[mine().study_uid(), theirs().study_uid()]);
        let cookie = door.cookie(Shown::Right, &mine()).await.0.unwrap();
        let all: Vec<Place> = [places(1, 1, 2), places(2, 1, 2)].concat();
        door.archive.between().look_at_last_uid_only(&all);
        let own = door.proxy.get_with(&picture(), &[("cookie", &cookie)]).await;
        assert_eq!(own.status(), 200, "{mode:?}: {}", own.text());
        let series = format!("{}/series/{}", mine().study_path(), theirs().series_uid());
        let instance = format!("{series}/instances/{}", theirs().instance_uid());
        for path in [
            format!("{instance}/metadata"),
            format!("{instance}/thumbnail"),
            format!("{instance}/rendered"),
            format!("{instance}/frames/1/rendered"),
            format!("{series}/thumbnail"),
            format!("{series}/metadata"),
        ] {
            // What we do not render would be the archive's to render.
            for accept in ["*/*", "image/x-archive"] {
                let headers = [("cookie", &*cookie), ("accept", accept)];
                let reply = door.proxy.get_with(&path, &headers).await;
                assert!(
                    (400..500).contains(&reply.status()),
                    "{mode:?}: {path}: {}",
                    reply.status()
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_drawn_for_who_has_no_right() {
    for mode in LOCKED {
        let (door, ..) = kept(mode, &[]).await;
        let drawn =
            || async { door.proxy.metric("lightbox_pictures_total{outcome=\"drawn\"}").await };
        let before = drawn().await;
        for (who, refusal) in outsiders(mode) {
            for size in 50..60 {
                // Of what is kept another size costs a drawing and no fetch.
                let path = format!("{}/thumbnail?viewport={size},{size}", mine().path());
                assert_eq!(door.ask(who, &path, &[]).await.status(), refusal, "{mode:?}: {who:?}");
            }
        }
        assert_eq!(drawn().await, before, "{mode:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_archive_hides_from_us_is_told_from_nothing_that_is_not_there() {
    for mode in [Mode::Open, Mode::Basic] {
        let door = Door::start(mode, &MEMORY).await;
        door.archive.between().fail(&theirs().study_path(), 403, &[("x-archive", "hidden")]);
        let absent = Place::new(77, 1, 1);
        for of in [
            |place: &Place| format!("{}/thumbnail", place.path()),
            |place: &Place| format!("{}/rendered", place.series_path()),
            |place: &Place| format!("{}/metadata", place.study_path()),
            |place: &Place| format!("{}/frames/1", place.path()),
        ] {
            let said = async |place: &Place| {
                let mut reply = door.ask(Shown::Right, &of(place), &[]).await;
                reply.headers.remove("date");
                (reply.status(), reply.headers.clone(), reply.text())
            };
            let (hidden, absent) = (said(&theirs()).await, said(&absent).await);
            assert_eq!(hidden.0, 404, "{mode:?}: {}", hidden.2);
            assert_eq!(hidden, absent, "{mode:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_through_for_somebody_is_for_no_cache_on_the_way() {
    for mode in [Mode::Basic, Mode::Oidc, Mode::Caller] {
        let door = Door::start(mode, &MEMORY).await;
        let path = format!("{}/metadata", mine().path());
        let origin = ScriptedOrigin::start().await;
        let public = |_: &_| Answer::json("[]").header("cache-control", "public, max-age=3600");
        let found = format!("[{}]", of_study(&mine().study_uid()));
        let cookie = door.cookie(Shown::Right, &mine()).await.0.unwrap();
        origin.otherwise(public);
        origin.on("/studies", move |_| Answer::json(found.clone()));
        let object = format!(
            r#"[{{"0020000D":{{"vr":"UI","Value":["{}"]}},"0020000E":{{"vr":"UI","Value":["{}"]}},
                "00080018":{{"vr":"UI","Value":["{}"]}}}}]"#,
            mine().study_uid(),
            mine().series_uid(),
            mine().instance_uid()
        );
        origin.on(&format!("{}/instances", mine().series_path()), move |_| {
            Answer::json(object.clone())
        });
        door.archive.between().lead_to(&origin.url());
        let signed = door.proxy.get(&signed(&path)).await;
        let by_cookie = door.proxy.get_with(&path, &[("cookie", &cookie)]).await;
        let own = door.ask(Shown::Right, &path, &[]).await;
        for (what, reply) in [("signed", signed), ("cookie", by_cookie), ("own", own)] {
            match (mode, what) {
                (Mode::Caller, "signed") => assert_eq!(reply.status(), 403),
                // The archive knows who it is, and says what it wants.
                (Mode::Caller, "own") => {
                    assert_eq!(reply.header("cache-control"), "public, max-age=3600");
                }
                _ => {
                    assert_eq!(reply.status(), 200, "{mode:?}, {what}: {}", reply.text());
                    assert_eq!(
                        reply.header("cache-control"),
                        "private, no-cache",
                        "{mode:?}, {what}"
                    );
                    let vary = reply.headers.get_all("vary").iter().map(|v| v.to_str().unwrap());
                    let vary = vary.collect::<Vec<_>>().join(", ");
                    assert!(vary.contains("Authorization") && vary.contains("Cookie"), "{vary}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_takes_nothing_from_those_who_draw() {
    let (door, ..) = kept(Mode::Oidc, &[]).await;
    let drawn = || door.proxy.metric("lightbox_pictures_total{outcome=\"drawn\"}");
    let before = drawn().await;
    let path = picture_of(&mine());
    for _ in 0..3 {
        let refused =
            join_all((0..40).map(|_| door.ask(Shown::Nothing, &path, &[("accept", "image/png")])));
        for reply in refused.await {
            assert_eq!((reply.status(), reply.header("content-type")), (401, "image/png"));
        }
    }
    assert!(drawn().await - before <= 1.0, "{}", drawn().await - before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_object_did_to_us_is_told_to_nobody_who_may_not_see_it() {
    let origin = ScriptedOrigin::start().await;
    let mut image = TestImage::ramp(16, 16);
    image.pixels[..8].copy_from_slice(Fault::DEADLY[0].mark());
    image.put_on(&origin);
    let between = Between::start(&origin.url()).await;
    let guard = Guard::default();
    guard.allow("Bearer right", &[image.path.study.to_string()]);
    between.guarded_by(&guard);
    let keys = [("render_worker", env!("CARGO_BIN_EXE_faulty-worker"))];
    let proxy = Keeper::new(&keys).start(&between.url()).await;
    let path = format!("{}/rendered", image.url_path());
    let right = [("authorization", "Bearer right")];
    for _ in 0..2 {
        assert_eq!(proxy.get_with(&path, &right).await.status(), 500);
    }
    for shown in [&[][..], &[("authorization", "Bearer wrong")]] {
        let reply = proxy.get_with(&path, shown).await;
        assert!(matches!(reply.status(), 401 | 403), "{}", reply.status());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_show_a_request_or_make_a_tunnel_of_it_is_refused() {
    let keys = [&MEMORY[..], &[("allow_writes", "true")]].concat();
    let door = Door::start(Mode::Basic, &keys).await;
    let calls = door.archive.between().calls();
    let right = door.authorization(Shown::Right).unwrap();
    for line in [
        format!("TRACE {}/metadata", mine().path()),
        "CONNECT archive.example:443".to_owned(),
        format!("CONNECT {}/x?PatientName=DOE", mine().study_path()),
    ] {
        let request = format!(
            "{line} HTTP/1.1\r\nHost: x\r\nAuthorization: {right}\r\nConnection: close\r\n\r\n"
        );
        let answer = raw_exchange(door.proxy.address(), request.as_bytes()).await;
        let (status, text) = parsed(&answer);
        assert!(matches!(status, 400 | 405), "{line}: {text}");
    }
    assert_eq!(door.archive.between().calls(), calls);
    let log = door.proxy.log();
    assert!(!log.contains("DOE") && !log.contains(&mine().study_uid()), "{log}");
}
