//! What Orthanc says of its own changes (`/changes` of its REST API): studies that were stored or changed past
//! this server, once they are stable. What was deleted is not in that list. Optional, and asked for from time
//! to time.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use dicomweb_types::Uid;
use futures_util::future::{join_all, pending};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::access::Visitor;
use crate::app::App;
use crate::upstream::Upstream;

/// Changes of one answer.
const AT_ONCE: usize = 100;

/// An answer is a list of a hundred changes, or the description of a study.
const LONGEST: usize = 4 << 20;

/// Follows all archives that are to be followed, for ever.
pub(crate) async fn follow(app: &Arc<App>) -> Infallible {
    let feeds = app.upstreams.iter().filter_map(|upstream| Feed::of(app, upstream));
    join_all(feeds.map(Feed::follow)).await;
    // Of no archive.
    pending().await
}

struct Feed {
    app: Arc<App>,
    upstream: Arc<Upstream>,
    every: Duration,
    root: Url,
    /// The last change that is known.
    since: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Changes {
    changes: Vec<Change>,
    done: bool,
    last: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Change {
    change_type: String,
    #[serde(rename = "ID")]
    id: String,
    resource_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Study {
    main_dicom_tags: StudyTags,
}

#[derive(Deserialize)]
struct StudyTags {
    #[serde(rename = "StudyInstanceUID")]
    uid: String,
}

impl Change {
    /// Whether a study is as it will be for now.
    fn is_of_a_stable_study(&self) -> bool {
        let is_stable = matches!(self.change_type.as_str(), "StableStudy" | "ModifiedStudy");
        is_stable && self.resource_type == "Study"
    }
}

impl Feed {
    fn of(app: &Arc<App>, upstream: &Arc<Upstream>) -> Option<Self> {
        let every = upstream.changes_every?;
        Some(Self {
            app: app.clone(),
            upstream: upstream.clone(),
            every,
            root: rest_root(upstream.client.base()),
            since: None,
        })
    }

    async fn follow(mut self) -> Infallible {
        let mut is_well = true;
        loop {
            let asked = self.ask().await;
            if asked.is_ok() != is_well {
                is_well = asked.is_ok();
                match &asked {
                    Ok(_) => tracing::info!("Orthanc's changes are followed again"),
                    Err(reason) => tracing::warn!(reason, "Orthanc's changes cannot be followed"),
                }
                // What happened meanwhile may have left its list.
                self.app.cache.distrust_all();
            }
            if asked != Ok(More::Now) {
                tokio::time::sleep(self.every).await;
            }
        }
    }

    async fn ask(&mut self) -> Result<More, &'static str> {
        let Some(since) = self.since else {
            let changes: Changes = self.get("changes?last").await?;
            self.since = Some(changes.last);
            return Ok(More::Later);
        };
        let path = format!("changes?since={since}&limit={AT_ONCE}");
        let changes: Changes = self.get(&path).await?;
        for change in changes.changes.iter().filter(|change| change.is_of_a_stable_study()) {
            // One that cannot be told now is asked for again, with the rest.
            if let Some(study) = self.study(&change.id).await? {
                self.app.has_changed(&self.upstream, &study, Visitor::nobody(&self.upstream));
            }
        }
        let is_more = !changes.done && changes.last != since;
        self.since = Some(changes.last);
        Ok(if is_more { More::Now } else { More::Later })
    }

    /// It may be gone by now.
    async fn study(&self, id: &str) -> Result<Option<Uid>, &'static str> {
        let study: Option<Study> = self.get_if_there(&format!("studies/{id}")).await?;
        let uid = study.map(|study| study.main_dicom_tags.uid);
        Ok(uid.and_then(|uid| uid.trim_end_matches(['\0', ' ']).parse().ok()))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, &'static str> {
        self.get_if_there(path).await?.ok_or(REFUSES)
    }

    async fn get_if_there<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<Option<T>, &'static str> {
        let url = self.root.join(path).map_err(|_| "its address cannot be told")?;
        let client = &self.upstream.client;
        let mut headers = HeaderMap::new();
        if client.forwards_callers() {
            client.strip(&mut headers);
        } else {
            client.authorize(&mut headers).await.map_err(|_| "there are no credentials for it")?;
        }
        let asked = async {
            let sent = client.http().get(url).headers(headers).send().await;
            let mut answer = sent.map_err(|_| "it does not answer")?;
            if answer.status().is_server_error() {
                return Err("it fails");
            }
            if answer.status() == StatusCode::NOT_FOUND {
                return Ok(None);
            }
            if !answer.status().is_success() {
                return Err(REFUSES);
            }
            let mut body = Vec::new();
            while let Some(chunk) = answer.chunk().await.map_err(|_| "it broke off")? {
                body.extend_from_slice(&chunk);
                if body.len() > LONGEST {
                    return Err("its answer is too long");
                }
            }
            serde_json::from_slice(&body).map(Some).map_err(|_| "its answer is none of Orthanc's")
        };
        let limit = client.timeout().saturating_mul(2);
        tokio::time::timeout(limit, asked).await.unwrap_or(Err("it does not answer in time"))
    }
}

const REFUSES: &str = "it refuses: orthanc_changes needs its REST API beside /dicom-web";

/// Whether there are more changes already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum More {
    Now,
    Later,
}

/// The REST API is where the DICOMweb root is: `/dicom-web` lies below it.
fn rest_root(base: &Url) -> Url {
    let mut root = base.clone();
    let path = base.path().trim_end_matches('/');
    let above = path.rfind('/').map_or("", |slash| &path[..slash]);
    root.set_path(&format!("{above}/"));
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_api_is_above_dicomweb() {
        let of = |url: &str| rest_root(&url.parse().unwrap()).to_string();
        assert_eq!(of("http://a:8042/dicom-web"), "http://a:8042/");
        assert_eq!(of("http://a/orthanc/dicom-web/"), "http://a/orthanc/");
        assert_eq!(of("http://a"), "http://a/");
    }

    #[test]
    fn changes_are_read_as_orthanc_writes_them() {
        let json = r#"{"Changes": [
            {"ChangeType": "NewInstance", "Date": "20261127T100000", "ID": "a", "Path": "/instances/a",
             "ResourceType": "Instance", "Seq": 1},
            {"ChangeType": "StableStudy", "ID": "b", "Path": "/studies/b", "ResourceType": "Study", "Seq": 2},
            {"ChangeType": "Deleted", "ID": "b", "Path": "/studies/b", "ResourceType": "Study", "Seq": 3},
            {"ChangeType": "Deleted", "ID": "c", "Path": "/series/c", "ResourceType": "Series", "Seq": 4}
        ], "Done": true, "Last": 4}"#;
        let changes: Changes = serde_json::from_str(json).unwrap();
        let stable: Vec<&str> = changes
            .changes
            .iter()
            .filter(|change| change.is_of_a_stable_study())
            .map(|change| change.id.as_str())
            .collect();
        assert_eq!((stable.as_slice(), changes.last, changes.done), (&["b"][..], 4, true));
    }
}
