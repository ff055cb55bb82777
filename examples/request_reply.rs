//! Asks a question over one queue and takes the answer from another: `reply_to` says where to, and
//! `correlation_id` which question it answers.
//!
//!     cargo run --example request_reply -- gmq-quickstart/client.toml

use std::time::Duration;

use gmq::client::{Client, Profile, body};
use gmq::types::{Content, Message, Properties, QueueName};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> Result<()> {
    let path = std::env::args().nth(1).ok_or("give the path of a client profile")?;
    let client = Client::connect(&Profile::load(path.as_ref())?).await?;
    let (questions, answers) = (QueueName::new("questions")?, QueueName::new("answers.web-1")?);
    client.publish(&questions, question(&answers)?).await?;
    answer_one(&client, &questions).await?;
    let taken = client.pull(&answers, 1, Duration::from_secs(10)).await?;
    for delivery in &taken {
        let message = delivery.message();
        println!("{:?} answers {:?}", message.content, message.correlation_id);
        delivery.ack().await?;
    }
    client.close();
    Ok(())
}

fn question(reply_to: &QueueName) -> Result<Message> {
    let mut message = body("{\"double\":21}").ok_or("not JSON")?;
    message.properties = Some(Box::new(Properties {
        reply_to: Some(reply_to.clone()),
        correlation_id: Some("question-1".into()),
        ..Properties::default()
    }));
    Ok(message)
}

/// The other side: takes a question and answers it where the question says.
async fn answer_one(client: &Client, questions: &QueueName) -> Result<()> {
    for delivery in client.pull(questions, 1, Duration::from_secs(10)).await? {
        let question = delivery.message();
        let Content::Body(text) = &question.content else { continue };
        let asked: serde_json::Value = serde_json::from_str(text)?;
        let doubled = asked["double"].as_i64().unwrap_or(0) * 2;
        let mut answer = body(&doubled.to_string()).ok_or("not JSON")?;
        answer.properties = Some(Box::new(Properties {
            correlation_id: question.correlation_id.as_deref().map(Into::into),
            ..Properties::default()
        }));
        let reply_to = question.reply_to.as_deref().ok_or("a question without reply_to")?;
        client.publish(&QueueName::new(reply_to)?, answer).await?;
        // Only now: a worker that dies before has answered nothing, and another one will.
        delivery.ack().await?;
    }
    Ok(())
}
