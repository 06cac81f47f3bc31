//! The limit that (a) is held against: a bare hyper server that appends each body to a file and answers 202 once one
//! fdatasync, shared by all who wait for it, has put it on disk. It checks nothing, parses nothing and keeps no order:
//! what is left is what a durable answer costs on this machine. This program serves it in a process of its own.

use std::convert::Infallible;
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::{Context, Result};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// What the daemon answers is about as long.
const ANSWER: &[u8] = br#"{"delivery":"d-0000000000000000","status":"accepted","event":"e-0000000000000000"}"#;

type Append = (Bytes, oneshot::Sender<()>);

/// The server, until it is dropped.
pub struct Limit {
    child: Child,
    pub address: SocketAddr,
}

impl Limit {
    /// Starts it, appending to `file`.
    pub fn start(file: &Path) -> Result<Self> {
        let this = std::env::current_exe()?;
        let mut child =
            Command::new(this).arg("--serve-limit").arg(file).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let mut out = std::io::BufReader::new(child.stdout.take().context("no standard output")?);
        std::io::BufRead::read_line(&mut out, &mut line)?;
        Ok(Self { child, address: line.trim().parse().context("the bare server did not start")? })
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves until killed; prints its address first.
pub fn serve(file: &str) -> Result<()> {
    let file = File::options().create(true).append(true).open(file)?;
    let (queue, appends) = channel();
    std::thread::spawn(move || write(file, appends));
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(listen(queue))
}

async fn listen(queue: Sender<Append>) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let queue = queue.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let queue = queue.clone();
            async move { Ok::<_, Infallible>(answer(request, queue).await.unwrap_or_else(|| status(503))) }
        });
        tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(request: Request<Incoming>, queue: Sender<Append>) -> Option<Response<Full<Bytes>>> {
    let body = request.into_body().collect().await.ok()?.to_bytes();
    let (done, on_disk) = oneshot::channel();
    queue.send((body, done)).ok()?;
    on_disk.await.ok()?;
    Some(status(202))
}

fn status(code: u16) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(ANSWER)));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or_default();
    response
}

/// One write and one fdatasync for all that is waiting.
fn write(mut file: File, appends: Receiver<Append>) {
    let mut bytes = Vec::new();
    while let Ok(first) = appends.recv() {
        bytes.clear();
        let mut waiting = Vec::new();
        for (body, done) in std::iter::once(first).chain(appends.try_iter()) {
            bytes.extend_from_slice(&body);
            waiting.push(done);
        }
        // Who waits is told nothing, and answers 503.
        if file.write_all(&bytes).and_then(|()| file.sync_data()).is_err() {
            continue;
        }
        for done in waiting {
            let _ = done.send(());
        }
    }
}
