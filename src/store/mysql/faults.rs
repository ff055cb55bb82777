//! What tests do to a store: hold its transactions up, or let all of them fail from now on, as if
//! the database or the process were gone. Does nothing otherwise.

#[cfg(test)]
use std::sync::atomic::{AtomicBool, Ordering};

/// See the module.
#[derive(Debug, Default, Clone)]
pub(super) struct Faults {
    #[cfg(test)]
    pub(super) held: std::sync::Arc<AtomicBool>,
    #[cfg(test)]
    pub(super) broken: std::sync::Arc<AtomicBool>,
}

impl Faults {
    /// Stands before each step of a transaction.
    #[cfg_attr(not(test), expect(clippy::unused_async, reason = "only tests hold it up"))]
    pub(super) async fn pass(&self) -> Result<(), sqlx::Error> {
        #[cfg(test)]
        loop {
            if self.broken.load(Ordering::SeqCst) {
                return Err(sqlx::Error::Io(std::io::ErrorKind::BrokenPipe.into()));
            }
            if !self.held.load(Ordering::SeqCst) {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        Ok(())
    }
}
