//! The way out, against servers on loopback that are slow, endless, broken and malicious.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bodies;
mod exchanges;
mod names;
mod redirects;
mod secrets;
mod server;
mod streams;

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use dormouse_base::memory::MemoryBudget;
use dormouse_base::shares::Callers;
use dormouse_domain::egress::EgressPolicy;
use dormouse_domain::id::Principal;
use dormouse_egress::{
    Arrival, Egress, EgressError, EgressOptions, EgressRequest, EgressResponse, EgressStream,
    Followed, Grant, Resolver,
};

/// Says the addresses of names as a test has them: of each the next, and the last for ever.
#[derive(Default)]
struct Names(Mutex<Vec<(String, VecDeque<Vec<IpAddr>>)>>);

impl Names {
    fn of(names: &[(&str, &[&[&str]])]) -> Arc<Names> {
        let parse = |address: &&str| address.parse().unwrap();
        let answer = |addresses: &&[&str]| addresses.iter().map(parse).collect();
        let entry = |(name, answers): &(&str, &[&[&str]])| {
            ((*name).to_owned(), answers.iter().map(answer).collect())
        };
        Arc::new(Names(Mutex::new(names.iter().map(entry).collect())))
    }
}

impl Resolver for Names {
    fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let mut names = self.0.lock().unwrap();
        let known = names.iter_mut().find(|(known, _)| known == name);
        let (_, answers) = known.ok_or(io::ErrorKind::NotFound)?;
        let answer = answers.pop_front().ok_or(io::ErrorKind::NotFound)?;
        if answers.is_empty() {
            answers.push_back(answer.clone());
        }
        Ok(answer)
    }
}

/// A way out, and whose requests go that way.
struct Way {
    egress: Egress,
    memory: MemoryBudget,
    session: EgressPolicy,
}

impl Way {
    /// Everything may be reached that is public, or in these networks.
    fn to(private: &str) -> Way {
        Way::with(private, |_| {})
    }

    fn with(private: &str, change: impl FnOnce(&mut EgressOptions)) -> Way {
        Way::of(&MemoryBudget::new(1 << 30), private, change)
    }

    fn of(memory: &MemoryBudget, private: &str, change: impl FnOnce(&mut EgressOptions)) -> Way {
        let mut options = EgressOptions {
            policy: policy("*:*"),
            private: private.parse().unwrap(),
            ..EgressOptions::default()
        };
        change(&mut options);
        let egress = Egress::new(options, memory, &Callers::several()).unwrap();
        Way { egress, memory: memory.clone(), session: policy("*:*") }
    }

    fn knowing(mut self, names: Arc<dyn Resolver>) -> Way {
        self.egress = self.egress.with_resolver(names);
        self
    }

    async fn send(
        &self,
        request: &EgressRequest,
    ) -> Result<EgressResponse, (EgressError, Arrival)> {
        self.send_for("ann", request).await
    }

    async fn send_for(
        &self,
        principal: &str,
        request: &EgressRequest,
    ) -> Result<EgressResponse, (EgressError, Arrival)> {
        let principal = Principal(principal.to_owned());
        let sent = self.egress.send(&principal, request, &self.session).await;
        sent.map_err(|failure| (failure.error, failure.arrival))
    }

    async fn open(&self, request: &EgressRequest) -> Result<EgressStream, (EgressError, Arrival)> {
        let (principal, grant) = (Principal::local(), Grant::Session(&self.session));
        let opened = self.egress.open(&principal, request, grant).await;
        opened.map_err(|failure| (failure.error, failure.arrival))
    }

    async fn follow(&self, request: EgressRequest) -> Result<Followed, (EgressError, Arrival)> {
        let principal = Principal::local();
        let followed = self.egress.follow(&principal, request, &self.session).await;
        followed.map_err(|failure| (failure.error, failure.arrival))
    }

    /// Why this URL is not fetched.
    async fn problem(&self, url: &str) -> (EgressError, Arrival) {
        let sent = self.send(&get(url)).await;
        sent.err().unwrap_or_else(|| panic!("{url} was fetched"))
    }
}

fn policy(text: &str) -> EgressPolicy {
    text.parse().unwrap()
}

fn get(url: impl Into<String>) -> EgressRequest {
    EgressRequest::new("GET", url)
}

fn text(response: &EgressResponse) -> &str {
    std::str::from_utf8(&response.body).unwrap()
}
