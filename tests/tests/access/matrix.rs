//! Who is shown what: every way of asking, whatever is kept, with every kind of credentials.

use std::time::Duration;

use lightbox_tests::door::{Door, Mode, Shown, assert_shows_nothing, mine, signed};
use lightbox_tests::{Place, Reply, parts};

/// What is kept of what is asked for, and whether the archive can be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Nothing is kept.
    Miss,
    /// In memory.
    Memory,
    /// On disk, by a process that has ended.
    Disk,
    /// Too old.
    Stale,
    /// In memory, and the archive is gone.
    Down,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Picture,
    Collection,
    Metadata,
    /// The picture, by a signed URL.
    Signed,
    /// The picture, by the cookie that is given for the credentials; by none where none is given.
    Cookie,
}

const WAYS: [Way; 5] = [Way::Picture, Way::Collection, Way::Metadata, Way::Signed, Way::Cookie];

// The expected statuses: `5xx` is 502, 503 or 504; `ok?` is 200, or 5xx where what is needed is not kept.

const OPEN: &str = "
    shown     picture collection metadata signed cookie
    nothing   200     200        200      200    200
    wrong     200     200        200      200    200
    right     200     200        200      200    200
";
const OPEN_DOWN: &str = "
    shown     picture collection metadata signed cookie
    nothing   200     ok?        5xx      200    200
    wrong     200     ok?        5xx      200    200
    right     200     ok?        5xx      200    200
";
const BASIC: &str = "
    shown     picture collection metadata signed cookie
    nothing   401     401        401      200    401
    wrong     401     401        401      200    401
    right     200     200        200      200    200
";
const BASIC_DOWN: &str = "
    shown     picture collection metadata signed cookie
    nothing   401     401        401      200    401
    wrong     401     401        401      200    401
    right     200     ok?        5xx      200    200
";
const OIDC: &str = "
    shown     picture collection metadata signed cookie
    nothing   401     401        401      200    401
    wrong     401     401        401      200    401
    expired   401     401        401      200    401
    others    403     403        403      200    401
    right     200     200        200      200    200
";
const OIDC_DOWN: &str = "
    shown     picture collection metadata signed cookie
    nothing   401     401        401      200    401
    wrong     401     401        401      200    401
    expired   401     401        401      200    401
    others    403     403        403      200    401
    right     200     ok?        5xx      200    200
";
// The archive's own answers, and no signed URLs.
const CALLER: &str = "
    shown     picture collection metadata signed cookie
    nothing   401     401        401      403    401
    wrong     403     403        403      403    401
    expired   401     401        401      403    401
    others    404     404        404      403    401
    right     200     200        200      403    200
";
// Nobody can say who may see it, but of whom it was said a moment ago.
const CALLER_DOWN: &str = "
    shown     picture collection metadata signed cookie
    nothing   5xx     5xx        5xx      403    5xx
    wrong     5xx     5xx        5xx      403    5xx
    expired   5xx     5xx        5xx      403    5xx
    others    5xx     5xx        5xx      403    5xx
    right     200     ok?        5xx      403    200
";

fn table(mode: Mode, state: State) -> Vec<(Shown, Vec<&'static str>)> {
    let text = match (mode, state) {
        (Mode::Open, State::Down) => OPEN_DOWN,
        (Mode::Open, _) => OPEN,
        (Mode::Basic, State::Down) => BASIC_DOWN,
        (Mode::Basic, _) => BASIC,
        (Mode::Oidc, State::Down) => OIDC_DOWN,
        (Mode::Oidc, _) => OIDC,
        (Mode::Caller, State::Down) => CALLER_DOWN,
        (Mode::Caller, _) => CALLER,
    };
    let rows = text.trim().lines().skip(1);
    let shown = |word: &str| match word {
        "nothing" => Shown::Nothing,
        "wrong" => Shown::Wrong,
        "expired" => Shown::Expired,
        "others" => Shown::Others,
        "right" => Shown::Right,
        other => panic!("{other}"),
    };
    let row = |line: &'static str| {
        let mut words = line.split_whitespace();
        (shown(words.next().unwrap()), words.collect::<Vec<_>>())
    };
    rows.map(row).collect()
}

fn fits(expected: &str, status: u16) -> bool {
    let is_failure = matches!(status, 502..=504);
    match expected {
        "5xx" => is_failure,
        "ok?" => is_failure || status == 200,
        status_said => status_said == status.to_string(),
    }
}

fn picture(place: &Place) -> String {
    format!("{}/thumbnail?viewport=40,40", place.path())
}

async fn ask(door: &Door, way: Way, shown: Shown, place: &Place) -> Reply {
    match way {
        Way::Picture => door.ask(shown, &picture(place), &[]).await,
        Way::Collection => {
            let accept = [("accept", "multipart/related; type=\"image/jpeg\"")];
            door.ask(shown, &format!("{}/rendered", place.series_path()), &accept).await
        }
        Way::Metadata => door.ask(shown, &format!("{}/metadata", place.path()), &[]).await,
        Way::Signed => door.ask(shown, &signed(&picture(place)), &[]).await,
        Way::Cookie => {
            let (cookie, _) = door.cookie(shown, place).await;
            let headers: Vec<_> = cookie.iter().map(|cookie| ("cookie", &**cookie)).collect();
            door.ask(Shown::Nothing, &picture(place), &headers).await
        }
    }
}

async fn prepared(mode: Mode, state: State) -> Door {
    let keys: &[(&str, &str)] = match state {
        State::Miss => &[("cache_memory", "off"), ("cache_disk", "off")],
        State::Memory | State::Down => &[("cache_disk", "off"), ("cache_memory", "64MB")],
        State::Disk => &[("cache_memory", "off"), ("cache_disk", "1GB")],
        State::Stale => &[("cache_ttl", "1s"), ("index_ttl", "1s")],
    };
    let mut door = Door::start(mode, keys).await;
    if state != State::Miss {
        for way in [Way::Picture, Way::Collection, Way::Metadata] {
            let reply = ask(&door, way, Shown::Right, &mine()).await;
            assert_eq!(reply.status(), 200, "{mode:?}, {way:?}: {}", reply.text());
        }
    }
    match state {
        State::Disk => {
            let again = ask(&door, Way::Picture, Shown::Right, &mine()).await;
            assert!(again.header("cache-status").contains("detail=disk"), "{:?}", again.headers);
            door.restart().await;
        }
        State::Down => door.archive.between().stop(),
        State::Miss | State::Memory | State::Stale => {}
    }
    door
}

/// Where the answer came from, as far as the state settles it.
fn assert_comes_from(state: State, what: &str, reply: &Reply) {
    let status = reply.header("cache-status");
    let expected = match state {
        State::Memory | State::Down => "; detail=memory",
        State::Disk => "; detail=disk",
        State::Miss => "fwd=",
        State::Stale => "lightbox",
    };
    assert!(status.contains(expected), "{what}: {status}");
}

fn assert_challenges(mode: Mode, what: &str, reply: &Reply) {
    let expected = match mode {
        Mode::Open => panic!("{what}: nobody asks for credentials"),
        Mode::Basic => "Basic realm=\"lightbox\"",
        Mode::Oidc => "Bearer",
        Mode::Caller => "Basic realm=\"archive\"",
    };
    assert_eq!(reply.count("www-authenticate"), 1, "{what}");
    let challenge = reply.header("www-authenticate");
    assert!(challenge.starts_with(expected), "{what}: {challenge}");
}

/// What is told of what is there is what is told of what is not.
async fn assert_hides_what_there_is(door: &Door, way: Way, shown: Shown, what: &str, told: &Reply) {
    let absent = ask(door, way, shown, &Place::new(77, 1, 1)).await;
    let said = |reply: &Reply| {
        let mut headers = reply.headers.clone();
        headers.remove("date");
        (reply.status(), headers, reply.text())
    };
    assert_eq!(said(&absent), said(told), "{what}: what is there is told from what is not");
}

async fn assert_matrix(mode: Mode, state: State) {
    let door = prepared(mode, state).await;
    let calls = door.archive.between().calls();
    let shown = prepared(mode, State::Miss).await;
    let pictures = [ask(&shown, Way::Picture, Shown::Right, &mine()).await];
    let pictures: Vec<&Reply> = pictures.iter().collect();
    let mut wrong = Vec::new();
    for (shown, expected) in table(mode, state) {
        if state == State::Stale {
            tokio::time::sleep(Duration::from_millis(2100)).await;
        }
        for (way, expected) in WAYS.into_iter().zip(expected) {
            let what = format!("{mode:?}, {state:?}, {shown:?}, {way:?}");
            let reply = ask(&door, way, shown, &mine()).await;
            if !fits(expected, reply.status()) {
                wrong.push(format!("{what}: {} instead of {expected}", reply.status()));
                continue;
            }
            match (reply.status(), way) {
                (200, Way::Collection) => assert_eq!(parts(&reply).len(), 2, "{what}"),
                (200, Way::Metadata) => assert!(reply.text().contains("Doe"), "{what}"),
                (200, Way::Picture | Way::Signed | Way::Cookie) => {
                    assert_eq!(reply.body, pictures[0].body, "{what}");
                    assert_comes_from(state, &what, &reply);
                }
                (status, _) => {
                    assert_shows_nothing(&what, &reply, &pictures);
                    if status == 401 {
                        assert_challenges(mode, &what, &reply);
                    }
                    // What an archive that is down is to be asked next depends on the time alone.
                    if shown != Shown::Right && status < 500 {
                        assert_hides_what_there_is(&door, way, shown, &what, &reply).await;
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    door.assert_nothing_of_ours_went_on();
    assert!(state == State::Down || door.archive.between().calls() > calls);
}

macro_rules! matrix {
    ($($name:ident: $mode:ident, $state:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            assert_matrix(Mode::$mode, State::$state).await;
        }
    )*};
}

matrix! {
    open_miss: Open, Miss;
    open_memory: Open, Memory;
    open_disk: Open, Disk;
    open_stale: Open, Stale;
    open_down: Open, Down;
    basic_miss: Basic, Miss;
    basic_memory: Basic, Memory;
    basic_disk: Basic, Disk;
    basic_stale: Basic, Stale;
    basic_down: Basic, Down;
    oidc_miss: Oidc, Miss;
    oidc_memory: Oidc, Memory;
    oidc_disk: Oidc, Disk;
    oidc_stale: Oidc, Stale;
    oidc_down: Oidc, Down;
    caller_miss: Caller, Miss;
    caller_memory: Caller, Memory;
    caller_disk: Caller, Disk;
    caller_stale: Caller, Stale;
    caller_down: Caller, Down;
}
