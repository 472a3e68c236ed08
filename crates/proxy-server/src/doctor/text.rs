//! The examination, for a terminal.

use std::fmt::Write;

use super::{CallReport, Examination, Level};

/// What was found, and what to configure, as text; `color` marks levels in colour.
pub fn report(seen: &Examination, color: bool) -> String {
    let mut out = String::new();
    // Writing to a text cannot fail.
    let _ = writeln!(out, "{}", seen.upstream);
    let http = seen.http.as_deref().unwrap_or("no answer");
    let _ = writeln!(out, "dialect {} (by {}), {http}\n", seen.dialect, seen.known_by);
    for finding in &seen.findings {
        let _ = writeln!(out, "{} {}", mark(finding.level, color), finding.text);
    }
    calls(&seen.calls, &mut out);
    match seen.thumbnails {
        Some(true) => {
            let _ = writeln!(out, "\nThumbnails work. {}", advice(seen));
        }
        Some(false) => out.push_str("\nThumbnails do not work: see the problems above.\n"),
        None => out.push_str("\nThere was no image to try with.\n"),
    }
    out
}

fn mark(level: Level, color: bool) -> &'static str {
    match (level, color) {
        (Level::Problem, true) => "\x1b[31mproblem\x1b[0m",
        (Level::Odd, true) => "\x1b[33modd    \x1b[0m",
        (Level::Good, true) => "\x1b[32mgood   \x1b[0m",
        (Level::Problem, false) => "problem",
        (Level::Odd, false) => "odd    ",
        (Level::Good, false) => "good   ",
    }
}

fn calls(calls: &[CallReport], out: &mut String) {
    let _ = writeln!(out, "\n{:<26} {:>9} {:>11}  form and answer", "call", "ms", "bytes");
    for call in calls {
        let answer = match (&call.error, call.status) {
            (Some(_), Some(status)) => format!("status {status}"),
            (Some(_), None) if call.succeeded => "nothing there".to_owned(),
            (Some(error), None) => error.clone(),
            (None, _) => {
                let media_type = call.media_type.as_deref().unwrap_or("no media type");
                match &call.transfer_syntax {
                    Some(syntax) => format!("{media_type}, {syntax}"),
                    None => media_type.to_owned(),
                }
            }
        };
        let (name, time, bytes) = (call.call, call.milliseconds, call.bytes);
        let _ = writeln!(out, "{name:<26} {time:>9.1} {bytes:>11}  {} -> {answer}", call.accept);
    }
}

fn advice(seen: &Examination) -> String {
    format!(
        "A configuration (lightbox serve --config lightbox.toml):\n\n{}\nA data source of OHIF \
         (extensions.default.sources):\n\n{}",
        indented(&seen.configuration),
        indented(&seen.ohif)
    )
}

/// A file that serves this archive.
pub(super) fn config(seen: &Examination) -> String {
    let mut lines = vec![
        "listen = \"127.0.0.1:8080\"".to_owned(),
        format!("upstream = {:?}", seen.upstream.trim_end_matches('/')),
        format!("dialect = {:?}", seen.dialect),
    ];
    if seen.findings.iter().any(|finding| finding.text.contains("rewrite_urls")) {
        lines.push("rewrite_urls = true".to_owned());
    }
    lines.join("\n") + "\n"
}

/// A data source for it.
pub(super) fn ohif() -> String {
    "{\n  namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',\n  sourceName: 'lightbox',\n  \
     configuration: {\n    friendlyName: 'Through Lightbox',\n    name: 'lightbox',\n    \
     qidoRoot: 'http://127.0.0.1:8080',\n    wadoRoot: 'http://127.0.0.1:8080',\n    \
     qidoSupportsIncludeField: true,\n    supportsWildcard: true,\n    imageRendering: 'wadors',\n    \
     thumbnailRendering: 'thumbnail',\n    thumbnailRequestStrategy: 'fetch',\n    \
     singlepart: 'pdf,video',\n    bulkDataURI: { enabled: true },\n    \
     omitQuotationForMultipartRequest: true,\n  },\n}\n"
        .to_owned()
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Finding;
    use super::*;

    fn examination() -> Examination {
        Examination {
            upstream: "http://127.0.0.1:8042/dicom-web/".to_owned(),
            dialect: "orthanc",
            known_by: "how it answers",
            http: Some("HTTP/1.1".to_owned()),
            calls: Vec::new(),
            findings: vec![Finding {
                level: Level::Odd,
                text: "set rewrite_urls = true".to_owned(),
            }],
            thumbnails: Some(true),
            configuration: String::new(),
            ohif: String::new(),
        }
    }

    #[test]
    fn the_configuration_it_prints_loads() {
        let config = crate::Config::from_toml(&config(&examination())).unwrap();
        assert_eq!(config.upstream.url.unwrap().as_str(), "http://127.0.0.1:8042/dicom-web");
        assert!(config.upstream.rewrite_urls);
        assert_eq!(config.upstream.dialect, Some(wadors_client::Dialect::Orthanc));
    }

    #[test]
    fn colours_are_for_terminals_only() {
        assert!(report(&examination(), true).contains("\x1b["));
        let plain = report(&examination(), false);
        assert!(!plain.contains('\x1b') && plain.contains("Thumbnails work."), "{plain}");
    }
}
