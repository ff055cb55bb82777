//! Works on orders until there are none for a second. What fails goes back to the queue, and what
//! is in hand when the worker dies does so by itself.
//!
//!     cargo run --example worker -- gmq-quickstart/client.toml

use std::time::Duration;

use gmq::client::{Client, Delivery, Profile, Reconnect};
use gmq::types::{Content, QueueName};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("give the path of a client profile")?;
    let profile = Profile::load(path.as_ref())?;
    let client = Client::connect_with(&profile, Reconnect::default()).await?;
    let mut orders = client.consume(&QueueName::new("orders")?, 10).await?;
    let patience = Duration::from_secs(1);
    while let Ok(Some(delivery)) = tokio::time::timeout(patience, orders.next()).await {
        let delivery = delivery?;
        match work(&delivery) {
            Ok(()) => delivery.ack().await?,
            Err(_) => delivery.nack(Duration::from_secs(5)).await?,
        }
    }
    client.close();
    Ok(())
}

fn work(delivery: &Delivery) -> Result<(), std::io::Error> {
    let message = delivery.message();
    match &message.content {
        Content::Body(text) => println!("attempt {} of {text}", message.attempt),
        Content::Payload(bytes) => println!("attempt {} of {} bytes", message.attempt, bytes.len()),
    }
    Ok(())
}
