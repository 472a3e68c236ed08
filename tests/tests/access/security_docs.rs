//! What docs/security.md says can be done as it says.

use std::path::Path;
use std::process::Command;

use lightbox_tests::{Archive, Keeper, lightbox, places, skip};

fn page() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/security.md"))
        .unwrap()
}

/// The blocks of code in a language.
fn blocks(language: &str) -> Vec<String> {
    let (page, begin) = (page(), format!("```{language}\n"));
    let begun = page.split(&begin).skip(1);
    begun.map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn its_configurations_are_ones() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lightbox.toml");
    let blocks = blocks("toml");
    assert!(blocks.len() >= 3, "{blocks:?}");
    for block in blocks {
        std::fs::write(&file, &block).unwrap();
        let checked = lightbox(folder.path(), &["config", "--check", file.to_str().unwrap()]);
        assert_eq!(checked.code, Some(0), "{block}\n{}", checked.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn urls_that_python_signs_as_it_says_are_good() {
    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    let archive = Archive::of_ct(1, 1, 1).await;
    let both = format!("other:{}\nk.1:{SECRET}", SECRET.replace('0', "x"));
    let keys = [("upstream_credentials", "none"), ("signing_keys", both.as_str())];
    let proxy = Keeper::new(&keys).start(&archive.url()).await;
    let target = format!("{}/thumbnail?viewport=32%2C32", places(1, 1, 1)[0].study_path());
    let [snippet] = &blocks("python")[..] else { panic!("one snippet of Python") };
    let script = format!("{snippet}\nprint(sign({target:?}, \"k.1\", \"{SECRET}\", 60))");
    let Ok(python) = Command::new("python3").args(["-c", &script]).output() else {
        return skip("URLs signed by Python", "python3 is not installed");
    };
    let signed = String::from_utf8(python.stdout).unwrap();
    let signed = signed.trim_end();
    assert!(signed.contains("lightbox-signature="), "{}", String::from_utf8_lossy(&python.stderr));
    assert_eq!(proxy.get(signed).await.status(), 200);
    assert_eq!(proxy.get(&signed.replace("32%2C32", "33%2C33")).await.status(), 403);
}

#[test]
fn every_threat_names_tests_that_there_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = page();
    let table = page.split("## Threats").nth(1).unwrap().split("\n\n").nth(1).unwrap();
    let rows: Vec<&str> = table.lines().skip(2).collect();
    assert!(rows.len() > 10);
    for row in rows {
        let shown_by = row.trim_end_matches('|').rsplit('|').next().unwrap();
        let mut source = String::new();
        for quoted in shown_by.split('`').skip(1).step_by(2) {
            if quoted.ends_with(".rs") {
                source = std::fs::read_to_string(root.join(quoted)).expect(quoted);
            } else {
                assert!(source.contains(&format!("fn {quoted}(")), "{quoted} in {row}");
            }
        }
        assert!(!source.is_empty(), "no test shows it: {row}");
    }
}
