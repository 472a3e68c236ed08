//! A cache whose process is killed, whose files are damaged, whose disk is full or gone: what is shown is
//! what a proxy without a cache shows, or nothing of it is kept.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;
use lightbox_tests::{
    Archive, EXPLICIT_LITTLE_ENDIAN, Keeper, Object, Place, Proxy, Reply, ct, eventually, places,
    skip, slow_test,
};

const DISK_ONLY: [(&str, &str); 1] = [("cache_memory", "off")];

/// What cannot be used is said in these words.
const NOTHING_KEPT: &str = "nothing is kept on disk";
const NOT_AS_IT_SHOULD: &str = "a cache on disk cannot be used as it should";

fn status(reply: &Reply) -> &str {
    reply.header("cache-status")
}

fn is_hit(reply: &Reply) -> bool {
    reply.status() == 200 && status(reply).starts_with("lightbox; hit")
}

/// What is asked for: each image in two sizes, each series, the study; pictures of both kinds.
fn paths() -> Vec<String> {
    let mut paths = Vec::new();
    for place in places(1, 2, 3) {
        paths.push(format!("{}/thumbnail", place.path()));
        paths.push(format!("{}/thumbnail?viewport=20,30", place.path()));
        paths.push(format!("{}/rendered?accept=image/png&window=90,60,linear", place.path()));
    }
    for series in 1..=2 {
        paths.push(format!("{}/thumbnail?viewport=31,31", Place::new(1, series, 1).series_path()));
    }
    paths.push(format!("{}/thumbnail", Place::new(1, 1, 1).study_path()));
    paths
}

/// What a proxy without a cache shows.
struct Truth(HashMap<String, (Bytes, String)>);

impl Truth {
    async fn of(archive: &Archive) -> Self {
        Self::of_paths(archive, &paths()).await
    }

    async fn of_paths(archive: &Archive, paths: &[String]) -> Self {
        let proxy = Proxy::start(&archive.url()).await;
        let mut shown = HashMap::new();
        for path in paths {
            let reply = proxy.get(path).await;
            assert_eq!(reply.status(), 200, "{path}: {}", reply.text());
            shown.insert(path.clone(), (reply.body.clone(), reply.header("etag").to_owned()));
        }
        Self(shown)
    }

    fn check(&self, path: &str, reply: &Reply, when: &str) {
        assert_eq!(reply.status(), 200, "{when}: {path}: {}", reply.text());
        let (body, etag) = &self.0[path];
        let is_same = reply.body == *body && reply.header("etag") == etag;
        assert!(is_same, "{when}: {path} is another picture: {}", status(reply));
    }

    /// Asks for all of it, and says how many were kept.
    async fn check_all(&self, proxy: &Proxy, when: &str) -> usize {
        let mut hits = 0;
        for path in self.0.keys() {
            let reply = proxy.get(path).await;
            self.check(path, &reply, when);
            hits += usize::from(is_hit(&reply));
        }
        hits
    }
}

/// Waits until nothing is written any more.
async fn settled(keeper: &Keeper) {
    let mut last = (0, Instant::now());
    let began = Instant::now();
    while last.1.elapsed() < Duration::from_millis(400) {
        assert!(began.elapsed() < Duration::from_secs(30), "it is written all the time");
        let count = keeper.files().len();
        if count != last.0 {
            last = (count, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
}

async fn damaged(proxy: &Proxy) -> f64 {
    let mut sum = 0.0;
    for store in ["pictures", "sources"] {
        let name = format!("lightbox_cache_disk_damaged_total{{store=\"{store}\"}}");
        sum += proxy.metric(&name).await;
    }
    sum
}

/// The files of blobs: not the salts.
fn blobs(keeper: &Keeper) -> Vec<PathBuf> {
    let mut files = keeper.files();
    files.retain(|file| file.file_name().unwrap().len() == 32);
    files.sort();
    files
}

fn no_uid_in(log: &str) {
    assert!(!log.contains("2.25."), "{log}");
}

// Killed -------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn whatever_moment_it_is_killed_at_no_picture_is_wrong_afterwards() {
    let archive = Archive::of_ct(1, 2, 3).await;
    let truth = Truth::of(&archive).await;
    let keeper = Keeper::new(&[]);
    // Nothing is asserted of what has come to be at these moments.
    for (round, pause) in [0, 5, 15, 40, 80, 150, 300, 500].into_iter().enumerate() {
        let proxy = keeper.start(&archive.url()).await;
        let client = lightbox_tests::client();
        let asked: Vec<_> = truth
            .0
            .keys()
            .map(|path| {
                let request = client.get(format!("{}{path}", proxy.url()));
                let path = path.clone();
                tokio::spawn(async move {
                    let answer = request.send().await.ok()?;
                    let (status, headers) = (answer.status(), answer.headers().clone());
                    let body = answer.bytes().await.ok()?;
                    Some((path, Reply { status, headers, body }))
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(pause)).await;
        proxy.signal("KILL");
        let mut whole = 0;
        for (path, reply) in join_all(asked).await.into_iter().filter_map(Result::unwrap) {
            truth.check(&path, &reply, "while it is killed");
            whole += 1;
        }
        drop(proxy);
        println!(
            "round {round}: killed after {pause} ms, {whole} answers, {} files",
            keeper.files().len()
        );
        // Cut off as a crash of the machine would: what was written last.
        if let Some(file) = blobs(&keeper).get(round * 7) {
            let length = file.metadata().unwrap().len();
            File::options().write(true).open(file).unwrap().set_len(length / 2).unwrap();
        }
    }
    let proxy = keeper.start(&archive.url()).await;
    truth.check_all(&proxy, "after all that").await;
    assert_eq!(truth.check_all(&proxy, "once more").await, truth.0.len());
    no_uid_in(&proxy.log());
}

// Damaged ------------------------------------------------------------------------------------------

/// Its content, to be put back.
fn saved(files: &[PathBuf]) -> Vec<(PathBuf, Vec<u8>)> {
    files.iter().map(|file| (file.clone(), fs::read(file).unwrap())).collect()
}

fn put_back(keeper: &Keeper, saved: &[(PathBuf, Vec<u8>)]) {
    for file in blobs(keeper) {
        let _ = fs::remove_file(file);
    }
    for (file, bytes) in saved {
        if file.is_dir() {
            fs::remove_dir_all(file).unwrap();
        }
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }
}

fn damage(kind: &str, file: &Path, bytes: &[u8], others: &[u8], seed: usize) {
    match kind {
        "flipped" => {
            let mut bytes = bytes.to_vec();
            let place = seed.wrapping_mul(7919) % bytes.len();
            bytes[place] ^= 1 << (seed % 8);
            fs::write(file, bytes).unwrap();
        }
        "truncated" => fs::write(file, &bytes[..seed.wrapping_mul(31) % bytes.len()]).unwrap(),
        "longer" => fs::write(file, [bytes, b"and more"].concat()).unwrap(),
        "emptied" => fs::write(file, "").unwrap(),
        "a directory" => {
            fs::remove_file(file).unwrap();
            fs::create_dir_all(file.join("below")).unwrap();
            fs::write(file.join("below/file"), "text").unwrap();
        }
        "a link" => {
            fs::remove_file(file).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", file).unwrap();
        }
        "another's" => fs::write(file, others).unwrap(),
        _ => unreachable!("{kind}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_files_are_counted_and_never_shown() {
    let archive = Archive::of_ct(1, 2, 3).await;
    let truth = Truth::of(&archive).await;
    let keeper = Keeper::new(&[]);
    let proxy = keeper.start(&archive.url()).await;
    truth.check_all(&proxy, "the first time").await;
    settled(&keeper).await;
    drop(proxy);
    let files = saved(&blobs(&keeper));
    assert!(files.len() > 30, "{}", files.len());
    let kinds = ["flipped", "truncated", "longer", "emptied", "a directory", "a link", "another's"];
    // Where all are damaged, what is found by them is not even looked for.
    let is_chosen = |which: &str, n: usize| match which {
        "even" => n.is_multiple_of(2),
        "odd" => n % 2 == 1,
        _ => true,
    };
    for (turn, kind) in kinds.into_iter().enumerate() {
        for which in ["all", "even", "odd"] {
            put_back(&keeper, &files);
            for (n, (file, bytes)) in files.iter().enumerate().filter(|(n, _)| is_chosen(which, *n))
            {
                let others = &files[(n + 1) % files.len()].1;
                damage(kind, file, bytes, others, n + turn);
            }
            let when = format!("{which} {kind}");
            let proxy = keeper.start(&archive.url()).await;
            truth.check_all(&proxy, &when).await;
            // What is no file may have been removed before it was looked for.
            let is_file = !matches!(kind, "a directory" | "a link");
            assert!(damaged(&proxy).await > 0.0 || !is_file, "{when}");
            let hits = truth.check_all(&proxy, &format!("{when}, once more")).await;
            assert_eq!(hits, truth.0.len(), "{when}");
            no_uid_in(&proxy.log());
        }
    }
    // And it was as good as it is: without damage all of it is found.
    put_back(&keeper, &files);
    let proxy = keeper.start(&archive.url()).await;
    assert_eq!(truth.check_all(&proxy, "put back").await, truth.0.len());
    assert_eq!(damaged(&proxy).await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_salt_loses_what_was_kept_and_nothing_else() {
    let archive = Archive::of_ct(1, 2, 3).await;
    let truth = Truth::of(&archive).await;
    let keeper = Keeper::new(&[]);
    for damage in [&b""[..], b"short", &[7; 48], &[0; 4096]] {
        let proxy = keeper.start(&archive.url()).await;
        truth.check_all(&proxy, "with this salt").await;
        assert_eq!(truth.check_all(&proxy, "with this salt").await, truth.0.len());
        settled(&keeper).await;
        drop(proxy);
        for store in ["pictures", "sources"] {
            fs::write(keeper.dir().join(store).join("salt"), damage).unwrap();
        }
        let proxy = keeper.start(&archive.url()).await;
        assert!(truth.check_all(&proxy, "with another").await < truth.0.len());
    }
    // No file at all, but a folder.
    for store in ["pictures", "sources"] {
        let salt = keeper.dir().join(store).join("salt");
        fs::remove_file(&salt).unwrap();
        fs::create_dir(&salt).unwrap();
    }
    let proxy = keeper.start(&archive.url()).await;
    truth.check_all(&proxy, "with a folder for a salt").await;
    no_uid_in(&proxy.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_that_changed_places_show_nothing_wrong() {
    let archive = Archive::of_ct(1, 2, 3).await;
    let truth = Truth::of(&archive).await;
    let keeper = Keeper::new(&[]);
    let proxy = keeper.start(&archive.url()).await;
    truth.check_all(&proxy, "the first time").await;
    settled(&keeper).await;
    drop(proxy);
    let mut groups: Vec<PathBuf> =
        blobs(&keeper).iter().map(|file| file.parent().unwrap().to_owned()).collect();
    groups.dedup();
    assert!(groups.len() >= 3, "{groups:?}");
    let aside = keeper.dir().join("aside");
    let mut places = groups.clone();
    places.rotate_left(1);
    fs::create_dir(&aside).unwrap();
    for (n, group) in groups.iter().enumerate() {
        fs::rename(group, aside.join(n.to_string())).unwrap();
    }
    for (n, place) in places.iter().enumerate() {
        fs::rename(aside.join(n.to_string()), place).unwrap();
    }
    let proxy = keeper.start(&archive.url()).await;
    truth.check_all(&proxy, "in other places").await;
    assert_eq!(truth.check_all(&proxy, "once more").await, truth.0.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_left_in_the_folder_does_no_harm_and_what_links_lead_to_stays() {
    let archive = Archive::of_ct(1, 2, 3).await;
    let truth = Truth::of(&archive).await;
    let keeper = Keeper::new(&[]);
    let proxy = keeper.start(&archive.url()).await;
    truth.check_all(&proxy, "the first time").await;
    settled(&keeper).await;
    drop(proxy);

    let outside = tempfile::tempdir().unwrap();
    let treasure = outside.path().join("a".repeat(32));
    fs::create_dir(outside.path().join("b".repeat(30))).unwrap();
    let below = outside.path().join("b".repeat(30)).join("c".repeat(32));
    for file in [&treasure, &below] {
        fs::write(file, "not ours").unwrap();
    }
    for store in ["pictures", "sources"] {
        let store = keeper.dir().join(store);
        let root = store.join("v1");
        fs::write(store.join("file"), "text").unwrap();
        fs::write(root.join("file"), "text").unwrap();
        fs::write(root.join("..."), [0xFF; 100]).unwrap();
        let name = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff\xfe");
        fs::write(root.join(name), "no UTF-8").unwrap();
        fs::create_dir_all(root.join("zz").join("a/b/c/d/e/f")).unwrap();
        fs::create_dir_all(root.join("ab")).unwrap();
        fs::write(root.join("ab").join("f".repeat(30)), "a file for a group").unwrap();
        std::os::unix::fs::symlink(outside.path(), root.join("ac")).unwrap();
        std::os::unix::fs::symlink(outside.path(), root.join("ab").join("d".repeat(30))).unwrap();
        let made = Command::new("mkfifo").arg(root.join("ab").join("pipe")).status().unwrap();
        assert!(made.success());
    }
    for group in blobs(&keeper).iter().map(|file| file.parent().unwrap()) {
        let _ = fs::write(group.join("short"), "text");
        let _ = fs::write(group.join(".tmp-1-1"), "half a file");
        let _ = std::os::unix::fs::symlink(&treasure, group.join("e".repeat(32)));
        // A clock that was ahead.
        let aside = File::create(group.join(".tmp-1-2")).unwrap();
        aside.set_modified(SystemTime::now() + Duration::from_secs(1 << 30)).unwrap();
    }
    let proxy = keeper.start(&archive.url()).await;
    assert_eq!(truth.check_all(&proxy, "among others' files").await, truth.0.len());
    let is_clean = || async {
        let stays = |file: &PathBuf| file.file_name().unwrap() == "short";
        !keeper.files().iter().any(stays)
    };
    eventually("what is none of ours is removed", is_clean).await;
    for file in [&treasure, &below] {
        assert_eq!(fs::read(file).unwrap(), b"not ours");
    }
    no_uid_in(&proxy.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_times_of_files_decide_nothing_but_what_leaves_first() {
    let archive = Archive::of_ct(1, 2, 3).await;
    let truth = Truth::of(&archive).await;
    let keeper = Keeper::new(&[]);
    let proxy = keeper.start(&archive.url()).await;
    truth.check_all(&proxy, "the first time").await;
    settled(&keeper).await;
    drop(proxy);
    let years = |years: u64| Duration::from_secs(years * 365 * 24 * 3600);
    let now = SystemTime::now();
    for time in [now + years(200), now + years(50), SystemTime::UNIX_EPOCH, now - years(40)] {
        let files = blobs(&keeper);
        assert!(files.len() > 30);
        for file in &files {
            File::options().write(true).open(file).unwrap().set_modified(time).unwrap();
            File::open(file.parent().unwrap()).unwrap().set_modified(time).unwrap();
        }
        let proxy = keeper.start(&archive.url()).await;
        assert_eq!(truth.check_all(&proxy, &format!("{time:?}")).await, truth.0.len());
        // Nobody has removed them since.
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(blobs(&keeper).len(), files.len());
        drop(proxy);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn studies_of_a_time_that_is_ahead_are_not_kept_for_ever() {
    let files: Vec<(String, Vec<u8>)> = (1..=60)
        .map(|study| Place::new(study, 1, 1))
        .map(|place| (place.instance_uid(), ct(&place, 0)))
        .collect();
    let named: Vec<(&str, Vec<u8>)> =
        files.iter().map(|(name, file)| (name.as_str(), file.clone())).collect();
    let archive = Archive::of(&named).await;
    let path = |study| format!("{}/thumbnail", Place::new(study, 1, 1).path());
    let keeper = Keeper::new(&[("cache_memory", "off"), ("cache_disk", "400KiB")]);
    let proxy = keeper.start(&archive.url()).await;
    for study in 1..=5 {
        proxy.get(&path(study)).await;
    }
    settled(&keeper).await;
    drop(proxy);
    let ahead = SystemTime::now() + Duration::from_secs(1 << 31);
    let old = blobs(&keeper);
    assert!(old.len() >= 15, "{}", old.len());
    for file in &old {
        File::open(file.parent().unwrap()).unwrap().set_modified(ahead).unwrap();
    }
    let proxy = keeper.start(&archive.url()).await;
    // Later than the start, in seconds.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    for study in 6..=60 {
        assert_eq!(proxy.get(&path(study)).await.status(), 200);
    }
    settled(&keeper).await;
    let left = old.iter().filter(|file| file.exists()).count();
    assert_eq!(left, 0, "of {}", old.len());
    for (store, share) in [("pictures", 300), ("sources", 100)] {
        let bytes = proxy.metric(&format!("lightbox_cache_disk_bytes{{store=\"{store}\"}}")).await;
        assert!(bytes <= f64::from(share << 10), "{store}: {bytes}");
    }
}

// No disk ------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn without_a_usable_folder_pictures_are_shown_all_the_same() {
    let archive = Archive::of_ct(1, 2, 3).await;
    let truth = Truth::of(&archive).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "text").unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(folder.path().join("nowhere"), &link).unwrap();
    let taken = folder.path().join("taken");
    fs::create_dir(&taken).unwrap();
    for store in ["pictures", "sources"] {
        fs::write(taken.join(store), "text").unwrap();
    }
    for dir in [file.join("cache"), file.clone(), link.clone(), taken, "/proc/none".into()] {
        let keys = [("cache_dir", dir.to_str().unwrap()), ("warm_up", "false")];
        let proxy = Proxy::start_with(&archive.url(), &keys).await;
        truth.check_all(&proxy, "without a folder").await;
        // In memory there is room.
        assert_eq!(truth.check_all(&proxy, "from memory").await, truth.0.len(), "{dir:?}");
        let log = proxy.log();
        assert_eq!(log.matches(NOTHING_KEPT).count(), 1, "{dir:?}:\n{log}");
        no_uid_in(&log);
    }
    assert_eq!(fs::read(&file).unwrap(), b"text");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_taken_away_while_it_runs_is_made_again() {
    let archive = Archive::of_ct(1, 2, 3).await;
    let truth = Truth::of(&archive).await;
    let keeper = Keeper::new(&DISK_ONLY);
    let proxy = keeper.start(&archive.url()).await;
    truth.check_all(&proxy, "the first time").await;
    settled(&keeper).await;
    assert_eq!(truth.check_all(&proxy, "from disk").await, truth.0.len());
    fs::remove_dir_all(keeper.dir()).unwrap();
    truth.check_all(&proxy, "without its folder").await;
    settled(&keeper).await;
    assert_eq!(truth.check_all(&proxy, "with it again").await, truth.0.len());
    for file in keeper.files() {
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    }
    // Now there is a file in its place.
    fs::remove_dir_all(keeper.dir()).unwrap();
    fs::write(keeper.dir(), "text").unwrap();
    truth.check_all(&proxy, "with a file in its place").await;
    let log = proxy.log();
    assert!(log.matches(NOT_AS_IT_SHOULD).count() <= 2, "{log}");
    no_uid_in(&log);
    drop(proxy);
    fs::remove_file(keeper.dir()).unwrap();
    let proxy = keeper.start(&archive.url()).await;
    truth.check_all(&proxy, "started again").await;
    assert_eq!(truth.check_all(&proxy, "started again").await, truth.0.len());
}

/// A small disk; it goes with the value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mounted(at: &Path) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m,mode=700", "none"])
            .arg(at)
            .output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(at.to_owned()))
    }

    /// Takes what room there is.
    fn fill(&self) {
        use std::io::Write;
        let mut ballast =
            File::options().create(true).append(true).open(self.0.join("ballast")).unwrap();
        while ballast.write_all(&[1; 512]).is_ok() {}
    }

    /// As a disk becomes that has an error.
    fn be_read_only(&self, is_so: bool) {
        let mode = if is_so { "remount,ro" } else { "remount,rw" };
        let status = Command::new("mount").args(["-o", mode]).arg(&self.0).status();
        assert!(status.unwrap().success());
    }

    fn empty(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process may still be about to end.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_read_only_disk_does_not_give_up_is_not_shown() {
    let keys = [&DISK_ONLY[..], &[("upstream_credentials", "none")]].concat();
    let keeper = Keeper::new(&keys);
    let Some(disk) = SmallDisk::mounted(&keeper.dir()) else {
        return skip("a read-only disk", "mounting is not allowed here");
    };
    let archive = Archive::of_ct(1, 1, 1).await;
    let proxy = keeper.start(&archive.url()).await;
    let path = format!("{}/thumbnail", Place::new(1, 1, 1).path());
    proxy.get(&path).await;
    settled(&keeper).await;
    assert!(is_hit(&proxy.get(&path).await));
    disk.be_read_only(true);
    let purge = format!("{}/cache/studies/{}", proxy.admin_url(), Place::new(1, 1, 1).study_uid());
    let purged = lightbox_tests::client().delete(purge).send().await.unwrap();
    assert_eq!(purged.status(), 204);
    for _ in 0..3 {
        let reply = proxy.get(&path).await;
        assert!(reply.status() == 200 && !is_hit(&reply), "{}", reply.header("cache-status"));
    }
    // Once it can be written again it is.
    disk.be_read_only(false);
    eventually("it is kept again", || async { is_hit(&proxy.get(&path).await) }).await;
    drop(proxy);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_after_the_folder_was_taken_away_is_found_after_a_restart() {
    let archive = Archive::of_ct(1, 1, 1).await;
    let keeper = Keeper::new(&DISK_ONLY);
    let proxy = keeper.start(&archive.url()).await;
    eventually("it is gone", || async { fs::remove_dir_all(keeper.dir()).is_ok() }).await;
    let path = format!("{}/thumbnail", Place::new(1, 1, 1).path());
    proxy.get(&path).await;
    // Writing is nobody's hurry: what the image is, its picture and its source.
    eventually("it is written", || async { blobs(&keeper).len() >= 3 }).await;
    settled(&keeper).await;
    drop(proxy);
    let proxy = keeper.start(&archive.url()).await;
    let reply = proxy.get(&path).await;
    assert!(is_hit(&reply), "{}", reply.header("cache-status"));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_nothing_new_is_kept_and_all_is_shown() {
    let archive = Archive::of_ct(1, 2, 3).await;
    let truth = Truth::of(&archive).await;
    let keeper = Keeper::new(&DISK_ONLY);
    let Some(disk) = SmallDisk::mounted(&keeper.dir()) else {
        return skip("a full disk", "mounting is not allowed here");
    };
    let proxy = keeper.start(&archive.url()).await;
    let early = format!("{}/thumbnail", Place::new(1, 1, 2).path());
    proxy.get(&early).await;
    settled(&keeper).await;
    disk.fill();
    truth.check_all(&proxy, "on a full disk").await;
    let mut dropped = 0.0;
    for store in ["pictures", "sources"] {
        let name = format!("lightbox_cache_disk_dropped_total{{store=\"{store}\"}}");
        dropped += proxy.metric(&name).await;
    }
    assert!(dropped > 0.0);
    assert!(is_hit(&proxy.get(&early).await), "what was kept before is found");
    let log = proxy.log();
    let told = log.matches(NOT_AS_IT_SHOULD).count();
    // Pictures and sources have a store each.
    assert!((1..=2).contains(&told), "{log}");
    no_uid_in(&log);
    // Halves of files are no use to anybody.
    assert!(keeper.files().iter().all(|file| !file.to_str().unwrap().contains(".tmp-")));

    // A start with no room at all.
    drop(proxy);
    let proxy = keeper.start(&archive.url()).await;
    truth.check_all(&proxy, "started on a full disk").await;
    disk.empty();
    let all_kept = || async { truth.check_all(&proxy, "with room again").await == truth.0.len() };
    eventually("all is kept again", all_kept).await;
    drop(proxy);

    for store in ["pictures", "sources"] {
        fs::remove_dir_all(keeper.dir().join(store)).unwrap();
    }
    disk.fill();
    let proxy = keeper.start(&archive.url()).await;
    truth.check_all(&proxy, "begun on a full disk").await;
    no_uid_in(&proxy.log());
    drop(proxy);
}

// Many ---------------------------------------------------------------------------------------------

/// Noise does not compress: its pictures are large.
fn noise(place: &Place) -> Vec<u8> {
    let mut state =
        place.instance_uid().bytes().fold(1_u32, |a, b| a.wrapping_mul(31) + u32::from(b));
    let pixels: Vec<u8> = (0..160 * 160)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    Object::new(place, "1.2.840.10008.5.1.4.1.1.2", "CT")
        .matrix(160, 160, "MONOCHROME2")
        .window("128", "256")
        .pixels(&pixels)
        .file(EXPLICIT_LITTLE_ENDIAN)
}

/// So many requests, no two of them equal.
async fn many_distinct(requests: u32) {
    const MIB: u64 = 1 << 20;
    let images: Vec<Place> = places(1, 1, 4);
    let files: Vec<(String, Vec<u8>)> =
        images.iter().map(|place| (place.instance_uid(), noise(place))).collect();
    let named: Vec<(&str, Vec<u8>)> =
        files.iter().map(|(name, file)| (name.as_str(), file.clone())).collect();
    let archive = Archive::of(&named).await;
    let keeper = Keeper::new(&[
        ("cache_memory", "32MB"),
        ("cache_disk", "off"),
        ("render_memory", "64MB"),
        ("queue", "1000"),
    ]);
    let proxy = keeper.start(&archive.url()).await;
    let at_start = proxy.peak_memory();
    let (proxy_ref, images) = (&proxy, &images);
    let asked = stream::iter(0..requests).map(|n| async move {
        let place = &images[n as usize % images.len()];
        let (width, window) = (100 + n / 4 % 60, 1 + n / 240);
        let path = format!(
            "{}/rendered?accept=image/png&viewport={width},160&window={window},200,linear",
            place.path()
        );
        let reply = proxy_ref.get(&path).await;
        assert_eq!(reply.status(), 200, "{path}: {}", reply.text());
        reply.body.len() as u64
    });
    let began = Instant::now();
    let bytes: u64 = asked.buffer_unordered(8).fold(0, |sum, n| async move { sum + n }).await;
    let took = began.elapsed();
    let of = |name: &str| format!("lightbox_cache_memory_{name}{{kind=\"picture\"}}");
    let evicted = proxy.metric(&of("evictions_total")).await;
    let kept = proxy.metric(&of("bytes")).await;
    let peak = proxy.peak_memory();
    println!(
        "{requests} distinct requests in {took:.1?}: {} MiB of pictures, {kept} bytes kept, {evicted} \
         evicted; memory {} MiB at the start, {} MiB at most",
        bytes / MIB,
        at_start / MIB,
        peak / MIB
    );
    assert!(kept <= 16e6, "{kept}");
    assert!(evicted > 100.0, "{evicted}");
    let limit = (32 + 64 + 128) * MIB;
    assert!(peak < limit, "{} MiB", peak / MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_distinct_requests_stay_within_the_memory() {
    if slow_test("the memory of 5 000 requests") {
        many_distinct(5_000).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a benchmark: it takes minutes and prints the peak of the memory"]
async fn a_hundred_thousand_distinct_requests() {
    many_distinct(100_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_files_do_not_delay_the_first_hit() {
    const GROUPS: u32 = 500;
    const FILES: u32 = 200;
    if !slow_test("a folder of 100 000 files") {
        return;
    }
    let archive = Archive::of_ct(1, 1, 1).await;
    let keeper = Keeper::new(&[]);
    let path = format!("{}/thumbnail", Place::new(1, 1, 1).path());
    let proxy = keeper.start(&archive.url()).await;
    let first = proxy.get(&path).await;
    settled(&keeper).await;
    drop(proxy);
    let digest = |n: u32| {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&n.to_le_bytes());
        digest
    };
    let began = Instant::now();
    let store = disk_store::Store::open(disk_store::Settings {
        dir: keeper.dir().join("pictures"),
        limit: 10 << 30,
    });
    for group in 0..GROUPS {
        for key in 0..FILES {
            assert!(store.put(&digest(group), &digest(key), &[b"something of others"]));
        }
    }
    let planted = began.elapsed();
    drop(store);
    let began = Instant::now();
    let proxy = keeper.start(&archive.url()).await;
    let listens = Instant::now();
    let hit = proxy.get(&path).await;
    let (start, took) = (listens - began, listens.elapsed());
    assert!(is_hit(&hit) && status(&hit).ends_with("detail=disk"), "{}", status(&hit));
    assert_eq!(hit.body, first.body);
    let counted = || async {
        let bytes = proxy.metric("lightbox_cache_disk_bytes{store=\"pictures\"}").await;
        bytes >= f64::from(GROUPS * FILES) * 4096.0
    };
    eventually("all are counted", counted).await;
    println!(
        "{} files, planted in {planted:.1?}: it listens after {start:.1?}, the first hit comes {took:.1?} \
         after that, all are counted {:.1?} after that",
        GROUPS * FILES,
        listens.elapsed()
    );
    assert!(took < Duration::from_secs(3), "{took:?}");
}
