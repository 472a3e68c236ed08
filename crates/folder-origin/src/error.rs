//! What can go wrong, for the caller of this crate and for its HTTP clients.

use std::io;

use http::StatusCode;

/// Why a folder could not be served or the samples not written. Never carries patient data.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// The folder cannot be read; give a folder that exists and may be listed.
    #[error("the folder cannot be read: {0}")]
    Folder(#[source] io::Error),
    /// A sample could not be written; give a folder that exists and has room.
    #[error("a sample cannot be written: {0}")]
    Write(#[source] io::Error),
    /// A sample's pixels could not be encoded.
    #[error("a sample cannot be encoded: {0}")]
    Encode(String),
}

/// Why a file is not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("not a DICOM file")]
    NotDicom,
    #[error("damaged: {0}")]
    Damaged(&'static str),
    #[error("its attributes take more memory than is allowed")]
    TooLarge,
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Why a request has no answer; each is one status and one sentence.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error("{0}")]
    BadRequest(String),
    #[error("{0}")]
    NotFound(&'static str),
    #[error("this origin is read-only: GET and HEAD")]
    MethodNotAllowed,
    #[error("{0}")]
    NotAcceptable(String),
    #[error("the stored file cannot be served: {0}")]
    File(#[from] FileError),
}

impl Problem {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAcceptable(_) => StatusCode::NOT_ACCEPTABLE,
            Self::File(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}
