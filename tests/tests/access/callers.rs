//! The archive decides: one caller's pictures are not another's, and what is taken back is gone.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use lightbox_tests::door::{Door, Mode, Shown, assert_shows_nothing, basic, mine, theirs};
use lightbox_tests::{Answer, Keeper, Place, Reply, ScriptedOrigin, eventually};

const MEMORY: [(&str, &str); 2] = [("cache_disk", "off"), ("cache_memory", "64MB")];

fn picture() -> String {
    format!("{}/thumbnail?viewport=40,40", mine().path())
}

/// All that shows something of the study.
fn paths() -> Vec<String> {
    let place = mine();
    vec![
        picture(),
        format!("{}/rendered", place.path()),
        format!("{}/frames/1/rendered", place.path()),
        format!("{}/thumbnail", place.series_path()),
        format!("{}/thumbnail", place.study_path()),
        format!("{}/rendered?accept=image/jpeg", place.series_path()),
        format!("{}/metadata", place.path()),
        format!("{}/metadata", place.study_path()),
        format!("{}/series", place.study_path()),
        format!("{}/instances", place.series_path()),
        place.path(),
    ]
}

/// Who is not allowed to see it, with the status that the archive has for each.
const OTHERS: [(Shown, u16); 4] =
    [(Shown::Nothing, 401), (Shown::Wrong, 403), (Shown::Expired, 401), (Shown::Others, 404)];

#[tokio::test(flavor = "multi_thread")]
async fn others_get_nothing_of_a_picture_that_is_being_made() {
    for path in paths().into_iter().take(6) {
        let door = Door::start(Mode::Caller, &MEMORY).await;
        let gate = door.archive.between().hold("/instances/");
        let frames = door.archive.between().hold("/series");
        let allowed = join_all((0..50).map(|_| door.ask(Shown::Right, &path, &[])));
        let others = async {
            eventually("the archive is asked", || async { door.archive.between().calls() > 0 })
                .await;
            // While it is under way they must be answered as ever, or wait; never with the picture.
            let under_way = join_all((0..5).flat_map(|_| {
                OTHERS.map(|(shown, _)| {
                    let (door, path) = (&door, &path);
                    async move { (shown, door.ask(shown, path, &[]).await) }
                })
            }));
            let open = async {
                tokio::time::sleep(Duration::from_millis(700)).await;
                gate.open();
                frames.open();
            };
            let (replies, ()) = tokio::join!(under_way, open);
            replies
        };
        let (allowed, refused) = tokio::join!(allowed, others);
        for reply in &allowed {
            assert_eq!(reply.status(), 200, "{path}: {}", reply.text());
            assert_eq!(reply.body, allowed[0].body, "{path}");
        }
        for (shown, reply) in refused {
            let expected = OTHERS.iter().find(|(who, _)| *who == shown).unwrap().1;
            assert_eq!(reply.status(), expected, "{path}, {shown:?}, meanwhile");
            assert_shows_nothing(&format!("{path}, {shown:?}, meanwhile"), &reply, &[&allowed[0]]);
        }
        for (shown, expected) in OTHERS {
            let reply = door.ask(shown, &path, &[]).await;
            assert_eq!(reply.status(), expected, "{path}, {shown:?}, right after");
            assert_shows_nothing(&format!("{path}, {shown:?}, after"), &reply, &[&allowed[0]]);
        }
        let again = door.ask(Shown::Right, &path, &[]).await;
        assert_eq!((again.status(), &again.body), (200, &allowed[0].body), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leads_without_a_right_takes_nothing_from_who_has_one() {
    let door = Door::start(Mode::Caller, &MEMORY).await;
    let gate = door.archive.between().hold("/studies");
    let path = picture();
    let refused = join_all((0..20).map(|_| door.ask(Shown::Others, &path, &[])));
    let allowed = async {
        eventually("the archive is asked", || async { door.archive.between().calls() > 0 }).await;
        let allowed = join_all((0..20).map(|_| door.ask(Shown::Right, &path, &[])));
        let open = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            gate.open();
        };
        tokio::join!(allowed, open).0
    };
    let (refused, allowed) = tokio::join!(refused, allowed);
    assert!(allowed.iter().all(|reply| reply.status() == 200), "{:?}", statuses(&allowed));
    assert!(refused.iter().all(|reply| reply.status() == 404), "{:?}", statuses(&refused));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_follows_one_whose_rights_have_ended_is_not_refused_with_him() {
    for code in [401, 404] {
        let door = Door::start(Mode::Caller, &MEMORY).await;
        let first = [("authorization", "Bearer second")];
        door.guard.allow("Bearer second", &[mine().study_uid()]);
        // Both are known to see the study.
        for shown in [&first[..], &[("authorization", "Bearer right")]] {
            assert_eq!(door.proxy.get_with(&picture(), shown).await.status(), 200);
        }
        match code {
            401 => door.guard.expire("Bearer second"),
            _ => door.guard.allow("Bearer second", &[]),
        }
        let wanted = format!("{}/thumbnail", Place::new(1, 1, 2).path());
        let (gate, before) =
            (door.archive.between().hold("/studies"), door.archive.between().calls());
        let leads = door.proxy.get_with(&wanted, &first);
        let follows = async {
            let is_asked = || async { door.archive.between().calls() > before };
            eventually("the archive is asked", is_asked).await;
            let follows = join_all((0..5).map(|_| door.ask(Shown::Right, &wanted, &[])));
            let open = async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                gate.open();
            };
            tokio::join!(follows, open).0
        };
        let (leads, follows) = tokio::join!(leads, follows);
        assert_eq!(leads.status(), code, "{}", leads.text());
        assert_eq!(statuses(&follows), [200; 5], "{code}");
        // Nor has it cost them their proof.
        let calls = door.archive.between().calls();
        assert_eq!(door.ask(Shown::Right, &wanted, &[]).await.status(), 200);
        assert_eq!(door.archive.between().calls(), calls);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_keeps_his_rights_by_having_many_ask() {
    let keys = [&MEMORY[..], &[("proof_ttl", "1s"), ("upstream_concurrency", "2")]].concat();
    let door = Door::start(Mode::Caller, &keys).await;
    let shown = door.ask(Shown::Right, &picture(), &[]).await;
    assert_eq!(shown.status(), 200);
    door.archive.between().slow("/studies", Duration::from_millis(100));
    door.guard.allow("Bearer right", &[]);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    // They take the archive's time for longer than it may be silent.
    let strangers = join_all((0..400).map(|number| {
        let (door, path) = (&door, picture());
        async move {
            let credential = format!("Bearer stranger {number}");
            door.proxy.get_with(&path, &[("authorization", credential.as_str())]).await
        }
    }));
    let his = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let began = Instant::now();
        let mut replies = Vec::new();
        while began.elapsed() < Duration::from_secs(8) {
            replies.push(door.ask(Shown::Right, &picture(), &[]).await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        replies
    };
    let (strangers, his) = tokio::join!(strangers, his);
    for reply in strangers.iter().chain(&his) {
        assert!(matches!(reply.status(), 401 | 403 | 404 | 503), "{}", reply.status());
        assert_shows_nothing("in the crowd", reply, &[&shown]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_logs_a_connection_in_is_refused_and_not_asked_for() {
    let origin = ScriptedOrigin::start().await;
    origin.otherwise(|_| {
        let challenge = |answer: Answer, text| answer.header("www-authenticate", text);
        let answer = challenge(Answer::status(401), "Negotiate");
        challenge(challenge(answer, "NTLM"), "Basic realm=\"archive\"")
    });
    let proxy = Keeper::new(&MEMORY).start(&origin.url()).await;
    for path in [picture(), format!("{}/metadata", mine().path()), "/studies".to_owned()] {
        let reply = proxy.get(&path).await;
        assert_eq!(reply.status(), 401, "{path}");
        let challenges: Vec<_> = reply.headers.get_all("www-authenticate").iter().collect();
        assert_eq!(challenges, ["Basic realm=\"archive\""], "{path}");
        let before = origin.requests();
        for shown in ["NTLM TlRMTVNTUAAB", "negotiate YII", "Negotiate"] {
            let reply = proxy.get_with(&path, &[("authorization", shown)]).await;
            assert_eq!(reply.status(), 403, "{path}: {shown}");
        }
        assert_eq!(origin.requests(), before, "{path}");
    }
}

fn statuses(replies: &[Reply]) -> Vec<u16> {
    replies.iter().map(Reply::status).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hit_costs_one_probe_per_caller_and_study_and_none_within_proof_ttl() {
    let door = Door::start(Mode::Caller, &MEMORY).await;
    door.guard.allow("Bearer second", &[mine().study_uid()]);
    let first = door.ask(Shown::Right, &picture(), &[]).await;
    let between = door.archive.between();
    let calls = between.calls();
    // Making it was proof.
    assert_eq!(door.ask(Shown::Right, &picture(), &[]).await.body, first.body);
    assert_eq!(between.calls(), calls);
    for _ in 0..3 {
        let reply = door.proxy.get_with(&picture(), &[("authorization", "Bearer second")]).await;
        assert_eq!((reply.status(), &reply.body), (200, &first.body));
        assert!(reply.header("cache-status").starts_with("lightbox; hit"), "{:?}", reply.headers);
    }
    let asked = &between.received()[calls..];
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!((&*asked[0].path, asked[0].header("authorization")), ("/studies", "Bearer second"));
    let query = asked[0].query.clone().unwrap();
    assert!(query.contains(&format!("StudyInstanceUID={}", mine().study_uid())), "{query}");
    assert!(query.contains("limit=1"), "{query}");
    // Proof of one study is none of another.
    let reply = door.ask(Shown::Right, &picture().replace("2.25.1", "2.25.2"), &[]).await;
    assert_eq!(reply.status(), 404);
    // The same word as a cookie is another credential.
    let reply = door.proxy.get_with(&picture(), &[("cookie", "Bearer right")]).await;
    assert_eq!(reply.status(), 401);
}

/// All paths, refused with this status.
async fn assert_gone(door: &Door, shown: Shown, status: u16, pictures: &[&Reply], when: &str) {
    for path in paths() {
        for headers in [
            &[][..],
            &[("if-none-match", pictures[0].header("etag"))],
            &[("cache-control", "only-if-cached")],
            &[("cache-control", "max-stale=100000")],
            &[("priority", "u=7")],
        ] {
            let reply = door.ask(shown, &path, headers).await;
            assert_eq!(reply.status(), status, "{when}: {path} {headers:?}: {}", reply.text());
            assert_shows_nothing(&format!("{when}: {path}"), &reply, pictures);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_back_is_gone_within_proof_ttl() {
    let stale = [("cache_ttl", "1s"), ("index_ttl", "1s"), ("proof_ttl", "2s")];
    let fresh = [("cache_ttl", "1h"), ("index_ttl", "1h"), ("proof_ttl", "2s")];
    for keys in [[&MEMORY[..], &fresh].concat(), [&MEMORY[..], &stale].concat(), fresh.to_vec()] {
        let mut door = Door::start(Mode::Caller, &keys).await;
        for path in paths() {
            assert_eq!(door.ask(Shown::Right, &path, &[]).await.status(), 200, "{path}");
        }
        let shown = door.ask(Shown::Right, &picture(), &[]).await;
        let began = Instant::now();
        door.guard.allow("Bearer right", &[]);
        let deadline = began + Duration::from_secs(2);
        while Instant::now() < deadline {
            // Asking does not prolong it.
            door.ask(Shown::Right, &picture(), &[]).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_gone(&door, Shown::Right, 404, &[&shown], &format!("{keys:?}")).await;
        // Nor is it shown while the archive is down, by the grace of before.
        door.archive.between().stop();
        for path in paths() {
            let reply = door.ask(Shown::Right, &path, &[]).await;
            assert!(matches!(reply.status(), 404 | 502..=504), "{path}: {}", reply.status());
            assert_shows_nothing(&path, &reply, &[&shown]);
        }
        door.restart().await;
        for path in paths() {
            let reply = door.ask(Shown::Right, &path, &[]).await;
            assert!(
                matches!(reply.status(), 404 | 502..=504),
                "restarted, {path}: {}",
                reply.status()
            );
            assert_shows_nothing(&path, &reply, &[&shown]);
        }
        // And it may be given back.
        door.archive.between().resume().await;
        door.guard.allow("Bearer right", &[mine().study_uid()]);
        let path = picture();
        eventually("shown again", || async {
            door.ask(Shown::Right, &path, &[]).await.status() == 200
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_by_another_status_is_gone_as_well() {
    for (status, told) in [(401, 401), (403, 403), (404, 404)] {
        let keys = [&MEMORY[..], &[("proof_ttl", "1s")]].concat();
        let door = Door::start(Mode::Caller, &keys).await;
        let shown = door.ask(Shown::Right, &picture(), &[]).await;
        assert_eq!(shown.status(), 200);
        door.archive.between().fail("/studies", status, &[]);
        tokio::time::sleep(Duration::from_millis(1200)).await;
        let reply = door.ask(Shown::Right, &picture(), &[]).await;
        assert_eq!(reply.status(), told, "the archive said {status}");
        assert_shows_nothing("refused", &reply, &[&shown]);
        door.archive.between().stop();
        let reply = door.ask(Shown::Right, &picture(), &[]).await;
        assert_shows_nothing("refused and down", &reply, &[&shown]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_word_of_an_archive_that_is_down_stands_for_proof_grace_and_no_longer() {
    let keys = [("proof_ttl", "1s"), ("proof_grace", "8s"), ("upstream_timeout", "1s")];
    let mut door = Door::start(Mode::Caller, &keys).await;
    let shown = door.ask(Shown::Right, &picture(), &[]).await;
    assert_eq!(shown.status(), 200);
    let proved = Instant::now();
    // What is kept has to be on its disk.
    eventually("it is on disk", || async {
        door.keeper().files().iter().any(|file| !file.to_string_lossy().contains("salt"))
    })
    .await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    door.archive.between().stop();
    let reply = door.ask(Shown::Right, &picture(), &[]).await;
    assert_eq!((reply.status(), &reply.body), (200, &shown.body), "{}", reply.text());
    for (other, _) in OTHERS {
        let reply = door.ask(other, &picture(), &[]).await;
        assert!(matches!(reply.status(), 502..=504), "{other:?}: {}", reply.status());
        assert_shows_nothing(&format!("{other:?}"), &reply, &[&shown]);
    }
    door.restart().await;
    assert!(proved.elapsed() < Duration::from_secs(7), "this machine is too slow for the test");
    let reply = door.ask(Shown::Right, &picture(), &[]).await;
    assert_eq!((reply.status(), &reply.body), (200, &shown.body), "restarted: {}", reply.text());
    for (other, _) in OTHERS {
        let reply = door.ask(other, &picture(), &[]).await;
        assert_shows_nothing(&format!("restarted, {other:?}"), &reply, &[&shown]);
    }
    while proved.elapsed() < Duration::from_millis(8300) {
        // Being shown by grace prolongs nothing.
        door.ask(Shown::Right, &picture(), &[]).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for again in [false, true] {
        if again {
            door.restart().await;
        }
        let reply = door.ask(Shown::Right, &picture(), &[]).await;
        assert!(matches!(reply.status(), 502..=504), "after the grace: {}", reply.status());
        assert_shows_nothing("after the grace", &reply, &[&shown]);
    }
    door.archive.between().resume().await;
    let reply = door.ask(Shown::Right, &picture(), &[]).await;
    assert_eq!((reply.status(), &reply.body), (200, &shown.body), "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_hangs_or_fails_shows_nothing_to_who_was_never_proved() {
    for status in [500, 502, 503, 429] {
        let keys = [&MEMORY[..], &[("proof_ttl", "1s"), ("request_timeout", "5s")]].concat();
        let door = Door::start(Mode::Caller, &keys).await;
        let shown = door.ask(Shown::Right, &picture(), &[]).await;
        assert_eq!(shown.status(), 200);
        door.archive.between().fail("/studies", status, &[]);
        for (other, _) in OTHERS {
            let reply = door.ask(other, &picture(), &[]).await;
            assert!(reply.status() >= 429, "{status}, {other:?}: {}", reply.status());
            assert_shows_nothing(&format!("{status}, {other:?}"), &reply, &[&shown]);
        }
    }
    let keys = [&MEMORY[..], &[("upstream_timeout", "1s"), ("request_timeout", "5s")]].concat();
    let door = Door::start(Mode::Caller, &keys).await;
    let shown = door.ask(Shown::Right, &picture(), &[]).await;
    let _gate = door.archive.between().hold("/studies");
    for (other, _) in OTHERS {
        let reply = door.ask(other, &picture(), &[]).await;
        assert!(matches!(reply.status(), 502..=504), "{other:?}: {}", reply.status());
        assert_shows_nothing(&format!("it hangs, {other:?}"), &reply, &[&shown]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_leaves_is_let_in_no_longer_than_proof_ttl() {
    let keys = [&MEMORY[..], &[("proof_ttl", "1s")]].concat();
    let door = Door::start(Mode::Basic, &keys).await;
    let shown = door.ask(Shown::Right, &picture(), &[]).await;
    assert_eq!(shown.status(), 200);
    let (cookie, _) = door.cookie(Shown::Right, &mine()).await;
    let hash = bcrypt::hash("another", 4).unwrap();
    std::fs::write(door.users(), format!("adam:{hash}\n")).unwrap();
    tokio::time::sleep(Duration::from_millis(1300)).await;
    for path in paths() {
        let reply = door.ask(Shown::Right, &path, &[]).await;
        assert_eq!(reply.status(), 401, "{path}");
        assert_shows_nothing(&path, &reply, &[&shown]);
    }
    let reply = door.proxy.get_with(&picture(), &[("cookie", &cookie.unwrap())]).await;
    assert_eq!(reply.status(), 401, "a cookie opens what its credentials open");
    let adam = basic("adam", "another");
    let reply = door.proxy.get_with(&picture(), &[("authorization", &adam)]).await;
    assert_eq!((reply.status(), reply.body), (200, shown.body));
    assert_ne!(theirs(), mine());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_answers_and_does_not_say_who_may_see_it_is_not_one_that_is_down() {
    for status in [429, 500, 501] {
        let keys = [&MEMORY[..], &[("proof_ttl", "1s")]].concat();
        let door = Door::start(Mode::Caller, &keys).await;
        let shown = door.ask(Shown::Right, &picture(), &[]).await;
        assert_eq!(shown.status(), 200);
        tokio::time::sleep(Duration::from_millis(1200)).await;
        // Who lost his right is refused everything but that search, which fails.
        door.guard.allow("Bearer right", &[]);
        door.archive.between().fail("/studies", status, &[]);
        for _ in 0..3 {
            let reply = door.ask(Shown::Right, &picture(), &[]).await;
            assert_shows_nothing(&format!("{status}"), &reply, &[&shown]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_archive_refuses_by_the_way_is_its_last_word() {
    for (status, path) in [
        (401, format!("{}/metadata", mine().path())),
        (403, format!("{}/frames/1", mine().path())),
        (404, format!("{}/metadata", mine().study_path())),
    ] {
        let door = Door::start(Mode::Caller, &[&MEMORY[..], &[("proof_ttl", "1h")]].concat()).await;
        let shown = door.ask(Shown::Right, &picture(), &[]).await;
        assert_eq!(shown.status(), 200);
        match status {
            401 => door.guard.expire("Bearer right"),
            _ => door.archive.between().fail(&path, status, &[]),
        }
        assert_eq!(door.ask(Shown::Right, &path, &[]).await.status(), status);
        door.archive.between().stop();
        let reply = door.ask(Shown::Right, &picture(), &[]).await;
        assert_shows_nothing(&format!("{status}"), &reply, &[&shown]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_takes_nothing_from_the_rest_of_its_study() {
    let door = Door::start(Mode::Caller, &MEMORY).await;
    let shown = door.ask(Shown::Right, &picture(), &[]).await;
    assert_eq!(shown.status(), 200);
    let absent = format!("{}/instances/9.9.9/thumbnail", mine().series_path());
    assert_eq!(door.ask(Shown::Right, &absent, &[]).await.status(), 404);
    door.archive.between().stop();
    let reply = door.ask(Shown::Right, &picture(), &[]).await;
    assert_eq!((reply.status(), &reply.body), (200, &shown.body), "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_hangs_is_waited_for_once() {
    let keys = [&MEMORY[..], &[("proof_ttl", "1s")]].concat();
    let door = Door::start(Mode::Caller, &keys).await;
    let path = picture();
    assert_eq!(door.ask(Shown::Right, &path, &[]).await.status(), 200);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let _gate = door.archive.between().hold("/studies");
    let began = Instant::now();
    for _ in 0..25 {
        let reply = door.ask(Shown::Right, &path, &[]).await;
        assert_eq!(reply.status(), 200);
    }
    // Five seconds for the first, and nothing for the others.
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_password_is_checked_once_for_all_who_show_it_at_the_same_time() {
    let door = Door::start(Mode::Basic, &[&MEMORY[..], &[("proof_ttl", "1s")]].concat()).await;
    let path = picture();
    assert_eq!(door.ask(Shown::Right, &path, &[]).await.status(), 200);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    // More than may wait for a check of their own.
    let asked = join_all((0..80).map(|_| door.ask(Shown::Right, &path, &[]))).await;
    let statuses: Vec<u16> = asked.iter().map(Reply::status).collect();
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sees_some_studies_only_is_shown_what_is_stale_too() {
    let keys = [&MEMORY[..], &[("cache_ttl", "1s"), ("index_ttl", "1s")]].concat();
    for by_cookie in [false, true] {
        let door = Door::start(Mode::Oidc, &keys).await;
        let cookie = door.cookie(Shown::Right, &mine()).await.0.unwrap();
        let all = door.ask(Shown::Right, &picture(), &[]).await;
        assert_eq!(all.status(), 200);
        door.archive.between().stop();
        tokio::time::sleep(Duration::from_millis(2500)).await;
        let stale = match by_cookie {
            false => door.ask(Shown::Right, &picture(), &[]).await,
            true => door.proxy.get_with(&picture(), &[("cookie", &cookie)]).await,
        };
        assert_eq!((stale.status(), &stale.body), (200, &all.body), "{}", stale.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_no_reason_to_forget_what_is() {
    for mode in [Mode::Open, Mode::Caller] {
        let door = Door::start(mode, &MEMORY).await;
        assert_eq!(door.ask(Shown::Right, &picture(), &[]).await.status(), 200);
        let absent = format!("{}/instances/9.9.9/thumbnail", mine().series_path());
        for priority in ["u=3", "u=7"] {
            let reply = door.ask(Shown::Right, &absent, &[("priority", priority)]).await;
            assert_eq!(reply.status(), 404);
            // What goes on behind has ended.
            tokio::time::sleep(Duration::from_millis(300)).await;
            let again = door.ask(Shown::Right, &picture(), &[]).await;
            let status = again.header("cache-status");
            assert!(status.starts_with("lightbox; hit"), "{mode:?}, {priority}: {status}");
        }
    }
}
