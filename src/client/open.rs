//! Opening a stream: the addresses of the profile in turn, TLS, greeting and login.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Error, Profile};
use crate::protocol::frame::FrameReader;
use crate::protocol::reply::{self, ServerLine};
use crate::protocol::request_text;
use crate::tls;

/// Connecting, TLS and login at one address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// After this the next address is tried beside it.
const SLOW: Duration = Duration::from_secs(1);
/// Longest line before the login is answered. Unit: bytes.
const LOGIN_BYTES_MAX: usize = 64 * 1024;

/// A stream that is greeted and logged in, with what was read beyond.
pub(super) type Opened = (TlsStream<TcpStream>, FrameReader);

/// Tries the addresses in turn, the next one as soon as one fails or is slow. While one is slow those
/// that failed are tried again: a server may take over meanwhile. The last error where none serves.
pub(super) async fn open(profile: &Profile) -> Result<Opened, Error> {
    let profile = Arc::new(profile.clone());
    let mut tries = JoinSet::new();
    let begin = |tries: &mut JoinSet<_>, address: String| {
        let profile = Arc::clone(&profile);
        tries.spawn(async move { (open_in_time(&profile, &address).await, address) });
    };
    let mut new: VecDeque<String> = profile.addresses().map(str::to_owned).collect();
    let (mut failed, mut last) = (VecDeque::new(), None);
    loop {
        if let Some(address) = new.pop_front() {
            begin(&mut tries, address);
        }
        match tokio::time::timeout(SLOW, tries.join_next()).await {
            Ok(Some(Ok((Ok(opened), _)))) => return Ok(opened),
            Ok(Some(Ok((Err(error), _)))) if error.is_final() => return Err(error),
            Ok(Some(Ok((Err(error), address)))) => {
                failed.push_back(address);
                last = Some(error);
            }
            Ok(Some(Err(ended))) => last = Some(Error::Lost(ended.to_string())),
            Ok(None) => break,
            Err(_) if new.is_empty() => {
                failed.pop_front().into_iter().for_each(|address| begin(&mut tries, address));
            }
            Err(_) => {}
        }
    }
    Err(last.unwrap_or_else(|| Error::Address(profile.server.clone())))
}

async fn open_in_time(profile: &Profile, address: &str) -> Result<Opened, Error> {
    let opening = tokio::time::timeout(CONNECT_TIMEOUT, open_at(profile, address));
    opening.await.unwrap_or_else(|_| {
        let reason = "no answer in time".to_owned();
        Err(Error::Connect { address: address.to_owned(), reason })
    })
}

/// The host of a `HOST:PORT`.
fn host(address: &str) -> Option<ServerName<'static>> {
    let (host, port) = address.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    ServerName::try_from(host).ok()
}

async fn open_at(profile: &Profile, address: &str) -> Result<Opened, Error> {
    let identity = profile.certificate.as_deref().zip(profile.key.as_deref());
    let config = tls::client_config(&profile.ca, identity)?;
    let name = host(address).ok_or_else(|| Error::Address(address.to_owned()))?;
    let tcp = TcpStream::connect(address).await.map_err(|error| {
        let reason = error.to_string();
        Error::Connect { address: address.to_owned(), reason }
    })?;
    tcp.set_nodelay(true)?;
    let failed = |error: std::io::Error| {
        let reason = error.to_string();
        Error::Handshake { address: address.to_owned(), reason }
    };
    let mut stream = TlsConnector::from(config).connect(name, tcp).await.map_err(failed)?;
    let mut frames = FrameReader::new(LOGIN_BYTES_MAX);
    // TLS 1.3 tells a client that its certificate was refused only after its handshake.
    match next_line(&mut stream, &mut frames).await.map_err(failed)? {
        ServerLine::Hello { .. } => {}
        ServerLine::Closing { code } => return Err(Error::Closed(code)),
        _ => return Err(Error::Lost("its first line is no greeting".to_owned())),
    }
    log_in(profile, &mut stream).await?;
    match next_line(&mut stream, &mut frames).await? {
        ServerLine::Reply { result: Ok(_), .. } => Ok((stream, frames)),
        ServerLine::Reply { result: Err(error), .. } => Err(Error::Login(Box::new(error))),
        ServerLine::Closing { code } => Err(Error::Closed(code)),
        _ => Err(Error::Lost("the login was not answered".to_owned())),
    }
}

async fn log_in(profile: &Profile, stream: &mut TlsStream<TcpStream>) -> Result<(), Error> {
    let password = profile.password.as_ref().map_or("", |password| password.as_str());
    let mut out = zeroize::Zeroizing::new(Vec::new());
    let (tenant, user) = (profile.tenant.as_str(), profile.user.as_str());
    request_text::auth(&mut out, 0, tenant, user, password);
    stream.write_all(&out).await?;
    Ok(stream.flush().await?)
}

async fn next_line<S: AsyncRead + Unpin>(
    stream: &mut S,
    frames: &mut FrameReader,
) -> std::io::Result<ServerLine> {
    let mut bytes = [0; 4096];
    loop {
        match frames.next_frame() {
            Ok(Some(line)) => return reply::parse(line).map_err(std::io::Error::other),
            Ok(None) => {}
            Err(error) => return Err(std::io::Error::other(error)),
        }
        match stream.read(&mut bytes).await? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => frames.extend(&bytes[..read]),
        }
    }
}
