//! Work that would hold up the threads which serve connections: it is done on others, a few pieces at a time.

use tokio::sync::Semaphore;

/// How many pieces of work are done at a time, in all of the process. Each takes milliseconds for each MiB of its
/// request.
const AT_A_TIME: usize = 4;

static PLACES: Semaphore = Semaphore::const_new(AT_A_TIME);

/// Do this where it holds nobody up. The place is taken until the work is done, also where nobody waits for it any
/// more. A panic of the work is one of whoever waits for it.
pub(crate) async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    // It is never closed.
    let place = PLACES.acquire().await.ok();
    let done = tokio::task::spawn_blocking(move || {
        let done = work();
        drop(place);
        done
    });
    match done.await.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        // The runtime shuts down, and ends whoever waits here.
        Err(Err(_)) => std::future::pending().await,
    }
}
