//! Topics: whoever publishes does not know who listens. Each queue with a binding that matches gets
//! a copy of its own, and its workers share that.
//!
//!     cargo run --example fan_out -- gmq-quickstart/client.toml

use std::time::Duration;

use gmq::client::{Client, Profile, payload};
use gmq::types::{Content, Pattern, QueueName, SettingsPatch};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("give the path of a client profile")?;
    let client = Client::connect(&Profile::load(path.as_ref())?).await?;
    let listeners = [
        ("fan-out.mails", "shop.*.created"),
        ("fan-out.stock-eu", "shop.eu.#"),
        ("fan-out.archive", "shop.#"),
    ];
    for (queue, pattern) in listeners {
        let queue = QueueName::new(queue)?;
        client.declare(&queue, &SettingsPatch::default(), false).await?;
        // Twice the same is once: a program binds whenever it starts.
        client.bind(&Pattern::new(pattern)?, &queue).await?;
    }
    for topic in ["shop.eu.created", "shop.us.created", "shop.eu.paid", "elsewhere"] {
        let routed = client.publish_topic(&QueueName::new(topic)?, payload("order 7")).await?;
        println!("{topic}: {} queues", routed.queues);
    }
    for (queue, _) in listeners {
        for delivery in client.pull(&QueueName::new(queue)?, 10, Duration::ZERO).await? {
            let message = delivery.message();
            let Content::Payload(bytes) = &message.content else { continue };
            let topic = message.topic.as_deref().unwrap_or("no topic");
            println!("{queue} got {} of {topic}", String::from_utf8_lossy(bytes));
            delivery.ack().await?;
        }
    }
    client.close();
    Ok(())
}
