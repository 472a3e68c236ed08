//! That an archive which is asked with the client's own credentials shows them a study.
//!
//! Nothing that is kept of a study is shown to anybody without such a proof: the archive has shown them an
//! object of it, or found it for them, no longer than `proof_ttl` ago. While the archive cannot be asked its
//! last answer stands for `proof_grace`, also after a restart.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use dicomweb_types::Uid;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use wadors_client::{Caller, UpstreamError, Urgency};

use super::credential::Credential;
use crate::cache::{Began, Digest, Moment, Outer, Place, Tier};
use crate::config::Config;
use crate::flight::{Died, Flights, Landed};
use crate::upstream::Upstream;

/// What proofs may take in memory: some 30 000.
const MEMORY: u64 = 8 << 20;

/// An archive that takes longer is taken for one that cannot be reached, if there was a proof before.
const HASTE: Duration = Duration::from_secs(5);

/// All of them.
pub(crate) struct Proofs {
    kept: Tier<Proof>,
    ttl: Duration,
    grace: Duration,
    /// The archive is asked once for who wants several things at once.
    asking: Flights<(Place, Urgency), Answer>,
}

/// What an archive says of a caller and a study.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    Shown,
    Hidden,
    /// It cannot be reached: what it said last stands for a while.
    None,
    /// It answers, and says nothing of who may see it.
    Silent,
}

/// That the archive has shown a study.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Proof {
    given: Moment,
    /// When it was last written to disk: that takes longer than all the rest.
    written: Moment,
}

impl Proofs {
    pub(crate) fn new(
        config: &Config,
        outer: Outer,
        forgotten: Arc<crate::cache::Forgotten>,
    ) -> Self {
        Self {
            kept: Tier::new(MEMORY, outer, forgotten),
            ttl: config.proof_ttl,
            grace: config.proof_grace,
            asking: Flights::default(),
        }
    }

    /// Drops those of a study.
    pub(crate) fn forget(&self, study: &Digest) {
        self.kept.forget(study);
    }

    /// Whether it is proved, as far as memory tells.
    pub(crate) fn is_at_hand(&self, study: &Digest, credential: &Credential) -> bool {
        let proof = self.kept.at_hand(&place(study, credential));
        proof.is_some_and(|proof| proof.is_good(self.ttl))
    }

    /// Whether it is proved.
    pub(crate) async fn is_there(&self, study: &Digest, credential: &Credential) -> bool {
        let proof = self.kept.get(&place(study, credential)).await;
        proof.is_some_and(|(proof, _)| proof.is_good(self.ttl))
    }

    /// Whether there was one, however old.
    pub(crate) async fn was_given(&self, study: &Digest, credential: &Credential) -> bool {
        self.kept.get(&place(study, credential)).await.is_some()
    }

    /// Whether the archive shows a study to a caller, by its word: now, or lately where it cannot be asked.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        upstream: &Arc<Upstream>,
        study: &Uid,
        credential: &Credential,
        caller: &Caller,
        began: Began,
    ) -> bool {
        let place = place(&upstream.realm.groups(study).index, credential);
        let is_known = self.is_within_grace(&place).await;
        // Who was shown it lately does not wait for an archive that hangs, or is known to.
        if is_known && (upstream.silence.lasts() || upstream.client.is_resting()) {
            return true;
        }
        let asked = self.ask_once(upstream, study, caller, place, began).await;
        match asked.map(|landed| landed.value) {
            Ok(Answer::Shown) => true,
            Ok(Answer::None) => self.is_within_grace(&place).await,
            Ok(Answer::Hidden | Answer::Silent) | Err(Died) => false,
        }
    }

    async fn ask_once(
        self: &Arc<Self>,
        upstream: &Arc<Upstream>,
        study: &Uid,
        caller: &Caller,
        place: Place,
        began: Began,
    ) -> Result<Landed<Answer>, Died> {
        // Who waits does not stand behind a call for which nobody does.
        let urgency = caller.urgency();
        let (proofs, upstream) = (self.clone(), upstream.clone());
        let (study, caller) = (study.clone(), caller.clone());
        let ask = move || async move {
            // Until here it is withdrawn where nobody waits any more, and no time of the archive's has run: however
            // many ask, nobody can make it look silent.
            let Ok(turn) = upstream.client.probe().await else { return Answer::Silent };
            let silent = upstream.clone();
            // A task: what the archive says is noted also where nobody waits for it any more.
            let asked = tokio::spawn(async move {
                let said = upstream.client.has_study(&study, &caller, turn).await;
                let answer = proofs.note(&said, &place, began).await;
                match answer {
                    Answer::None => upstream.silence.begins(),
                    Answer::Shown | Answer::Hidden | Answer::Silent => upstream.silence.ends(),
                }
                answer
            });
            match tokio::time::timeout(HASTE, asked).await {
                Ok(answer) => answer.unwrap_or(Answer::Silent),
                Err(_) => {
                    silent.silence.begins();
                    Answer::None
                }
            }
        };
        self.asking.share((place, urgency), ask).await
    }

    /// The same, with what the archive says where it refuses; for what is asked for once.
    ///
    /// # Errors
    /// What the archive says.
    pub(crate) async fn check(
        &self,
        upstream: &Upstream,
        study: &Uid,
        credential: &Credential,
        caller: &Caller,
        began: Began,
    ) -> Result<bool, UpstreamError> {
        let place = place(&upstream.realm.groups(study).index, credential);
        let turn = upstream.client.probe().await?;
        let said = upstream.client.has_study(study, caller, turn).await;
        match self.note(&said, &place, began).await {
            Answer::None if self.is_within_grace(&place).await => Ok(true),
            _ => said,
        }
    }

    async fn note(
        &self,
        said: &Result<bool, UpstreamError>,
        place: &Place,
        began: Began,
    ) -> Answer {
        match said {
            Ok(true) => {
                self.give_at(place, began).await;
                Answer::Shown
            }
            Err(error) if cannot_be_reached(error) => Answer::None,
            Err(error) if !refuses(error) => Answer::Silent,
            Ok(false) | Err(_) => {
                self.take_back_at(place, began).await;
                Answer::Hidden
            }
        }
    }

    async fn is_within_grace(&self, place: &Place) -> bool {
        let last = self.kept.get(place).await;
        last.is_some_and(|(proof, _)| proof.is_good(self.grace))
    }

    /// The archive has shown something of a study.
    pub(crate) async fn give(&self, study: &Digest, credential: &Credential, began: Began) {
        self.give_at(&place(study, credential), began).await;
    }

    async fn give_at(&self, place: &Place, began: Began) {
        let now = Moment::now();
        let last = self.kept.get(place).await.map(|(proof, _)| proof.written);
        let is_written = |last: Moment| last.age(now).is_some_and(|age| age < self.grace / 4);
        match last.filter(|last| is_written(*last)) {
            Some(written) => self.kept.put_in_memory(place, began, Proof { given: now, written }),
            None => self.kept.put(place, began, Proof { given: now, written: now }),
        }
    }

    /// The archive no longer shows it.
    pub(crate) async fn take_back(&self, study: &Digest, credential: &Credential, began: Began) {
        self.take_back_at(&place(study, credential), began).await;
    }

    async fn take_back_at(&self, place: &Place, began: Began) {
        if self.kept.get(place).await.is_some() {
            self.kept.put(place, began, Proof { given: Moment::never(), written: Moment::now() });
        }
    }
}

/// Whether an archive does not show it: also where it sends the caller to a page for logging in.
fn refuses(error: &UpstreamError) -> bool {
    let is_sent_away = matches!(error, UpstreamError::Redirected { .. });
    is_sent_away || error.is_denied() || error.is_absent() || *error == UpstreamError::Empty
}

/// Not so an archive that answers and says nothing of the caller (429, 500): who lost his rights could bring
/// that about.
fn cannot_be_reached(error: &UpstreamError) -> bool {
    match error {
        UpstreamError::Resting { last, .. } => cannot_be_reached(last),
        UpstreamError::Status { status, .. } => matches!(status, 502..=504),
        UpstreamError::Unreachable { .. }
        | UpstreamError::Untrusted { .. }
        | UpstreamError::Timeout
        | UpstreamError::BrokeOff => true,
        _ => false,
    }
}

impl fmt::Debug for Proofs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proofs(..)")
    }
}

impl Proof {
    fn is_good(&self, for_so_long: Duration) -> bool {
        // One that lies ahead was given before the clock was set back: nobody knows when.
        self.given.age(Moment::now()).is_some_and(|age| age < for_so_long)
    }
}

/// Among what is found of the study, so that it is dropped with that.
fn place(study: &Digest, credential: &Credential) -> Place {
    // Memory looks at the key alone: it names both.
    let hash = Sha256::new().chain_update(b"proof").chain_update(study);
    Place { group: *study, key: hash.chain_update(credential.digest()).finalize().into() }
}
