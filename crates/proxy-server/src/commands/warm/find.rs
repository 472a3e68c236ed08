//! What thumbnails there are to ask for, as searches through the proxy tell.

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicomweb_types::{SeriesPath, Uid};
use tokio::sync::mpsc::{Sender, UnboundedReceiver, UnboundedSender};
use url::Url;
use wadors_client::{Caller, Metadata};

use super::super::Failure;
use super::ask::Proxy;
use super::tally::Ahead;
use super::{Level, Warm};

/// What is to be asked for.
pub(super) struct Wanted {
    /// `None`: all that the archive lists.
    studies: Option<Vec<Uid>>,
    /// What a search for studies is to match.
    dates: Option<String>,
    level: Level,
    /// At least one.
    queries: Vec<Option<String>>,
}

/// A study that is to be looked into.
pub(super) struct Study {
    uid: Uid,
    ahead: Ahead,
}

impl Wanted {
    pub(super) fn of(args: &Warm) -> Self {
        let queries = args.queries.iter().map(|query| Some(query.0.clone())).collect::<Vec<_>>();
        Self {
            studies: (!args.studies.is_empty()).then(|| args.studies.clone()),
            dates: args.since.as_ref().map(|since| since.range()),
            level: args.level,
            queries: if queries.is_empty() { vec![None] } else { queries },
        }
    }

    /// How many thumbnails there are to be of a study, as far as the archive says what is in it.
    fn expected(&self, said: &Metadata) -> Option<u64> {
        let number = |tag| said.integer(tag).and_then(|number| u64::try_from(number).ok());
        let below = match self.level {
            Level::Study => 0,
            Level::Series => number(tags::NUMBER_OF_STUDY_RELATED_SERIES)?,
            Level::Instance => number(tags::NUMBER_OF_STUDY_RELATED_SERIES)?
                .saturating_add(number(tags::NUMBER_OF_STUDY_RELATED_INSTANCES)?),
        };
        // What an archive says may be anything.
        Some(below.min(1 << 40).saturating_add(1) * self.queries.len() as u64)
    }
}

const FIELDS: [Tag; 2] =
    [tags::NUMBER_OF_STUDY_RELATED_SERIES, tags::NUMBER_OF_STUDY_RELATED_INSTANCES];

/// Hands on the studies: those that were named, or all that there are, page by page.
///
/// # Errors
/// What ends the whole work. A page that does not come is counted as a failure, and is the last.
pub(super) async fn studies(
    proxy: &Proxy,
    wanted: &Wanted,
    found: UnboundedSender<Study>,
) -> Result<(), Failure> {
    // Who receives them is gone only when the work has ended.
    let hand_on = |uid, said| drop(found.send(Study { uid, ahead: proxy.tally.lists(said) }));
    if let Some(named) = &wanted.studies {
        named.iter().for_each(|uid| hand_on(uid.clone(), None));
        proxy.tally.has_listed_all();
        return Ok(());
    }
    let matching: Vec<_> = wanted.dates.iter().map(|dates| ("StudyDate", dates.as_str())).collect();
    let nobody = Caller::anonymous();
    let mut pages = proxy.client.studies(&matching, &FIELDS, &nobody);
    loop {
        let page = proxy.patiently(async || Ok(pages.next_page().await?)).await;
        match page {
            Ok(Some(page)) => {
                page.into_iter().for_each(|(uid, said)| hand_on(uid, wanted.expected(&said)));
            }
            Ok(None) => break,
            Err(trouble) => return proxy.failed("list of studies", trouble),
        }
    }
    proxy.tally.has_listed_all();
    Ok(())
}

/// Looks into one study after the other, and hands on the URLs of thumbnails as they are asked for.
///
/// # Errors
/// What ends the whole work.
pub(super) async fn thumbnails(
    proxy: &Proxy,
    wanted: &Wanted,
    mut studies: UnboundedReceiver<Study>,
    found: Sender<Url>,
) -> Result<(), Failure> {
    while let Some(Study { uid, ahead }) = studies.recv().await {
        let mut inside = Inside { proxy, wanted, ahead, found: &found };
        inside.study(&uid).await?;
        proxy.tally.has_found_all(inside.ahead);
    }
    Ok(())
}

/// A study that is looked into.
struct Inside<'a> {
    proxy: &'a Proxy,
    wanted: &'a Wanted,
    ahead: Ahead,
    found: &'a Sender<Url>,
}

impl Inside<'_> {
    async fn study(&mut self, study: &Uid) -> Result<(), Failure> {
        self.all_of(&[format!("studies/{study}")]).await;
        if self.wanted.level == Level::Study {
            return Ok(());
        }
        let nobody = Caller::anonymous();
        let listed = self.proxy.patiently(async || {
            let mut series = Vec::new();
            let mut found = |uid, _| series.push(uid);
            self.proxy.client.series_of(study, &[], &nobody, &mut found).await?;
            Ok(series)
        });
        let series = match listed.await {
            Ok(series) => series,
            Err(trouble) => return self.proxy.failed("list of series", trouble),
        };
        let path = |series| SeriesPath { study: study.clone(), series };
        let series: Vec<SeriesPath> = series.into_iter().map(path).collect();
        self.all_of(&series).await;
        if self.wanted.level == Level::Instance {
            for series in &series {
                self.instances(series).await?;
            }
        }
        Ok(())
    }

    async fn instances(&mut self, series: &SeriesPath) -> Result<(), Failure> {
        let nobody = Caller::anonymous();
        let listed = self.proxy.patiently(async || {
            let mut instances = Vec::new();
            let mut found = |uid, _| instances.push(series.instance(uid));
            self.proxy.client.instances_of(series, &[], &nobody, &mut found).await?;
            Ok(instances)
        });
        match listed.await {
            Ok(instances) => {
                self.all_of(&instances).await;
                Ok(())
            }
            Err(trouble) => self.proxy.failed("list of instances", trouble),
        }
    }

    /// Hands on the thumbnails of these, in all forms.
    async fn all_of<P: std::fmt::Display>(&mut self, paths: &[P]) {
        let forms = &self.wanted.queries;
        self.proxy.tally.found((paths.len() * forms.len()) as u64, &mut self.ahead);
        for path in paths {
            let path = format!("{path}/thumbnail");
            for query in forms {
                // A path of UIDs leads nowhere else.
                let Some(url) = self.proxy.client.url(&path, query.as_deref()) else { continue };
                // Who receives it is gone only when the work has ended.
                let _ = self.found.send(url).await;
            }
        }
    }
}
