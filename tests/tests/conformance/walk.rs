//! The table: what is demanded, how it is judged, and what came of it.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;

use futures_util::FutureExt;

use crate::archive::Archive;

/// Nothing, or what was asked, what was expected and what came.
pub(crate) type Verdict = Result<(), String>;

pub(crate) type Check = for<'a> fn(&'a Archive) -> Pin<Box<dyn Future<Output = Verdict> + 'a>>;

/// One row: a number of the standard's reading with, where it demands several things, a letter.
#[derive(Clone, Copy)]
pub(crate) struct Requirement {
    pub(crate) number: &'static str,
    text: &'static str,
    judged: Judged,
}

impl Requirement {
    /// Section, number and letter: R2.10 comes after R2.9.
    fn place(&self) -> (u32, u32, &'static str) {
        let (number, letter) = self.number.split_once(' ').unwrap_or((self.number, ""));
        let (section, number) = number[1..].split_once('.').unwrap_or_default();
        let value = |digits: &str| digits.parse().unwrap_or(u32::MAX);
        (value(section), value(number), letter)
    }
}

#[derive(Clone, Copy)]
enum Judged {
    By(Check),
    NotApplicable(&'static str),
    Ruled(&'static str),
    NotYet(&'static str, Check),
}

/// A requirement that is tried.
pub(crate) const fn tried(number: &'static str, text: &'static str, check: Check) -> Requirement {
    Requirement { number, text, judged: Judged::By(check) }
}

/// A requirement that asks nothing of a proxy's answers, with the reason.
pub(crate) const fn not_applicable(
    number: &'static str,
    text: &'static str,
    why: &'static str,
) -> Requirement {
    Requirement { number, text, judged: Judged::NotApplicable(why) }
}

/// A requirement that a ruling of this project overrides, with the ruling; a row beside it tries
/// what is done instead.
pub(crate) const fn ruled(
    number: &'static str,
    text: &'static str,
    ruling: &'static str,
) -> Requirement {
    Requirement { number, text, judged: Judged::Ruled(ruling) }
}

/// A requirement that is not met, with the reason. The check says when that is no longer so.
#[allow(dead_code)] // where every requirement is met
pub(crate) const fn not_yet(
    number: &'static str,
    text: &'static str,
    why: &'static str,
    check: Check,
) -> Requirement {
    Requirement { number, text, judged: Judged::NotYet(why, check) }
}

/// An async function as a [`Check`].
macro_rules! check {
    ($name:path) => {
        |archive| Box::pin($name(archive))
    };
}
pub(crate) use check;

/// Judges every row, prints the table and the counts; returns the failures.
pub(crate) async fn walk(archive: &Archive, requirements: &[Requirement]) -> Vec<String> {
    let mut failed = Vec::new();
    let (mut passed, mut ruled, mut not_applicable, mut not_yet) = (0, 0, 0, 0);
    let mut rows: Vec<&Requirement> = requirements.iter().collect();
    rows.sort_by_key(|row| row.place());
    for row in rows {
        let (result, remark) = match row.judged {
            Judged::By(check) => match judge(check, archive).await {
                Ok(()) => {
                    passed += 1;
                    ("pass", String::new())
                }
                Err(why) => {
                    failed.push(format!("{} {}: {why}", row.number, row.text));
                    ("FAIL", why)
                }
            },
            Judged::NotApplicable(why) => {
                not_applicable += 1;
                ("n/a", format!("not applicable: {why}"))
            }
            Judged::Ruled(why) => {
                ruled += 1;
                ("ruled", why.to_owned())
            }
            Judged::NotYet(why, check) => match judge(check, archive).await {
                Ok(()) => {
                    failed.push(format!("{} {}: is met by now, so try it", row.number, row.text));
                    ("FAIL", "is met by now: its row is to be tried".to_owned())
                }
                Err(_) => {
                    not_yet += 1;
                    ("not yet", why.to_owned())
                }
            },
        };
        println!("{:8} {result:7}  {}", row.number, row.text);
        if !remark.is_empty() {
            println!("                  {remark}");
        }
    }
    println!(
        "\n{} rows: {passed} pass, {} fail, {not_yet} not yet, {ruled} ruled otherwise, {not_applicable} not applicable",
        requirements.len(),
        failed.len()
    );
    failed
}

/// A check that panics has failed, and the others go on.
async fn judge(check: Check, archive: &Archive) -> Verdict {
    AssertUnwindSafe(check(archive)).catch_unwind().await.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("panicked: {}", text.unwrap_or("without a word")))
    })
}
