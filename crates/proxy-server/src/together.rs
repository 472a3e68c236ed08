//! What requests that want the same at the same time wait for together.

use std::sync::Arc;

use crate::cache::{Digest, Found};
use crate::error::ServerError;
use crate::flight::Flights;
use crate::picture::{Answer, Drawn};
use crate::render_service::Answered;
use crate::source::Opened;

/// Work under way that may be shared.
#[derive(Default)]
pub(crate) struct Together {
    /// Of requests that are equal.
    pub(crate) answers: Work<Answered>,
    /// Objects that are fetched.
    pub(crate) opened: Work<Arc<Opened>>,
    /// Pictures that are drawn, for whatever requests.
    pub(crate) drawings: Work<Answer>,
    /// The same of sources that are kept.
    pub(crate) again: Work<Option<(Drawn, Found)>>,
}

/// Work by what it is for.
pub(crate) type Work<V> = Flights<Digest, Result<V, ServerError>>;

impl Together {
    /// How often a request waited for work of another.
    pub(crate) fn followed(&self) -> [(&'static str, u64); 3] {
        [
            ("request", self.answers.followed()),
            ("fetch", self.opened.followed()),
            ("drawing", self.drawings.followed() + self.again.followed()),
        ]
    }
}
