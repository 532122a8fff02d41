//! Connections of the endpoint: at most so many at a time, each for so long, one request each. Callers that send nothing or never
//! read keep nobody from being answered, and never use up the agent's file descriptors.

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{collections::VecDeque, io, time::Duration};
use tokio::{net::TcpListener, task::JoinHandle};

/// What callers are given.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Connections at a time. When there are more, the oldest is ended: an honest caller is answered in milliseconds.
    most: usize,
    /// A caller that has not sent its request by then never will.
    request_within: Duration,
    /// From accepting a connection to its end, whatever is left to be read.
    lifetime: Duration,
}

const LIMITS: Limits =
    Limits { most: 128, request_within: Duration::from_secs(5), lifetime: Duration::from_secs(10) };
/// After the kernel could not give a connection: out of descriptors or memory, for the moment.
const PAUSE: Duration = Duration::from_millis(50);

/// Answers until the process ends.
///
/// # Errors
/// Never by itself: what can't be accepted now is accepted later.
pub async fn serve(listener: TcpListener, router: Router) -> io::Result<()> {
    serve_within(listener, router, LIMITS).await
}

async fn serve_within(listener: TcpListener, router: Router, limits: Limits) -> io::Result<()> {
    let mut open: VecDeque<JoinHandle<()>> = VecDeque::with_capacity(limits.most);
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            // The caller gave up before it was its turn.
            Err(error) if is_of_one_caller(&error) => continue,
            Err(_) => {
                open.pop_front().inspect(JoinHandle::abort);
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        open.retain(|connection| !connection.is_finished());
        while open.len() >= limits.most {
            open.pop_front().inspect(JoinHandle::abort);
        }
        let service = TowerToHyperService::new(router.clone());
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.request_within)
            // A next request is a next connection, so that its caller never meets one that is just being ended.
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        open.push_back(tokio::spawn(async move {
            // What goes wrong with a caller is the caller's affair.
            drop(tokio::time::timeout(limits.lifetime, connection).await);
        }));
    }
}

/// accept(2) gives errors of the network for the connection that it would have been.
fn is_of_one_caller(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use std::{net::SocketAddr, time::Instant};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    async fn endpoint(limits: Limits) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/", get(|| async { "ok" }))
            // More than the kernel's buffers take.
            .route("/long", get(|| async { "x".repeat(16 << 20) }));
        tokio::spawn(serve_within(listener, router, limits));
        address
    }

    async fn ask(address: SocketAddr) -> (String, Duration) {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        (answer, begun.elapsed())
    }

    /// Descriptors of this process that are sockets whose own end is the endpoint's port.
    fn open_descriptors() -> usize {
        std::fs::read_dir("/proc/self/fd").unwrap().count()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_thousand_stuck_callers_keep_nobody_from_an_answer() {
        let address = endpoint(LIMITS).await;
        let mut stuck = Vec::new();
        for number in 0..1000 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            match number % 3 {
                0 => {}
                1 => stream.write_all(b"GET / HT").await.unwrap(),
                _ => stream.write_all(b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap(),
            }
            stuck.push(stream);
        }
        for _ in 0..20 {
            let (answer, took) = ask(address).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("ok"), "{answer}");
            assert!(took < Duration::from_secs(1), "{took:?}");
        }
        // A thousand of ours, and no thousand of the endpoint's.
        let open = open_descriptors();
        assert!(open < 1000 + LIMITS.most + 150, "{open} descriptors");
        drop(stuck);
    }

    #[tokio::test]
    async fn one_connection_is_one_request_and_does_not_last() {
        let limits = Limits { request_within: Duration::from_millis(200), ..LIMITS };
        let address = endpoint(limits).await;
        let mut silent = TcpStream::connect(address).await.unwrap();
        let mut nothing = Vec::new();
        tokio::time::timeout(limits.lifetime / 2, silent.read_to_end(&mut nothing)).await.unwrap().unwrap();
        assert!(ask(address).await.0.to_ascii_lowercase().contains("connection: close"));
    }

    #[tokio::test]
    async fn there_are_never_more_than_the_limit_and_the_oldest_goes_first() {
        let patient = Duration::from_secs(60);
        let limits = Limits { most: 3, request_within: patient, lifetime: patient };
        let address = endpoint(limits).await;
        let mut silent = Vec::new();
        for _ in 0..5 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        for (number, stream) in silent.iter_mut().enumerate() {
            let end = tokio::time::timeout(Duration::from_millis(500), stream.read(&mut [0])).await;
            assert_eq!(end.is_ok(), number < 2, "{number}: {end:?}");
        }
    }

    #[tokio::test]
    async fn who_never_reads_is_ended() {
        let limits = Limits { lifetime: Duration::from_millis(300), ..LIMITS };
        let address = endpoint(limits).await;
        let mut deaf = TcpStream::connect(address).await.unwrap();
        deaf.write_all(b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        tokio::time::sleep(limits.lifetime * 4).await;
        let mut answer = Vec::new();
        // What was sent until then, and no more.
        drop(tokio::time::timeout(LIMITS.lifetime, deaf.read_to_end(&mut answer)).await.unwrap());
        assert!(answer.len() < 16 << 20, "{} bytes", answer.len());
    }
}
