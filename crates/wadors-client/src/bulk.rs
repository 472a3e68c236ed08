//! Bulk data that metadata name by URI (PS3.18 §10.4.1.1.5), from the archive's own base URL only.

use bytes::Bytes;
use dicomweb_types::{InstancePath, MediaRange};
use url::Url;

use crate::body::first_part;
use crate::call::Ask;
use crate::caller::Caller;
use crate::client::{Client, changes_when_parsed};
use crate::dialect::Call;
use crate::error::UpstreamError;
use crate::metadata::BulkDataRef;

impl Client {
    /// Fetches what `reference`, met in the metadata of the instance at `path`, names: at most
    /// `limit` bytes. [`Metadata::fill`](crate::Metadata::fill) puts it in its place.
    ///
    /// # Errors
    /// [`UpstreamError::Foreign`] where the URI leads elsewhere than below the archive's base URL, which
    /// is never asked: it may be a place that only we can reach, and the caller's credentials are for
    /// the archive (R7.3). A URI of another host with a path below the base is asked of the archive.
    pub async fn bulk_data(
        &self,
        path: &InstancePath,
        reference: &BulkDataRef,
        caller: &Caller,
        limit: u64,
    ) -> Result<Bytes, UpstreamError> {
        let url = self.bulk_url(path, &reference.uri)?;
        let limit = limit.min(self.max_bytes());
        let ask = Ask::new(Call::Bulk, url, caller);
        let part = self.ask(&ask, |answer| first_part(answer, limit, is_bulk)).await?;
        Ok(part.body)
    }

    /// A URI, absolute or relative to the metadata it stands in, as a URL of the archive as we know it.
    ///
    /// Archives behind a proxy of their own write the scheme, host and port that they see of themselves.
    /// Where the path is one below our base URL, the same path is asked of the origin that is configured.
    fn bulk_url(&self, path: &InstancePath, uri: &str) -> Result<Url, UpstreamError> {
        let metadata = self.instance_url(path, "/metadata");
        let named = metadata.join(uri).map_err(|_| UpstreamError::Foreign)?;
        let is_web = matches!(named.scheme(), "http" | "https");
        let has_user = !named.username().is_empty() || named.password().is_some();
        if !is_web || has_user || changes_when_parsed(named.path()) || !self.is_ours(&named) {
            return Err(UpstreamError::Foreign);
        }
        let mut url = self.base().clone();
        url.set_path(named.path());
        url.set_query(named.query());
        Ok(url)
    }

    /// Whether a URL is below our base, whatever host it names. At another host a base without a path
    /// would have everything below it: only what is DICOMweb by its path is taken there.
    fn is_ours(&self, url: &Url) -> bool {
        let Some(below) = url.path().strip_prefix(self.prefix()) else { return false };
        let elsewhere = url.origin() != self.base().origin();
        let needed = if elsewhere && self.prefix().is_empty() { "/studies/" } else { "/" };
        below.starts_with(needed)
    }
}

/// What a single part that is no multipart may be: anything but an error page or a data set.
fn is_bulk(range: &MediaRange) -> bool {
    range.main != "text" && range.main != "multipart" && !range.sub.ends_with("json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::ClientConfig;

    fn resolved(uri: &str) -> Result<String, UpstreamError> {
        resolved_below("http://archive:8042/dicom-web", uri)
    }

    fn resolved_below(base: &str, uri: &str) -> Result<String, UpstreamError> {
        let client = Client::new(ClientConfig::new(base.parse().unwrap()));
        let path = InstancePath {
            study: "1".parse().unwrap(),
            series: "2".parse().unwrap(),
            instance: "3".parse().unwrap(),
        };
        client.unwrap().bulk_url(&path, uri).map(String::from)
    }

    #[test]
    fn uris_are_resolved_against_the_metadata_they_stand_in() {
        let instance = "http://archive:8042/dicom-web/studies/1/series/2/instances/3";
        for (uri, expected) in [
            ("bulk/00281201", format!("{instance}/bulk/00281201")),
            ("../3/bulk/1", format!("{instance}/bulk/1")),
            ("/dicom-web/bulk/7", "http://archive:8042/dicom-web/bulk/7".to_owned()),
            (
                "http://archive:8042/dicom-web/b?x=1",
                "http://archive:8042/dicom-web/b?x=1".to_owned(),
            ),
        ] {
            assert_eq!(resolved(uri), Ok(expected), "{uri}");
        }
    }

    #[test]
    fn a_host_that_only_the_archive_knows_itself_by_is_replaced() {
        let expected = "http://archive:8042/dicom-web/studies/1/bulk/2?a=%2C";
        for own_view in [
            "http://localhost:8080/dicom-web/studies/1/bulk/2?a=%2C",
            "https://pacs.example/dicom-web/studies/1/bulk/2?a=%2C",
            "//10.0.0.7/dicom-web/studies/1/bulk/2?a=%2C",
        ] {
            assert_eq!(resolved(own_view).as_deref(), Ok(expected), "{own_view}");
        }
        let root = "http://archive:8042";
        let below = |uri| resolved_below(root, uri);
        assert_eq!(
            below("http://localhost/studies/1/bulk/2").as_deref(),
            Ok("http://archive:8042/studies/1/bulk/2")
        );
        assert_eq!(below("http://169.254.169.254/latest/meta-data"), Err(UpstreamError::Foreign));
    }

    #[test]
    fn other_origins_are_never_asked() {
        for uri in [
            "http://other:8042/x",
            "/system",
            "/dicom-web/..%2fsystem",
            "/dicom-web/../system",
            "/dicom-web/..;/system",
            "/dicom-webx/1",
            "http://archive/x",
            "https://archive:8042/x",
            "//other/x",
            "http://other/dicom-web/..%2fsystem",
            "http://user:pw@archive:8042/dicom-web/x",
            "ftp://archive:8042/dicom-web/x",
            "http://169.254.169.254/latest",
            "http://[::ffff:127.0.0.1]:8042/x",
            "file:///etc/passwd",
            "data:,x",
            "http://[",
        ] {
            assert_eq!(resolved(uri), Err(UpstreamError::Foreign), "{uri}");
        }
    }
}
