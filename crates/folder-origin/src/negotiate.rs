//! Accept: which of the forms this origin has is wanted (PS3.18 §8.7). Nothing is transcoded.

use dicomweb_types::{MediaRange, TransferSyntax, split_list};

use crate::error::Problem;

/// What the client takes; empty means anything.
#[derive(Debug)]
pub(crate) struct Accept(Vec<MediaRange>);

/// How the representation goes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    /// The bare payload of this media type.
    Single(String),
    /// multipart/related with parts of this media type.
    Multipart(String),
}

impl Accept {
    /// Reads the header, or `accept=` of the query, which wins.
    pub(crate) fn parse(header: &str) -> Self {
        let mut ranges: Vec<_> = split_list(header)
            .filter_map(MediaRange::parse)
            .filter(|range| range.weight() > 0.0)
            .collect();
        ranges.sort_by(|a, b| b.weight().total_cmp(&a.weight()));
        Self(ranges)
    }

    /// Whether DICOM JSON is welcome.
    pub(crate) fn json(&self) -> Result<(), Problem> {
        let json = ["application/dicom+json", "application/json"];
        if self.0.is_empty() || self.0.iter().any(|r| json.iter().any(|j| r.accepts(j))) {
            return Ok(());
        }
        Err(Problem::NotAcceptable("searches and metadata are application/dicom+json".into()))
    }

    /// The form in which payloads stored in `syntaxes` go out.
    ///
    /// `types` are the media types they may be called, the preferred one first. `*/*` is answered
    /// with `default`. A transfer syntax in the Accept must be `*` or the stored one; where there is
    /// none, the stored one is sent.
    pub(crate) fn payload<'a>(
        &self,
        types: &[&str],
        syntaxes: impl Iterator<Item = &'a TransferSyntax> + Clone,
        single_allowed: bool,
        default: Form,
    ) -> Result<Form, Problem> {
        if self.0.is_empty() {
            return Ok(default);
        }
        let mut wrong_syntax = false;
        for range in &self.0 {
            let Some(form) = form_of(range, types, single_allowed, &default) else { continue };
            if takes_all(range, syntaxes.clone()) {
                return Ok(form);
            }
            wrong_syntax = true;
        }
        Err(Problem::NotAcceptable(if wrong_syntax {
            "this origin does not transcode: ask for transfer-syntax=* or the stored one".into()
        } else {
            format!("this resource is available as {}", types.join(", "))
        }))
    }
}

fn form_of(range: &MediaRange, types: &[&str], single: bool, default: &Form) -> Option<Form> {
    if range.main == "*" {
        return Some(default.clone());
    }
    if range.accepts("multipart/related") {
        let inner = match range.parameter("type") {
            Some(inner) => MediaRange::parse(inner)?,
            None => return types.first().map(|name| Form::Multipart((*name).to_owned())),
        };
        let name = types.iter().find(|name| inner.accepts(name))?;
        return Some(Form::Multipart((*name).to_owned()));
    }
    let name = types.iter().find(|name| range.accepts(name))?;
    single.then(|| Form::Single((*name).to_owned()))
}

fn takes_all<'a>(
    range: &MediaRange,
    mut syntaxes: impl Iterator<Item = &'a TransferSyntax>,
) -> bool {
    match range.parameter("transfer-syntax") {
        None | Some("*") => true,
        Some(uid) => {
            let wanted = TransferSyntax::from_uid(uid);
            syntaxes.all(|stored| *stored == wanted)
        }
    }
}

/// The media type of a frame in this syntax (PS3.18 Table 8.7.3-5).
pub(crate) fn frame_media_type(syntax: &TransferSyntax) -> &'static str {
    use TransferSyntax as T;
    match syntax {
        T::JpegBaseline | T::JpegExtended | T::JpegLossless | T::JpegLosslessSv1 => "image/jpeg",
        T::RleLossless => "image/dicom-rle",
        T::JpegLsLossless | T::JpegLsNearLossless => "image/jls",
        T::Jpeg2000Lossless | T::Jpeg2000 => "image/jp2",
        T::Htj2kLossless | T::Htj2kLosslessRpcl | T::Htj2k => "image/jphc",
        T::JpegXlLossless | T::JpegXlRecompression | T::JpegXl => "image/jxl",
        T::ImplicitLittleEndian
        | T::ExplicitLittleEndian
        | T::EncapsulatedUncompressed
        | T::DeflatedExplicitLittleEndian
        | T::DeflatedImageFrame
        | T::ExplicitBigEndian
        | T::Other(_) => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPES: &[&str] = &["image/jp2", "application/octet-stream"];

    fn form(accept: &str) -> Option<Form> {
        let stored = [TransferSyntax::Jpeg2000];
        let default = Form::Multipart(TYPES[0].to_owned());
        Accept::parse(accept).payload(TYPES, stored.iter(), true, default).ok()
    }

    #[test]
    fn the_form_that_is_named_is_sent() {
        let multipart = |name: &str| Some(Form::Multipart(name.to_owned()));
        assert_eq!(form(""), multipart("image/jp2"));
        assert_eq!(form("*/*"), multipart("image/jp2"));
        assert_eq!(form("multipart/related; type=\"image/jp2\""), multipart("image/jp2"));
        assert_eq!(
            form("multipart/related; type=application/octet-stream; transfer-syntax=*"),
            multipart("application/octet-stream")
        );
        assert_eq!(form("image/jp2"), Some(Form::Single("image/jp2".to_owned())));
        assert_eq!(form("image/png"), None);
        assert_eq!(form("image/png, */*;q=0.1"), multipart("image/jp2"));
    }

    #[test]
    fn another_transfer_syntax_than_the_stored_one_is_refused() {
        let with = |uid: &str| {
            form(&format!("multipart/related; type=\"image/jp2\"; transfer-syntax={uid}"))
        };
        assert!(with("1.2.840.10008.1.2.4.91").is_some());
        assert!(with("*").is_some());
        assert_eq!(with("1.2.840.10008.1.2.4.90"), None);
    }
}
