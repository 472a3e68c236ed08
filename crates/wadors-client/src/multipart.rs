//! `multipart/related` (RFC 2046 §5.1, RFC 2387) as archives write it. No I/O.
//!
//! [`layout`] looks at the beginning of a body and tells who can read it. What is by the book goes
//! through `multer`, streamed. The rest (line ends of a lone LF, a part without headers, a boundary
//! that only the body names, a preamble) is collected and read by [`Parts`], which takes everything
//! that leaves no doubt.

use bytes::Bytes;
use dicomweb_types::MediaRange;
use memchr::{memchr, memmem};

/// The most bytes of a body that [`layout`] is ever shown.
pub const HEAD_BYTES: usize = 8 << 10;

/// The longest boundary taken from a body alone. RFC 2046 §5.1.1 allows 70 characters; not all
/// archives know.
const BOUNDARY_BYTES: usize = 200;

/// What multer can take; nobody needs more.
const HEADER_LINES: usize = 32;

/// How a body is to be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Layout {
    /// Not a multipart: the body is the payload.
    Single,
    /// By the book, with the headers of its first part.
    Standard {
        /// The boundary, without the dashes before it.
        boundary: String,
        /// Of the first part.
        headers: Headers,
    },
    /// Delimited, but not as RFC 2046 wants it.
    Odd {
        /// The boundary, without the dashes before it.
        boundary: Vec<u8>,
    },
}

/// The headers of a part that say what it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Headers {
    /// `Content-Type`, where it is readable.
    pub content_type: Option<MediaRange>,
    /// `Content-Length` in bytes. Often absent, sometimes wrong.
    pub content_length: Option<u64>,
}

/// One part of a body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// What the part says of itself.
    pub headers: Headers,
    /// The payload.
    pub body: Bytes,
    /// Whether a delimiter, or the length that the part declares, ends the payload. If not, it goes
    /// up to the end of the body, and is whole only if the body is.
    pub ended: bool,
}

/// Whether `head` holds enough of a body for [`layout`]: up to the blank line after the headers of
/// a part, or all that will be looked at.
pub fn is_head(head: &[u8]) -> bool {
    head.len() >= HEAD_BYTES
        || memmem::find(head, b"\n\r\n").is_some()
        || memmem::find(head, b"\n\n").is_some()
}

/// How to read a body that begins with `head` ([`is_head`], or the whole body), sent with this
/// `Content-Type`.
pub fn layout(content_type: Option<&MediaRange>, head: &[u8]) -> Layout {
    let head = skip_line_ends(head);
    let multipart = content_type.is_some_and(|range| range.main == "multipart");
    let named = content_type
        .filter(|_| multipart)
        .and_then(|range| range.parameter("boundary"))
        .map(str::trim)
        .filter(|boundary| !boundary.is_empty());
    let boundary = match named {
        Some(boundary) => boundary.as_bytes(),
        None => match boundary_of_first_line(head) {
            // Pixels may begin with two dashes; only a part header after the line makes sure.
            Some((boundary, rest)) if multipart || begins_with_header(rest) => boundary,
            _ => return Layout::Single,
        },
    };
    match (standard_headers(head, boundary), std::str::from_utf8(boundary)) {
        (Some(headers), Ok(boundary)) => {
            Layout::Standard { boundary: boundary.to_owned(), headers }
        }
        _ => Layout::Odd { boundary: boundary.to_vec() },
    }
}

/// The first part of a complete body. Where `boundary` never appears, the one that the first line
/// of the body names is taken.
pub fn first(body: &Bytes, boundary: &[u8]) -> Option<Part> {
    Parts::new(body.clone(), boundary).next().or_else(|| {
        let (other, _) = boundary_of_first_line(skip_line_ends(body))?;
        Parts::new(body.clone(), other).next()
    })
}

/// The parts of a complete body, one after another, without copying.
///
/// A delimiter stands at the start of a line and is followed by nothing but white space; so a
/// boundary with more text behind it is payload. Lines end with CRLF or LF. `Content-Length` of a
/// part wins where a delimiter, or the end of the body, follows the payload it claims.
#[derive(Clone, Debug)]
pub struct Parts {
    body: Bytes,
    /// `--boundary`.
    delimiter: Vec<u8>,
    /// Where the content of the next part begins, behind its delimiter line. `None`: no more.
    next: Option<usize>,
}

impl Parts {
    /// The parts of `body`, separated by `boundary` (without dashes).
    pub fn new(body: Bytes, boundary: &[u8]) -> Self {
        let delimiter = [b"--", boundary].concat();
        let next = find_delimiter(&body, 0, &delimiter).and_then(|found| found.next);
        Self { body, delimiter, next }
    }
}

impl Iterator for Parts {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        let after_delimiter = self.next.take()?;
        let block = read_headers(self.body.get(after_delimiter..)?);
        let start = after_delimiter + block.length;
        if let Some(end) = block.headers.content_length.and_then(|n| self.claimed_end(start, n)) {
            self.next = find_delimiter(&self.body, end, &self.delimiter).and_then(|d| d.next);
            return Some(self.part(block.headers, start, end, true));
        }
        let Some(found) = find_delimiter(&self.body, start, &self.delimiter) else {
            return Some(self.part(block.headers, start, self.body.len(), false));
        };
        self.next = found.next;
        let end = end_of_payload(&self.body, start, found.at, block.bare_lf);
        Some(self.part(block.headers, start, end, true))
    }
}

impl Parts {
    fn part(&self, headers: Headers, start: usize, end: usize, ended: bool) -> Part {
        Part { headers, body: self.body.slice(start..end), ended }
    }

    /// The end of the payload by its declared length, if what follows agrees.
    fn claimed_end(&self, start: usize, length: u64) -> Option<usize> {
        let end = start.checked_add(usize::try_from(length).ok()?)?;
        let rest = self.body.get(end..)?;
        let rest = rest.strip_prefix(b"\r").unwrap_or(rest);
        let rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        (rest.is_empty() || rest.starts_with(&self.delimiter)).then_some(end)
    }
}

struct Delimiter {
    /// Where its dashes begin.
    at: usize,
    /// Behind its line; `None` for the closing one, or where nothing follows.
    next: Option<usize>,
}

/// The first delimiter line that begins at `from` or later.
fn find_delimiter(body: &[u8], from: usize, delimiter: &[u8]) -> Option<Delimiter> {
    memmem::find_iter(body.get(from..)?, delimiter).map(|at| from + at).find_map(|at| {
        // The content of a part begins a line of its own, so `from` counts as the start of one.
        if at != from && body[at - 1] != b'\n' {
            return None;
        }
        let after = at + delimiter.len();
        let rest = &body[after..];
        if rest.starts_with(b"--") {
            return Some(Delimiter { at, next: None });
        }
        let padding = rest.iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\r')).count();
        match rest.get(padding) {
            Some(b'\n') => Some(Delimiter { at, next: Some(after + padding + 1) }),
            // Cut off within the line: it ends the part before it, and begins none.
            None => Some(Delimiter { at, next: None }),
            Some(_) => None,
        }
    })
}

/// The line end before a delimiter belongs to the delimiter. Where the headers ended their lines
/// with a lone LF, a CR before the LF is payload.
fn end_of_payload(body: &[u8], start: usize, delimiter: usize, bare_lf: bool) -> usize {
    let payload = &body[start..delimiter];
    let payload = payload.strip_suffix(b"\n").unwrap_or(payload);
    let payload = if bare_lf { payload } else { payload.strip_suffix(b"\r").unwrap_or(payload) };
    start + payload.len()
}

struct HeaderBlock {
    headers: Headers,
    /// Bytes up to the payload, the blank line included.
    length: usize,
    bare_lf: bool,
}

/// Reads header lines up to the blank one. A line that is none begins the payload: some archives
/// leave out the headers and the blank line as well.
fn read_headers(content: &[u8]) -> HeaderBlock {
    let mut block = HeaderBlock { headers: Headers::default(), length: 0, bare_lf: false };
    let mut header = Vec::new(); // the one being read, unfolded
    for _ in 0..=HEADER_LINES {
        let Some((line, length, bare_lf)) = split_line(&content[block.length..]) else { break };
        let continues = !header.is_empty() && matches!(line.first(), Some(b' ' | b'\t'));
        if !line.is_empty() && !continues && !is_header(line) {
            break;
        }
        block.length += length;
        block.bare_lf = bare_lf;
        if !continues {
            block.headers.take(&header);
            header.clear();
        }
        if line.is_empty() {
            return block;
        }
        header.extend_from_slice(line);
    }
    block.headers.take(&header);
    block
}

impl Headers {
    /// Keeps what a header line (unfolded) says, if it is one we read.
    fn take(&mut self, line: &[u8]) {
        let Some(colon) = memchr(b':', line) else { return };
        let (name, value) = (&line[..colon], String::from_utf8_lossy(&line[colon + 1..]));
        if name.eq_ignore_ascii_case(b"content-type") {
            self.content_type = MediaRange::parse(&value).or(self.content_type.take());
        } else if name.eq_ignore_ascii_case(b"content-length") {
            self.content_length = value.trim().trim_end_matches(';').parse().ok();
        }
    }
}

/// The headers of the first part, if the body begins as RFC 2046 and multer want it: delimiter, CRLF,
/// header lines each with CRLF, a blank one. `head` begins with the delimiter.
fn standard_headers(head: &[u8], boundary: &[u8]) -> Option<Headers> {
    let rest = head.strip_prefix(b"--")?.strip_prefix(boundary)?;
    let rest = skip_padding(rest).strip_prefix(b"\r\n")?;
    let end = memmem::find(rest, b"\r\n\r\n")? + 2;
    let mut lines = rest[..end].split_inclusive(|b| *b == b'\n');
    let standard = lines.clone().count() <= HEADER_LINES && lines.all(is_strict_header);
    standard.then(|| read_headers(rest).headers)
}

/// A line, without its end; its length with it; and whether the end is a lone LF. `None` if the end
/// is missing.
fn split_line(content: &[u8]) -> Option<(&[u8], usize, bool)> {
    let end = memchr(b'\n', content)?;
    let line = &content[..end];
    let without_cr = line.strip_suffix(b"\r");
    Some((without_cr.unwrap_or(line), end + 1, without_cr.is_none()))
}

/// `Name: value`, perhaps with spaces before the colon.
fn is_header(line: &[u8]) -> bool {
    memchr(b':', line).is_some_and(|colon| is_token(line[..colon].trim_ascii_end()))
}

fn is_strict_header(line: &[u8]) -> bool {
    let Some(line) = line.strip_suffix(b"\r\n") else { return false };
    let Some(colon) = memchr(b':', line) else { return false };
    let legal = |b: &u8| *b == b'\t' || (*b >= b' ' && *b != 0x7f);
    is_token(&line[..colon]) && line[colon + 1..].iter().all(legal)
}

fn is_token(name: &[u8]) -> bool {
    !name.is_empty()
        && name.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}

/// The boundary that the first line names, and what follows the line.
fn boundary_of_first_line(head: &[u8]) -> Option<(&[u8], &[u8])> {
    let (line, length, _) = split_line(head)?;
    let boundary = line.strip_prefix(b"--")?.trim_ascii_end();
    let legal = (1..=BOUNDARY_BYTES).contains(&boundary.len())
        && boundary.iter().all(|b| (b' '..=b'~').contains(b));
    legal.then_some((boundary, &head[length..]))
}

fn begins_with_header(content: &[u8]) -> bool {
    split_line(content).is_some_and(|(line, ..)| is_header(line))
}

fn skip_line_ends(head: &[u8]) -> &[u8] {
    let ends = head.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    &head[ends..]
}

fn skip_padding(line: &[u8]) -> &[u8] {
    let padding = line.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    &line[padding..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies(body: &[u8], boundary: &[u8]) -> Vec<Vec<u8>> {
        Parts::new(Bytes::copy_from_slice(body), boundary).map(|part| part.body.to_vec()).collect()
    }

    fn layout_of(content_type: &str, head: &[u8]) -> Layout {
        layout(MediaRange::parse(content_type).as_ref(), head)
    }

    fn assert_single_part(body: &[u8], payload: &[u8], ended: bool) {
        let part = first(&Bytes::copy_from_slice(body), b"b").unwrap();
        assert_eq!((&part.body[..], part.ended), (payload, ended), "{:?}", body.escape_ascii());
    }

    #[test]
    fn a_body_by_the_book_is_standard_and_its_headers_are_read() {
        let head = b"--b\r\nContent-Type: image/jp2;transfer-syntax=1.2.840.10008.1.2.4.90;\r\n\
                     Content-Length: 4\r\nMIME-Version: 1.0\r\n\r\nJP2!\r\n--b--\r\n";
        let Layout::Standard { boundary, headers } =
            layout_of("multipart/related; boundary=b", head)
        else {
            panic!("standard")
        };
        assert_eq!((boundary.as_str(), headers.content_length), ("b", Some(4)));
        let range = headers.content_type.unwrap();
        assert_eq!(range.parameter("transfer-syntax"), Some("1.2.840.10008.1.2.4.90"));
    }

    #[test]
    fn boundaries_are_found_quoted_unquoted_and_odd() {
        for (written, boundary) in [
            ("boundary=abc", "abc"),
            ("boundary=\"abc\"", "abc"),
            ("boundary='abc'", "abc"),
            ("Boundary = \"a b:c\"", "a b:c"),
            ("boundary=a=b", "a=b"),
            ("type=application/dicom; boundary=a:b/c?d", "a:b/c?d"),
            (r#"type="image/jp2; transfer-syntax=1.2"; boundary=x;"#, "x"),
            (r#"boundary="a\"b""#, "a\"b"),
        ] {
            let head = format!("\r\n--{boundary}\r\nA: b\r\n\r\n");
            let layout = layout_of(&format!("Multipart/Related; {written}"), head.as_bytes());
            let headers = Headers::default();
            assert_eq!(
                layout,
                Layout::Standard { boundary: boundary.into(), headers },
                "{written}"
            );
        }
    }

    #[test]
    fn without_a_boundary_parameter_the_first_line_names_it() {
        let head = b"--xyz\r\nContent-Type: application/dicom\r\n\r\n";
        for content_type in
            ["multipart/related; type=application/dicom", "multipart/related; boundary="]
        {
            let Layout::Standard { boundary, .. } = layout_of(content_type, head) else { panic!() };
            assert_eq!(boundary, "xyz");
        }
    }

    #[test]
    fn what_is_not_delimited_is_single() {
        for (content_type, head) in [
            ("application/octet-stream", &b"--\x01\x02 pixels that begin with dashes"[..]),
            ("application/octet-stream", b"--pixels\nthat begin like a boundary\n\n"),
            ("multipart/related", b"\0\0\0\0DICM"),
            ("application/dicom", b""),
        ] {
            assert_eq!(layout_of(content_type, head), Layout::Single, "{}", head.escape_ascii());
        }
    }

    #[test]
    fn a_multipart_under_the_name_of_its_payload_is_recognised() {
        let head = b"--b1\r\nContent-Type: application/octet-stream\r\n\r\n\x01\x02";
        let layout = layout_of("application/octet-stream", head);
        assert!(matches!(layout, Layout::Standard { boundary, .. } if boundary == "b1"));
    }

    #[test]
    fn what_multer_cannot_read_is_odd() {
        let many = format!("--b\r\n{}\r\nx", "A: b\r\n".repeat(33));
        for head in [
            "--b\nContent-Type: application/dicom\n\nx",
            "--b\r\n\r\npart without headers\r\n--b--\r\n\r\n",
            "--b\r\nA: folded\r\n  header\r\n\r\nx",
            "preamble\r\n--b\r\nA: b\r\n\r\nx",
            "--b\r\nA: mixed\n\r\n\r\nx",
            "--b\r\nno header\r\n\r\n",
            "--bc\r\nA: b\r\n\r\n",
            many.as_str(),
        ] {
            let layout = layout_of("multipart/related; boundary=b", head.as_bytes());
            assert_eq!(layout, Layout::Odd { boundary: b"b".to_vec() }, "{head:?}");
        }
    }

    #[test]
    fn line_ends_of_a_lone_lf_are_read_and_a_cr_before_them_is_payload() {
        let body =
            b"--b\nContent-Type: application/octet-stream\n\npixels\r\n--b\nA: b\n\n2\n--b--\n";
        assert_eq!(bodies(body, b"b"), [b"pixels\r".to_vec(), b"2".to_vec()]);
    }

    #[test]
    fn missing_headers_and_even_a_missing_blank_line_are_read() {
        assert_single_part(b"--b\r\n\r\npayload\r\n--b--\r\n", b"payload", true);
        assert_single_part(b"--b\r\n\xff\xd8payload\r\n--b--\r\n", b"\xff\xd8payload", true);
    }

    #[test]
    fn folded_headers_are_unfolded() {
        let body =
            Bytes::from_static(b"--b\r\nContent-Type: image/jls;\r\n transfer-syntax=1.2\r\n\r\nx");
        let part = first(&body, b"b").unwrap();
        assert_eq!(part.headers.content_type.unwrap().parameter("transfer-syntax"), Some("1.2"));
    }

    #[test]
    fn preamble_and_epilogue_are_passed_over() {
        let body = b"This is a multipart --b message\r\n--b \t\r\nA: b\r\n\r\none\r\n--b\r\nA: b\r\n\r\ntwo\r\n--b--\r\nepilogue --b";
        assert_eq!(bodies(body, b"b"), [b"one".to_vec(), b"two".to_vec()]);
    }

    #[test]
    fn a_missing_end_leaves_the_part_open() {
        assert_single_part(b"--b\r\nA: b\r\n\r\npayload", b"payload", false);
        assert_single_part(b"--b\r\nA: b\r\n\r\npayload\r\n--b", b"payload", true);
        assert_single_part(b"--b\r\nA: b\r\nContent-Length: 7\r\n\r\npayload", b"payload", true);
    }

    #[test]
    fn a_boundary_with_text_behind_it_is_payload() {
        let body = b"--b\r\nA: b\r\n\r\nx\r\n--border\r\ny --b\r\n--b--";
        assert_eq!(bodies(body, b"b"), [b"x\r\n--border\r\ny --b".to_vec()]);
    }

    #[test]
    fn the_length_of_a_part_wins_where_it_fits() {
        let fits = b"--b\r\nContent-Length: 9\r\n\r\nab\r\n--b\r\n\r\n--b--";
        assert_eq!(bodies(fits, b"b"), [b"ab\r\n--b\r\n".to_vec()]);
        for wrong in ["1", "100000", "18446744073709551615", "-1", "x"] {
            let body = format!("--b\r\nContent-Length: {wrong}\r\n\r\npayload\r\n--b--");
            assert_eq!(bodies(body.as_bytes(), b"b"), [b"payload".to_vec()], "{wrong}");
        }
    }

    #[test]
    fn a_boundary_that_never_appears_gives_way_to_the_one_in_the_body() {
        assert_single_part(b"--other\r\nA: b\r\n\r\nx\r\n--other--", b"x", true);
        assert_eq!(first(&Bytes::from_static(b"no delimiter"), b"b"), None);
    }

    #[test]
    fn empty_parts_and_bodies_without_a_part() {
        assert_eq!(bodies(b"--b--\r\n", b"b"), Vec::<Vec<u8>>::new());
        assert_eq!(bodies(b"", b"b"), Vec::<Vec<u8>>::new());
        assert_eq!(
            bodies(b"--b\r\nA: b\r\n\r\n\r\n--b\r\n--b--", b"b"),
            [b"".to_vec(), b"".to_vec()]
        );
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            body in proptest::collection::vec(proptest::sample::select(&b"-b\r\n: A\xff"[..]), 0..200),
            boundary in proptest::collection::vec(proptest::sample::select(&b"-b"[..]), 0..3),
        ) {
            let bytes = Bytes::from(body.clone());
            let parts: usize = Parts::new(bytes.clone(), &boundary).map(|p| p.body.len()).sum();
            proptest::prop_assert!(parts <= body.len());
            first(&bytes, &boundary);
            layout(None, &body);
            layout(MediaRange::parse("multipart/related; boundary=b").as_ref(), &body);
        }

        #[test]
        fn what_is_written_is_read(
            payloads in proptest::collection::vec(proptest::collection::vec(0u8.., 0..50), 1..4),
            length in proptest::bool::ANY,
        ) {
            // A boundary that cannot be in payloads of 50 bytes, so that no length is needed.
            let boundary = "x".repeat(60);
            let mut body = Vec::new();
            for payload in &payloads {
                body.extend(format!("--{boundary}\r\nContent-Type: a/b\r\n").bytes());
                if length {
                    body.extend(format!("Content-Length: {}\r\n", payload.len()).bytes());
                }
                body.extend(b"\r\n".iter().chain(payload).chain(b"\r\n"));
            }
            body.extend(format!("--{boundary}--\r\n").bytes());
            proptest::prop_assert_eq!(bodies(&body, boundary.as_bytes()), payloads);
        }
    }
}
