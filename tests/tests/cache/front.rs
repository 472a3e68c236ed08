//! What stands in front of the cache and beside it: an nginx that keeps things itself, an operator's
//! orders, and pictures that are made ahead.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::Method;
use lightbox_tests::{
    Answer, Archive, Keeper, Place, Proxy, Received, Reply, ScriptedOrigin, TestImage, client,
    closed_port, ct, eventually, places,
};

fn status(reply: &Reply) -> &str {
    reply.header("cache-status")
}

fn is_hit(reply: &Reply) -> bool {
    reply.status() == 200 && status(reply).starts_with("lightbox; hit")
}

// nginx in front -----------------------------------------------------------------------------------

/// A real nginx with a cache; it ends with the value.
struct Nginx {
    child: Child,
    url: String,
    folder: tempfile::TempDir,
}

impl Nginx {
    /// In front of this, with these lines for the location beside those of the cache.
    async fn start(part: &str, upstream: &str, lines: &str) -> Option<Self> {
        let (folder, port) = (tempfile::tempdir().unwrap(), closed_port());
        let root = folder.path().display();
        let config = format!(
            "worker_processes 1; daemon off; master_process off; pid {root}/pid; error_log {root}/error.log;\n\
             events {{ worker_connections 64; }}\n\
             http {{ access_log off; client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;\n\
             fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;\n\
             proxy_cache_path {root}/cache levels=1:2 keys_zone=pictures:10m;\n\
             server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {upstream}; proxy_http_version 1.1;\n\
             proxy_cache pictures; proxy_cache_revalidate on; proxy_cache_valid 200 10m; proxy_cache_lock on;\n\
             add_header X-Front $upstream_cache_status always; {lines} }} }} }}\n"
        );
        std::fs::write(folder.path().join("nginx.conf"), config).unwrap();
        let start = |program: &str| {
            Command::new(program)
                .args(["-e", "error.log", "-p"])
                .arg(folder.path())
                .args(["-c", "nginx.conf"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
        };
        let Ok(child) = start("nginx").or_else(|_| start("/usr/sbin/nginx")) else {
            let all = std::env::var("LIGHTBOX_TEST").is_ok_and(|tests| tests == "all");
            assert!(!all, "{part} cannot run: nginx is not installed");
            eprintln!("SKIPPED {part}: nginx is not installed");
            return None;
        };
        let nginx = Self { child, url: format!("http://127.0.0.1:{port}"), folder };
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "nginx listens");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Some(nginx)
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        let request = client().get(format!("{}{path}", self.url));
        let request = headers.iter().fold(request, |request, (n, v)| request.header(*n, *v));
        Reply::read(request.send().await.unwrap()).await
    }

    /// How many answers it keeps.
    fn kept(&self) -> usize {
        let mut folders = vec![self.folder.path().join("cache")];
        let mut count = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    true => folders.push(entry.path()),
                    false => count += 1,
                }
            }
        }
        count
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Failing means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// nginx asks without the client's conditions where it would keep the answer, unless it is told so.
const CONDITIONS: &str = "proxy_set_header If-None-Match $http_if_none_match;";

#[tokio::test(flavor = "multi_thread")]
async fn nginx_keeps_no_picture() {
    let archive = Archive::of_ct(1, 2, 2).await;
    let proxy = Keeper::new(&[]).start(&archive.url()).await;
    let Some(nginx) = Nginx::start("a cache in front", &proxy.url(), "").await else { return };
    let place = Place::new(1, 1, 1);
    for path in [
        format!("{}/thumbnail", place.path()),
        format!("{}/thumbnail", place.study_path()),
        format!("{}/rendered?accept=image/png", place.path()),
        format!("{}/rendered", place.series_path()),
        // Failures too.
        format!("{}/thumbnail", Place::new(1, 7, 1).path()),
        format!("{}/thumbnail?viewport=x", place.path()),
    ] {
        let straight = proxy.get(&path).await;
        for _ in 0..3 {
            let reply = nginx.get(&path, &[]).await;
            assert_eq!(reply.status(), straight.status(), "{path}");
            assert_eq!(reply.header("x-front"), "MISS", "{path}: {:?}", reply.headers);
            if path.ends_with("/rendered") {
                // With another boundary each time.
                continue;
            }
            assert_eq!(reply.body, straight.body, "{path}");
            assert_eq!(reply.header("etag"), straight.header("etag"), "{path}");
        }
    }
    assert_eq!(nginx.kept(), 0);
    // Ours is hit through it.
    let hit = nginx.get(&format!("{}/thumbnail", place.path()), &[]).await;
    assert!(is_hit(&hit), "{}", status(&hit));
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_keeps_pictures_that_are_for_everybody_and_no_304() {
    let archive = Archive::of_ct(1, 1, 2).await;
    let keys = [("http_caching", "public"), ("i_know_this_is_public", "true")];
    let proxy = Keeper::new(&keys).start(&archive.url()).await;
    let Some(nginx) = Nginx::start("public pictures", &proxy.url(), "").await else { return };
    let place = Place::new(1, 1, 1);
    for path in [place.path(), place.series_path()] {
        let path = format!("{path}/thumbnail");
        let straight = proxy.get(&path).await;
        let held = [("if-none-match", straight.header("etag"))];
        // Who holds it asks nginx first.
        let first = nginx.get(&path, &held).await;
        assert!(matches!(first.status(), 200 | 304), "{}", first.status());
        for _ in 0..2 {
            let plain = nginx.get(&path, &[]).await;
            assert_eq!((plain.status(), &plain.body), (200, &straight.body), "{path}");
            assert_eq!(plain.header("x-front"), "HIT", "{path}");
            assert_eq!(nginx.get(&path, &held).await.status(), 304, "{path}");
        }
        // With credentials it is nobody else's.
        let own = proxy.get_with(&path, &[("authorization", "Bearer x")]).await;
        assert!(own.header("cache-control").contains("private"), "{:?}", own.headers);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_pass_through_nginx() {
    let archive = Archive::of_ct(1, 1, 2).await;
    let proxy = Keeper::new(&[]).start(&archive.url()).await;
    let part = "conditional requests through a cache";
    let Some(nginx) = Nginx::start(part, &proxy.url(), CONDITIONS).await else { return };
    let place = Place::new(1, 1, 1);
    for path in [place.path(), place.series_path(), place.study_path()] {
        let path = format!("{path}/thumbnail");
        let first = nginx.get(&path, &[]).await;
        assert_eq!(first.status(), 200);
        let (calls, etag) = (archive.between().calls(), first.header("etag"));
        for tags in
            [etag.to_owned(), format!("\"other\", {etag}"), format!("W/{etag}"), "*".to_owned()]
        {
            let held = nginx.get(&path, &[("if-none-match", &tags)]).await;
            assert_eq!((held.status(), held.body.len()), (304, 0), "{path}: {tags}");
            assert_eq!(held.header("etag"), etag, "{path}: {tags}");
        }
        assert_eq!(archive.between().calls(), calls);
        let other = nginx.get(&path, &[("if-none-match", "\"other\"")]).await;
        assert_eq!((other.status(), other.body), (200, first.body.clone()), "{path}");
    }
    assert_eq!(nginx.kept(), 0);
}

/// An image that the archive shows to some only.
fn guard(origin: &ScriptedOrigin, image: &TestImage, allowed: &'static [&'static str]) {
    let path = image.url_path();
    let of = move |request: &Received, answer: Answer| {
        if allowed.contains(&request.header("authorization")) {
            answer
        } else {
            Answer::status(401)
        }
    };
    let (file, metadata) = (image.file(), image.metadata().to_string());
    let frame = image.frame(1).to_vec();
    const SYNTAX: &str = "transfer-syntax=1.2.840.10008.1.2.1";
    origin.on(&path, move |request| {
        let part = format!("application/dicom; {SYNTAX}");
        of(request, Answer::multipart("application/dicom", &[(&part, &file)]))
    });
    origin.on(&format!("{path}/metadata"), move |request| {
        of(request, Answer::json(metadata.clone()))
    });
    origin.on(&format!("{path}/frames/1"), move |request| {
        let part = format!("application/octet-stream; {SYNTAX}");
        of(request, Answer::multipart("application/octet-stream", &[(&part, &frame)]))
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_user_may_see_no_other_is_shown() {
    let origin = ScriptedOrigin::start().await;
    let image = TestImage::ramp(32, 32);
    guard(&origin, &image, &["Bearer of-anna", "Bearer of-bert"]);
    let keeper = Keeper::new(&[]);
    let proxy = keeper.start(&origin.url()).await;
    let part = "users behind a cache";
    let Some(nginx) = Nginx::start(part, &proxy.url(), CONDITIONS).await else { return };
    for kind in ["thumbnail", "rendered"] {
        let path = format!("{}/{kind}", image.url_path());
        for time in 0..2 {
            let shown = nginx.get(&path, &[("authorization", "Bearer of-anna")]).await;
            assert_eq!(shown.status(), 200, "{}", shown.text());
            assert!(is_hit(&shown) || time == 0, "{}", status(&shown));
            let etag = shown.header("etag");
            let requests = origin.requests();
            for headers in [
                &[("authorization", "Bearer of-eve")][..],
                &[],
                // What she knows by other ways proves nothing.
                &[("authorization", "Bearer of-eve"), ("if-none-match", etag)],
                &[("if-none-match", etag)],
                &[("cookie", "session=of-anna"), ("if-none-match", "*")],
            ] {
                let refused = nginx.get(&path, headers).await;
                assert_eq!(refused.status(), 401, "{path}: {headers:?}: {}", status(&refused));
            }
            assert!(origin.requests() > requests);
            let bert = nginx.get(&path, &[("authorization", "Bearer of-bert")]).await;
            assert_eq!((bert.status(), &bert.body), (200, &shown.body));
        }
    }
    assert_eq!(nginx.kept(), 0);
}

// Orders -------------------------------------------------------------------------------------------

async fn order(base: &str, method: Method, path: &str, token: Option<&str>, body: &str) -> Reply {
    let request = client().request(method, format!("{base}{path}")).body(body.to_owned());
    let request = match token {
        Some(token) => request.header("authorization", token),
        None => request,
    };
    Reply::read(request.send().await.unwrap()).await
}

const WARM: &str = "/warm?study=2.25.1";
const PURGE: &str = "/cache/studies/2.25.1";

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_orders_are_taken_from_who_shows_it_alone() {
    let archive = Archive::of_ct(1, 1, 2).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "in-a-file\n").unwrap();
    let of_file = format!("file:{}", file.display());
    for (key, token) in [("in-the-open", "in-the-open"), (of_file.as_str(), "in-a-file")] {
        let keys = [("admin_token", key), ("warm_up", "true")];
        let proxy = Keeper::new(&keys).start(&archive.url()).await;
        let path = format!("{}/thumbnail", Place::new(1, 1, 1).path());
        proxy.get(&path).await;
        let base = proxy.admin_url();
        let right = format!("Bearer {token}");
        for wrong in [
            None,
            Some("Bearer"),
            Some("Bearer "),
            Some("Bearer x"),
            Some(token),
            Some(&*format!("Basic {token}")),
            Some(&*format!("Bearer {token}x")),
            Some(&*format!("Bearer {}", &token[1..])),
        ] {
            for (method, path) in [(Method::POST, WARM), (Method::DELETE, PURGE)] {
                let reply = order(&base, method, path, wrong, "").await;
                assert_eq!(reply.status(), 401, "{path}: {wrong:?}: {}", reply.text());
                assert_eq!(reply.header("www-authenticate"), "Bearer");
                assert!(!reply.text().contains(token), "{}", reply.text());
            }
            assert!(is_hit(&proxy.get(&path).await), "it was not purged");
        }
        // What only looks is for everybody.
        for path in ["/healthz", "/readyz", "/metrics"] {
            assert_eq!(order(&base, Method::GET, path, None, "").await.status(), 200, "{path}");
        }
        assert_eq!(order(&base, Method::POST, WARM, Some(&right), "").await.status(), 202);
        assert_eq!(order(&base, Method::DELETE, PURGE, Some(&right), "").await.status(), 204);
        let log = proxy.log();
        assert!(!log.contains(token) && !log.contains("2.25."), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_orders_are_taken_on_loopback_alone() {
    let archive = Archive::of_ct(1, 1, 1).await;
    let keys = [("warm_up", "true")];
    let proxy = Keeper::new(&keys).start(&archive.url()).await;
    assert_eq!(order(&proxy.admin_url(), Method::POST, WARM, None, "").await.status(), 202);
    assert_eq!(order(&proxy.admin_url(), Method::DELETE, PURGE, None, "").await.status(), 204);
    // It leads nowhere but to this machine, but is not written like an address that does: as all others.
    let other = format!("[::ffff:127.0.0.1]:{}", closed_port());
    let keys = [("warm_up", "true"), ("admin_listen", other.as_str())];
    let _proxy = Keeper::new(&keys).start(&archive.url()).await;
    let base = format!("http://{other}");
    if client().get(format!("{base}/healthz")).send().await.is_err() {
        return lightbox_tests::skip("orders on another address", "there is no IPv6 here");
    }
    for token in [None, Some("Bearer "), Some("Bearer x")] {
        assert_eq!(order(&base, Method::POST, WARM, token, "").await.status(), 401);
        assert_eq!(order(&base, Method::DELETE, PURGE, token, "").await.status(), 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_that_make_no_sense_are_refused_and_do_nothing() {
    let archive = Archive::of_ct(1, 1, 1).await;
    let keys = [("warm_up", "true")];
    let proxy = Keeper::new(&keys).start(&archive.url()).await;
    let base = proxy.admin_url();
    let others = [Method::GET, Method::HEAD, Method::PUT, Method::PATCH, Method::OPTIONS];
    for method in others.iter().chain([&Method::DELETE]) {
        let reply = order(&base, method.clone(), WARM, None, "").await;
        assert_eq!((reply.status(), reply.header("allow")), (405, "POST"), "{method}");
    }
    for method in others.iter().chain([&Method::POST]) {
        let reply = order(&base, method.clone(), PURGE, None, "").await;
        assert_eq!((reply.status(), reply.header("allow")), (405, "DELETE"), "{method}");
    }
    for path in ["x", "", "2.25.1/series/2", "2.25.1%20", "..%2f", "2..25", &"1".repeat(65), "%ff"]
    {
        let reply = order(&base, Method::DELETE, &format!("/cache/studies/{path}"), None, "").await;
        assert_eq!(reply.status(), 400, "{path}: {}", reply.text());
        assert!(path.len() < 3 || !reply.text().contains(path), "{}", reply.text());
    }
    let deep = "[".repeat(100_000);
    let long = format!("{{\"studies\": [\"{}\"]}}", "1".repeat(5 << 20));
    for (query, body) in [
        ("", ""),
        ("?study=", ""),
        ("?study=x", ""),
        ("?study=2.25.1&study=x", ""),
        ("?archive=none&study=2.25.1", ""),
        ("?studies=2.25.1", ""),
        ("", "2.25.1"),
        ("", "[\"2.25.1\"]"),
        ("", "{}"),
        ("", "{\"studies\": []}"),
        ("", "{\"studies\": [\"2.25.1\", 7]}"),
        ("", "{\"studies\": [\"2.25.1\"], \"more\": 1}"),
        ("", "{\"studies\": \"2.25.1\"}"),
        ("", "{\"studies\": [\"2.25.1\"]} and more"),
        ("", "{\"studies\": [\"2.25.1\"], \"archive\": \"none\"}"),
        ("?study=2.25.1", "nonsense"),
        ("", "\u{0}\u{1}"),
        ("", deep.as_str()),
        ("", long.as_str()),
    ] {
        let reply = order(&base, Method::POST, &format!("/warm{query}"), None, body).await;
        let shown = &body[..body.len().min(60)];
        assert_eq!(reply.status(), 400, "{query} {shown}: {}", reply.text());
    }
    assert_eq!(archive.between().calls(), 0);
    // Of a study that nobody knows there is nothing to drop.
    assert_eq!(order(&base, Method::DELETE, "/cache/studies/1.2.3", None, "").await.status(), 204);
    // Nothing of it is to be had where clients come in.
    for (method, path) in [(Method::POST, WARM), (Method::DELETE, PURGE)] {
        let reply = proxy.send(method, path, &[]).await;
        assert!(reply.status() >= 400, "{}", reply.status());
    }
    let off = Keeper::new(&[]).start(&archive.url()).await;
    assert_eq!(order(&off.admin_url(), Method::POST, WARM, None, "").await.status(), 409);
}

// Made ahead ---------------------------------------------------------------------------------------

async fn made_ahead(proxy: &Proxy) -> f64 {
    proxy.metric("lightbox_warm_up_pictures_total").await
}

/// Waits until so many pictures were made ahead.
async fn are_made(proxy: &Proxy, count: f64) {
    eventually("they are made", || async { made_ahead(proxy).await >= count }).await;
    assert_eq!(made_ahead(proxy).await, count);
}

/// That the study's thumbnail and those of its series are there, without a call.
async fn are_there(proxy: &Proxy, archive: &Archive, study: u32, series: u32) {
    let calls = archive.between().calls();
    let mut paths = vec![Place::new(study, 1, 1).study_path()];
    paths.extend((1..=series).map(|series| Place::new(study, series, 1).series_path()));
    for path in paths {
        let reply = proxy.get(&format!("{path}/thumbnail")).await;
        assert!(is_hit(&reply), "{path}: {}", status(&reply));
    }
    assert_eq!(archive.between().calls(), calls);
}

fn warming(keys: &[(&str, &str)]) -> Keeper {
    // So that which image stands for a series is trusted for as long as the test runs.
    Keeper::new(&[&[("warm_up", "true"), ("index_ttl", "10m")], keys].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_study_that_a_viewer_opens_is_made_ahead() {
    for path in ["series", "metadata"] {
        let archive = Archive::of_ct(1, 3, 2).await;
        let proxy = warming(&[]).start(&archive.url()).await;
        let opened = format!("{}/{path}", Place::new(1, 1, 1).study_path());
        let json = [("accept", "application/dicom+json")];
        assert_eq!(proxy.get_with(&opened, &json).await.status(), 200);
        are_made(&proxy, 4.0).await;
        are_there(&proxy, &archive, 1, 3).await;
        // A second time there is nothing to be done.
        let calls = archive.between().calls();
        proxy.get_with(&opened, &json).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(archive.between().calls(), calls + 1);
        assert!(!proxy.log().contains("2.25."), "{}", proxy.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thumbnails_are_made_ahead_as_they_were_asked_for_lately() {
    let files: Vec<(String, Vec<u8>)> = places(1, 2, 2)
        .into_iter()
        .chain(places(2, 2, 2))
        .map(|place| (place.instance_uid(), ct(&place, 0)))
        .collect();
    let named: Vec<(&str, Vec<u8>)> =
        files.iter().map(|(name, file)| (name.as_str(), file.clone())).collect();
    let archive = Archive::of(&named).await;
    let proxy = warming(&[]).start(&archive.url()).await;
    let query = "thumbnail?viewport=37,37&accept=image/png";
    proxy.get(&format!("{}/{query}", Place::new(1, 1, 1).series_path())).await;
    proxy.get(&format!("{}/series", Place::new(2, 1, 1).study_path())).await;
    // In this form and as nobody says more of it.
    are_made(&proxy, 6.0).await;
    let calls = archive.between().calls();
    for path in [Place::new(2, 1, 1).study_path(), Place::new(2, 2, 1).series_path()] {
        let reply = proxy.get(&format!("{path}/{query}")).await;
        assert!(is_hit(&reply), "{}", status(&reply));
        assert_eq!(reply.header("content-type"), "image/png");
    }
    assert_eq!(archive.between().calls(), calls);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_names_is_made_ahead() {
    let archive = Archive::of_ct(1, 3, 2).await;
    let proxy = warming(&[]).start(&archive.url()).await;
    assert_eq!(order(&proxy.admin_url(), Method::POST, WARM, None, "").await.status(), 202);
    are_made(&proxy, 4.0).await;
    are_there(&proxy, &archive, 1, 3).await;
    let json = r#"{"studies": ["2.25.1", "2.25.99"]}"#;
    assert_eq!(order(&proxy.admin_url(), Method::POST, "/warm", None, json).await.status(), 202);
    // What there is of it is looked up anew.
    are_made(&proxy, 8.0).await;
    are_there(&proxy, &archive, 1, 3).await;
}

/// An archive of one image that takes what is stored in it.
async fn that_takes(image: &TestImage) -> ScriptedOrigin {
    let origin = ScriptedOrigin::start().await;
    image.put_on(&origin);
    let path = &image.path;
    let (study, series) = (format!("/studies/{}", path.study), &path.series);
    let stored = format!(r#"{{"00081190":{{"vr":"UR","Value":["http://x{study}"]}}}}"#);
    origin.on("/studies", move |_| Answer::json(stored.clone()));
    let listed = format!(
        r#"[{{"0020000E":{{"vr":"UI","Value":["{series}"]}},"00080060":{{"vr":"CS","Value":["CT"]}}}}]"#
    );
    origin.on(&format!("{study}/series"), move |_| Answer::json(listed.clone()));
    let listed = format!(
        r#"[{{"00080018":{{"vr":"UI","Value":["{}"]}},
            "00080016":{{"vr":"UI","Value":["1.2.840.10008.5.1.4.1.1.2"]}}}}]"#,
        path.instance
    );
    let instances = format!("{study}/series/{series}/instances");
    origin.on(&instances, move |_| Answer::json(listed.clone()));
    origin
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_is_made_ahead_once_it_rests() {
    let image = TestImage::ramp(32, 32);
    let origin = that_takes(&image).await;
    let proxy = warming(&[]).start(&origin.url()).await;
    let began = Instant::now();
    for _ in 0..3 {
        let post = proxy.request(Method::POST, "/studies", &[]).body("object");
        assert_eq!(Reply::read(post.send().await.unwrap()).await.status(), 200);
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    let last = Instant::now();
    assert_eq!(origin.requests(), 3);
    are_made(&proxy, 2.0).await;
    assert!(last.elapsed() > Duration::from_secs(4), "made after {:?}", began.elapsed());
    let requests = origin.requests();
    let study = format!("/studies/{}", image.path.study);
    for path in [study.clone(), format!("{study}/series/{}", image.path.series)] {
        let reply = proxy.get(&format!("{path}/thumbnail")).await;
        assert!(is_hit(&reply), "{path}: {}", status(&reply));
    }
    assert_eq!(origin.requests(), requests);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_ahead_is_fetched_by_the_right_of_who_gave_occasion() {
    for credentials in [("authorization", "Bearer x"), ("cookie", "session=1")] {
        let image = TestImage::ramp(32, 32);
        let origin = that_takes(&image).await;
        let proxy = warming(&[]).start(&origin.url()).await;
        let study = format!("/studies/{}", image.path.study);
        for path in ["series", "metadata"] {
            proxy.get_with(&format!("{study}/{path}"), &[credentials]).await;
        }
        for path in ["/studies".to_owned(), study.clone()] {
            let post = proxy.request(Method::POST, &path, &[credentials]).body("object");
            Reply::read(post.send().await.unwrap()).await;
        }
        proxy.get_with(&format!("{study}/thumbnail"), &[credentials]).await;
        eventually("they are made", || async { made_ahead(&proxy).await >= 2.0 }).await;
        let asked_as_nobody: Vec<String> = origin
            .received()
            .into_iter()
            .filter(|call| call.header(credentials.0).is_empty())
            .map(|call| format!("{} {}", call.method, call.path))
            .collect();
        assert!(asked_as_nobody.is_empty(), "{asked_as_nobody:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_picture_goes_before_what_is_made_ahead() {
    const SERIES: u32 = 25;
    const SLOW: Duration = Duration::from_millis(150);
    let of_both = places(1, SERIES, 2).into_iter().chain(places(2, 3, 1));
    let files: Vec<(String, Vec<u8>)> =
        of_both.map(|place| (place.instance_uid(), ct(&place, 0))).collect();
    let named: Vec<(&str, Vec<u8>)> =
        files.iter().map(|(name, file)| (name.as_str(), file.clone())).collect();
    let archive = Archive::of(&named).await;
    archive.between().slow("/studies", SLOW);
    let alone = Keeper::new(&[("upstream_concurrency", "2")]).start(&archive.url()).await;
    let ask = async |proxy: &Proxy| {
        let began = Instant::now();
        let paths = (1..=3).map(|series| format!("{}/thumbnail", Place::new(2, series, 1).path()));
        let replies = join_all(paths.map(|path| async move { proxy.get(&path).await })).await;
        assert!(replies.iter().all(|reply| reply.status() == 200));
        began.elapsed()
    };
    let unhindered = ask(&alone).await;
    drop(alone);

    let proxy = warming(&[("upstream_concurrency", "2")]).start(&archive.url()).await;
    assert_eq!(order(&proxy.admin_url(), Method::POST, WARM, None, "").await.status(), 202);
    eventually("some are made", || async { made_ahead(&proxy).await >= 2.0 }).await;
    let took = ask(&proxy).await;
    let made = made_ahead(&proxy).await;
    println!("three thumbnails: {unhindered:.1?} alone, {took:.1?} while others are made ahead");
    assert!(made < f64::from(SERIES) / 2.0, "{made} were made before");
    // Drawn in their turn all the same.
    are_made(&proxy, f64::from(SERIES) + 1.0).await;
}
