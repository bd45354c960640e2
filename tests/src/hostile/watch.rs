//! What the process of a host takes, while something is done to it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::Client;

/// How often one looks.
const OFTEN: Duration = Duration::from_millis(50);

/// Looks at a process again and again.
pub struct Watch {
    client: Client,
    pid: u32,
}

/// The most that it has taken, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Most {
    /// Memory of the process.
    pub resident: u64,
    /// What is charged to the budget.
    pub charged: u64,
    /// What free places keep for the next instances, which nobody is charged for.
    pub kept: u64,
    /// Commits of the store that are not applied yet, which nobody is charged for either.
    pub overlay: u64,
}

impl Watch {
    /// Of this process, whose metrics this client reads.
    #[must_use]
    pub fn new(client: Client, pid: u32) -> Watch {
        Watch { client, pid }
    }

    /// Look for so long.
    ///
    /// # Errors
    /// Where the process is gone, or does not tell its metrics.
    pub async fn look(&self, time: Duration) -> Result<Most> {
        let (begun, mut most) = (Instant::now(), self.now().await?);
        while begun.elapsed() < time {
            tokio::time::sleep(OFTEN).await;
            let now = self.now().await?;
            most.resident = most.resident.max(now.resident);
            most.charged = most.charged.max(now.charged);
            most.kept = most.kept.max(now.kept);
            most.overlay = most.overlay.max(now.overlay);
        }
        Ok(most)
    }

    /// Look once.
    ///
    /// # Errors
    /// As for [`look`](Watch::look).
    pub async fn now(&self) -> Result<Most> {
        let metrics = self.metrics().await?;
        let metric = |name: &str| {
            let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            let value: f64 = value.with_context(|| name.to_owned())?.trim().parse()?;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes")]
            anyhow::Ok(value as u64)
        };
        Ok(Most {
            resident: resident_bytes(self.pid)?,
            charged: metric("dormouse_memory_used_bytes")?,
            kept: metric("dormouse_memory_kept_bytes")?,
            overlay: metric("dormouse_store_overlay_bytes")?,
        })
    }

    /// The page of metrics, each time on a connection of its own. Where that has to give way to others
    /// before the host has read the request, another one is made.
    async fn metrics(&self) -> Result<String> {
        let request = || {
            let request = self.client.request(reqwest::Method::GET, "/metrics");
            request.header("connection", "close").timeout(METRICS_TIMEOUT).send()
        };
        let mut tries = 1;
        let answer = loop {
            match request().await {
                Err(_) if tries < TRIES => tries += 1,
                answer => break answer?,
            }
        };
        Ok(answer.error_for_status()?.text().await?)
    }
}

/// How often metrics are asked for until they are told.
const TRIES: u32 = 10;

/// How long a host may take to tell its metrics.
const METRICS_TIMEOUT: Duration = Duration::from_secs(20);

/// Bytes of memory that a process takes.
///
/// # Errors
/// Where there is no such process.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    let kibibytes = line.split_whitespace().nth(1).context("no figure")?.parse::<u64>()?;
    Ok(kibibytes << 10)
}
