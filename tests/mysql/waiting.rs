//! Waiting for what must happen, however busy the machine is.

use std::time::{Duration, Instant};

use gmq::client::{Client, Profile};
use gmq::torture::load::Load;

/// Longer than anything here takes, on a busy machine too.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until a publish is confirmed that was not before `since`. Answers how long that took.
pub async fn confirmed_after(load: &Load, since: Instant) -> Duration {
    loop {
        if let Some(at) = load.last_confirmed().filter(|at| *at > since) {
            return at - since;
        }
        load.check().unwrap();
        assert!(since.elapsed() < PATIENCE, "nothing is confirmed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Connects as soon as a server serves.
pub async fn reached(profile: &Profile) -> Client {
    let until = Instant::now() + PATIENCE;
    loop {
        match Client::connect(profile).await {
            Ok(client) => return client,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
