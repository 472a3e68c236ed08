//! Section 3: status codes, errors and methods, R3.7 to R3.10.

use std::time::Duration;

use http::Method;
use lightbox_tests::{Answer, Place, Proxy, ScriptedOrigin, closed_port, raw_exchange};

use crate::archive::{Archive, Asked, JPEGS, PNGS, ask, equal, levels};
use crate::media::rendered;
use crate::objects::{BROKEN_FIRST, BROKEN_LAST, ECG, LARGE, ORDER, PDF, RAMP, REPORT, UNDRAWN};
use crate::walk::{Requirement, Verdict, check, ruled, tried};

pub(crate) const WALK: &[Requirement] = &[
    tried("R3.7 a", "200: all was rendered", check!(status_200)),
    tried("R3.7 b", "206: an image is known not to render", check!(status_206)),
    tried("R3.7 c", "410 and 404 as the archive says", check!(status_410)),
    tried("R3.7 d", "413: more than may be fetched", check!(status_413)),
    tried("R3.7 e", "501: what is not drawn", check!(status_501)),
    tried("R3.7 f", "503 with Retry-After: too busy", check!(status_503)),
    ruled(
        "R3.7 g",
        "206 wherever some instances are not rendered",
        "design §3: objects without rendered form leave 200; failures after the first byte a trailer",
    ),
    tried("R3.8 a", "errors explain themselves, without the patient", check!(errors_explain)),
    ruled(
        "R3.8 b",
        "a status report in text/html if nothing is acceptable",
        "design §2: application/problem+json; a placeholder picture where only images are acceptable",
    ),
    tried("R3.8 c", "406 lists the types there are", check!(lists_of_406)),
    tried("R3.8 d", "no report on HEAD", check!(errors_of_head)),
    tried("R3.8 e", "a placeholder picture for who takes only images", check!(placeholders)),
    tried("R3.9 a", "401, 403, 404, 410 are relayed, at every level", check!(refusals_are_relayed)),
    tried("R3.9 b", "unreachable is 502", check!(unreachable)),
    tried("R3.9 c", "too slow is 504", check!(too_slow)),
    tried("R3.9 d", "a busy archive is 503 with Retry-After", check!(busy_archive)),
    tried("R3.9 e", "an undecodable single picture is 500 or 501", check!(undecodable_alone)),
    tried("R3.9 f", "undecodable in a collection: left out", check!(undecodable_last)),
    tried("R3.10 a", "HEAD is GET without body", check!(head_is_get)),
    tried("R3.10 b", "other methods are 405 with Allow", check!(other_methods)),
    tried("R3.10 c", "OPTIONS passes through", check!(options_pass)),
    tried("R3.10 d", "CORS preflights are answered here", check!(preflights)),
];

async fn status_200(archive: &Archive) -> Verdict {
    let asked = archive.get_accept(&format!("{}/rendered", ORDER.study_path()), PNGS).await;
    asked.status(200)?.must(asked.header("warning").is_empty(), "no Warning").map(drop)
}

async fn status_206(archive: &Archive) -> Verdict {
    for level in [BROKEN_FIRST.study_path(), BROKEN_FIRST.series_path()] {
        let asked = archive.get_accept(&format!("{level}/rendered"), PNGS).await;
        asked.status(206)?.warned()?;
        equal("the parts that can be drawn", asked.greys()?, vec![20, 30])?;
        asked.must(asked.header("content-range").is_empty(), "no Content-Range")?;
    }
    Ok(())
}

async fn status_410(archive: &Archive) -> Verdict {
    for status in [404, 410] {
        let (between, proxy) = archive.disturbed(&[]).await;
        between.fail("/studies", status, &[]);
        ask(&proxy, Method::GET, &rendered(&RAMP), &[]).await.status(status)?;
    }
    Ok(())
}

async fn status_413(archive: &Archive) -> Verdict {
    let proxy = archive.configured(&[("max_source_bytes", "64KiB")]).await;
    ask(&proxy, Method::GET, &rendered(&LARGE), &[]).await.status(413).map(drop)
}

async fn status_501(archive: &Archive) -> Verdict {
    for resource in ["rendered", "frames/1/rendered"] {
        archive.get(&format!("{}/{resource}", UNDRAWN.path())).await.status(501)?;
    }
    Ok(())
}

async fn status_503(archive: &Archive) -> Verdict {
    let keys = [("queue", "1"), ("render_workers", "1"), ("upstream_concurrency", "1")];
    let (between, proxy) = archive.disturbed(&keys).await;
    let gate = between.hold("/studies");
    let asked = (1..=24).map(|side| {
        let path = format!("{}/thumbnail?viewport={side},{side}", RAMP.path());
        let request = proxy.request(Method::GET, &path, &[]);
        async move {
            request.send().await.map(|response| {
                let retry = response.headers().contains_key("retry-after");
                (response.status().as_u16(), retry)
            })
        }
    });
    let open = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        gate.open();
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(asked), open);
    let answers = answers.into_iter().collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
    let refused = answers.iter().filter(|answer| **answer == (503, true)).count();
    let served = answers.iter().filter(|answer| answer.0 == 200).count();
    if refused > 0 && served > 0 && refused + served == answers.len() {
        Ok(())
    } else {
        Err(format!(
            "24 requests with queue=1: expected some 200, the others 503 with Retry-After; came (status, Retry-After) {answers:?}"
        ))
    }
}

/// RFC 9457, and nothing of the patient or his UIDs.
fn is_problem(asked: &Asked, status: u16) -> Verdict {
    asked.status(status)?.has_header("content-type", "application/problem+json")?;
    let problem: serde_json::Value =
        serde_json::from_slice(&asked.reply.body).map_err(|_| asked.wrong("JSON"))?;
    asked.must(problem["status"] == status, "its status in the report")?;
    for member in ["title", "detail"] {
        let said = problem[member].as_str().is_some_and(|text| !text.is_empty());
        asked.must(said, format_args!("a {member}"))?;
    }
    let text = asked.reply.text();
    let private = ["2.25.", "Doe", "Jane"].iter().any(|secret| text.contains(secret));
    asked.must(!private, "nothing of the patient").map(drop)
}

async fn errors_explain(archive: &Archive) -> Verdict {
    let unknown = Place::new(9999, 9, 9);
    for (path, accept, status) in [
        (format!("{}?quality=0", rendered(&RAMP)), "*/*", 400),
        (format!("{}/frames/9/rendered", RAMP.path()), "*/*", 404),
        (rendered(&unknown), "*/*", 404),
        (format!("{}/rendered", unknown.study_path()), JPEGS, 404),
        (format!("{}/thumbnail", unknown.series_path()), "*/*", 404),
        (rendered(&RAMP), "text/html", 406),
        (rendered(&UNDRAWN), "*/*", 501),
    ] {
        is_problem(&archive.get_accept(&path, accept).await, status)?;
    }
    Ok(())
}

async fn lists_of_406(archive: &Archive) -> Verdict {
    for (path, offered) in [
        (rendered(&RAMP), &["image/jpeg", "image/png", "image/gif"][..]),
        (format!("{}/thumbnail", RAMP.path()), &["image/jpeg", "image/png"][..]),
        (format!("{}/rendered", ORDER.study_path()), &["image/jpeg", "multipart/related"][..]),
        (rendered(&REPORT), &["text/html", "text/plain", "text/xml"][..]),
        (rendered(&PDF), &["application/pdf"][..]),
    ] {
        let asked = archive.get_accept(&path, "audio/ogg").await;
        is_problem(&asked, 406)?;
        for media_type in offered {
            let listed = asked.reply.text().contains(media_type);
            asked.must(listed, format_args!("a list with {media_type}"))?;
        }
    }
    Ok(())
}

async fn errors_of_head(archive: &Archive) -> Verdict {
    for (path, status) in [
        (format!("{}?quality=0", rendered(&RAMP)), 400),
        (format!("{}/frames/9/rendered", RAMP.path()), 404),
        (rendered(&ECG), 406),
    ] {
        let asked = archive.send(Method::HEAD, &path, &[]).await;
        asked.status(status)?.must(asked.reply.body.is_empty(), "no body")?;
    }
    Ok(())
}

async fn placeholders(archive: &Archive) -> Verdict {
    for (path, status) in [
        (rendered(&Place::new(9999, 9, 9)), 404),
        (rendered(&UNDRAWN), 501),
        (format!("{}/thumbnail", UNDRAWN.path()), 501),
    ] {
        for accept in ["image/png", "image/*"] {
            let asked = archive.get_accept(&path, accept).await;
            asked.status(status)?.has_header("content-type", "image/")?;
            let drawn = lightbox_tests::decoded::Decoded::read(&asked.reply.body);
            asked.must(drawn.is_ok(), "a placeholder picture")?;
        }
    }
    Ok(())
}

async fn refusals_are_relayed(archive: &Archive) -> Verdict {
    for status in [401, 403, 404, 410] {
        let (between, proxy) = archive.disturbed(&[]).await;
        between.fail("/studies", status, &[("www-authenticate", "Bearer realm=\"pacs\"")]);
        for level in levels(&RAMP) {
            for resource in ["rendered", "thumbnail"] {
                for accept in ["*/*", JPEGS] {
                    if (resource, accept) == ("thumbnail", JPEGS) {
                        continue;
                    }
                    let path = format!("{level}/{resource}");
                    let asked = ask(&proxy, Method::GET, &path, &[("Accept", accept)]).await;
                    asked.status(status)?;
                    if status == 401 {
                        asked.has_header("www-authenticate", "realm=\"pacs\"")?;
                    }
                }
            }
        }
    }
    Ok(())
}

async fn unreachable(_archive: &Archive) -> Verdict {
    let proxy = Proxy::start(&format!("http://127.0.0.1:{}", closed_port())).await;
    for level in levels(&RAMP) {
        for resource in ["rendered", "thumbnail"] {
            let path = format!("{level}/{resource}");
            ask(&proxy, Method::GET, &path, &[]).await.status(502)?;
        }
    }
    Ok(())
}

async fn too_slow(archive: &Archive) -> Verdict {
    let (between, proxy) = archive.disturbed(&[("upstream_timeout", "300ms")]).await;
    let _gate = between.hold("/studies");
    for level in levels(&RAMP) {
        let path = format!("{level}/rendered");
        ask(&proxy, Method::GET, &path, &[]).await.status(504)?;
    }
    Ok(())
}

async fn busy_archive(archive: &Archive) -> Verdict {
    let (between, proxy) = archive.disturbed(&[]).await;
    between.fail("/studies", 503, &[("retry-after", "7")]);
    for level in levels(&RAMP) {
        let path = format!("{level}/rendered");
        let asked = ask(&proxy, Method::GET, &path, &[]).await;
        asked.status(503)?.must(!asked.header("retry-after").is_empty(), "Retry-After")?;
    }
    Ok(())
}

async fn undecodable_alone(archive: &Archive) -> Verdict {
    for place in [BROKEN_FIRST, BROKEN_LAST] {
        archive.get(&rendered(&place)).await.status_of(&[500, 501])?;
    }
    Ok(())
}

/// Whether the failure is seen before or after the first byte is the proxy's business; that it is
/// said, and that the others arrive, is not.
async fn undecodable_last(archive: &Archive) -> Verdict {
    let path = format!("{}/rendered", BROKEN_LAST.study_path());
    let asked = archive.get_accept(&path, PNGS).await;
    equal("the parts that can be drawn", asked.greys()?, vec![10, 20])?;
    if asked.reply.status() == 206 {
        return asked.warned().map(drop);
    }
    asked.status(200)?.has_header("trailer", "x-left-out")?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: lightbox\r\nAccept: {PNGS}\r\nTE: trailers\r\nConnection: close, TE\r\n\r\n"
    );
    let raw = raw_exchange(archive.proxy().address(), request.as_bytes()).await;
    let last = raw.windows(5).rposition(|window| window == b"\r\n0\r\n").ok_or("no last chunk")?;
    let trailer = String::from_utf8_lossy(&raw[last..]).to_ascii_lowercase();
    asked.must(
        trailer.contains("x-left-out: "),
        format_args!("a trailer X-Left-Out, not {trailer:?}"),
    )?;
    let (_, named) = trailer.split_once("x-left-out: ").unwrap_or_default();
    let named = named.lines().next().unwrap_or_default();
    asked.must(!named.trim().is_empty(), "what was left out is named").map(drop)
}

async fn head_is_get(archive: &Archive) -> Verdict {
    let single = [
        rendered(&RAMP),
        format!("{}/thumbnail", RAMP.path()),
        format!("{}/frames/1/rendered?viewport=32,32", RAMP.path()),
        format!("{}/thumbnail", ORDER.study_path()),
        rendered(&REPORT),
        rendered(&PDF),
    ];
    let names = [
        "content-type",
        "content-length",
        "content-location",
        "etag",
        "vary",
        "cache-control",
        "x-representative",
        "warning",
    ];
    for path in single {
        let get = archive.get(&path).await;
        let head = archive.send(Method::HEAD, &path, &[]).await;
        head.status(get.status(200)?.reply.status())?;
        head.must(head.reply.body.is_empty(), "no body")?;
        for name in names {
            let same = head.header(name) == get.header(name);
            head.must(
                same,
                format_args!(
                    "{name}: {:?} as GET has it, not {:?}",
                    get.header(name),
                    head.header(name)
                ),
            )?;
        }
    }
    // Boundaries may differ, and a stream has no length.
    let path = format!("{}/rendered", ORDER.study_path());
    let head = archive.send(Method::HEAD, &path, &[("Accept", PNGS)]).await;
    head.typed("multipart/related")?.must(head.reply.body.is_empty(), "no body").map(drop)
}

async fn other_methods(archive: &Archive) -> Verdict {
    let before = archive.calls();
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
        for level in levels(&RAMP) {
            for resource in ["rendered", "thumbnail"] {
                let path = format!("{level}/{resource}");
                let asked = archive.send(method.clone(), &path, &[]).await;
                asked.status(405)?.has_header("allow", "GET")?.has_header("allow", "HEAD")?;
            }
        }
    }
    equal("calls that reached the archive", archive.calls(), before)
}

async fn options_pass(_archive: &Archive) -> Verdict {
    let origin = ScriptedOrigin::start().await;
    origin.otherwise(|_| Answer::new(200, "application/vnd.sun.wadl+xml", "<application/>"));
    let proxy = Proxy::start(&origin.url()).await;
    for path in ["/", "/studies"] {
        let asked = ask(&proxy, Method::OPTIONS, path, &[]).await;
        asked.typed("application/vnd.sun.wadl+xml")?;
        let seen = origin.received().pop().ok_or("nothing reached the archive")?;
        equal(
            "what reached the archive",
            (seen.method, seen.path.as_str()),
            (Method::OPTIONS, path),
        )?;
    }
    Ok(())
}

async fn preflights(archive: &Archive) -> Verdict {
    let before = archive.calls();
    let headers = [
        ("Origin", "http://viewer.example"),
        ("Access-Control-Request-Method", "GET"),
        ("Access-Control-Request-Headers", "accept,authorization"),
    ];
    for level in levels(&RAMP).iter().chain([&"/studies".to_owned()]) {
        for resource in ["/rendered", "/thumbnail?accept=image%2Fjpeg", ""] {
            let path = format!("{level}{resource}");
            let asked = archive.send(Method::OPTIONS, &path, &headers).await;
            asked.status_of(&[200, 204])?;
            for allowed in ["accept", "authorization", "range", "if-none-match", "content-type"] {
                asked.has_header("access-control-allow-headers", allowed)?;
            }
            asked.has_header("access-control-allow-methods", "GET")?;
        }
    }
    equal("calls that reached the archive", archive.calls(), before)
}
