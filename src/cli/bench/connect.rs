//! Connections: TCP, TLS handshake, login, and the orderly end.

use super::report::Recorder;
use super::{Run, gather};
use crate::cli::Outcome;

pub(super) async fn run(run: &Run) -> Outcome<Recorder> {
    gather((0..usize::from(run.load.connections)).map(|index| {
        let (connect, mut pace) = (run.load.connect.clone(), run.pace(index));
        let progress = run.progress.clone();
        async move {
            let mut recorder = Recorder::new()?;
            while let Some(at) = pace.tick().await {
                let client = connect.clone().client().await?;
                recorder.done(at);
                client.close();
                progress.inc(1);
            }
            recorder.ended();
            Ok(recorder)
        }
    }))
    .await
}
