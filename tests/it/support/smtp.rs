//! A mail server that takes nothing but what the RFCs allow: STARTTLS under a throw-away CA, AUTH, and mails of RFC
//! 5322. What it takes is kept; what it refuses fails the test that asks for the mails.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

pub const USER: &str = "airplanes";
pub const PASSWORD: &str = "a password of tests";

/// A mail as it came.
#[derive(Debug, Clone)]
pub struct Mail {
    pub from: String,
    pub to: Vec<String>,
    /// By their names in lower case; folded lines are unfolded.
    pub headers: BTreeMap<String, String>,
    /// Decoded.
    pub body: String,
    pub encrypted: bool,
    pub authenticated: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// STARTTLS is asked for, and AUTH.
    Starttls,
    /// TLS from the first byte, and AUTH.
    Implicit,
    /// Neither.
    Open,
}

#[derive(Clone)]
pub struct Smtp {
    pub address: SocketAddr,
    /// The CA's certificate, for `SSL_CERT_FILE`.
    pub ca: PathBuf,
    mode: Mode,
    tls: Option<TlsAcceptor>,
    mails: Arc<Mutex<Vec<Mail>>>,
    faults: Arc<Mutex<Vec<String>>>,
}

impl Smtp {
    /// Its keys go into `folder`.
    pub async fn start(folder: &Path, mode: Mode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tls = (mode != Mode::Open).then(|| acceptor(folder));
        let address = listener.local_addr().unwrap();
        let smtp =
            Self { address, ca: folder.join("ca.pem"), mode, tls, mails: Arc::default(), faults: Arc::default() };
        let serving = smtp.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let one = serving.clone();
                tokio::spawn(async move {
                    if let Err(fault) = one.serve(stream).await {
                        one.faults.lock().unwrap().push(fault);
                    }
                });
            }
        });
        smtp
    }
    /// `:smtp` for it.
    pub fn config(&self) -> String {
        let tls = match self.mode {
            Mode::Starttls => format!(":user \"{USER}\" :password \"{PASSWORD}\""),
            Mode::Implicit => format!(":user \"{USER}\" :password \"{PASSWORD}\" :tls :implicit"),
            Mode::Open => ":tls :none".to_owned(),
        };
        format!(":smtp {{:host \"localhost\" :port {} :from \"air@example.com\" {tls}}}", self.address.port())
    }
    /// What clients did wrong.
    pub fn faults(&self) -> Vec<String> {
        self.faults.lock().unwrap().clone()
    }
    /// Waits until so many mails have come.
    pub async fn has(&self, count: usize) -> Vec<Mail> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let mails = self.mails.lock().unwrap().clone();
            assert!(self.faults().is_empty(), "{:#?}", self.faults());
            if mails.len() >= count {
                return mails;
            }
            assert!(Instant::now() < deadline, "{count} mails did not come: {mails:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn serve(&self, stream: TcpStream) -> Result<(), String> {
        let Some(tls) = &self.tls else { return self.talk(stream, false).await.map(drop) };
        if self.mode == Mode::Implicit {
            let stream = tls.accept(stream).await.map_err(|e| format!("TLS: {e}"))?;
            return self.talk(stream, true).await.map(drop);
        }
        match self.talk(stream, false).await? {
            Some(stream) => {
                let stream = tls.accept(stream).await.map_err(|e| format!("TLS: {e}"))?;
                self.talk(stream, true).await.map(drop)
            }
            None => Ok(()),
        }
    }

    /// Until QUIT, or STARTTLS: then the stream is given back.
    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S, encrypted: bool) -> Result<Option<S>, String> {
        let mut stream = BufReader::new(stream);
        if !(encrypted && self.mode == Mode::Starttls) {
            say(&mut stream, "220 strict.example.com ESMTP").await?;
        }
        let (mut greeted, mut authenticated) = (false, self.mode == Mode::Open);
        let (mut from, mut to): (Option<String>, Vec<String>) = (None, Vec::new());
        loop {
            let Some(line) = read(&mut stream).await? else { return Ok(None) };
            let upper = line.to_uppercase();
            let plain = self.mode == Mode::Starttls && !encrypted;
            match upper.split(' ').next().unwrap_or_default() {
                "EHLO" => {
                    greeted = true;
                    let more = if plain { "STARTTLS" } else { "AUTH PLAIN LOGIN" };
                    let text = format!("250-strict.example.com\r\n250-8BITMIME\r\n250 {more}");
                    say(&mut stream, &text).await?;
                }
                "QUIT" => {
                    say(&mut stream, "221 bye").await?;
                    return Ok(None);
                }
                "STARTTLS" if plain && greeted => {
                    say(&mut stream, "220 go on").await?;
                    return Ok(Some(stream.into_inner()));
                }
                _ if plain => return Err(format!("before STARTTLS: {line}")),
                _ if !greeted => return Err(format!("before EHLO: {line}")),
                "AUTH" => {
                    authenticated = self.auth(&mut stream, &line).await?;
                    let answer = if authenticated { "235 welcome" } else { "535 5.7.8 wrong user or password" };
                    say(&mut stream, answer).await?;
                }
                _ if !authenticated => return Err(format!("before AUTH: {line}")),
                "MAIL" => {
                    from = Some(path(&line, "MAIL FROM:")?);
                    say(&mut stream, "250 ok").await?;
                }
                "RCPT" if from.is_some() => {
                    let rcpt = path(&line, "RCPT TO:")?;
                    if rcpt.starts_with("nobody@") {
                        say(&mut stream, "550 5.1.1 no such user").await?;
                    } else {
                        to.push(rcpt);
                        say(&mut stream, "250 ok").await?;
                    }
                }
                "DATA" if !to.is_empty() => {
                    say(&mut stream, "354 go on").await?;
                    let text = data(&mut stream).await?;
                    let (headers, body) = parse(&text)?;
                    let (from, to) = (from.take().unwrap_or_default(), std::mem::take(&mut to));
                    self.mails.lock().unwrap().push(Mail { from, to, headers, body, encrypted, authenticated });
                    say(&mut stream, "250 2.0.0 kept").await?;
                }
                "RSET" | "NOOP" => say(&mut stream, "250 ok").await?,
                _ => return Err(format!("out of order: {line}")),
            }
        }
    }

    async fn auth<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut BufReader<S>,
        line: &str,
    ) -> Result<bool, String> {
        let decode = |text: &str| STANDARD.decode(text).map_err(|e| format!("AUTH: {e}"));
        let parts: Vec<&str> = line.split(' ').collect();
        match parts.as_slice() {
            ["AUTH", "PLAIN", given] => Ok(decode(given)? == format!("\0{USER}\0{PASSWORD}").as_bytes()),
            ["AUTH", "LOGIN"] => {
                say(stream, "334 VXNlcm5hbWU6").await?;
                let user = read(stream).await?.unwrap_or_default();
                say(stream, "334 UGFzc3dvcmQ6").await?;
                let password = read(stream).await?.unwrap_or_default();
                Ok(decode(&user)? == USER.as_bytes() && decode(&password)? == PASSWORD.as_bytes())
            }
            _ => Err(format!("no such AUTH: {line}")),
        }
    }
}

async fn say<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufReader<S>, line: &str) -> Result<(), String> {
    let written = async {
        stream.write_all(format!("{line}\r\n").as_bytes()).await?;
        stream.flush().await
    };
    written.await.map_err(|e| format!("saying {line}: {e}"))
}

/// A line, which has to end with CRLF and nothing else.
async fn raw<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> Result<Option<String>, String> {
    let mut bytes = Vec::new();
    if stream.read_until(b'\n', &mut bytes).await.map_err(|e| e.to_string())? == 0 {
        return Ok(None);
    }
    let text = String::from_utf8(bytes).map_err(|e| e.to_string())?;
    let line = text.strip_suffix("\r\n").ok_or_else(|| format!("a line without CRLF: {text:?}"))?;
    if line.contains(['\r', '\0']) || line.len() > 998 {
        return Err(format!("no line of RFC 5322: {line:?}"));
    }
    Ok(Some(line.to_owned()))
}

async fn read<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> Result<Option<String>, String> {
    raw(stream).await
}

async fn data<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> Result<Vec<String>, String> {
    let mut lines = Vec::new();
    loop {
        let line = raw(stream).await?.ok_or("the connection ended in DATA")?;
        if line == "." {
            return Ok(lines);
        }
        lines.push(line.strip_prefix('.').map(str::to_owned).unwrap_or(line));
    }
}

fn path(line: &str, command: &str) -> Result<String, String> {
    let rest = line.get(command.len()..).filter(|_| line.to_uppercase().starts_with(command));
    let rest = rest.and_then(|rest| rest.strip_prefix('<')?.split_once('>')).map(|(path, _)| path.to_owned());
    rest.ok_or_else(|| format!("no path: {line}"))
}

/// Headers and body by RFC 5322: names, no 8-bit bytes, each at most once.
fn parse(lines: &[String]) -> Result<(BTreeMap<String, String>, String), String> {
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    let end = lines.iter().position(String::is_empty).ok_or("no empty line after the headers")?;
    let mut last = String::new();
    for line in &lines[..end] {
        if !line.is_ascii() {
            return Err(format!("a header with 8-bit bytes: {line}"));
        }
        if line.starts_with([' ', '\t']) {
            headers.get_mut(&last).ok_or("a fold before any header")?.push_str(line);
            continue;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| format!("no header: {line}"))?;
        if !name.chars().all(|c| c.is_ascii_graphic()) {
            return Err(format!("no header's name: {name}"));
        }
        last = name.to_lowercase();
        if headers.insert(last.clone(), value.trim().to_owned()).is_some() {
            return Err(format!("{name} stands twice"));
        }
    }
    let body = lines[end + 1..].join("\n");
    let body = match headers.get("content-transfer-encoding").map(String::as_str) {
        Some("base64") => {
            let bytes = STANDARD.decode(body.replace('\n', "")).map_err(|e| e.to_string())?;
            String::from_utf8(bytes).map_err(|e| e.to_string())?
        }
        Some("quoted-printable") => quoted_printable(&body)?,
        Some("7bit") | None if body.is_ascii() => body,
        other => return Err(format!("an encoding that does not fit: {other:?}")),
    };
    Ok((headers, body.replace("\r\n", "\n")))
}

fn quoted_printable(text: &str) -> Result<String, String> {
    let joined = text.replace("=\n", "");
    let (mut bytes, mut rest) = (Vec::new(), joined.as_bytes());
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'=' {
            bytes.push(*first);
            continue;
        }
        let (hex, tail) = rest.split_at_checked(2).ok_or("a cut =XX")?;
        let hex = std::str::from_utf8(hex).map_err(|e| e.to_string())?;
        bytes.push(u8::from_str_radix(hex, 16).map_err(|e| e.to_string())?);
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|e| e.to_string())
}

/// A CA and a certificate of localhost's, made by openssl, for two days.
fn acceptor(folder: &Path) -> TlsAcceptor {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let openssl = |args: &str| {
        let output = Command::new("openssl").args(args.split('|')).current_dir(folder).output().unwrap();
        assert!(output.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let key = "-newkey|ec|-pkeyopt|ec_paramgen_curve:P-256|-nodes";
    openssl(&format!("req|-x509|{key}|-days|2|-subj|/CN=a throw-away CA|-keyout|ca.key|-out|ca.pem"));
    openssl(&format!(
        "req|{key}|-subj|/CN=localhost|-addext|subjectAltName=DNS:localhost|-keyout|key.pem|-out|req.pem"
    ));
    openssl(
        "x509|-req|-in|req.pem|-CA|ca.pem|-CAkey|ca.key|-CAcreateserial|-days|2|-copy_extensions|copy|-out|cert.pem",
    );
    let chain = vec![CertificateDer::from_pem_file(folder.join("cert.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}
