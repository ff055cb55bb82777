//! What a run found: a table for people with the distribution of latencies, or JSON.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::json;
use tokio::time::Instant;

use super::Load;
use crate::cli::Outcome;
use crate::cli::output::OutputFormat;

/// Latencies up to this are told apart. Unit: µs (an hour).
const LATENCY_US_MAX: u64 = 3_600_000_000;

/// What one task, or all of them, measured.
pub(super) struct Recorder {
    latencies_us: Histogram<u64>,
    start: Instant,
    end: Instant,
}

impl Recorder {
    pub fn new() -> Outcome<Self> {
        let now = Instant::now();
        let latencies_us = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)?;
        Ok(Self { latencies_us, start: now, end: now })
    }

    /// Something that was meant to begin at `since` is done now.
    pub fn done(&mut self, since: Instant) {
        self.end = Instant::now();
        self.record(self.end - since);
    }

    /// Something took so long.
    pub fn record(&mut self, latency: Duration) {
        let latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latencies_us.saturating_record(latency_us.max(1));
    }

    /// The run ended now.
    pub fn ended(&mut self) {
        self.end = Instant::now();
    }

    pub fn add(&mut self, other: &Self) -> Outcome {
        self.latencies_us.add(&other.latencies_us)?;
        self.start = self.start.min(other.start);
        self.end = self.end.max(other.end);
        Ok(())
    }

    fn seconds(&self) -> f64 {
        (self.end - self.start).as_secs_f64().max(1e-6)
    }
}

pub(super) fn print(name: &str, load: &Load, recorder: &Recorder) -> Outcome {
    let histogram = &recorder.latencies_us;
    let messages = histogram.len();
    let rate = messages as f64 / recorder.seconds();
    let megabytes = rate * load.size.as_u64() as f64 / 1e6;
    let milliseconds = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1e3;
    if load.output.unwrap_or_default() == OutputFormat::Json {
        let result = json!({
            "bench": name,
            "connections": load.connections,
            "in_flight": load.in_flight,
            "size_bytes": load.size.as_u64(),
            "rate": load.rate,
            "seconds": recorder.seconds(),
            "messages": messages,
            "messages_per_second": rate,
            "megabytes_per_second": megabytes,
            "latency_ms": {
                "p50": milliseconds(0.5), "p99": milliseconds(0.99),
                "p99.9": milliseconds(0.999), "max": milliseconds(1.0),
            },
        });
        println!("{}", serde_json::to_string_pretty(&result)?);
        return Ok(());
    }
    println!("{name}: {messages} in {:.2} s", recorder.seconds());
    println!("  {rate:>12.0} messages/s   {megabytes:>9.1} MB/s");
    for (label, quantile) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)] {
        println!("  {label:>12} {:>10.3} ms", milliseconds(quantile));
    }
    plot(histogram);
    Ok(())
}

/// Widest bar. Unit: characters.
const BAR: f64 = 48.0;

/// How many latencies lie in each range that is twice as wide as the one before.
fn plot(histogram: &Histogram<u64>) {
    let rows: Vec<(u64, u64)> = histogram
        .iter_log(1, 2.0)
        .map(|range| (range.value_iterated_to(), range.count_since_last_iteration()))
        .filter(|(_, count)| *count > 0)
        .collect();
    let most = rows.iter().map(|(_, count)| *count).max().unwrap_or(1);
    println!("\n  latency up to        count");
    for (up_to_us, count) in rows {
        let bar = "█".repeat((count as f64 / most as f64 * BAR).ceil() as usize);
        println!("  {:>10.3} ms {count:>10} {bar}", (up_to_us + 1) as f64 / 1e3);
    }
}
