//! A real server in a folder of its own, and a client that speaks lines over TLS: what the tests
//! are written with. It knows nothing of the program's inside but its command line.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

/// Longer than anything here takes; a test that reaches it has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A folder made by `gmq init`.
pub struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    /// `gmq init` in a new folder.
    pub fn new() -> Self {
        Self::with(&[])
    }

    /// `gmq init` with more arguments.
    pub fn with(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a folder for the test");
        let home = Self { dir };
        let output = gmq().arg("init").arg(home.root()).args(arguments).output().unwrap();
        assert!(output.status.success(), "gmq init: {}", text(&output.stderr));
        home
    }

    /// The folder that `init` made.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// A file or folder in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// The generated password of the user `admin`.
    pub fn password(&self) -> String {
        let profile: toml::Table =
            fs::read_to_string(self.path("client.toml")).unwrap().parse().unwrap();
        profile["password"].as_str().unwrap().to_owned()
    }

    /// Gives settings of the client profile other values.
    pub fn edit_profile(&self, values: &[(&str, &str)]) {
        let path = self.path("client.toml");
        let mut profile: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
        for (name, value) in values {
            let before = profile.insert((*name).to_owned(), (*value).into());
            assert!(before.is_some(), "{name} is no value of the profile");
        }
        fs::write(path, profile.to_string()).unwrap();
    }

    /// Runs `gmq admin … --config`, giving `input` on standard input; it must succeed.
    pub fn admin(&self, arguments: &[&str], input: &str) -> String {
        let output = self.try_admin(arguments, input);
        assert!(output.status.success(), "gmq admin {arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs `gmq admin … --config`, giving `input` on standard input.
    pub fn try_admin(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = gmq();
        command.arg("admin").args(arguments).arg("--config").arg(self.path("gmq.toml"));
        run(command, input)
    }

    /// Adds a user of the tenant `default` with a password.
    pub fn add_user(&self, name: &str, password: &str, grants: &[&str]) {
        let mut arguments = vec!["user", "add", name, "--password-stdin"];
        for grant in grants {
            arguments.extend(["--grant", grant]);
        }
        self.admin(&arguments, &format!("{password}\n"));
    }

    /// Starts the server on a free port.
    pub fn serve(&self) -> Server<'_> {
        self.serve_with(&[])
    }

    /// Starts the server on a free port, with these variables in its environment.
    pub fn serve_with(&self, environment: &[(&str, &str)]) -> Server<'_> {
        self.start("127.0.0.1:0", environment)
    }

    /// Starts the server at an address that it had before.
    pub fn serve_at(&self, address: &str) -> Server<'_> {
        self.start(address, &[])
    }

    fn start(&self, listen: &str, environment: &[(&str, &str)]) -> Server<'_> {
        let log = fs::File::create(self.path("log")).unwrap();
        let mut child = gmq()
            .args(["serve", "--listen", listen, "--config"])
            .arg(self.path("gmq.toml"))
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let Ok(listening) = serde_json::from_str::<Value>(&line) else {
            panic!("gmq serve did not listen: {line:?}\n{}", self.log());
        };
        assert_eq!(listening["event"], "listening");
        let address = listening["address"].as_str().unwrap().parse().unwrap();
        Server { home: self, child, address }
    }

    /// What the server last started has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

/// The program under test, without the caller's configuration.
pub fn gmq() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gmq"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GMQ_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end with `input` on standard input.
pub fn run(mut command: Command, input: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that does not read its input may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// Output as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Asks again and again until `condition` gives something; fails after [`PATIENCE`].
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A running server; killed when dropped.
pub struct Server<'a> {
    pub home: &'a Home,
    pub child: Child,
    pub address: SocketAddr,
}

impl Server<'_> {
    /// A connection with the client certificate of `init`, greeted but not logged in.
    pub fn connect(&self) -> Wire {
        let mut wire = self.connect_ungreeted();
        assert_eq!(wire.next()["event"], "hello");
        wire
    }

    /// The same before the greeting is read.
    pub fn connect_ungreeted(&self) -> Wire {
        let certificates = self.home.path("certs");
        Wire::open(self.address, tls(&certificates, Some("client"))).expect("a TLS connection")
    }

    /// Logged in as `admin`.
    pub fn login(&self) -> Wire {
        self.login_as("admin", &self.home.password())
    }

    /// Logged in as a user of the tenant `default`.
    pub fn login_as(&self, user: &str, password: &str) -> Wire {
        self.login_to("default", user, password)
    }

    /// Logged in as a user of a tenant.
    pub fn login_to(&self, tenant: &str, user: &str, password: &str) -> Wire {
        let mut wire = self.connect();
        let reply = wire.request(json!({
            "op": "auth", "id": "login", "tenant": tenant, "user": user, "password": password
        }));
        assert_eq!(reply["ok"], true, "{reply}");
        wire
    }

    /// Runs a client command with the profile of `init`, pointed at this server.
    pub fn try_client(&self, arguments: &[&str], input: &str) -> Output {
        self.home.edit_profile(&[("server", &self.address.to_string())]);
        let mut command = gmq();
        command.args(arguments).arg("--profile").arg(self.home.path("client.toml"));
        run(command, input)
    }

    /// The same; it must succeed. What it printed.
    pub fn client(&self, arguments: &[&str], input: &str) -> String {
        let output = self.try_client(arguments, input);
        assert!(output.status.success(), "gmq {arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Sends a signal, by its name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Waits for the server's end; its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        let status = eventually("the server's end", || self.child.try_wait().unwrap());
        status.code()
    }

    /// Resident memory. Unit: bytes.
    pub fn memory_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A TLS configuration that trusts the authority in `certificates` and presents `name.pem` there.
pub fn tls(certificates: &Path, name: Option<&str>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in chain(&certificates.join("ca.pem")) {
        roots.add(certificate).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match name {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let key = certificates.join(format!("{name}.key"));
            let key = PrivateKeyDer::from_pem_file(key).unwrap();
            let chain = chain(&certificates.join(format!("{name}.pem")));
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"gmq/1".to_vec()];
    config
}

fn chain(path: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(path).unwrap().map(Result::unwrap).collect()
}

/// One connection that sends and receives lines.
pub struct Wire {
    pub stream: StreamOwned<ClientConnection, TcpStream>,
    buffer: Vec<u8>,
    /// Lines that came while another was waited for.
    kept: VecDeque<Value>,
    next_id: u64,
}

impl Wire {
    /// Connects and completes the handshake.
    pub fn open(address: SocketAddr, config: ClientConfig) -> io::Result<Self> {
        let tcp = TcpStream::connect(address)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        tcp.set_write_timeout(Some(PATIENCE))?;
        tcp.set_nodelay(true)?;
        let name = ServerName::from(address.ip());
        let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self { stream, buffer: Vec::new(), kept: VecDeque::new(), next_id: 0 })
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
        self.stream.flush().unwrap();
    }

    /// Sends one line.
    pub fn send(&mut self, line: &str) {
        self.send_raw(format!("{line}\n").as_bytes());
    }

    /// Sends a request under a new `id` unless it has one, and waits for its reply; what comes
    /// meanwhile is kept for [`Wire::next`].
    pub fn request(&mut self, mut request: Value) -> Value {
        if request.get("id").is_none() {
            self.next_id += 1;
            request["id"] = json!(self.next_id);
        }
        let id = request["id"].clone();
        self.send(&request.to_string());
        self.reply(&id)
    }

    /// Waits for the reply with this `id`.
    pub fn reply(&mut self, id: &Value) -> Value {
        let of_id = |line: &Value| line.get("id") == Some(id);
        if let Some(place) = self.kept.iter().position(of_id) {
            return self.kept.remove(place).unwrap();
        }
        loop {
            let line = self.receive();
            if of_id(&line) {
                return line;
            }
            assert_ne!(line["event"], "closing", "closed instead of a reply: {line}");
            self.kept.push_back(line);
        }
    }

    /// A request that must succeed.
    pub fn ok(&mut self, request: Value) -> Value {
        let reply = self.request(request.clone());
        assert_eq!(reply["ok"], true, "{request}: {reply}");
        reply
    }

    /// Makes a queue with these settings.
    pub fn declare(&mut self, queue: &str, settings: &Value) {
        self.ok(json!({"op": "queue.declare", "queue": queue, "settings": settings}));
    }

    /// A request that must be refused; its error.
    pub fn refused(&mut self, request: Value) -> Value {
        let reply = self.request(request.clone());
        assert_eq!(reply["ok"], false, "{request}: {reply}");
        reply["error"].clone()
    }

    /// The next line, kept or new.
    pub fn next(&mut self) -> Value {
        self.kept.pop_front().unwrap_or_else(|| self.receive())
    }

    /// The next `message` event.
    pub fn message(&mut self) -> Value {
        let is_message = |line: &Value| line["event"] == "message";
        if let Some(place) = self.kept.iter().position(is_message) {
            return self.kept.remove(place).unwrap();
        }
        loop {
            let line = self.receive();
            if is_message(&line) {
                return line;
            }
            self.kept.push_back(line);
        }
    }

    /// Asserts that no message comes before the answer to a `ping`.
    pub fn no_message(&mut self) {
        self.ok(json!({"op": "ping"}));
        let message = self.kept.iter().find(|line| line["event"] == "message");
        assert!(message.is_none(), "an unexpected delivery: {message:?}");
    }

    /// The next line from the stream.
    pub fn receive(&mut self) -> Value {
        let line = self.line().expect("a line").expect("a line before the end");
        serde_json::from_slice(&line).unwrap_or_else(|error| panic!("{error}: {}", text(&line)))
    }

    /// The next line from the stream as it is; `None` at the orderly end.
    pub fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                line.pop();
                return Ok(Some(line));
            }
            let mut bytes = [0; 16 * 1024];
            match self.stream.read(&mut bytes)? {
                0 => return Ok(None),
                read => self.buffer.extend_from_slice(&bytes[..read]),
            }
        }
    }

    /// Asserts that the connection ends: `closing` with this code, then close_notify.
    pub fn closes_with(&mut self, code: &str) {
        loop {
            let line = self.next();
            if line["event"] == "closing" {
                assert_eq!(line, json!({"event": "closing", "code": code}));
                break;
            }
            assert_ne!(line["event"], "message", "{line}");
        }
        assert!(matches!(self.line(), Ok(None)), "an orderly end after `closing`");
    }

    /// Asserts that the connection ends with one of these codes.
    pub fn closes_with_any(&mut self, codes: &[&str]) {
        let closing = loop {
            let line = self.next();
            if line["event"] == "closing" {
                break line;
            }
        };
        assert!(codes.contains(&closing["code"].as_str().unwrap()), "{closing}");
        assert!(matches!(self.line(), Ok(None)), "an orderly end after `closing`");
    }

    /// Asserts that `request` is refused with `code` and the connection then ended.
    pub fn refused_and_closed(&mut self, line: &str, code: &str) {
        self.send(line);
        let reply = self.next();
        assert_eq!(reply["ok"], false, "{reply}");
        assert_eq!(reply["error"]["code"], code, "{reply}");
        self.closes_with(code);
    }

    /// TLS close_notify: nothing more is sent.
    pub fn half_close(&mut self) {
        self.stream.conn.send_close_notify();
        self.stream.flush().unwrap();
    }

    /// Ends the TCP stream without close_notify.
    pub fn cut(self) {
        self.stream.sock.shutdown(Shutdown::Both).unwrap();
    }
}
