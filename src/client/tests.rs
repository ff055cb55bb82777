//! The client against a server that speaks by hand, over a pipe.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};

use super::*;
use crate::protocol::frame::FrameReader;
use crate::types::Seq;

fn pair() -> (Client, BufReader<DuplexStream>) {
    let client = Client::new(false);
    let server = stream(&client);
    (client, server)
}

/// Puts a stream under the client; its end is the end of the connection.
fn stream(client: &Client) -> BufReader<DuplexStream> {
    stream_with(client, Silence::default())
}

fn stream_with(client: &Client, silence: Silence) -> BufReader<DuplexStream> {
    let (near, far) = tokio::io::duplex(1 << 20);
    let connection = Arc::clone(&client.connection);
    tokio::spawn(async move {
        let error = link::run(&connection, near, FrameReader::new(1 << 20), silence).await;
        connection.end(&error);
    });
    BufReader::new(far)
}

async fn line(server: &mut BufReader<DuplexStream>) -> serde_json::Value {
    let mut line = String::new();
    server.read_line(&mut line).await.unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

async fn say(server: &mut BufReader<DuplexStream>, line: &str) {
    server.get_mut().write_all(format!("{line}\n").as_bytes()).await.unwrap();
}

fn queue() -> QueueName {
    QueueName::new("q").unwrap()
}

#[tokio::test]
async fn publishes_are_sent_in_order_and_confirmed_in_any() {
    let (client, mut server) = pair();
    let first = client.publish_pipelined(&queue(), &payload("a"), None).await.unwrap();
    let second = client.publish_pipelined(&queue(), &payload("b"), None).await.unwrap();
    assert_eq!(line(&mut server).await["payload"], "YQ==");
    assert_eq!(line(&mut server).await["payload"], "Yg==");
    say(&mut server, r#"{"id":2,"ok":true,"seq":20}"#).await;
    say(&mut server, r#"{"id":1,"ok":true,"seq":10}"#).await;
    let seqs = (first.await.unwrap().seq, second.await.unwrap().seq);
    assert_eq!(seqs, (Seq(10), Seq(20)));
}

#[tokio::test]
async fn a_refusal_is_an_error_with_its_code() {
    let (client, mut server) = pair();
    let info = tokio::spawn(async move { client.info(&queue()).await });
    line(&mut server).await;
    say(&mut server, r#"{"id":1,"ok":false,"error":{"code":"no_such_queue","message":"m"}}"#).await;
    let Err(Error::Refused(error)) = info.await.unwrap() else { panic!("a refusal") };
    assert_eq!(error.code, "no_such_queue");
}

#[tokio::test]
async fn a_subscription_gets_its_messages_from_the_first() {
    let (client, mut server) = pair();
    let consumer = tokio::spawn({
        let client = client.clone();
        async move { client.consume(&queue(), 5).await }
    });
    assert_eq!(line(&mut server).await["prefetch"], 5);
    let message = r#"{"event":"message","sub":1,"queue":"q","tag":9,"seq":1,"fence":1,"attempt":1,"published_at":1,"body":1}"#;
    say(&mut server, &format!("{{\"id\":1,\"ok\":true,\"sub\":1}}\n{message}")).await;
    let mut subscription = consumer.await.unwrap().unwrap();
    let delivery = subscription.next().await.unwrap().unwrap();
    assert_eq!(delivery.message().tag, Tag(9));
    let acked = tokio::spawn(async move { delivery.ack().await });
    let ack = line(&mut server).await;
    assert_eq!((&ack["op"], &ack["tags"]), (&"ack".into(), &serde_json::json!([9])));
    say(&mut server, r#"{"id":2,"ok":true,"acked":1}"#).await;
    acked.await.unwrap().unwrap();
    say(&mut server, r#"{"event":"cancelled","sub":1,"reason":"queue_deleted"}"#).await;
    assert!(matches!(subscription.next().await, Some(Err(Error::Closed(_)))));
    assert!(subscription.next().await.is_none());
}

#[tokio::test]
async fn the_end_is_told_to_everybody_who_waits_and_to_who_comes_after() {
    let (client, mut server) = pair();
    let waiting = client.publish_pipelined(&queue(), &payload("a"), None).await.unwrap();
    line(&mut server).await;
    say(&mut server, r#"{"event":"closing","code":"revoked"}"#).await;
    let Err(Error::Closed(code)) = waiting.await else { panic!("closed") };
    assert_eq!(code, "revoked");
    assert!(matches!(client.ping().await, Err(Error::Closed(_))));
}

#[tokio::test]
async fn what_was_queued_is_sent_before_the_end_and_answered_after() {
    let (client, mut server) = pair();
    let waiting = client.publish_pipelined(&queue(), &payload("a"), None).await.unwrap();
    client.close();
    line(&mut server).await;
    let mut rest = String::new();
    assert_eq!(server.read_line(&mut rest).await.unwrap(), 0, "nothing more comes");
    say(&mut server, r#"{"id":1,"ok":true,"seq":1}"#).await;
    assert_eq!(waiting.await.unwrap().seq, Seq(1));
}

/// Puts a stream under the client; when it ends, another one is expected.
#[tokio::test]
async fn the_last_handle_that_goes_ends_the_connection_and_confirms_still_come() {
    let (client, mut server) = pair();
    let other = client.clone();
    let waiting = client.publish_pipelined(&queue(), &payload("a"), None).await.unwrap();
    drop(client);
    line(&mut server).await;
    assert!(!other.connection.is_closing(), "one is left");
    drop(other);
    let mut rest = String::new();
    assert_eq!(server.read_line(&mut rest).await.unwrap(), 0, "nothing more comes");
    say(&mut server, r#"{"id":1,"ok":true,"seq":1}"#).await;
    assert_eq!(waiting.await.unwrap().seq, Seq(1));
}

async fn stream_until_lost(client: &Client) -> (BufReader<DuplexStream>, oneshot::Receiver<()>) {
    let (near, far) = tokio::io::duplex(1 << 20);
    let connection = Arc::clone(&client.connection);
    let (lost, told) = oneshot::channel();
    tokio::spawn(async move {
        let error =
            link::run(&connection, near, FrameReader::new(1 << 20), Silence::default()).await;
        connection.lost(&error);
        let _ = lost.send(());
    });
    (BufReader::new(far), told)
}

#[tokio::test]
async fn publishes_in_flight_are_sent_again_in_order_over_every_new_stream() {
    let client = Client::new(true);
    let (mut server, lost) = stream_until_lost(&client).await;
    let first = client.publish_pipelined(&queue(), &payload("a"), None).await.unwrap();
    let second = client.publish_pipelined(&queue(), &payload("b"), None).await.unwrap();
    line(&mut server).await;
    drop(server);
    lost.await.unwrap();
    let third = client.publish_pipelined(&queue(), &payload("c"), None).await.unwrap();
    for _ in 0..2 {
        let (mut server, lost) = stream_until_lost(&client).await;
        for expected in ["YQ==", "Yg==", "Yw=="] {
            assert_eq!(line(&mut server).await["payload"], expected);
        }
        drop(server);
        lost.await.unwrap();
    }
    let (mut server, _) = stream_until_lost(&client).await;
    for id in 1..=3 {
        assert_eq!(line(&mut server).await["id"], id);
        say(&mut server, &format!("{{\"id\":{id},\"ok\":true,\"seq\":{id}}}")).await;
    }
    let mut seqs = Vec::new();
    for confirm in [first, second, third] {
        seqs.push(confirm.await.unwrap().seq);
    }
    assert_eq!(seqs, [Seq(1), Seq(2), Seq(3)]);
}

#[tokio::test]
async fn what_was_in_flight_is_reported_and_what_was_not_sent_goes_on() {
    let client = Client::new(false);
    let (mut server, lost) = stream_until_lost(&client).await;
    let sent = client.publish_pipelined(&queue(), &payload("a"), None).await.unwrap();
    line(&mut server).await;
    drop(server);
    lost.await.unwrap();
    assert!(matches!(sent.await, Err(Error::Lost(_))));
    let later = client.publish_pipelined(&queue(), &payload("b"), None).await.unwrap();
    let (mut server, _) = stream_until_lost(&client).await;
    let request = line(&mut server).await;
    assert_eq!(request["payload"], "Yg==");
    say(&mut server, &format!("{{\"id\":{},\"ok\":true,\"seq\":7}}", request["id"])).await;
    assert_eq!(later.await.unwrap().seq, Seq(7));
}

#[tokio::test]
async fn subscriptions_go_on_and_what_was_in_hand_has_returned() {
    let client = Client::new(false);
    let (mut server, lost) = stream_until_lost(&client).await;
    let consumer = tokio::spawn({
        let client = client.clone();
        async move { client.consume(&queue(), 5).await }
    });
    let event = |sub: u64, tag: u64| {
        format!(
            r#"{{"event":"message","sub":{sub},"queue":"q","tag":{tag},"seq":1,"fence":1,"attempt":1,"published_at":1,"body":1}}"#
        )
    };
    let id = line(&mut server).await["id"].clone();
    say(&mut server, &format!("{{\"id\":{id},\"ok\":true,\"sub\":1}}\n{}", event(1, 1))).await;
    let mut subscription = consumer.await.unwrap().unwrap();
    let old = subscription.next().await.unwrap().unwrap();
    drop(server);
    lost.await.unwrap();
    let (mut server, _) = stream_until_lost(&client).await;
    let again = line(&mut server).await;
    assert_eq!((&again["op"], &again["prefetch"]), (&"consume".into(), &5.into()));
    let id = &again["id"];
    say(&mut server, &format!("{{\"id\":{id},\"ok\":true,\"sub\":1}}\n{}", event(1, 1))).await;
    let new = subscription.next().await.unwrap().unwrap();
    assert!(matches!(old.ack().await, Err(Error::Returned)), "its tag names another delivery now");
    let acked = tokio::spawn(async move { new.ack().await });
    let ack = line(&mut server).await;
    say(&mut server, &format!("{{\"id\":{},\"ok\":true,\"acked\":1}}", ack["id"])).await;
    acked.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_ack_that_was_not_sent_in_time_never_names_a_delivery_of_another_stream() {
    let client = Client::new(true);
    // There is no stream yet: both wait to be written.
    let hand = Hand { generation: 0, tag: Tag(1) };
    let acked = tokio::spawn({
        let client = client.clone();
        async move { client.ack(&[hand]).await }
    });
    tokio::task::yield_now().await;
    let published = client.publish_pipelined(&queue(), &payload("a"), None).await.unwrap();
    client.connection.lost(&Error::Lost("test".to_owned()));
    assert!(matches!(acked.await.unwrap(), Err(Error::Returned)));
    let (mut server, _) = stream_until_lost(&client).await;
    let request = line(&mut server).await;
    assert_eq!(request["op"], "publish", "the ack is not sent");
    say(&mut server, &format!("{{\"id\":{},\"ok\":true,\"seq\":1}}", request["id"])).await;
    assert_eq!(published.await.unwrap().seq, Seq(1));
}

fn ask(client: &Client) -> tokio::task::JoinHandle<Result<ReceivedMessage, Error>> {
    let client = client.clone();
    tokio::spawn(
        async move { client.request(&queue(), payload("?"), Duration::from_secs(10)).await },
    )
}

/// The next request, which must have this name, is done.
async fn done(server: &mut BufReader<DuplexStream>, op: &str, fields: &str) -> serde_json::Value {
    let request = line(server).await;
    assert_eq!(request["op"], op, "{request}");
    say(server, &format!("{{\"id\":{},\"ok\":true{fields}}}", request["id"])).await;
    request
}

/// The answer to a question over the reply queue of the first subscription.
fn answer(question: &serde_json::Value) -> String {
    let (queue, id) = (&question["reply_to"], &question["correlation_id"]);
    format!(
        r#"{{"event":"message","sub":1,"queue":{queue},"tag":1,"seq":1,"fence":1,"attempt":1,"published_at":1,"body":1,"correlation_id":{id}}}"#
    )
}

#[tokio::test]
async fn a_request_makes_an_exclusive_queue_once_and_gets_its_own_answer() {
    let (client, mut server) = pair();
    let first = ask(&client);
    let declared = done(&mut server, "queue.declare", ",\"created\":true").await;
    assert_eq!(declared["settings"], serde_json::json!({"exclusive": true}));
    let consumed = done(&mut server, "consume", ",\"sub\":1").await;
    assert_eq!((&consumed["queue"], &consumed["auto_ack"]), (&declared["queue"], &true.into()));
    let first_asked = done(&mut server, "publish", ",\"seq\":1").await;
    assert_eq!(first_asked["reply_to"], declared["queue"]);
    let second = ask(&client);
    let second_asked = line(&mut server).await;
    assert_eq!(second_asked["reply_to"], declared["queue"]);
    // The answer may overtake the confirm, and one that nobody waits for is passed over.
    say(&mut server, &answer(&second_asked)).await;
    say(&mut server, &answer(&second_asked)).await;
    say(&mut server, &format!("{{\"id\":{},\"ok\":true,\"seq\":2}}", second_asked["id"])).await;
    let answered = second.await.unwrap().unwrap().correlation_id;
    assert_eq!(answered.as_deref(), second_asked["correlation_id"].as_str());
    say(&mut server, &answer(&first_asked)).await;
    first.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_lost_stream_ends_what_waits_and_the_next_request_makes_another_queue() {
    let client = Client::new(true);
    let (mut server, lost) = stream_until_lost(&client).await;
    let waiting = ask(&client);
    let old = done(&mut server, "queue.declare", ",\"created\":true").await;
    done(&mut server, "consume", ",\"sub\":1").await;
    done(&mut server, "publish", ",\"seq\":1").await;
    drop(server);
    lost.await.unwrap();
    assert!(matches!(waiting.await.unwrap(), Err(Error::Lost(_))));
    let asked = ask(&client);
    let (mut server, _) = stream_until_lost(&client).await;
    let new = done(&mut server, "queue.declare", ",\"created\":true").await;
    assert_ne!(new["queue"], old["queue"]);
    let consumed = done(&mut server, "consume", ",\"sub\":1").await;
    assert_eq!(consumed["queue"], new["queue"]);
    let question = done(&mut server, "publish", ",\"seq\":2").await;
    say(&mut server, &answer(&question)).await;
    asked.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_reply_queue_that_is_lost_before_it_is_consumed_from_is_made_again() {
    let client = Client::new(false);
    let (mut server, lost) = stream_until_lost(&client).await;
    let asked = ask(&client);
    done(&mut server, "queue.declare", ",\"created\":true").await;
    assert_eq!(line(&mut server).await["op"], "consume");
    drop(server);
    lost.await.unwrap();
    let (mut server, _) = stream_until_lost(&client).await;
    done(&mut server, "queue.declare", ",\"created\":true").await;
    done(&mut server, "consume", ",\"sub\":1").await;
    let question = done(&mut server, "publish", ",\"seq\":1").await;
    say(&mut server, &answer(&question)).await;
    asked.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_question_that_no_queue_takes_is_told_at_once() {
    let (client, mut server) = pair();
    let asked = tokio::spawn({
        let client = client.clone();
        let topic = Destination::Topic(queue());
        async move { client.request(topic, payload("?"), Duration::from_secs(10)).await }
    });
    done(&mut server, "queue.declare", ",\"created\":true").await;
    done(&mut server, "consume", ",\"sub\":1").await;
    let question = done(&mut server, "publish", ",\"routed\":0").await;
    assert_eq!((&question["topic"], question.get("queue")), (&"q".into(), None));
    assert!(matches!(asked.await.unwrap(), Err(Error::NotRouted { .. })));
}

#[tokio::test]
async fn a_silent_server_is_asked_for_a_sign_of_life_and_given_up_where_it_gives_none() {
    let moment = Duration::from_millis(5);
    let client = Client::new(false);
    let patient = Silence { ask_after: moment, lost_after: Duration::from_secs(3_600) };
    let mut server = stream_with(&client, patient);
    for id in 1..4 {
        assert_eq!(line(&mut server).await, serde_json::json!({"op": "ping", "id": id}));
        say(&mut server, &format!(r#"{{"id":{id},"ok":true}}"#)).await;
    }
    let other = Client::new(false);
    let silence = Silence { ask_after: moment, lost_after: moment };
    let mut server = stream_with(&other, silence);
    assert_eq!(line(&mut server).await["op"], "ping");
    let Err(Error::Lost(reason)) = other.info(&queue()).await else { panic!("it is given up") };
    assert_eq!(reason, "the server gives no sign of life");
}
