//! Keeps from the protocol what servers may send without being asked.
//!
//! A server may send notifications and requests at any time and of any size. Of those the host wants one: that the list
//! of tools has changed. Requests are answered here: a ping with what it asks for, every other one (to sample a model, to
//! ask a person, to list directories) with the error that there is no such thing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rmcp::RoleClient;
use rmcp::model::{
    ClientJsonRpcMessage, ClientResult, ErrorCode, ErrorData, JsonRpcMessage, JsonRpcRequest,
    ServerJsonRpcMessage, ServerNotification, ServerRequest, ServerResult,
};
use rmcp::transport::Transport;
use tokio::sync::Semaphore;

/// Answers to requests of a server that are on their way. A request beyond is not answered.
const ANSWERS: usize = 4;
/// The most characters of the name and the version of a server.
const MAX_NAME: usize = 100;

/// A transport without what servers send without being asked.
pub(crate) struct Screen<T> {
    inner: T,
    has_changed: Arc<AtomicBool>,
    answers: Arc<Semaphore>,
}

impl<T: Transport<RoleClient>> Screen<T> {
    /// `has_changed` is set when the server says that its tools have changed.
    pub(crate) fn new(inner: T, has_changed: Arc<AtomicBool>) -> Screen<T> {
        Screen { inner, has_changed, answers: Arc::new(Semaphore::new(ANSWERS)) }
    }

    fn answer(&mut self, request: JsonRpcRequest<ServerRequest>) {
        let Ok(permit) = self.answers.clone().try_acquire_owned() else { return };
        let id = request.id;
        let sending = self.inner.send(match request.request {
            ServerRequest::PingRequest(_) => {
                ClientJsonRpcMessage::response(ClientResult::empty(()), id)
            }
            _ => {
                let error = ErrorData::new(ErrorCode::METHOD_NOT_FOUND, "not offered", None);
                ClientJsonRpcMessage::error(error, Some(id))
            }
        });
        tokio::spawn(async move {
            // A server that does not take the answer lacks it, and nobody else does.
            let _ = sending.await;
            drop(permit);
        });
    }
}

impl<T: Transport<RoleClient>> Transport<RoleClient> for Screen<T> {
    type Error = T::Error;

    fn send(
        &mut self,
        message: ClientJsonRpcMessage,
    ) -> impl Future<Output = Result<(), T::Error>> + Send + 'static {
        self.inner.send(message)
    }

    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        loop {
            match self.inner.receive().await? {
                JsonRpcMessage::Request(request) => self.answer(request),
                JsonRpcMessage::Notification(notification) => {
                    if let ServerNotification::ToolListChangedNotification(_) =
                        notification.notification
                    {
                        self.has_changed.store(true, Ordering::Relaxed);
                    }
                }
                JsonRpcMessage::Response(mut response) => {
                    if let ServerResult::InitializeResult(result) = &mut response.result {
                        // What is not used is not kept, and not logged.
                        (result.instructions, result.meta) = (None, None);
                        let own = &mut result.server_info;
                        (own.title, own.description, own.icons, own.website_url) =
                            (None, None, None, None);
                        own.name = own.name.chars().take(MAX_NAME).collect();
                        own.version = own.version.chars().take(MAX_NAME).collect();
                    }
                    return Some(JsonRpcMessage::Response(response));
                }
                error @ JsonRpcMessage::Error(_) => return Some(error),
            }
        }
    }

    fn close(&mut self) -> impl Future<Output = Result<(), T::Error>> + Send {
        self.inner.close()
    }
}
