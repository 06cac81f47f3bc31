//! The listening socket: connections in, and their orderly end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::backup::Turn;
use super::body::Bodies;
use super::metrics::Metrics;
use super::refusals::Refusals;
use super::router::router;
use super::{Context, Door, HttpError, Shared};

/// How many connections are served at once; the next ones wait in the socket's queue.
const CONNECTIONS: usize = 1024;
/// How many headers a request may have.
const MAX_HEADERS: usize = 100;

/// Who is at the other end of a connection; a proxy, where there is one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub SocketAddr);

/// Serves until `shutdown`, then lets requests under way end within their time.
pub async fn serve(listener: TcpListener, door: Door, shutdown: CancellationToken) -> Result<(), HttpError> {
    let address = listener.local_addr().map_err(HttpError::Listener)?;
    let limits = door.limits;
    let metrics = Arc::new(Metrics::new());
    let store = door.store.clone();
    let bodies = Bodies::new(limits.body);
    let refusals = Refusals::default();
    let backups = Turn::default();
    let shared =
        Shared { door, metrics: metrics.clone(), bodies, refusals, backups, address, shutdown: shutdown.clone() };
    let service = TowerToHyperService::new(router(Context(Arc::new(shared))));
    let counting = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { metrics.follow(&store, shutdown).await }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.headers).max_headers(MAX_HEADERS);
    let graceful = GracefulShutdown::new();
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    tracing::info!(%address, "listening");
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &free) => accepted,
        };
        let (stream, peer, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: connections that end free some.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let service = service.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            service.call(request)
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended in an error");
            }
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not end in time and are cut off");
    }
    // It ends by the same signal, and can't fail but by a panic of its own.
    let _ = counting.await;
    Ok(())
}

/// The next connection, once there is a place for it.
async fn accept(
    listener: &TcpListener,
    free: &Arc<Semaphore>,
) -> std::io::Result<(tokio::net::TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = free.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    // Small answers go out at once; where that can't be set they are merely slower.
    let _ = stream.set_nodelay(true);
    Ok((stream, peer, place))
}
