//! Opening a stream: the addresses of the profile one after the other, TLS, greeting and login.

use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Error, Profile};
use crate::protocol::frame::FrameReader;
use crate::protocol::reply::{self, ServerLine};
use crate::protocol::request_text;
use crate::tls;

/// Connecting, TLS and login at one address, and at one of several.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT_OF_SEVERAL: Duration = Duration::from_secs(5);
/// Longest line before the login is answered. Unit: bytes.
const LOGIN_BYTES_MAX: usize = 64 * 1024;

/// A stream that is greeted and logged in, with what was read beyond.
pub(super) type Opened = (TlsStream<TcpStream>, FrameReader);

/// Tries each address in turn; the last one's error where none serves.
pub(super) async fn open(profile: &Profile) -> Result<Opened, Error> {
    let mut last = None;
    let several = profile.addresses().nth(1).is_some();
    let timeout = if several { CONNECT_TIMEOUT_OF_SEVERAL } else { CONNECT_TIMEOUT };
    for address in profile.addresses() {
        match tokio::time::timeout(timeout, open_at(profile, address)).await {
            Ok(Ok(opened)) => return Ok(opened),
            Ok(Err(error)) => last = Some(error),
            Err(_) => {
                let reason = "no answer in time".to_owned();
                last = Some(Error::Connect { address: address.to_owned(), reason });
            }
        }
    }
    Err(last.unwrap_or_else(|| Error::Address(profile.server.clone())))
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
