//! Two thousand queries, well-formed and not, against an oracle that knows the grammar of PS3.18
//! §8.3 and nothing of the proxy: never a 500, never a picture for an illegal query, never a 400 for
//! a legal one, and every picture of the size and type that the query means.

use std::collections::HashMap;

use futures_util::StreamExt;
use http::Method;
use lightbox_tests::decoded::Decoded;
use lightbox_tests::{Proxy, Reply, ScriptedOrigin, TestImage};

const SEED: u64 = 0x5EED_1A57_ED01_2026;
const QUERIES: usize = 2000;
const COLUMNS: u16 = 24;
const ROWS: u16 = 16;

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_queries_mean_what_the_grammar_says() {
    println!("seed {SEED:#x}");
    let origin = ScriptedOrigin::start().await;
    let image = TestImage::ramp(ROWS, COLUMNS);
    image.put_on(&origin);
    let mut proxy = Proxy::start(&origin.url()).await;
    let mut generator = Generator(SEED);
    let queries: Vec<(Resource, String)> = (0..QUERIES).map(|_| generator.query()).collect();
    let legal =
        queries.iter().filter(|(resource, query)| meaning(*resource, query).is_ok()).count();
    println!("{legal} legal, {} illegal", QUERIES - legal);
    assert!((QUERIES / 4..QUERIES * 3 / 4).contains(&legal), "both kinds are tried");

    let wrong: Vec<String> = futures_util::stream::iter(&queries)
        .map(|(resource, query)| judge(&proxy, &image, *resource, query))
        .buffer_unordered(8)
        .filter_map(|verdict| async { verdict.err() })
        .collect()
        .await;
    assert!(proxy.is_alive(), "the proxy is gone:\n{}", proxy.log());
    assert!(!proxy.log().contains("panicked"), "{}", proxy.log());
    let shown: Vec<&str> = wrong.iter().take(40).map(String::as_str).collect();
    assert!(wrong.is_empty(), "{} of {QUERIES}:\n{}", wrong.len(), shown.join("\n"));
}

async fn judge(
    proxy: &Proxy,
    image: &TestImage,
    resource: Resource,
    query: &str,
) -> Result<(), String> {
    let path = format!("{}/{}?{query}", image.url_path(), resource.name());
    let response = proxy.request(Method::GET, &path, &[]).send().await;
    let reply = Reply::read(response.map_err(|error| error.to_string())?).await;
    let found = match meaning(resource, query) {
        Err(why) if reply.status() != 400 => Err(format!("400, since {why}")),
        Err(_) => Ok(()),
        Ok(_) if reply.status() != 200 => Err("200".to_owned()),
        Ok(meaning) => meaning.agrees(&reply),
    };
    found.map_err(|expected| {
        let text = if reply.status() == 200 { String::new() } else { reply.text() };
        let kind = reply.header("content-type");
        format!(
            "{} ?{query}: expected {expected}; came {} {kind} {text}",
            resource.name(),
            reply.status
        )
    })
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Resource {
    Rendered,
    FrameRendered,
    Thumbnail,
}

impl Resource {
    fn name(self) -> &'static str {
        match self {
            Self::Rendered => "rendered",
            Self::FrameRendered => "frames/1/rendered",
            Self::Thumbnail => "thumbnail",
        }
    }
}

// What a query means ----------------------------------------------------------------------------------

/// What a legal query asks for.
#[derive(Debug)]
struct Meaning {
    /// Any of these, where weights tie.
    media_types: Vec<&'static str>,
    /// Of the picture; the side that does not touch its viewport may be rounded either way.
    size: (f64, f64),
    viewport: Option<(f64, f64)>,
    /// Whether an annotation is asked for that is not known, beside one that is.
    warning: bool,
    /// Whether a profile is embedded.
    profile: bool,
}

impl Meaning {
    fn agrees(&self, reply: &Reply) -> Result<(), String> {
        let kind = reply.header("content-type");
        let decoded = Decoded::read(&reply.body)?;
        if kind != decoded.media_type || !self.media_types.contains(&kind) {
            return Err(format!("one of {:?}, as announced", self.media_types));
        }
        let (width, height) = (decoded.size().0 as f64, decoded.size().1 as f64);
        let near = |found: f64, ideal: f64| {
            (found - ideal).abs() <= 0.5 + 1e-6 || (found == 1.0 && ideal < 1.0)
        };
        if !near(width, self.size.0) || !near(height, self.size.1) {
            return Err(format!("{:?}, not {width} × {height}", self.size));
        }
        if let Some((vw, vh)) = self.viewport
            && width != vw
            && height != vh
        {
            return Err(format!("a picture that touches {vw} × {vh}, not {width} × {height}"));
        }
        if self.warning && !reply.header("warning").starts_with("299 ") {
            return Err("Warning: 299 for an annotation that is not known".into());
        }
        if self.profile != decoded.profile.is_some() {
            return Err(format!("a profile: {}", self.profile));
        }
        Ok(())
    }
}

const TYPES: [&str; 5] = ["image/jpeg", "image/png", "image/gif", "image/webp", "image/jp2"];
const NAMES: [&str; 7] =
    ["accept", "annotation", "charset", "iccprofile", "quality", "viewport", "window"];

/// What a query asks for, or why it is illegal; from its text alone.
fn meaning(resource: Resource, query: &str) -> Result<Meaning, String> {
    let said = said(resource, query)?;
    let value = |name: &str| said.get(name).map(String::as_str);
    let media_types = accept(value("accept"))?;
    let warning = annotation(value("annotation"))?;
    let space = profile(value("iccprofile"))?;
    if space.is_some_and(|space| space != "no") && media_types == ["image/gif"] {
        return Err("a GIF holds no profile".into());
    }
    if value("quality").is_some_and(|quality| !is_quality(quality)) {
        return Err("quality is a whole number from 1 to 100".into());
    }
    if value("window").is_some_and(|window| !is_window(window)) {
        return Err("window is centre, width and function".into());
    }
    let (size, viewport) = viewport(resource, value("viewport"))?;
    let profile = space.is_some_and(|space| space != "no");
    Ok(Meaning { media_types, size, viewport, warning, profile })
}

/// Names that are known at this resource, with their decoded values, each at most once.
fn said(resource: Resource, query: &str) -> Result<HashMap<&'static str, String>, String> {
    let mut said = HashMap::new();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(name) = decode(name).and_then(|name| NAMES.iter().find(|known| **known == name))
        else {
            continue;
        };
        if resource == Resource::Thumbnail && *name == "annotation" {
            continue;
        }
        let value = decode(value).ok_or("a value that is no text")?;
        if said.insert(*name, value).is_some() {
            return Err(format!("{name} is repeated"));
        }
    }
    Ok(said)
}

/// RFC 3986 §2.1; a plus is a plus.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = |at: usize| after.get(at).and_then(|b| char::from(*b).to_digit(16));
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &after[2..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

fn is_token(text: &str) -> bool {
    let is_tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(is_tchar)
}

/// The types that the client would be given; image/jpeg where it names none that there is, since its
/// header takes anything.
fn accept(value: Option<&str>) -> Result<Vec<&'static str>, String> {
    let Some(value) = value else { return Ok(vec!["image/jpeg"]) };
    let (mut dicom, mut other) = (false, false);
    let mut best: (f64, Vec<&'static str>) = (0.0, Vec::new());
    for item in value.split(',') {
        let (essence, weight) = item.split_once(";q=").unwrap_or((item, "1"));
        let (main, sub) = essence.split_once('/').ok_or("accept has no media type")?;
        if !is_token(main) || !is_token(sub) {
            return Err("accept has no media type".into());
        }
        if main == "*" || sub == "*" {
            return Err("accept has a wildcard".into());
        }
        let is_dicom = essence.starts_with("application/dicom");
        (dicom, other) = (dicom || is_dicom, other || !is_dicom);
        let weight: f64 = weight.parse().map_err(|_| "a weight is a number")?;
        if let Some(known) = TYPES.iter().find(|known| known.eq_ignore_ascii_case(essence)) {
            match weight.total_cmp(&best.0) {
                std::cmp::Ordering::Greater => best = (weight, vec![known]),
                std::cmp::Ordering::Equal if weight > 0.0 => best.1.push(known),
                _ => {}
            }
        }
    }
    if dicom && other {
        return Err("accept mixes DICOM and rendered types".into());
    }
    Ok(if best.1.is_empty() { vec!["image/jpeg"] } else { best.1 })
}

/// Whether a Warning is due.
fn annotation(value: Option<&str>) -> Result<bool, String> {
    let Some(value) = value else { return Ok(false) };
    let known = |word: &&str| matches!(*word, "patient" | "technique");
    let words: Vec<&str> = value.split(',').collect();
    if !words.iter().any(known) {
        return Err("annotation names nothing that is known".into());
    }
    Ok(!words.iter().all(known))
}

fn profile(value: Option<&str>) -> Result<Option<&str>, String> {
    match value {
        None | Some("no" | "yes" | "srgb" | "adobergb" | "rommrgb") => Ok(value),
        Some(_) => Err("iccprofile is one of five words".into()),
    }
}

fn is_quality(text: &str) -> bool {
    is_digits(text) && (1..=100).contains(&text.parse::<u64>().unwrap_or(0))
}

fn is_window(text: &str) -> bool {
    let [centre, width, function] = text.split(',').collect::<Vec<_>>()[..] else { return false };
    let least = match function {
        "linear" => 1.0,
        "linear-exact" | "sigmoid" => f64::MIN_POSITIVE,
        _ => return false,
    };
    decimal(centre).is_some() && decimal(width).is_some_and(|width| width >= least)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Table 5.1-1.
fn decimal(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let at = unsigned.find(['e', 'E']);
    let (mantissa, exponent) =
        at.map_or((unsigned, "0"), |at| (&unsigned[..at], &unsigned[at + 1..]));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let legal = text.len() <= 16 && is_digits(whole) && is_digits(fraction) && is_digits(exponent);
    if legal { text.parse().ok() } else { None }
}

type Side = (f64, f64);

fn viewport(resource: Resource, value: Option<&str>) -> Result<(Side, Option<Side>), String> {
    let image = (f64::from(COLUMNS), f64::from(ROWS));
    let Some(value) = value else { return Ok((image, None)) };
    let tokens: Vec<&str> = value.split(',').collect();
    if !(2..=6).contains(&tokens.len()) {
        return Err("viewport has two to six values".into());
    }
    if resource == Resource::Thumbnail && tokens.len() > 2 {
        return Err("viewport of a thumbnail has two values".into());
    }
    let side = |text: &str| {
        let side = if is_digits(text) { text.parse::<f64>().unwrap_or(0.0) } else { 0.0 };
        if (1.0..=10_000.0).contains(&side) { Ok(side) } else { Err("no side of a viewport") }
    };
    let (vw, vh) = (side(tokens[0])?, side(tokens[1])?);
    let optional = |at: usize| match tokens.get(at) {
        None | Some(&"") => Ok(None),
        Some(text) => decimal(text).map(Some).ok_or("no decimal in viewport"),
    };
    let extent = |from: usize, to: usize, edge: f64| {
        let start = optional(from)?.unwrap_or(0.0).abs();
        let length = optional(to)?.map(f64::abs);
        if length == Some(0.0) || start >= edge {
            return Err("the region of a viewport is empty");
        }
        Ok(length.map_or(edge, |length| (start + length).min(edge)) - start)
    };
    let (width, height) = (extent(2, 4, image.0)?, extent(3, 5, image.1)?);
    let scale = (vw / width).min(vh / height);
    Ok(((width * scale, height * scale), Some((vw, vh))))
}

// Queries ---------------------------------------------------------------------------------------------

/// SplitMix64: the same queries on every machine.
struct Generator(u64);

impl Generator {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// True once in so many times.
    fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn query(&mut self) -> (Resource, String) {
        let resources =
            [Resource::Rendered, Resource::Rendered, Resource::FrameRendered, Resource::Thumbnail];
        let resource = resources[self.below(4)];
        let count = 1 + self.below(3);
        let mut pairs: Vec<String> = Vec::new();
        let mut names: Vec<&str> = NAMES.to_vec();
        for _ in 0..count {
            let name = names.swap_remove(self.below(names.len()));
            pairs.push(self.pair(resource, name));
            // Rarely twice, and then perhaps with the same value.
            if self.once_in(40)
                && !(resource == Resource::Thumbnail && name == "annotation")
                && name != "charset"
            {
                pairs.push(self.pair(resource, name));
            }
        }
        if self.once_in(6) {
            let unknown = [
                "token=x",
                "Quality=0",
                "WINDOW=",
                "x",
                "presentationUID=1.2",
                "=",
                "a=%FF",
                "view port=1",
            ];
            let at = self.below(pairs.len() + 1);
            let pair = self.pick(&unknown).replace(' ', "%20");
            pairs.insert(at, pair);
        }
        (resource, pairs.join("&"))
    }

    fn pair(&mut self, resource: Resource, name: &str) -> String {
        let value = match name {
            "accept" => self.accept(),
            "annotation" => self.annotation(),
            "charset" => {
                self.pick(&["utf-8", "UTF-8", "x-klingon", "iso-8859-1;q=0.5,utf-8"]).to_owned()
            }
            "iccprofile" => self.profile(),
            "quality" => self.quality(),
            "viewport" => self.viewport(resource),
            _ => self.window(),
        };
        let value = if self.once_in(12) { self.mutated(&value, name) } else { value };
        format!("{}={}", self.name(name), self.encoded(&value))
    }

    /// Rarely with a letter percent-encoded, which is the same name.
    fn name(&mut self, name: &str) -> String {
        if !self.once_in(25) {
            return name.to_owned();
        }
        let at = self.below(name.len());
        format!("{}%{:02X}{}", &name[..at], name.as_bytes()[at], &name[at + 1..])
    }

    /// Some characters percent-encoded, others raw.
    fn encoded(&mut self, value: &str) -> String {
        let often = if self.once_in(2) { 3 } else { 1000 };
        let mut out = String::new();
        for byte in value.bytes() {
            let must = !(byte.is_ascii_alphanumeric() || b"-._~,+/;=:*!".contains(&byte));
            if must || self.once_in(often) {
                let hex =
                    if self.once_in(2) { format!("%{byte:02X}") } else { format!("%{byte:02x}") };
                out.push_str(&hex);
            } else {
                out.push(char::from(byte));
            }
        }
        out
    }

    /// One character more, less, or another. Values whose legality is anyone's reading are left out:
    /// blanks and empty items in lists, weights that are no numbers.
    fn mutated(&mut self, value: &str, name: &str) -> String {
        let list = matches!(name, "accept" | "annotation" | "charset");
        if list || value.is_empty() {
            return value.to_owned();
        }
        let at = self.below(value.len());
        let letters = ["x", "-", "+", ".", "e", ",", ";", "\u{1}", "\"", "%", " ", "0", "9"];
        // More digits make viewports larger than any limit on pixels, which is no matter of grammar.
        let letter = self.pick(&letters[..if name == "viewport" { 11 } else { 13 }]);
        match self.below(3) {
            0 => format!("{}{letter}{}", &value[..at], &value[at..]),
            1 => format!("{}{}", &value[..at], &value[at + 1..]),
            _ => format!("{}{letter}{}", &value[..at], &value[at + 1..]),
        }
    }

    fn accept(&mut self) -> String {
        if self.once_in(6) {
            return self
                .pick(&[
                    "*/*",
                    "image/*",
                    "",
                    "jpeg",
                    "image/",
                    "/png",
                    "image/png,application/dicom",
                    "image/jpeg,*/*;q=0.1",
                    "image/png,jpeg",
                    "application/dicom+json,image/jpeg",
                ])
                .to_owned();
        }
        let types = [
            "image/jpeg",
            "image/png",
            "image/gif",
            "image/webp",
            "image/jp2",
            "image/avif",
            "text/html",
            "IMAGE/PNG",
            "video/mp4",
        ];
        let count = 1 + self.below(3);
        let mut items: Vec<String> = Vec::new();
        // Weights differ, so that a profile and a GIF meet or do not.
        for weight in ["", ";q=0.5", ";q=0.25"].iter().take(count) {
            items.push(format!("{}{weight}", self.pick(&types)));
        }
        let turn = self.below(items.len());
        items.rotate_left(turn);
        items.join(",")
    }

    fn annotation(&mut self) -> String {
        self.pick(&[
            "patient",
            "technique",
            "patient,technique",
            "technique,patient",
            "patient,hospital",
            "hospital,technique",
            "hospital",
            "",
            "Patient",
            "patient technique",
        ])
        .to_owned()
    }

    fn profile(&mut self) -> String {
        self.pick(&[
            "no", "yes", "srgb", "adobergb", "rommrgb", "no", "yes", "sRGB", "", "srgb,no", "cmyk",
        ])
        .to_owned()
    }

    fn quality(&mut self) -> String {
        if self.once_in(3) {
            return self
                .pick(&["0", "101", "", "-1", "+5", "50.0", "5e1", "99999999999999999999", "high"])
                .to_owned();
        }
        let quality = 1 + self.below(100);
        if self.once_in(8) { format!("0{quality}") } else { quality.to_string() }
    }

    fn decimal(&mut self, least: i64, most: i64) -> String {
        let whole = least + self.below((most - least + 1) as usize) as i64;
        let sign = if whole >= 0 && self.once_in(6) { "+" } else { "" };
        match self.below(8) {
            0 => format!("{sign}{whole}.5"),
            1 => format!("{sign}{whole}.{:03}", self.below(1000)),
            2 => format!("{sign}{whole}e0"),
            3 => format!("{sign}{whole}0E-1"),
            4 if whole >= 0 => format!("{sign}0{whole}"),
            _ => format!("{sign}{whole}"),
        }
    }

    fn bad_decimal(&mut self) -> String {
        self.pick(&[
            ".5",
            "5.",
            "1e",
            "e1",
            "--1",
            "nan",
            "inf",
            "x",
            "1e1.5",
            "12345678901234567",
            "0x10",
        ])
        .to_owned()
    }

    fn viewport(&mut self, resource: Resource) -> String {
        let side = |g: &mut Self| match g.below(14) {
            0 => g.pick(&["0", "-5", "1.5", "+7", "a", "", "99999999999", "4000000000"]).to_owned(),
            1 => format!("0{}", 1 + g.below(300)),
            _ => (1 + g.below(300)).to_string(),
        };
        let mut tokens = vec![side(self), side(self)];
        let plain = if resource == Resource::Thumbnail { 8 } else { 3 };
        if !self.once_in(plain) && resource == Resource::Thumbnail || self.once_in(3) {
            return tokens.join(",");
        }
        let count = if self.once_in(2) { 4 } else { 1 + self.below(5) };
        for at in 0..count {
            let token = match (self.below(12), at) {
                (0, _) => self.bad_decimal(),
                (1 | 2, _) => String::new(),
                (_, 0) => self.decimal(-24, 26),
                (_, 1) => self.decimal(-16, 17),
                (_, 2) => self.decimal(-30, 30),
                _ => self.decimal(-20, 20),
            };
            tokens.push(token);
        }
        tokens.join(",")
    }

    fn window(&mut self) -> String {
        let number = |g: &mut Self, least| {
            if g.once_in(12) { g.bad_decimal() } else { g.decimal(least, 400) }
        };
        let (centre, width) = (number(self, -400), number(self, -3));
        let function = if self.once_in(8) {
            self.pick(&["LINEAR", "linear_exact", "", "cubic", "linear,"])
        } else {
            self.pick(&["linear", "linear-exact", "sigmoid"])
        };
        match self.below(16) {
            0 => format!("{centre},{width}"),
            1 => self.pick(&["", ",,", "nosuchpreset", "40;400;linear"]).to_owned(),
            _ => format!("{centre},{width},{function}"),
        }
    }
}

// The oracle itself -----------------------------------------------------------------------------------

#[test]
fn the_oracle_knows_the_grammar() {
    let legal = |query: &str| meaning(Resource::Rendered, query).is_ok();
    for query in
        ["", "quality=050", "viewport=5,5,,,-3,4", "window=+4e1,1,linear", "%71uality=5", "x=1&x=2"]
    {
        assert!(legal(query), "{query}");
    }
    for query in [
        "quality=0",
        "%71uality=0",
        "viewport=5,5,24",
        "viewport=5,5,0,0,0",
        "window=.5,1,linear",
        "quality=5&quality=5",
        "accept=image/*",
        "iccprofile=srgb&accept=image/gif",
        "annotation=x",
    ] {
        assert!(!legal(query), "{query}");
    }
    let size = |query: &str| meaning(Resource::Rendered, query).unwrap().size;
    assert_eq!(size(""), (24.0, 16.0));
    assert_eq!(size("viewport=48,100"), (48.0, 32.0));
    assert_eq!(size("viewport=12,12,20,0,100,8"), (6.0, 12.0));
    assert!(meaning(Resource::Thumbnail, "viewport=5,5,1").is_err());
    assert!(meaning(Resource::Thumbnail, "annotation=").is_ok());
}
