//! Publishes ten orders, pipelined, and waits for every confirm.
//!
//!     cargo run --example publisher -- gmq-quickstart/client.toml

use gmq::client::{Client, InFlight, Profile, Reconnect, body};
use gmq::types::QueueName;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("give the path of a client profile")?;
    let profile = Profile::load(path.as_ref())?;
    // Sent again after a lost connection: each order is taken at least once, maybe twice.
    let reconnect = Reconnect { in_flight: InFlight::Resend, ..Reconnect::default() };
    let client = Client::connect_with(&profile, reconnect).await?;
    let orders = QueueName::new("orders")?;
    let mut confirms = Vec::new();
    for number in 0..10 {
        let order = body(&format!("{{\"order\":{number}}}")).ok_or("not JSON")?;
        confirms.push(client.publish_pipelined(&orders, &order, None).await?);
    }
    for confirm in confirms {
        println!("confirmed, seq {}", confirm.await?.seq);
    }
    client.close();
    Ok(())
}
