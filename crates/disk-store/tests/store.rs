//! The store as its users meet it: bounded, private, and right or empty whatever happens to its files.

#![allow(clippy::unwrap_used)] // in the helpers of tests too

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use disk_store::{Digest, Settings, Store};
use proptest::prelude::*;

fn digest(n: u32) -> Digest {
    let mut digest = [0; 32];
    digest[..4].copy_from_slice(&n.to_le_bytes());
    digest
}

fn open(dir: &Path, limit: u64) -> Store {
    let store = Store::open(Settings { dir: dir.to_owned(), limit });
    assert_eq!(store.problem(), None);
    store
}

fn scanned(dir: &Path, limit: u64) -> Store {
    let store = open(dir, limit);
    let began = Instant::now();
    while !store.snapshot().scanned {
        assert!(began.elapsed() < Duration::from_secs(60), "it is counted");
        std::thread::sleep(Duration::from_millis(2));
    }
    store
}

/// All files below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => all.extend(files(&entry.path())),
            _ => all.push(entry.path()),
        }
    }
    all
}

fn blobs(dir: &Path) -> Vec<PathBuf> {
    files(&dir.join("v1"))
}

/// What a store has to say that it holds.
fn walked(dir: &Path) -> (u64, u64) {
    let blobs = blobs(dir);
    let bytes: u64 =
        blobs.iter().map(|b| b.symlink_metadata().unwrap().len().div_ceil(4096) * 4096).sum();
    let groups: std::collections::HashSet<_> = blobs.iter().map(|b| b.parent().unwrap()).collect();
    (bytes, groups.len() as u64)
}

const ROOMY: u64 = 1 << 30;

#[test]
fn what_was_put_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), ROOMY);
    assert!(store.put(&digest(1), &digest(2), &[b"a", b"b"]));
    assert!(store.put(&digest(1), &digest(2), &[b"newer"]));
    assert_eq!(store.get(&digest(1), &digest(3)), None);
    assert_eq!(store.get(&digest(2), &digest(2)), None);
    drop(store);
    let again = scanned(dir.path(), ROOMY);
    assert_eq!(again.get(&digest(1), &digest(2)).unwrap(), b"newer");
    assert_eq!((again.snapshot().bytes, again.snapshot().groups), (8192, 1));
}

#[test]
fn the_groups_that_were_not_used_for_the_longest_time_leave() {
    let dir = tempfile::tempdir().unwrap();
    let store = scanned(dir.path(), 100 * 8192);
    let value = vec![7; 3000];
    for n in 0..100 {
        assert!(store.put(&digest(n), &digest(0), &[&value]));
    }
    // Recency is in seconds.
    std::thread::sleep(Duration::from_millis(1100));
    assert!(store.get(&digest(0), &digest(0)).is_some());
    assert!(store.put(&digest(100), &digest(0), &[&value]));
    let seen = store.snapshot();
    assert!(seen.bytes <= 90 * 8192 && seen.evicted_groups >= 11, "{seen:?}");
    assert!(store.get(&digest(0), &digest(0)).is_some());
    assert!(store.get(&digest(100), &digest(0)).is_some());
    assert_eq!(walked(dir.path()).0 + walked(dir.path()).1 * 4096, seen.bytes);
}

#[test]
fn when_it_was_used_is_known_after_a_restart_and_a_clock_ahead_keeps_nothing_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let store = scanned(dir.path(), ROOMY);
    for n in 0..3 {
        store.put(&digest(n), &digest(0), &[b"x"]);
    }
    drop(store);
    let of = |n: u32| {
        let store = open(dir.path(), ROOMY);
        let before: Vec<PathBuf> = blobs(dir.path());
        store.remove(&digest(n), &digest(0));
        let after = blobs(dir.path());
        store.put(&digest(n), &digest(0), &[b"x"]);
        before.into_iter().find(|path| !after.contains(path)).unwrap().parent().unwrap().to_owned()
    };
    let dirs: Vec<PathBuf> = (0..3).map(of).collect();
    let set = |dir: &Path, time| fs::File::open(dir).unwrap().set_modified(time).unwrap();
    let (now, day) = (SystemTime::now(), Duration::from_secs(86_400));
    set(&dirs[0], now - day);
    set(&dirs[1], now - 2 * day);
    set(&dirs[2], now + 9000 * day);
    // Read anew, it is the one of a day ago that is used now.
    let store = scanned(dir.path(), 33_000);
    assert!(store.get(&digest(0), &digest(0)).is_some());
    std::thread::sleep(Duration::from_millis(1100));
    assert!(store.put(&digest(3), &digest(0), &[b"x"]));
    assert!(store.put(&digest(4), &digest(0), &[b"x"]));
    assert!(store.get(&digest(1), &digest(0)).is_none());
    assert!(store.get(&digest(4), &digest(0)).is_some());
}

#[test]
fn a_store_that_has_shrunk_gives_up_what_is_too_much() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), ROOMY);
    for n in 0..200 {
        store.put(&digest(n), &digest(0), &[b"x"]);
    }
    drop(store);
    let store = scanned(dir.path(), 50 * 8192);
    assert!(store.snapshot().bytes <= 50 * 8192);
    assert!(blobs(dir.path()).len() <= 50);
}

#[test]
fn everything_is_removed_counted_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (scanned(dir.path(), ROOMY), scanned(dir.path(), ROOMY));
    assert!(one.put(&digest(1), &digest(1), &[b"x"]));
    other.clear();
    assert_eq!(one.get(&digest(1), &digest(1)), None);
    assert_eq!((blobs(dir.path()).len(), other.snapshot().bytes), (0, 0));
    assert!(other.put(&digest(1), &digest(1), &[b"y"]));
}

#[test]
fn what_is_not_kept_leaves_nothing_older_behind() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 80_000);
    assert!(store.put(&digest(1), &digest(1), &[b"old"]));
    assert!(!store.put(&digest(1), &digest(1), &[&vec![0; 20_000]]));
    assert_eq!(store.get(&digest(1), &digest(1)), None);
}

#[test]
fn what_is_too_large_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 80_000);
    assert!(!store.put(&digest(1), &digest(1), &[&vec![0; 20_000]]));
    assert!(store.put(&digest(1), &digest(1), &[&vec![0; 5_000]]));
    assert_eq!(store.snapshot().dropped, 1);
}

// Faults -------------------------------------------------------------------------------------------

#[test]
fn a_damaged_file_is_none_and_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = scanned(dir.path(), ROOMY);
    let victims: [fn(&Path); 6] = [
        |path| fs::write(path, "").unwrap(),
        |path| fs::write(path, vec![0; 1000]).unwrap(),
        |path| {
            let mut bytes = fs::read(path).unwrap();
            let last = bytes.len() - 20;
            bytes[last] ^= 1;
            fs::write(path, bytes).unwrap();
        },
        |path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
        },
        |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
            fs::write(path.join("x"), "x").unwrap();
        },
        |path| {
            fs::remove_file(path).unwrap();
            symlink("/etc/passwd", path).unwrap();
        },
    ];
    for (n, damage) in victims.iter().enumerate() {
        assert!(store.put(&digest(1), &digest(2), &[b"the value"]));
        let path = blobs(dir.path()).pop().unwrap();
        damage(&path);
        assert_eq!(store.get(&digest(1), &digest(2)), None, "{n}");
        assert_eq!(store.snapshot().damaged, n as u64 + 1);
        assert!(path.symlink_metadata().is_err(), "{n}");
        assert!(Path::new("/etc/passwd").exists());
    }
    // A file of another place is not believed.
    store.put(&digest(1), &digest(2), &[b"one"]);
    let one = blobs(dir.path()).pop().unwrap();
    store.put(&digest(1), &digest(3), &[b"two"]);
    let two = blobs(dir.path()).into_iter().find(|path| *path != one).unwrap();
    fs::copy(&one, &two).unwrap();
    assert_eq!(store.get(&digest(1), &digest(3)), None);
}

#[test]
fn links_lead_nowhere() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(outside.path().join("precious"), "x").unwrap();
    let store = scanned(dir.path(), ROOMY);
    store.put(&digest(1), &digest(2), &[b"x"]);
    let group = blobs(dir.path())[0].parent().unwrap().to_owned();
    fs::remove_dir_all(&group).unwrap();
    symlink(outside.path(), &group).unwrap();
    symlink(outside.path(), dir.path().join("v1/zz")).unwrap();
    drop(store);
    let store = scanned(dir.path(), ROOMY);
    assert_eq!(store.get(&digest(1), &digest(2)), None);
    store.remove_group(&digest(1));
    store.clear();
    assert!(outside.path().join("precious").exists());
    assert!(store.put(&digest(1), &digest(2), &[b"x"]));
}

#[test]
fn a_directory_that_cannot_be_used_keeps_nothing_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let store = Store::open(Settings { dir: dir.path().join("file/below"), limit: ROOMY });
    assert!(store.problem().unwrap().contains("file/below"));
    assert!(!store.put(&digest(1), &digest(2), &[b"x"]));
    assert_eq!(store.get(&digest(1), &digest(2)), None);
    store.remove_group(&digest(1));
    assert_eq!(store.snapshot().dropped, 1);
    assert!(Store::open(Settings { dir: "/proc/lightbox".into(), limit: 1 }).problem().is_some());
}

#[test]
fn a_directory_that_is_taken_away_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = scanned(dir.path(), ROOMY);
    store.put(&digest(1), &digest(2), &[b"x"]);
    fs::remove_dir_all(dir.path()).unwrap();
    assert_eq!(store.get(&digest(1), &digest(2)), None);
    assert!(store.put(&digest(1), &digest(2), &[b"y"]));
    assert_eq!(store.get(&digest(1), &digest(2)).unwrap(), b"y");
}

#[test]
fn a_full_disk_loses_writes_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mount = |arguments: &[&str]| {
        let done = Command::new("mount").args(arguments).arg(dir.path()).output();
        done.is_ok_and(|output| output.status.success())
    };
    if !mount(&["-t", "tmpfs", "-o", "size=200k", "lightbox-test"]) {
        eprintln!("SKIPPED a full disk: this user may not mount one");
        return;
    }
    let store = scanned(dir.path(), ROOMY);
    let value = vec![9; 10_000];
    let kept: Vec<u32> =
        (0..100).filter(|n| store.put(&digest(*n), &digest(0), &[&value])).collect();
    let seen = store.snapshot();
    let files = blobs(dir.path());
    let all_right =
        kept.iter().all(|n| store.get(&digest(*n), &digest(0)).as_deref() == Some(&value[..]));
    let unmounted = Command::new("umount").arg(dir.path()).status().unwrap();
    assert!(unmounted.success());
    assert!((1..100).contains(&kept.len()) && all_right, "{kept:?}");
    assert_eq!((files.len(), seen.dropped), (kept.len(), 100 - kept.len() as u64));
}

// Kill and share -----------------------------------------------------------------------------------

const CHILD: &str = "DISK_STORE_TEST_DIR";

fn child_value(round: u32, key: u32) -> Vec<u8> {
    vec![(round % 251) as u8; 1000 + 40_000 * (key as usize % 3)]
}

/// Writes for ever; only as a child of the test below.
#[test]
fn writer_that_is_killed() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let store = open(Path::new(&dir), ROOMY);
    for round in 0.. {
        for key in 0..9 {
            store.put(&digest(key % 3), &digest(key), &[&child_value(round, key)]);
        }
    }
}

#[test]
fn a_writer_that_is_killed_leaves_whole_values_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let this = std::env::current_exe().unwrap();
    for kill in 0..12 {
        let mut child = Command::new(&this)
            .args(["--exact", "writer_that_is_killed"])
            .env(CHILD, dir.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(30 + 7 * kill));
        child.kill().unwrap();
        child.wait().unwrap();
        let store = scanned(dir.path(), ROOMY);
        for key in 0..9 {
            if let Some(value) = store.get(&digest(key % 3), &digest(key)) {
                assert_eq!(value, child_value(u32::from(value[0]), key));
            }
        }
        assert_eq!(store.snapshot().damaged, 0);
    }
    assert!(!blobs(dir.path()).is_empty());
    // What was left half written goes once it is certain that nobody writes it.
    let is_aside = |path: &PathBuf| path.to_str().unwrap().contains(".tmp-");
    let old = SystemTime::now() - Duration::from_secs(120);
    for path in blobs(dir.path()).iter().filter(|path| is_aside(path)) {
        fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
    }
    let young = dir.path().join("v1/aa/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb");
    fs::create_dir_all(&young).unwrap();
    fs::write(young.join(".tmp-1-1"), "x").unwrap();
    let _store = scanned(dir.path(), ROOMY);
    assert_eq!(blobs(dir.path()).iter().filter(|path| is_aside(path)).count(), 1);
}

#[test]
fn several_threads_and_stores_share_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let stores = [open(dir.path(), 400_000), open(dir.path(), 400_000)];
    std::thread::scope(|scope| {
        for worker in 0..6_u32 {
            let store = &stores[worker as usize % 2];
            scope.spawn(move || {
                for step in 0..400_u32 {
                    let (group, key) = (digest(step % 40), digest(step % 7));
                    let fill = (step % 40) as u8;
                    match (step + worker) % 11 {
                        0 => store.remove_group(&group),
                        1 => store.remove(&group, &key),
                        2..6 => drop(store.put(&group, &key, &[&vec![fill; 3000]])),
                        _ => {
                            if let Some(value) = store.get(&group, &key) {
                                assert_eq!(value, vec![fill; 3000]);
                            }
                        }
                    }
                }
            });
        }
    });
    assert_eq!(stores.each_ref().map(|store| store.snapshot().damaged), [0, 0]);
    assert_eq!(stores.each_ref().map(|store| store.snapshot().dropped), [0, 0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn a_value_is_the_last_that_was_put_or_none_and_the_bytes_are_those_on_disk(
        steps in prop::collection::vec((0_u32..6, 0_u32..5, 0_usize..9000, 0_u8..12), 1..80),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let limit = 120_000;
        let mut store = scanned(dir.path(), limit);
        let mut model: HashMap<(u32, u32), Vec<u8>> = HashMap::new();
        for (step, (group, key, length, action)) in steps.into_iter().enumerate() {
            let place = (digest(group), digest(key));
            match action {
                0 => {
                    store.remove_group(&place.0);
                    model.retain(|(g, _), _| *g != group);
                }
                1 => {
                    store.remove(&place.0, &place.1);
                    model.remove(&(group, key));
                }
                2 => store = scanned(dir.path(), limit),
                3..=5 => {
                    let value = store.get(&place.0, &place.1);
                    prop_assert!(value.is_none() || value.as_ref() == model.get(&(group, key)));
                }
                _ => {
                    let value = vec![step as u8; length];
                    if store.put(&place.0, &place.1, &[&value]) {
                        model.insert((group, key), value);
                    } else {
                        model.remove(&(group, key));
                    }
                }
            }
            let seen = store.snapshot();
            prop_assert!(seen.bytes <= limit);
            let (bytes, groups) = walked(dir.path());
            // A group may be empty.
            prop_assert!(seen.groups >= groups);
            prop_assert_eq!(seen.bytes, bytes + seen.groups * 4096);
        }
    }
}

// Figures ------------------------------------------------------------------------------------------

/// `cargo test --release -p disk-store -- --ignored --nocapture figures`
#[test]
#[ignore = "a benchmark"]
fn figures() {
    let dir = tempfile::tempdir().unwrap();
    let store = scanned(dir.path(), 100 << 30);
    let (value, count) = (vec![5; 8192], 100_000_u32);
    let began = Instant::now();
    for n in 0..count {
        store.put(&digest(n / 20), &digest(n), &[&value]);
    }
    let puts = f64::from(count) / began.elapsed().as_secs_f64();
    let began = Instant::now();
    for n in 0..count {
        assert!(store.get(&digest(n / 20), &digest(n)).is_some());
    }
    let gets = f64::from(count) / began.elapsed().as_secs_f64();
    drop(store);
    let began = Instant::now();
    let store = open(dir.path(), 100 << 30);
    assert!(store.get(&digest(4), &digest(88)).is_some());
    let first = began.elapsed();
    while !store.snapshot().scanned {
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("{puts:.0} puts/s, {gets:.0} gets/s of 8 KiB; first get {first:?} after opening");
    println!("counted {count} files in {:?}", began.elapsed());
}
