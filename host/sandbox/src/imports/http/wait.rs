//! Where a guest waits for exchanges, the world of its call decides what it learns: one wait is one effect.
//!
//! Nothing else tells a guest how far an exchange is. So a guest whose turn is run again, and which waits as before, sees
//! what it saw; and a guest that never waits has sent nothing.

use wasmtime::StoreContextMut;

use super::super::effect;
use super::super::price;
use super::exchanges::View;
use crate::fuel::charge;
use crate::guest::Guest;
use dormouse_domain::effect::{Effect, EffectAnswer};
use dormouse_domain::http::{HttpAnswer, HttpNews, HttpResponse, HttpWait};

/// Wait until one of these pollables is ready, or only look which are. Answers with their places in the list. `None`:
/// there is no exchange among them that is under way or over, and so nothing of this is about them.
pub(in crate::imports) async fn wait(
    store: &mut StoreContextMut<'_, Guest>,
    pollables: &[u32],
    is_look: bool,
) -> wasmtime::Result<Option<Vec<u32>>> {
    loop {
        let View { over, pending, unfinished, times, ready } =
            store.data_mut().http.look(pollables);
        if !over.is_empty() {
            return Ok(Some(merged([over, ready])));
        }
        if pending == 0 {
            let is_all = unfinished.len() == pollables.len() && !is_look;
            if !is_all || unfinished.is_empty() {
                return Ok(None);
            }
            store.data_mut().http.refuse_unfinished(&unfinished);
            continue;
        }
        let is_look = is_look || !ready.is_empty();
        let wait = store.data_mut().http.leave(times, is_look);
        if wait.send.is_empty() && !store.data_mut().http.is_under_way() {
            // What was waited for is refused.
            continue;
        }
        let news = ask(store, wait).await?;
        let come = news.times.clone();
        store.data_mut().http.take(news)?;
        store.data_mut().pay_for_kept()?;
        let over = store.data_mut().http.look(pollables).over;
        let places = merged([over, come, ready]);
        if is_look || !places.is_empty() {
            return Ok(Some(places));
        }
    }
}

async fn ask(store: &mut StoreContextMut<'_, Guest>, wait: HttpWait) -> wasmtime::Result<HttpNews> {
    let sent: u64 = wait.send.iter().map(|(_, request)| request.size()).sum();
    let requests = price::of(wait.send.len(), price::REQUEST);
    charge(store, requests.saturating_add(sent.saturating_mul(price::BYTE))).await?;
    let EffectAnswer::Http(news) = effect::ask(store, Effect::Http(wait)).await? else {
        return Err(effect::wrong_answer());
    };
    let size = |(_, answer): &(u32, HttpAnswer)| answer.as_ref().map_or(0, HttpResponse::size);
    let received: u64 = news.ended.iter().map(size).sum();
    charge(store, received.saturating_mul(price::BYTE)).await?;
    for (_, answer) in &news.ended {
        if let Err(error) = answer {
            // What a guest is told is a word at most; what to do about it is for its author.
            store.data_mut().log.lock().warn(format!("HTTP: {error}"));
        }
    }
    Ok(news)
}

/// These places, in order.
fn merged<const N: usize>(lists: [Vec<u32>; N]) -> Vec<u32> {
    let mut places = lists.concat();
    places.sort_unstable();
    places
}
