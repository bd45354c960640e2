//! What each provider does: answer one request, once.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use dormouse_domain::model::{ModelAnswer, ModelError, ModelRequest, TokenUsage};

/// Takes the text of an answer, piece by piece, as it comes.
pub type Forward<'a> = &'a mut (dyn FnMut(&str) + Send);

/// A call under way.
pub type ProviderFuture<'a> =
    Pin<Box<dyn Future<Output = Result<ModelAnswer, CallFailure>> + Send + 'a>>;

/// Answers requests.
pub trait Provider: fmt::Debug + Send + Sync {
    /// Its name in the configuration, in metrics and in messages.
    fn name(&self) -> &str;

    /// Make one call. A call that is dropped may have been paid for. It holds no thread up.
    fn ask<'a>(&'a self, request: Arc<ModelRequest>, forward: Forward<'a>) -> ProviderFuture<'a>;
}

/// A call without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallFailure {
    /// Why there is none.
    pub error: ModelError,
    /// What the provider bills for it.
    pub charge: Charge,
}

/// What a provider bills for a call that has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// Nothing: it refused the request, or nothing was sent. The call can be made again.
    Nothing,
    /// Nothing: no connection to it could be made. The call can be made again.
    NotReached,
    /// Nobody knows: the request may have been there, and the answer is not.
    Unknown,
    /// These tokens: it told them before the answer broke off. There may be more of the answer.
    AtLeast(TokenUsage),
}

impl CallFailure {
    /// The provider bills nothing.
    pub(crate) fn free(error: ModelError) -> CallFailure {
        CallFailure { error, charge: Charge::Nothing }
    }

    /// Nobody knows what the provider bills.
    pub(crate) fn unknown(error: ModelError) -> CallFailure {
        CallFailure { error, charge: Charge::Unknown }
    }
}
