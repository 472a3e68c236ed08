//! Studies, the series of a study and the instances of a series (QIDO-RS, PS3.18 §10.6), page by page.

use std::collections::HashSet;
use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicomweb_types::{SeriesPath, Uid};

use crate::answer::Answer;
use crate::call::Ask;
use crate::caller::Caller;
use crate::client::Client;
use crate::dialect::{Call, Dialect};
use crate::error::UpstreamError;
use crate::gate::ProbePlace;
use crate::metadata::Metadata;

/// Pages of one search: a series of more instances is not read to its end.
const MOST_PAGES: usize = 500;

/// The most bytes of one page, if the client's own limit is not lower.
const MAX_BYTES: u64 = 16 << 20;

impl Client {
    /// Searches for studies, page by page and without an end of its own: an archive may hold millions.
    ///
    /// `matching` are keywords of attributes and what they are to be, such as `StudyDate` and
    /// `20260131-`; none finds all. `fields` as in [`Self::series_of`].
    pub fn studies<'a>(
        &'a self,
        matching: &'a [(&'a str, &'a str)],
        fields: &'a [Tag],
        caller: &'a Caller,
    ) -> Studies<'a> {
        let path = "studies".to_owned();
        let search = Search::new(self, path, matching, fields, caller);
        let pages = Pages::new(tags::STUDY_INSTANCE_UID, search.page, self.whole_answers());
        Studies { search, pages, is_over: false }
    }

    /// Whether the archive finds a study for a caller: the cheapest way to learn whether it would show it.
    ///
    /// # Errors
    /// What the archive, or the way to it, did wrong: [`UpstreamError`]; also that it refuses the caller.
    pub async fn has_study(
        &self,
        study: &Uid,
        caller: &Caller,
        _place: ProbePlace,
    ) -> Result<bool, UpstreamError> {
        let (uid, fields) = (study.to_string(), [tags::STUDY_INSTANCE_UID]);
        let matching = [("StudyInstanceUID", uid.as_str())];
        let search = Search::new(self, "studies".to_owned(), &matching, &fields, caller);
        let (found, _) = Search { page: 1, is_admitted: true, ..search }.page(0).await?;
        // An archive that does not know the key would find any other.
        Ok(found
            .iter()
            .any(|said| self::uid(said, tags::STUDY_INSTANCE_UID).as_ref() == Some(study)))
    }

    /// Whether a series, or an instance, lies in a study, by what the archive says of the object itself: some
    /// answer for the last UID of a path whatever stands before it.
    ///
    /// # Errors
    /// What the archive, or the way to it, did wrong: [`UpstreamError`].
    pub async fn lies_in(
        &self,
        study: &Uid,
        series: Option<&Uid>,
        instance: Option<&Uid>,
        caller: &Caller,
    ) -> Result<bool, UpstreamError> {
        let (keyword, uid, key, below) = match (series, instance) {
            (_, Some(instance)) => {
                ("SOPInstanceUID", instance, tags::SOP_INSTANCE_UID, "instances")
            }
            (Some(series), None) => {
                ("SeriesInstanceUID", series, tags::SERIES_INSTANCE_UID, "series")
            }
            (None, None) => return Ok(true),
        };
        let path = match (series, instance) {
            (Some(series), Some(_)) => format!("studies/{study}/series/{series}/{below}"),
            _ => format!("studies/{study}/{below}"),
        };
        let text = uid.to_string();
        let fields = [tags::STUDY_INSTANCE_UID, tags::SERIES_INSTANCE_UID, key];
        let matching = [(keyword, text.as_str())];
        let search = Search::new(self, path, &matching, &fields, caller);
        let (found, _) = Search { page: 2, ..search }.page(0).await?;
        let is_it = |said: &Metadata| {
            let of = |tag| self::uid(said, tag);
            of(key).as_ref() == Some(uid)
                && of(tags::STUDY_INSTANCE_UID).as_ref() == Some(study)
                && series
                    .is_none_or(|series| of(tags::SERIES_INSTANCE_UID).as_ref() == Some(series))
        };
        Ok(found.iter().any(is_it))
    }

    /// Hands each series of a study to `found`: its UID and what the archive says of it by itself, and
    /// of `fields` as far as the archive knows them. In the order of the archive; at most 100 000.
    ///
    /// # Errors
    /// What the archive, or the way to it, did wrong: [`UpstreamError`]. A study that is not there has
    /// no series, or is a status of 404 from some archives.
    pub async fn series_of(
        &self,
        study: &Uid,
        fields: &[Tag],
        caller: &Caller,
        found: &mut (dyn FnMut(Uid, Metadata) + Send),
    ) -> Result<(), UpstreamError> {
        let path = format!("studies/{study}/series");
        let search = Search::new(self, path, &[], fields, caller);
        search.to_its_end(tags::SERIES_INSTANCE_UID, &mut only_of(study, found)).await
    }

    /// The same of the instances of a series.
    ///
    /// # Errors
    /// The same.
    pub async fn instances_of(
        &self,
        series: &SeriesPath,
        fields: &[Tag],
        caller: &Caller,
        found: &mut (dyn FnMut(Uid, Metadata) + Send),
    ) -> Result<(), UpstreamError> {
        let path = format!("{series}/instances");
        let search = Search::new(self, path, &[], fields, caller);
        search.to_its_end(tags::SOP_INSTANCE_UID, &mut only_of(&series.study, found)).await
    }
}

/// Leaves out what says itself that it lies in another study: some archives look at the last UID of a path alone.
fn only_of<'a>(
    study: &'a Uid,
    found: &'a mut (dyn FnMut(Uid, Metadata) + Send),
) -> impl FnMut(Uid, Metadata) + Send + 'a {
    move |uid, said| {
        let other = self::uid(&said, tags::STUDY_INSTANCE_UID).filter(|other| other != study);
        if other.is_none() {
            found(uid, said);
        }
    }
}

/// A search for studies under way.
#[derive(Debug)]
pub struct Studies<'a> {
    search: Search<'a>,
    pages: Pages<'a>,
    is_over: bool,
}

impl Studies<'_> {
    /// The studies of the next page that were on none before: the UID of each and what the archive says of
    /// it. `None` after the last page.
    ///
    /// # Errors
    /// What the archive, or the way to it, did wrong: [`UpstreamError`]. Called again, it asks for the
    /// same page.
    pub async fn next_page(&mut self) -> Result<Option<Vec<(Uid, Metadata)>>, UpstreamError> {
        if self.is_over {
            return Ok(None);
        }
        let (page, cut_short) = self.search.page(self.pages.offset).await?;
        let mut new = Vec::new();
        self.is_over = !self.pages.add(page, cut_short, &mut |uid, said| new.push((uid, said)));
        Ok(Some(new))
    }
}

/// What is searched for, and where.
#[derive(Debug)]
struct Search<'a> {
    client: &'a Client,
    path: String,
    matching: &'a [(&'a str, &'a str)],
    fields: &'a [Tag],
    caller: &'a Caller,
    /// Results asked for at once.
    page: usize,
    is_admitted: bool,
}

impl<'a> Search<'a> {
    fn new(
        client: &'a Client,
        path: String,
        matching: &'a [(&'a str, &'a str)],
        fields: &'a [Tag],
        caller: &'a Caller,
    ) -> Self {
        let page = client.dialect().unwrap_or(Dialect::Generic).page();
        Self { client, path, matching, fields, caller, page, is_admitted: false }
    }

    async fn to_its_end(
        &self,
        key: Tag,
        found: &mut (dyn FnMut(Uid, Metadata) + Send),
    ) -> Result<(), UpstreamError> {
        let mut pages = Pages::new(key, self.page, self.client.whole_answers());
        for _ in 0..MOST_PAGES {
            let (page, cut_short) = self.page(pages.offset).await?;
            if !pages.add(page, cut_short, found) {
                break;
            }
        }
        Ok(())
    }

    /// The results from `offset` on, and whether the archive says that there are more than it hands out.
    async fn page(&self, offset: usize) -> Result<(Vec<Metadata>, bool), UpstreamError> {
        let limit = self.client.max_bytes().min(MAX_BYTES);
        let query = query(self.matching, self.fields, self.page, offset);
        let url = self.client.join(&self.path, Some(&query));
        let is_admitted = self.is_admitted;
        let ask = Ask { is_admitted, ..Ask::new(Call::Json, url, self.caller) };
        match self.client.ask(&ask, |answer| read(answer, limit)).await {
            // 204 is how archives say that nothing more matches.
            Err(UpstreamError::Empty) => Ok((Vec::new(), false)),
            page => page,
        }
    }
}

/// The results of a page, and whether the archive says that there are more than it hands out (§8.3.4.4).
async fn read(answer: Answer, limit: u64) -> Result<(Vec<Metadata>, bool), UpstreamError> {
    let cut_short = answer.headers().contains_key(http::header::WARNING);
    let json = answer.into_text(limit).await?;
    match Metadata::all_from_slice(&json) {
        Err(UpstreamError::Empty) => Ok((Vec::new(), cut_short)),
        page => Ok((page?, cut_short)),
    }
}

fn query(matching: &[(&str, &str)], fields: &[Tag], page: usize, offset: usize) -> String {
    let mut query = format!("limit={page}&offset={offset}");
    for (keyword, value) in matching {
        query.push_str(&format!("&{keyword}={}", encoded(value)));
    }
    for Tag(group, element) in fields {
        // Writing to a text cannot fail.
        let _ = write!(query, "&includefield={group:04X}{element:04X}");
    }
    query
}

/// What means itself in a query (RFC 3986 §2.3) as it is, all else by its bytes.
fn encoded(value: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    value.bytes().map(byte).collect()
}

/// What has been read of a search.
#[derive(Debug)]
struct Pages<'a> {
    key: Tag,
    /// Results asked for at once.
    page: usize,
    whole_answers: &'a AtomicUsize,
    /// Length of the page before, if it was shorter than what was asked for.
    short: Option<usize>,
    uids: HashSet<Uid>,
    /// Results read, those without a UID or met before among them: where the next page begins.
    offset: usize,
}

impl<'a> Pages<'a> {
    fn new(key: Tag, page: usize, whole_answers: &'a AtomicUsize) -> Self {
        Self { key, page, whole_answers, short: None, uids: HashSet::new(), offset: 0 }
    }

    /// Hands on what is new in a page; whether another may follow. An archive that knows no `offset`
    /// repeats the first.
    fn add(
        &mut self,
        page: Vec<Metadata>,
        cut_short: bool,
        found: &mut (dyn FnMut(Uid, Metadata) + Send),
    ) -> bool {
        let (length, before) = (page.len(), self.uids.len());
        for attributes in page {
            let Some(uid) = uid(&attributes, self.key) else { continue };
            if self.uids.insert(uid.clone()) {
                found(uid, attributes);
            }
        }
        self.offset += length;
        let news = self.uids.len() > before;
        // Only a first answer shows that the archive is not one that cuts them there.
        if let (false, Some(short)) = (news, self.short)
            && before == short
        {
            self.whole_answers.fetch_max(short, Ordering::Relaxed);
        }
        self.short = (length < self.page).then_some(length);
        news && (length >= self.page || cut_short || self.may_be_capped(length))
    }

    /// Some archives answer less than they were asked for without a word. A round number gives them
    /// away, and a length at which none of their answers was known to be whole.
    fn may_be_capped(&self, length: usize) -> bool {
        length.is_multiple_of(10) || length > self.whole_answers.load(Ordering::Relaxed)
    }
}

fn uid(attributes: &Metadata, key: Tag) -> Option<Uid> {
    let uid = attributes.dataset.get(key)?.to_str().ok()?;
    uid.trim_end_matches(['\0', ' ']).parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page(numbers: std::ops::Range<usize>) -> Vec<Metadata> {
        let object = |n| json!({"00080018": {"vr": "UI", "Value": [format!("1.2.{n}")]}});
        let json = json!(numbers.map(object).collect::<Vec<_>>());
        Metadata::all_from_slice(json.to_string().as_bytes()).unwrap()
    }

    /// Reads pages one after the other: whether more may follow each, and how many results there are.
    fn read(pages: Vec<(Vec<Metadata>, bool)>) -> (Vec<bool>, usize) {
        read_of(&AtomicUsize::new(50), pages)
    }

    fn read_of(whole: &AtomicUsize, pages: Vec<(Vec<Metadata>, bool)>) -> (Vec<bool>, usize) {
        let mut all = Vec::new();
        let mut read = Pages::new(tags::SOP_INSTANCE_UID, 200, whole);
        let more = pages
            .into_iter()
            .map(|(page, cut)| read.add(page, cut, &mut |uid, _| all.push(uid)))
            .collect();
        (more, all.len())
    }

    #[test]
    fn fields_are_asked_for_by_tag_and_pages_by_offset() {
        let fields = [tags::IMAGE_TYPE, tags::TOTAL_PIXEL_MATRIX_COLUMNS];
        assert_eq!(
            query(&[], &fields, 200, 200),
            "limit=200&offset=200&includefield=00080008&includefield=00480006"
        );
    }

    #[test]
    fn what_is_to_match_stands_between_in_a_form_that_queries_take() {
        let matching = [("StudyDate", "20260131-"), ("PatientName", "A B&c=*ö")];
        assert_eq!(
            query(&matching, &[], 10, 0),
            "limit=10&offset=0&StudyDate=20260131-&PatientName=A%20B%26c%3D%2A%C3%B6"
        );
    }

    #[test]
    fn a_short_page_is_the_last_unless_there_may_be_more() {
        let pages = vec![
            (page(0..200), false),
            (page(200..221), true),
            (page(221..231), false),
            (page(231..244), false),
        ];
        assert_eq!(read(pages), (vec![true, true, true, false], 244));
    }

    #[test]
    fn how_long_whole_answers_are_is_learnt() {
        let whole = AtomicUsize::new(0);
        // Seven of seven: asked on once, and never again up to there.
        assert_eq!(
            read_of(&whole, vec![(page(0..7), false), (Vec::new(), false)]),
            (vec![true, false], 7)
        );
        assert_eq!(read_of(&whole, vec![(page(0..6), false)]), (vec![false], 6));
        // Nor is a second answer known to be whole by its end: an archive of two at a time.
        let twos = vec![(page(0..2), false), (page(2..4), false), (Vec::new(), false)];
        let none = AtomicUsize::new(0);
        assert_eq!(read_of(&none, twos), (vec![true, true, false], 4));
        assert_eq!(none.into_inner(), 0);
        // An archive that answers 25 at most.
        let capped = vec![(page(0..25), false), (page(25..50), false), (page(50..57), false)];
        assert_eq!(read_of(&whole, capped), (vec![true, true, false], 57));
    }

    #[test]
    fn a_repeated_page_ends_the_search() {
        assert_eq!(
            read(vec![(page(0..300), false), (page(0..300), true)]),
            (vec![true, false], 300)
        );
    }

    #[test]
    fn an_empty_page_ends_the_search() {
        assert_eq!(read(vec![(page(0..10), false), (Vec::new(), false)]), (vec![true, false], 10));
    }

    #[test]
    fn results_without_an_instance_are_left_out() {
        let json = br#"[{"00080018": {"vr": "UI", "Value": ["1.2"]}}, {}, 7, null,
            {"00080008": {"vr": "CS", "Value": ["A"]}}]"#;
        let page = Metadata::all_from_slice(json).unwrap();
        assert_eq!(read(vec![(page, false)]), (vec![false], 1));
        assert!(Metadata::all_from_slice(b"[]").unwrap().is_empty());
        assert!(Metadata::all_from_slice(b"<html>").is_err());
        // Next to nothing to send, and much to hold.
        let many = format!("[{}{{}}]", "{},".repeat(1_000_000));
        assert!(Metadata::all_from_slice(many.as_bytes()).is_err());
    }
}
