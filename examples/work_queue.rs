//! A work queue: what fails is tried again, and what cannot be done ends among the dead letters,
//! with the reason, where a person looks at it.
//!
//!     cargo run --example work_queue -- gmq-quickstart/client.toml

use std::time::Duration;

use gmq::client::{Client, Delivery, Profile, payload};
use gmq::types::{Content, QueueName, SettingsPatch};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> Result<()> {
    let path = std::env::args().nth(1).ok_or("give the path of a client profile")?;
    let client = Client::connect(&Profile::load(path.as_ref())?).await?;
    let (mails, dead) = (QueueName::new("mails")?, QueueName::new("mails.dead")?);
    client.declare(&dead, &SettingsPatch::default(), false).await?;
    let settings = SettingsPatch {
        max_attempts: Some(Some(3)),
        dead_letter: Some(Some(dead.clone())),
        ..SettingsPatch::default()
    };
    client.declare(&mails, &settings, false).await?;
    let letters = ["ann", "busy", "down", "nobody"].map(payload);
    client.publish_batch(&mails, &letters).await?;
    work(&client, &mails).await?;
    for delivery in client.pull(&dead, 10, Duration::from_secs(10)).await? {
        let headers = &delivery.message().headers;
        let detail = headers.get("gmq-dead-detail").map_or("no detail", String::as_str);
        println!("dead: {}, {}, {detail}", text(&delivery), headers["gmq-dead-reason"]);
        delivery.ack().await?;
    }
    client.close();
    Ok(())
}

/// Until there is nothing to do for a second.
async fn work(client: &Client, mails: &QueueName) -> Result<()> {
    let mut letters = client.consume(mails, 10).await?;
    let patience = Duration::from_secs(1);
    while let Ok(Some(delivery)) = tokio::time::timeout(patience, letters.next()).await {
        let delivery = delivery?;
        let attempt = delivery.message().attempt;
        match send(&text(&delivery), attempt) {
            Outcome::Sent => {
                println!("sent to {}, attempt {attempt}", text(&delivery));
                delivery.ack().await?;
            }
            // Later: whatever is wrong with the other side needs time.
            Outcome::Later => delivery.nack(Duration::from_millis(100)).await?,
            // No attempt will help, so none is wasted.
            Outcome::Never(reason) => delivery.dead_letter(reason).await?,
        }
    }
    Ok(letters.cancel().await?)
}

enum Outcome {
    Sent,
    Later,
    Never(&'static str),
}

/// What the other side might say.
fn send(recipient: &str, attempt: u32) -> Outcome {
    match recipient {
        "nobody" => Outcome::Never("there is no such mailbox"),
        "down" => Outcome::Later,
        "busy" if attempt < 2 => Outcome::Later,
        _ => Outcome::Sent,
    }
}

fn text(delivery: &Delivery) -> String {
    match &delivery.message().content {
        Content::Payload(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Content::Body(text) => text.to_string(),
    }
}
