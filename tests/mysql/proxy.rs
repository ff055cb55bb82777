//! A way to a database that can be cut: what is connected stays so, and nothing passes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

/// See the module.
#[derive(Clone)]
pub struct Proxy {
    pub address: String,
    cut: Arc<watch::Sender<bool>>,
    /// For each piece that passes.
    pause_ms: Arc<AtomicU64>,
    severed: Arc<Notify>,
}

impl Proxy {
    /// Listens on a free port of loopback.
    pub async fn start(upstream: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let cut = Arc::new(watch::Sender::new(false));
        let pause_ms = Arc::new(AtomicU64::new(0));
        let pause = Arc::clone(&pause_ms);
        let (state, severed) = (Arc::clone(&cut), Arc::new(Notify::new()));
        let ends = Arc::clone(&severed);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (upstream, state) = (upstream.clone(), state.subscribe());
                let (ends, pause) = (Arc::clone(&ends), Arc::clone(&pause));
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(upstream).await else { return };
                    let (client_in, client_out) = client.into_split();
                    let (server_in, server_out) = server.into_split();
                    let both = async {
                        tokio::join!(
                            pass(client_in, server_out, state.clone(), &pause),
                            pass(server_in, client_out, state, &pause)
                        )
                    };
                    tokio::select! {
                        _ = both => {}
                        () = ends.notified() => {}
                    }
                });
            }
        });
        Self { address, cut, pause_ms, severed }
    }

    /// Ends all connections that there are.
    pub fn sever(&self) {
        self.severed.notify_waiters();
    }

    /// Lets 64 KiB at most through at a time, with a pause before each.
    pub fn slow(&self, pause: Duration) {
        self.pause_ms.store(pause.as_millis() as u64, Ordering::Relaxed);
    }

    /// Lets nothing through, or everything again.
    pub fn cut(&self, cut: bool) {
        self.cut.send_replace(cut);
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut cut: watch::Receiver<bool>,
    pause_ms: &AtomicU64,
) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let Ok(read) = from.read(&mut bytes).await else { return };
        if cut.wait_for(|cut| !cut).await.is_err() || read == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(pause_ms.load(Ordering::Relaxed))).await;
        if to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}
