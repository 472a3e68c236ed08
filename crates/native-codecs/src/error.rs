//! What a decoder or encoder said.

/// Why a codestream could not be read or written: the words of the library, or of the check
/// that came before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CodecError(String);

impl CodecError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    pub(crate) fn into_message(self) -> String {
        self.0
    }
}

/// Results of this crate.
pub type Result<T> = std::result::Result<T, CodecError>;
