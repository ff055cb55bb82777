//! What the message store says: at the start of a server, and to `gmq store` and `gmq torture`.

use std::fs;

use serde_json::json;

use super::command_line::list_at;
use crate::harness::Home;

#[test]
fn every_message_of_the_store_is_in_the_list() {
    let home = Home::new();
    let mut list = list_at(&home);
    let server = home.serve();
    server.login().ok(json!({"op": "publish", "queue": "q", "body": "kept"}));
    list.group("a store in use");
    list.typed(
        &home,
        &[
            "gmq store check data",
            "gmq store check nowhere",
            "gmq store stat certs",
            "gmq store backup data --to certs",
            "gmq store backup data --to certs/server.pem/copy",
            "gmq torture --dir certs",
        ],
    );
    drop(server);
    let file = |name: &str| home.path("data").join("messages").join(name);
    list.group("a store that is damaged");
    let checkpoint = fs::read(file("checkpoint")).unwrap();
    fs::write(file("checkpoint"), b"no checkpoint").unwrap();
    list.typed(&home, &["gmq store check data"]);
    fs::write(file("checkpoint.copy"), b"no checkpoint").unwrap();
    list.typed(&home, &["gmq store check data", "gmq serve --listen 127.0.0.1:0"]);
    let mut newer = checkpoint.clone();
    newer[8] = 3;
    let end = newer.len() - 4;
    let crc = crc32fast::hash(&newer[..end]).to_le_bytes();
    newer[end..].copy_from_slice(&crc);
    fs::write(file("checkpoint"), newer).unwrap();
    list.typed(&home, &["gmq serve --listen 127.0.0.1:0"]);
    for name in ["checkpoint", "checkpoint.copy"] {
        fs::write(file(name), &checkpoint).unwrap();
    }
    let mut journal = fs::read(file("0000000001.journal")).unwrap();
    journal[10] ^= 1;
    fs::write(file("0000000001.journal"), journal).unwrap();
    list.typed(&home, &["gmq store check data"]);
    fs::remove_file(file("0000000001.journal")).unwrap();
    list.typed(&home, &["gmq store check data"]);
    list.check("storage");
}
