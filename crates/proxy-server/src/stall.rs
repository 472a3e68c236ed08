//! A client that takes nothing of what it is sent is cut off, and what was held for it is let go.
//!
//! Two things tell. What is written to the connection waits in the system's buffers until the client takes
//! it: [`Watched`] ends a connection on which a write has waited for too long. Over HTTP/2 a client may take
//! frames and still leave streams without a window: `streams` looks after those.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use crate::transport::Counts;

/// How long a client has to read the last of what it was sent, and to hang up itself.
const LINGER: Duration = Duration::from_secs(1);

/// Shorter writes may be answers to pings and the like, which are no progress.
const TELLING_WRITE: usize = 512;

/// When a connection last got on.
pub(crate) struct Progress {
    began: Instant,
    milliseconds: AtomicU64,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), milliseconds: AtomicU64::new(0) }
    }

    pub(crate) fn made(&self) {
        self.milliseconds.fetch_max(self.began.elapsed().as_millis() as u64, Relaxed);
    }

    /// How long there has been none.
    pub(crate) fn silence(&self) -> Duration {
        let last = Duration::from_millis(self.milliseconds.load(Relaxed));
        self.began.elapsed().saturating_sub(last)
    }
}

/// A connection of which no write waits longer than `patience`.
pub(crate) struct Watched {
    stream: TcpStream,
    patience: Duration,
    /// Runs while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
    /// Runs once we have hung up.
    leaving: Option<Pin<Box<Sleep>>>,
    progress: Arc<Progress>,
    counts: Arc<Counts>,
}

impl Watched {
    pub(crate) fn new(
        stream: TcpStream,
        patience: Duration,
        progress: Arc<Progress>,
        counts: Arc<Counts>,
    ) -> Self {
        Self { stream, patience, waiting: None, leaving: None, progress, counts }
    }

    fn written(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = written {
            self.waiting = None;
            if written.as_ref().is_ok_and(|&length| length >= TELLING_WRITE) {
                self.progress.made();
            }
            return Poll::Ready(written);
        }
        let patience = self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(waiting.as_mut().poll(context));
        // What the system still holds for the client goes too.
        let _ = self.stream.set_zero_linger();
        self.counts.stalled_writes.fetch_add(1, Relaxed);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// A connection that is closed while the client still sends, as after 413, is reset, and the answer may be
    /// lost with it. So what comes is read, and forgotten, for a moment.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.leaving.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        }
        let this = &mut *self;
        let leaving = this.leaving.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        let mut space = [0; 4096];
        while leaving.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut space);
            let read = ready!(Pin::new(&mut this.stream).poll_read(context, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair(patience: Duration) -> (Watched, TcpStream, Arc<Counts>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let counts = Arc::new(Counts::default());
        (Watched::new(stream, patience, Arc::new(Progress::new()), counts.clone()), client, counts)
    }

    #[tokio::test]
    async fn a_write_that_nobody_takes_ends_in_time() {
        let (mut ours, client, counts) = pair(Duration::from_millis(200)).await;
        let began = Instant::now();
        let error = loop {
            if let Err(error) = ours.write_all(&[0; 1 << 20]).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= Duration::from_millis(200));
        assert_eq!(counts.stalled_writes.load(Relaxed), 1);
        drop(client);
    }

    #[tokio::test]
    async fn who_still_sends_reads_what_was_said_last() {
        let (mut ours, mut client, _) = pair(Duration::from_secs(60)).await;
        let sending = tokio::spawn(async move {
            client.write_all(&vec![0; 8 << 20]).await.unwrap();
            let mut said = String::new();
            client.read_to_string(&mut said).await.unwrap();
            said
        });
        ours.write_all(b"too large").await.unwrap();
        ours.shutdown().await.unwrap();
        drop(ours);
        assert_eq!(sending.await.unwrap(), "too large");
        // Who does not hang up is not waited for.
        let (mut ours, client, _) = pair(Duration::from_secs(60)).await;
        let began = Instant::now();
        ours.shutdown().await.unwrap();
        assert!(began.elapsed() >= LINGER && began.elapsed() < LINGER * 5);
        drop(client);
    }

    #[tokio::test]
    async fn who_takes_a_little_now_and_then_is_not_cut_off() {
        let (mut ours, mut client, _) = pair(Duration::from_millis(500)).await;
        let reading = tokio::spawn(async move {
            let (mut buffer, mut read) = (vec![0; 1 << 20], 0);
            while read < 16 << 20 {
                tokio::time::sleep(Duration::from_millis(50)).await;
                read += client.read(&mut buffer).await.unwrap();
            }
        });
        let began = Instant::now();
        ours.write_all(&vec![0; 16 << 20]).await.unwrap();
        reading.await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(500), "longer than one write may wait");
    }
}
