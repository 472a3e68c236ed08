//! `lightbox warm`: the thumbnails that viewers will ask of a running proxy are asked of it before, at low
//! priority, so that it has them.
//!
//! Three things go on at once: studies are listed, series and instances of one study after the other are
//! found, and their thumbnails are asked for. In memory are the UIDs of studies, and the series and
//! instances of one.

mod ask;
mod find;
mod given;
mod pace;
mod tally;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use dicomweb_types::Uid;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::mpsc;
use url::Url;
use wadors_client::{Client, ClientConfig, ClientError, Dialect, Rate};

use self::ask::Proxy;
use self::find::Wanted;
use self::given::{Accept, Query, Since};
use self::pace::Pace;
use self::tally::Tally;
use super::{Failure, Outcome, progress};

#[derive(Args)]
pub(crate) struct Warm {
    /// The base URL of the proxy, as viewers have it
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    proxy: Url,
    /// A study; may be given several times [default: all studies of the archive]
    #[arg(long = "study", value_name = "UID")]
    studies: Vec<Uid>,
    /// Only studies of this day and later, such as 2026-01-31
    #[arg(long, value_name = "DATE", conflicts_with = "studies")]
    since: Option<Since>,
    /// Of what there is to be a thumbnail
    #[arg(long, value_enum, default_value_t = Level::Series)]
    level: Level,
    /// Query of the thumbnails, such as viewport=256,256; may be given several times, each is asked for
    #[arg(long = "query", value_name = "QUERY")]
    queries: Vec<Query>,
    /// Media type of the thumbnails
    #[arg(long, value_name = "TYPE", default_value = "image/jpeg")]
    accept: Accept,
    /// Thumbnails asked for at the same time
    #[arg(long, value_name = "N", default_value = "2")]
    jobs: NonZeroUsize,
    /// The most thumbnails made in a span of time, such as 20/s or 600/min [default: no limit]
    #[arg(long, value_name = "N/s")]
    rate: Option<Rate>,
}

/// How deep thumbnails are asked for; each level has those above it too.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Level {
    /// One of each study
    Study,
    /// And one of each series
    Series,
    /// And one of each instance
    Instance,
}

/// Nobody waits for what is asked for (RFC 9218).
const PRIORITY: (HeaderName, HeaderValue) =
    (HeaderName::from_static("priority"), HeaderValue::from_static("u=7, i"));

/// The longest wait for an answer. Longer than a proxy takes for one that it gives at all.
const LONGEST: Duration = Duration::from_secs(300);

pub(crate) fn run(args: &Warm) -> Outcome {
    let tally = Arc::new(Tally::default());
    let proxy = Proxy::new(client(args)?, &args.accept, Pace::new(args.rate), tally.clone());
    let begun = Instant::now();
    let counted = tally.clone();
    let outcome = progress::shown(
        "thumbnails",
        move || counted.progress(),
        || super::run_to_end(until_told_to_end(args, &proxy)),
    );
    if outcome.is_ok() || !tally.is_empty() {
        eprint!("{}", tally.summary(begun.elapsed()));
    }
    outcome?;
    match tally.progress().failed {
        0 => Ok(()),
        failed => Err(Failure::Work(format!(
            "{failed} requests failed; started again it asks for what is missing"
        ))),
    }
}

/// Of searches the proxy is asked as if it were the archive.
fn client(args: &Warm) -> Result<Client, Failure> {
    let config = ClientConfig {
        timeout: Duration::from_secs(60),
        total_timeout: LONGEST,
        headers: HeaderMap::from_iter([PRIORITY]),
        // Whatever the archive behind it is.
        dialect: Some(Dialect::Generic),
        ..ClientConfig::new(args.proxy.clone())
    };
    Client::new(config).map_err(|error| match error {
        ClientError::Base { problem } => Failure::Usage(format!("--proxy {problem}")),
        other => Failure::Work(other.to_string()),
    })
}

async fn until_told_to_end(args: &Warm, proxy: &Proxy) -> Outcome {
    tokio::select! {
        outcome = all(args, proxy) => outcome,
        () = proxy_server::shutdown_requested() => {
            Err(Failure::Work("ended before all was done; started again it goes on there".to_owned()))
        }
    }
}

async fn all(args: &Warm, proxy: &Proxy) -> Outcome {
    let wanted = Wanted::of(args);
    let (study, studies) = mpsc::unbounded_channel();
    let (thumbnail, thumbnails) = mpsc::channel(args.jobs.get());
    let work = async {
        tokio::try_join!(
            find::studies(proxy, &wanted, study),
            find::thumbnails(proxy, &wanted, studies, thumbnail),
            ask::for_all(proxy, thumbnails, args.jobs),
        )
    };
    tokio::select! {
        outcome = work => outcome.map(drop),
        never = proxy.pace.keep() => match never {},
    }
}
