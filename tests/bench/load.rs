//! The load: HTTP/1.1 by hand, since what the client takes of the cores the server does not get.
//!
//! `closed` keeps so many connections busy and asks how many calls a second come through. `open` sends at fixed times
//! whatever the answers do, and counts each call's time from when it was due: a server that stalls does not slow the
//! load down and so hide its stall.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};

/// How long a call may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whole requests, ready to be sent.
pub type Calls = Rc<[Vec<u8>]>;

/// What a load has seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// From the first call to the last answer.
    pub took: Duration,
    /// Each call's time.
    pub times: Vec<Duration>,
    /// How many answers had which status.
    pub statuses: BTreeMap<u16, usize>,
}

impl Seen {
    /// Calls a second.
    pub fn rate(&self) -> f64 {
        self.times.len() as f64 / self.took.as_secs_f64()
    }
    /// An error if an answer had another status.
    pub fn only(self, status: u16) -> Result<Self> {
        match self.statuses.keys().all(|s| *s == status) {
            true => Ok(self),
            false => bail!("expected nothing but {status}, the answers were {:?}", self.statuses),
        }
    }
    fn add(&mut self, (time, status): (Duration, u16)) {
        self.times.push(time);
        *self.statuses.entry(status).or_default() += 1;
    }
}

/// Sends the calls on so many kept connections, each its next one as soon as the last is answered.
pub fn closed(to: SocketAddr, connections: usize, calls: &Calls) -> Result<Seen> {
    on_one_thread(async {
        let next = Rc::new(Cell::new(0));
        let mut streams = Vec::new();
        for _ in 0..connections {
            streams.push(connect(to).await?);
        }
        let began = Instant::now();
        let mut workers = JoinSet::new();
        for mut stream in streams {
            let (calls, next) = (calls.clone(), next.clone());
            workers.spawn_local(async move {
                let (mut seen, mut buffer) = (Vec::new(), Vec::new());
                while let Some(call) = calls.get(next.replace(next.get() + 1)) {
                    let sent = Instant::now();
                    let status = exchange(&mut stream, call, &mut buffer).await?;
                    seen.push((sent.elapsed(), status));
                }
                anyhow::Ok(seen)
            });
        }
        let mut all = Seen::default();
        while let Some(worker) = workers.join_next().await {
            worker??.into_iter().for_each(|one| all.add(one));
        }
        all.took = began.elapsed();
        Ok(all)
    })
}

/// Sends the calls at a fixed rate a second, each on a connection of its own, as a forge does.
pub fn open(to: SocketAddr, rate: u32, calls: &Calls) -> Result<Seen> {
    on_one_thread(async {
        let began = Instant::now();
        let mut under_way = JoinSet::new();
        for (n, index) in (0..).zip(0..calls.len()) {
            let calls = calls.clone();
            let due = began + Duration::from_secs(1) * n / rate;
            tokio::time::sleep_until(due.into()).await;
            under_way.spawn_local(async move {
                let mut stream = connect(to).await?;
                let status = exchange(&mut stream, &calls[index], &mut Vec::new()).await?;
                anyhow::Ok((due.elapsed(), status))
            });
        }
        let mut all = Seen::default();
        while let Some(one) = under_way.join_next().await {
            all.add(one??);
        }
        all.took = began.elapsed();
        Ok(all)
    })
}

fn on_one_thread<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, work)
}

async fn connect(to: SocketAddr) -> Result<TcpStream> {
    let connected = tokio::time::timeout(PATIENCE, TcpStream::connect(to)).await;
    let stream = connected.context("no connection in time")?.with_context(|| format!("no connection to {to}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends a call and reads its whole answer; gives the status.
async fn exchange(stream: &mut TcpStream, call: &[u8], buffer: &mut Vec<u8>) -> Result<u16> {
    let answered = tokio::time::timeout(PATIENCE, async {
        stream.write_all(call).await?;
        buffer.clear();
        loop {
            if stream.read_buf(buffer).await? == 0 {
                bail!("the server closed the connection: {}", String::from_utf8_lossy(buffer));
            }
            if let Some((status, whole)) = head(buffer)?
                && buffer.len() >= whole
            {
                return Ok(status);
            }
        }
    });
    answered.await.context("no answer in time")?
}

/// The status and the length of the whole answer, once its head is there.
fn head(answer: &[u8]) -> Result<Option<(u16, usize)>> {
    let Some(end) = answer.windows(4).position(|w| w == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&answer[..end])?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
    });
    let length = length.context("the answer does not say how long it is")??;
    Ok(Some((status, end + 4 + length)))
}
