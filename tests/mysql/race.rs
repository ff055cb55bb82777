//! An old owner commits while another server takes its tenant over, at another node of the cluster.
//! What the store rests on: a commit that was answered is seen by the takeover, or the takeover came
//! first and the commit is refused. The UPDATE of the owner's row decides.

use std::time::Duration;

use gmq::mysql::Address;
use sqlx::mysql::MySqlConnection;
use sqlx::{Connection, Row};

use super::{address, alone, database, galera};

const ROUNDS: u64 = 1_000;

#[derive(Debug, Default)]
struct Tally {
    commits: u64,
    refused: u64,
    lost: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_and_a_takeover_at_two_nodes_never_both_win() {
    let _alone = alone("cluster");
    let nodes = galera();
    let name = database(&nodes[0], "race").await;
    let tenants = 4;
    let mut racing = Vec::new();
    for tenant in 0..tenants {
        let old = address(&nodes[tenant as usize % 3], &name);
        let new = address(&nodes[(tenant as usize + 1) % 3], &name);
        racing.push(tokio::spawn(race(tenant, old, new, ROUNDS / tenants)));
    }
    let mut all = Tally::default();
    for one in racing {
        let tally = one.await.expect("a race");
        all.commits += tally.commits;
        all.refused += tally.refused;
        all.lost += tally.lost;
    }
    println!("{ROUNDS} races: {all:?}");
    assert_eq!(all.lost, 0, "{all:?}");
    assert_eq!(all.commits + all.refused, ROUNDS);
    assert!(all.commits > 0 && all.refused > 0, "both happen: {all:?}");
}

async fn race(tenant: u64, old: Address, new: Address, rounds: u64) -> Tally {
    let id = u128::from(tenant).to_be_bytes();
    let (mut a, mut b) = (old.connect().await.unwrap(), new.connect().await.unwrap());
    sqlx::query("INSERT INTO owners VALUES (?, 0, 0, 'a', 0, 0, 0)")
        .bind(&id[..])
        .execute(&mut a)
        .await
        .unwrap();
    // The other node has it, too, once it has answered a read.
    let there = "SELECT COUNT(*) FROM owners WHERE tenant = ?";
    let there = sqlx::query(there).bind(&id[..]).fetch_one(&mut b).await.unwrap();
    assert_eq!(there.get::<i64, _>(0), 1);
    let mut tally = Tally::default();
    for round in 0..rounds {
        let delay = Duration::from_micros((round * 7919) % 1_500);
        let (committed, seen) =
            tokio::join!(commit(&mut a, &id, round), take_over(&mut b, &id, round, delay));
        match committed {
            true => tally.commits += 1,
            false => tally.refused += 1,
        }
        tally.lost += u64::from(committed && !seen);
    }
    tally
}

/// The old owner's transaction; whether it was committed.
async fn commit(connection: &mut MySqlConnection, tenant: &[u8], epoch: u64) -> bool {
    let tried = async {
        let mut transaction = connection.begin().await?;
        let held = sqlx::query("UPDATE owners SET lsn = ? WHERE tenant = ? AND epoch = ?")
            .bind(epoch + 1)
            .bind(tenant)
            .bind(epoch)
            .execute(&mut *transaction)
            .await?;
        if held.rows_affected() != 1 {
            transaction.rollback().await?;
            return Ok(false);
        }
        sqlx::query(
            "INSERT INTO messages (tenant, queue, seq, priority, bytes, known, published_at, content)
             VALUES (?, 1, ?, 4, 1, 0, 0, 'x')",
        )
        .bind(tenant)
        .bind(epoch)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok::<_, sqlx::Error>(true)
    };
    tried.await.unwrap_or(false)
}

/// Takes over, and answers whether the old owner's message of this epoch is seen then.
async fn take_over(
    connection: &mut MySqlConnection,
    tenant: &[u8],
    epoch: u64,
    delay: Duration,
) -> bool {
    tokio::time::sleep(delay).await;
    loop {
        let taken = sqlx::query("UPDATE owners SET epoch = ? WHERE tenant = ? AND epoch = ?")
            .bind(epoch + 1)
            .bind(tenant)
            .bind(epoch)
            .execute(&mut *connection)
            .await;
        match taken {
            Ok(done) => {
                assert_eq!(done.rows_affected(), 1, "nobody else takes it over");
                break;
            }
            Err(error) => assert!(error.to_string().contains("1213"), "{error}"),
        }
    }
    let seen = "SELECT COUNT(*) FROM messages WHERE tenant = ? AND queue = 1 AND seq = ?";
    let row = sqlx::query(seen).bind(tenant).bind(epoch).fetch_one(connection).await.unwrap();
    row.get::<i64, _>(0) == 1
}
