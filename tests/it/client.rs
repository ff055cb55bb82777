//! The Rust client against a server that is stopped and started again.

use std::time::Duration;

use gmq::client::{Client, Error, InFlight, Profile, Reconnect, body};
use gmq::types::{Content, QueueName};

use crate::harness::Home;

fn reconnect() -> Reconnect {
    Reconnect {
        in_flight: InFlight::Resend,
        pause_min: Duration::from_millis(10),
        pause_max: Duration::from_millis(50),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_survives_a_restart_and_its_consumers_go_on() {
    let home = Home::new();
    let server = home.serve();
    let address = server.address.to_string();
    let mut profile = Profile::load(&home.path("client.toml")).unwrap();
    // The first address never answers.
    profile.server = format!("127.0.0.1:1, {address}");
    let client = Client::connect_with(&profile, reconnect()).await.unwrap();
    let queue = QueueName::new("q").unwrap();
    client.publish(&queue, body("1").unwrap()).await.unwrap();
    let mut subscription = client.consume(&queue, 10).await.unwrap();
    let old = subscription.next().await.unwrap().unwrap();
    drop(server);
    let server = home.serve_at(&address);
    // What was in hand comes again, and the old delivery of it is worth nothing.
    let again = subscription.next().await.unwrap().unwrap();
    assert_eq!(again.message().seq, old.message().seq);
    assert!(matches!(old.ack().await, Err(Error::Returned)));
    again.ack().await.unwrap();
    client.publish(&queue, body("2").unwrap()).await.unwrap();
    let delivery = subscription.next().await.unwrap().unwrap();
    assert_eq!(delivery.message().content, Content::Body("2".into()));
    delivery.ack().await.unwrap();
    home.admin(&["user", "disable", "admin"], "");
    let end = subscription.next().await;
    assert!(matches!(end, Some(Err(Error::Closed(code))) if code == "revoked"));
    drop(server);
}
