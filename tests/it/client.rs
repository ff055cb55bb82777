//! The Rust client against a real server: what it publishes and receives, what it changes, and how
//! it goes on when the server is stopped and started again.

use std::time::Duration;

use gmq::client::{
    Binding, Client, Delivery, Destination, Error, InFlight, Profile, Published, Reconnect, body,
    payload,
};
use gmq::types::{Content, Message, Pattern, Priority, QueueName, Seq, SettingsPatch};

use crate::harness::{Home, Server};

const SECONDS: Duration = Duration::from_secs(10);

fn name(text: &str) -> QueueName {
    QueueName::new(text).unwrap()
}

fn profile(server: &Server<'_>) -> Profile {
    let mut profile = Profile::load(&server.home.path("client.toml")).unwrap();
    profile.server = server.address.to_string();
    profile
}

async fn connect(server: &Server<'_>) -> Client {
    Client::connect(&profile(server)).await.unwrap()
}

async fn declare(client: &Client, queue: &str, settings: SettingsPatch) -> QueueName {
    let queue = name(queue);
    assert!(client.declare(&queue, &settings, false).await.unwrap(), "{queue} is new");
    queue
}

/// The next one, which must be there.
async fn take(client: &Client, queue: &QueueName) -> Delivery {
    client.pull(queue, 1, SECONDS).await.unwrap().remove(0)
}

/// The code of a refusal.
fn refused<T>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::Refused(error)) => error.code,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("a refusal"),
    }
}

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

#[tokio::test(flavor = "multi_thread")]
async fn a_message_comes_with_what_it_was_published_with() {
    let home = Home::new();
    let server = home.serve();
    let client = connect(&server).await;
    let queue = declare(&client, "q", SettingsPatch::default()).await;
    let message = payload("a")
        .with_priority(Priority::MAX)
        .with_ttl(SECONDS)
        .with_key("k")
        .with_group("g")
        .with_header("h", "1")
        .with_header("h", "2")
        .with_reply_to(&name("r"))
        .with_correlation_id("c");
    client.publish(&queue, payload("low").with_priority(Priority::new(0).unwrap())).await.unwrap();
    client.publish(&queue, payload("late").with_delay(SECONDS)).await.unwrap();
    client.publish(&queue, payload("gone").with_ttl(Duration::from_millis(1))).await.unwrap();
    client.publish(&queue, message).await.unwrap();
    let first = take(&client, &queue).await;
    let message = first.message();
    assert_eq!(message.content, Content::Payload(b"a".as_slice().into()));
    assert_eq!((message.priority, message.topic.as_deref()), (Some(Priority::MAX), None));
    let texts = [&message.key, &message.group, &message.reply_to, &message.correlation_id];
    assert_eq!(texts.map(|text| text.as_deref().unwrap()), ["k", "g", "r", "c"]);
    assert_eq!(message.headers.iter().collect::<Vec<_>>(), [(&"h".into(), &"2".into())]);
    let second = take(&client, &queue).await;
    assert_eq!(second.message().content, Content::Payload(b"low".as_slice().into()));
    let info = client.info(&queue).await.unwrap();
    assert_eq!((info.delayed, info.in_hand, info.expired), (1, 2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn doubles_are_told_one_by_one_and_in_batches() {
    let home = Home::new();
    let server = home.serve();
    let client = connect(&server).await;
    let settings = SettingsPatch { dedup_window_ms: Some(60_000), ..SettingsPatch::default() };
    let queue = declare(&client, "q", settings).await;
    let keyed = |key| payload("a").with_key(key);
    let published = |seq, duplicate| Published { seq: Seq(seq), duplicate };
    assert_eq!(client.publish(&queue, keyed("1")).await.unwrap(), published(1, false));
    assert_eq!(client.publish(&queue, keyed("1")).await.unwrap(), published(1, true));
    let batch = [keyed("2"), keyed("1"), keyed("2"), payload("b")];
    let batch = client.publish_batch(&queue, &batch).await.unwrap();
    let new = batch[0].seq.0;
    let expected = [published(new, false), published(1, true), published(new, true), batch[3]];
    assert_eq!(batch, expected);
    assert!(!batch[3].duplicate && batch[3].seq > batch[0].seq);
    assert_eq!(client.info(&queue).await.unwrap().duplicates, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_bound_published_to_listed_and_unbound() {
    let home = Home::new();
    let server = home.serve();
    let client = connect(&server).await;
    let (a, b) = (
        declare(&client, "a", SettingsPatch::default()).await,
        declare(&client, "b", SettingsPatch::default()).await,
    );
    let pattern = |text| Pattern::new(text).unwrap();
    assert!(client.bind(&pattern("x.#"), &a).await.unwrap());
    assert!(!client.bind(&pattern("x.#"), &a).await.unwrap());
    assert!(client.bind(&pattern("x.*"), &b).await.unwrap());
    let topic = name("x.y");
    assert_eq!(client.publish_topic(&topic, payload("1")).await.unwrap().queues, 2);
    let batch = [payload("2"), payload("3")];
    let routed = client.publish_topic_batch(&name("x"), &batch).await.unwrap();
    assert_eq!(routed.iter().map(|routed| routed.queues).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(client.publish_topic(&name("y"), payload("4")).await.unwrap().queues, 0);
    assert_eq!(take(&client, &b).await.message().topic.as_deref(), Some("x.y"));
    assert_eq!(client.info(&a).await.unwrap().ready, 3);
    let binding = |pattern: &str, queue: &str| Binding {
        pattern: pattern.to_owned(),
        queue: queue.to_owned(),
    };
    let expected = [binding("x.#", "a"), binding("x.*", "b")];
    assert_eq!(client.bindings().await.unwrap(), expected);
    assert!(client.unbind(&pattern("x.*"), &b).await.unwrap());
    assert!(!client.unbind(&pattern("x.*"), &b).await.unwrap());
    assert_eq!(refused(client.bind(&pattern("x"), &name("nowhere")).await), "no_such_queue");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_bindings_than_a_page_has_are_all_listed() {
    let home = Home::new();
    let server = home.serve();
    let client = connect(&server).await;
    let queue = declare(&client, "q", SettingsPatch::default()).await;
    for number in 0..1_001 {
        client.bind(&Pattern::new(&format!("x.{number}")).unwrap(), &queue).await.unwrap();
    }
    assert_eq!(client.bindings().await.unwrap().len(), 1_001);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_say_why_and_go_back_to_work() {
    let home = Home::new();
    let server = home.serve();
    let client = connect(&server).await;
    let dead = declare(&client, "dead", SettingsPatch::default()).await;
    let settings =
        SettingsPatch { dead_letter: Some(Some(dead.clone())), ..SettingsPatch::default() };
    let queue = declare(&client, "q", settings).await;
    client.publish_batch(&queue, &[payload("1"), payload("2")]).await.unwrap();
    // A reason that is too long is cut between letters.
    take(&client, &queue).await.dead_letter(&"ä".repeat(200)).await.unwrap();
    take(&client, &queue).await.dead_letter("bad").await.unwrap();
    let letters = client.peek(&dead, Seq(0), 10).await.unwrap();
    let header = |at: usize, name: &str| letters[at].headers[name].clone();
    assert_eq!(header(0, "gmq-dead-detail"), "ä".repeat(128));
    assert_eq!((&*header(1, "gmq-dead-reason"), &*header(1, "gmq-dead-queue")), ("rejected", "q"));
    let moved = client.move_messages(&dead, &queue, 1).await.unwrap();
    assert_eq!((moved.moved, moved.more), (1, true));
    let moved = client.move_messages(&dead, &queue, 10).await.unwrap();
    assert_eq!((moved.moved, moved.more), (1, false));
    assert!(take(&client, &queue).await.message().headers.is_empty());
    assert_eq!(client.info(&queue).await.unwrap().dead_lettered, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_says_why_nothing_comes() {
    let home = Home::new();
    let server = home.serve();
    let client = connect(&server).await;
    let queue = declare(&client, "q", SettingsPatch::default()).await;
    let codes = || async {
        let findings = client.doctor(&queue).await.unwrap();
        findings.into_iter().map(|finding| finding.code).collect::<Vec<_>>()
    };
    assert!(codes().await.contains(&"empty".to_owned()));
    client.publish_batch(&queue, &[payload("1"), payload("2")]).await.unwrap();
    assert_eq!(codes().await, ["no_consumer"]);
    let mut subscription = client.consume(&queue, 1).await.unwrap();
    subscription.next().await.unwrap().unwrap();
    assert_eq!(codes().await, ["no_credit"]);
}

/// Answers as many questions, each with its own text twice.
async fn answer(client: Client, queue: QueueName, count: usize) {
    let mut questions = client.consume(&queue, 10).await.unwrap();
    for _ in 0..count {
        let question = questions.next().await.unwrap().unwrap();
        let Content::Payload(text) = &question.message().content else { panic!("a payload") };
        assert!(question.reply(payload([&text[..], text].concat())).await.unwrap());
        question.ack().await.unwrap();
    }
}

/// A question, and what was answered.
async fn ask(client: &Client, to: impl Into<Destination>, text: &str) -> Result<String, Error> {
    let Content::Payload(answer) = client.request(to, payload(text), SECONDS).await?.content else {
        panic!("a payload")
    };
    Ok(String::from_utf8(answer.into()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_get_their_own_answers_over_one_reply_queue() {
    let home = Home::new();
    let server = home.serve();
    let (client, worker) = (connect(&server).await, connect(&server).await);
    let queue = declare(&worker, "questions", SettingsPatch::default()).await;
    worker.bind(&Pattern::new("ask.#").unwrap(), &queue).await.unwrap();
    tokio::spawn(answer(worker.clone(), queue.clone(), 21));
    let asked: Vec<_> = (0..20)
        .map(|number| {
            let (client, queue) = (client.clone(), queue.clone());
            tokio::spawn(async move { ask(&client, &queue, &number.to_string()).await })
        })
        .collect();
    for (number, asked) in asked.into_iter().enumerate() {
        assert_eq!(asked.await.unwrap().unwrap(), format!("{number}{number}"));
    }
    let topic = Destination::Topic(name("ask.one"));
    assert_eq!(ask(&client, topic, "x").await.unwrap(), "xx");
    let replies = Pattern::new("reply.#").unwrap();
    let queues = client.queues(Some(&replies)).await.unwrap();
    assert_eq!(queues.len(), 1);
    assert!(worker.queues(Some(&replies)).await.unwrap().is_empty(), "they are the client's own");
    let stranger = name(&queues[0].queue);
    assert_eq!(refused(worker.pull(&stranger, 1, Duration::ZERO).await), "forbidden");
    assert_eq!(refused(worker.delete(&stranger, false).await), "forbidden");
    let nobody = ask(&client, Destination::Topic(name("nobody")), "x").await;
    assert!(matches!(nobody, Err(Error::NotRouted { topic }) if topic == "nobody"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_an_answer_ends_in_time_and_a_late_answer_is_nobodys() {
    let home = Home::new();
    let server = home.serve();
    let (client, worker) = (connect(&server).await, connect(&server).await);
    let queue = declare(&client, "questions", SettingsPatch::default()).await;
    let none = client.request(&queue, payload("1"), Duration::from_millis(100)).await;
    let Err(error @ Error::NoAnswer { .. }) = none else { panic!("no answer") };
    assert!(error.to_string().contains("\"questions\" within 100ms"), "{error}");
    let late = take(&worker, &queue).await;
    let asked = tokio::spawn({
        let (client, queue) = (client.clone(), queue.clone());
        async move { ask(&client, &queue, "2").await }
    });
    let question = take(&worker, &queue).await;
    assert!(late.reply(payload("late")).await.unwrap());
    assert!(question.reply(payload("in time")).await.unwrap());
    assert_eq!(asked.await.unwrap().unwrap(), "in time");
    let no_question: Message = payload("3");
    client.publish(&queue, no_question).await.unwrap();
    let delivery = take(&worker, &queue).await;
    assert!(matches!(delivery.reply(payload("?")).await, Err(Error::NoReplyTo { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_somebody_who_has_gone_is_told() {
    let home = Home::new();
    home.add_user("worker", "a good password", &["consume:questions", "publish:reply.#"]);
    let server = home.serve();
    let client = connect(&server).await;
    let mut profile = profile(&server);
    profile.user = gmq::types::UserName::new("worker").unwrap();
    profile.password = Some("a good password".to_owned().into());
    let worker = Client::connect(&profile).await.unwrap();
    let queue = declare(&client, "questions", SettingsPatch::default()).await;
    let asked = client.request(&queue, payload("1"), Duration::from_millis(50)).await;
    assert!(matches!(asked, Err(Error::NoAnswer { .. })));
    let question = take(&worker, &queue).await;
    assert!(question.reply(payload("too late, but its queue is there")).await.unwrap());
    client.close();
    while question.reply(payload("nobody is there")).await.unwrap() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    question.ack().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_on_over_a_new_connection_with_a_new_reply_queue() {
    let home = Home::new();
    let server = home.serve();
    let address = server.address.to_string();
    let client = Client::connect_with(&profile(&server), reconnect()).await.unwrap();
    let worker = Client::connect_with(&profile(&server), reconnect()).await.unwrap();
    let queue = declare(&worker, "questions", SettingsPatch::default()).await;
    tokio::spawn(answer(worker.clone(), queue.clone(), 1));
    assert_eq!(ask(&client, &queue, "1").await.unwrap(), "11");
    // This one is waiting when the connection ends.
    let waiting = tokio::spawn({
        let (client, queue) = (client.clone(), queue.clone());
        async move { ask(&client, &queue, "2").await }
    });
    while client.info(&queue).await.unwrap().published < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(server);
    assert!(matches!(waiting.await.unwrap(), Err(Error::Lost(_))));
    let server = home.serve_at(&address);
    worker.purge(&queue).await.unwrap();
    tokio::spawn(answer(worker.clone(), queue.clone(), 1));
    assert_eq!(ask(&client, &queue, "3").await.unwrap(), "33");
    let replies = client.queues(Some(&Pattern::new("reply.#").unwrap())).await.unwrap();
    assert_eq!(replies.len(), 1);
    drop(server);
}
