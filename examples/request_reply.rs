//! Asks questions and waits for their answers. The client makes a reply queue of its own for them;
//! a question that nobody answers is an error after its time.
//!
//!     cargo run --example request_reply -- gmq-quickstart/client.toml

use std::time::Duration;

use gmq::client::{Client, Error, Profile, Reconnect, Subscription, body};
use gmq::types::{Content, Message, QueueName, SettingsPatch};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("give the path of a client profile")?;
    let profile = Profile::load(path.as_ref())?;
    let questions = QueueName::new("questions")?;
    let worker = Client::connect(&profile).await?;
    worker.declare(&questions, &SettingsPatch::default(), false).await?;
    let answering = tokio::spawn(answer(worker.consume(&questions, 10).await?));
    // After a lost connection it goes on with another reply queue.
    let client = Client::connect_with(&profile, Reconnect::default()).await?;
    for number in [1, 21] {
        let question = body(&format!("{{\"double\":{number}}}")).ok_or("not JSON")?;
        let answer = client.request(&questions, question, Duration::from_secs(10)).await?;
        println!("twice {number}: {:?}", answer.content);
    }
    worker.close();
    client.close();
    // It ends with the worker's connection.
    let _ = answering.await;
    let late = Client::connect(&profile).await?;
    let question = body("{\"double\":4}").ok_or("not JSON")?;
    if let Err(error) = late.request(&questions, question, Duration::from_millis(200)).await {
        println!("{error}");
    }
    late.purge(&questions).await?;
    late.close();
    Ok(())
}

/// The other side: takes questions and answers each where it says.
async fn answer(mut questions: Subscription) -> Result<(), Error> {
    while let Some(question) = questions.next().await {
        let question = question?;
        match doubled(&question.message().content) {
            Some(answer) => {
                question.reply(answer).await?;
                // Only now: a worker that dies before has answered nothing, and another one will.
                question.ack().await?;
            }
            None => question.dead_letter("no number to double").await?,
        }
    }
    Ok(())
}

fn doubled(question: &Content) -> Option<Message> {
    let Content::Body(text) = question else { return None };
    let asked: serde_json::Value = serde_json::from_str(text).ok()?;
    body(&(asked["double"].as_i64()? * 2).to_string())
}
