//! An effect that happens exactly once. Over a network a publish may be sent twice, and a message
//! delivered twice; what follows from it happens once all the same, with two numbers: the `key`
//! tells doubles, and the `fence` tells a worker that is too late.
//!
//!     cargo run --example exactly_once -- gmq-quickstart/client.toml

use std::collections::HashMap;
use std::time::Duration;

use gmq::client::{Client, Delivery, Profile, body};
use gmq::types::{QueueName, SettingsPatch};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The system downstream, such as a database: it changes its money and what it remembers of a
/// payment in one step.
#[derive(Default)]
struct Bank {
    balance: u64,
    payments: HashMap<String, Payment>,
}

#[derive(Default)]
struct Payment {
    /// Of the latest delivery that somebody works on.
    fence: u64,
    is_done: bool,
}

impl Bank {
    /// A worker begins; whether there is something to do.
    fn begin(&mut self, key: &str, fence: u64) -> bool {
        let payment = self.payments.entry(key.to_owned()).or_default();
        payment.fence = payment.fence.max(fence);
        !payment.is_done
    }

    /// A worker pays; whether it may still.
    fn pay(&mut self, key: &str, fence: u64, amount: u64) -> bool {
        let payment = self.payments.entry(key.to_owned()).or_default();
        if payment.is_done || fence < payment.fence {
            return false;
        }
        payment.is_done = true;
        self.balance += amount;
        true
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let path = std::env::args().nth(1).ok_or("give the path of a client profile")?;
    let client = Client::connect(&Profile::load(path.as_ref())?).await?;
    let payments = QueueName::new("payments")?;
    // So short a lease only to show what happens to a worker that is slow.
    let settings = SettingsPatch {
        dedup_window_ms: Some(3_600_000),
        ack_timeout_ms: Some(200),
        ..SettingsPatch::default()
    };
    client.declare(&payments, &settings, true).await?;
    // A number that the order has anyway; here one that is new each time the program runs.
    let key = format!("payment-{}", std::process::id());
    for _ in 0..2 {
        let message = body("{\"amount\":100}").ok_or("not JSON")?.with_key(&key);
        let published = client.publish(&payments, message).await?;
        println!("published, duplicate: {}", published.duplicate);
    }
    let mut bank = Bank::default();
    let slow = take(&client, &payments).await?;
    println!("the first worker begins: {}", bank.begin(&key, fence(&slow)));
    // It hangs; its lease runs out, and the message comes to another one.
    let second = take(&client, &payments).await?;
    println!("the second worker begins: {}", bank.begin(&key, fence(&second)));
    println!("the first worker pays: {}", bank.pay(&key, fence(&slow), 100));
    println!("the second worker pays: {}", bank.pay(&key, fence(&second), 100));
    // It dies before it acknowledges: the message comes once more.
    let third = take(&client, &payments).await?;
    println!("the third worker begins: {}", bank.begin(&key, fence(&third)));
    third.ack().await?;
    println!("the balance is {}", bank.balance);
    client.close();
    Ok(())
}

async fn take(client: &Client, queue: &QueueName) -> Result<Delivery> {
    let taken = client.pull(queue, 1, Duration::from_secs(10)).await?;
    Ok(taken.into_iter().next().ok_or("nothing came")?)
}

fn fence(delivery: &Delivery) -> u64 {
    delivery.message().fence.0
}
