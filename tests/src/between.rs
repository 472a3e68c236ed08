//! Stands between the proxy and an archive: records every call, and fails, holds or reorders those
//! that a test names. What it is not told to touch goes through as it is.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::guard::{Guard, Sees};
use crate::{Place, Received, client};

/// The go-between. It ends with the value.
#[derive(Debug)]
pub struct Between {
    address: SocketAddr,
    state: Arc<State>,
    server: Mutex<JoinHandle<()>>,
}

/// Calls that are held until it is opened.
#[derive(Debug)]
pub struct Gate(watch::Sender<bool>);

impl Gate {
    /// Lets the held calls go, and those to come.
    pub fn open(&self) {
        self.0.send_replace(true);
    }
}

#[derive(Debug)]
struct State {
    upstream: Mutex<String>,
    client: reqwest::Client,
    rules: Mutex<Vec<(String, Rule)>>,
    received: Mutex<Vec<Received>>,
    guard: Mutex<Option<Guard>>,
    by_last_uid: Mutex<Vec<(String, String)>>,
}

#[derive(Clone, Debug)]
enum Rule {
    Fail(u16, HeaderMap),
    Hold(watch::Receiver<bool>),
    Slow(Duration),
    Reverse,
    Limit(usize),
}

impl Drop for Between {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Between {
    /// In front of this base URL, which ends without a slash.
    pub async fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let state = Arc::new(State {
            upstream: Mutex::new(upstream.to_owned()),
            client: client(),
            rules: Mutex::default(),
            received: Mutex::default(),
            guard: Mutex::default(),
            by_last_uid: Mutex::default(),
        });
        let server = Mutex::new(tokio::spawn(serve(listener, state.clone())));
        Self { address, state, server }
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Leads to another archive from now on.
    pub fn lead_to(&self, upstream: &str) {
        *self.state.upstream.lock().unwrap() = upstream.to_owned();
    }

    /// Nobody listens any more.
    pub fn stop(&self) {
        self.server.lock().unwrap().abort();
    }

    /// Listens again, where it did before.
    pub async fn resume(&self) {
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                // What was stopped is let go of a moment later.
                Err(_) if std::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => panic!("{}: {error}", self.address),
            }
        };
        *self.server.lock().unwrap() = tokio::spawn(serve(listener, self.state.clone()));
    }

    /// Lets nobody through but whom this guard knows, and shows them what is theirs.
    pub fn guarded_by(&self, guard: &Guard) {
        *self.state.guard.lock().unwrap() = Some(guard.clone());
    }

    /// Every call whose path contains this text is answered with this status and these headers.
    pub fn fail(&self, path: &str, status: u16, headers: &[(&str, &str)]) {
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            let name = http::HeaderName::from_bytes(name.as_bytes()).expect("a header name");
            all.append(name, value.parse().expect("a header value"));
        }
        self.rule(path, Rule::Fail(status, all));
    }

    /// Every call whose path contains this text waits for the gate.
    pub fn hold(&self, path: &str) -> Gate {
        let (sender, receiver) = watch::channel(false);
        self.rule(path, Rule::Hold(receiver));
        Gate(sender)
    }

    /// Every call whose path contains this text takes so much longer.
    pub fn slow(&self, path: &str, by: Duration) {
        self.rule(path, Rule::Slow(by));
    }

    /// Every answer that is a JSON array is sent from its last element to its first.
    pub fn reverse_lists(&self) {
        self.rule("/", Rule::Reverse);
    }

    /// No search finds more than this at a time, whatever `limit` it has; `offset` leads on, and a
    /// Warning says that there may be more (PS3.18 §8.3.4.4).
    pub fn limit_lists(&self, limit: usize) {
        self.rule("/", Rule::Limit(limit));
    }

    /// All calls so far.
    pub fn received(&self) -> Vec<Received> {
        self.state.received.lock().unwrap().clone()
    }

    /// How many calls came so far.
    pub fn calls(&self) -> usize {
        self.state.received.lock().unwrap().len()
    }

    /// Series and instances of these places are found by their own UIDs alone, whatever study and series the
    /// path names before them.
    pub fn look_at_last_uid_only(&self, places: &[Place]) {
        let both = |place: &Place| {
            [(place.series_uid(), place.series_path()), (place.instance_uid(), place.path())]
        };
        *self.state.by_last_uid.lock().unwrap() = places.iter().flat_map(both).collect();
    }

    fn rule(&self, path: &str, rule: Rule) {
        self.state.rules.lock().unwrap().push((path.to_owned(), rule));
    }
}

impl State {
    fn rules_of(&self, path: &str) -> Vec<Rule> {
        let rules = self.rules.lock().unwrap();
        rules.iter().filter(|(part, _)| path.contains(part)).map(|(_, rule)| rule.clone()).collect()
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let call = Received {
            method: head.method.clone(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().map(str::to_owned),
            headers: head.headers.clone(),
            body: body.clone(),
            body_length: body.len() as u64,
        };
        self.received.lock().unwrap().push(call.clone());
        let (mut reverse, mut limit) = (false, None);
        for rule in self.rules_of(head.uri.path()) {
            match rule {
                Rule::Fail(status, headers) => return whole(status, headers, Bytes::new()),
                // The sender is gone when the test is over: nobody waits for the answer any more.
                Rule::Hold(mut gate) => drop(gate.wait_for(|open| *open).await),
                Rule::Slow(by) => tokio::time::sleep(by).await,
                Rule::Reverse => reverse = true,
                Rule::Limit(most) => limit = Some(most),
            }
        }
        let guard = self.guard.lock().unwrap().clone();
        match guard.map(|guard| guard.admit(&call)).transpose() {
            Ok(sees) => self.forward(&head, body, reverse, limit, sees.as_ref()).await,
            Err(status) => refused(status),
        }
    }

    async fn forward(
        &self,
        head: &http::request::Parts,
        body: Bytes,
        reverse: bool,
        limit: Option<usize>,
        sees: Option<&Sees>,
    ) -> Response<Full<Bytes>> {
        let target = self.found_by_last_uid(target(&head.uri, limit));
        let mut headers = head.headers.clone();
        headers.remove(http::header::CONNECTION);
        let request = self
            .client
            .request(head.method.clone(), format!("{}{target}", self.upstream.lock().unwrap()));
        let Ok(response) = request.headers(headers).body(body).send().await else {
            return whole(502, HeaderMap::new(), Bytes::new());
        };
        let (status, mut headers) = (response.status().as_u16(), response.headers().clone());
        headers.remove(http::header::TRANSFER_ENCODING);
        let mut body = response.bytes().await.unwrap_or_default();
        if limit.is_some() {
            let more = "299 archive: \"There are additional results that can be requested\"";
            headers.insert(http::header::WARNING, http::HeaderValue::from_static(more));
        }
        if reverse && let Ok(mut list) = serde_json::from_slice::<Vec<serde_json::Value>>(&body) {
            list.reverse();
            body = serde_json::Value::from(list).to_string().into();
            headers.remove(http::header::CONTENT_LENGTH);
        }
        if let Some(theirs) = sees.and_then(|sees| sees.of_found(&body)) {
            body = theirs;
            headers.remove(http::header::CONTENT_LENGTH);
        }
        whole(status, headers, body)
    }
}

impl State {
    fn found_by_last_uid(&self, target: String) -> String {
        let known = self.by_last_uid.lock().unwrap();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let segments: Vec<&str> = path.split('/').collect();
        let found = segments.iter().enumerate().rev().find_map(|(at, segment)| {
            let (_, place) = known.iter().find(|(uid, _)| uid == segment)?;
            Some((at, place))
        });
        let Some((at, place)) = found else { return target };
        let rest = segments[at + 1..].iter().map(|segment| format!("/{segment}"));
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{place}{}{mark}{query}", rest.collect::<String>())
    }
}

/// As archives say it.
fn refused(status: StatusCode) -> Response<Full<Bytes>> {
    let mut headers = HeaderMap::new();
    if status == StatusCode::UNAUTHORIZED {
        let challenge = http::HeaderValue::from_static("Basic realm=\"archive\"");
        headers.insert(http::header::WWW_AUTHENTICATE, challenge);
    }
    whole(status.as_u16(), headers, Bytes::new())
}

/// Path and query; with no more than `most` as their `limit`.
fn target(uri: &http::Uri, most: Option<usize>) -> String {
    let Some(most) = most else { return uri.to_string() };
    let query = uri.query().unwrap_or_default();
    let is_limit = |pair: &&str| pair.starts_with("limit=");
    let asked = query.split('&').find(is_limit).and_then(|pair| pair[6..].parse().ok());
    let limit = format!("limit={}", asked.unwrap_or(most).min(most));
    let others = query.split('&').filter(|pair| !pair.is_empty() && !is_limit(pair));
    let pairs: Vec<&str> = others.chain([limit.as_str()]).collect();
    format!("{}?{}", uri.path(), pairs.join("&"))
}

fn whole(status: u16, headers: HeaderMap, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status code");
    *response.headers_mut() = headers;
    response
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    // Aborting the server drops the set, and with it every connection.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        // A second piece of an answer must not wait until the first is acknowledged, 40 ms later.
        let _ = stream.set_nodelay(true);
        let state = state.clone();
        connections.spawn(async move {
            let service = hyper::service::service_fn(move |request| {
                let state = state.clone();
                async move { Ok::<_, Infallible>(state.answer(request).await) }
            });
            // The peer may leave when it likes.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Answer, Reply, ScriptedOrigin};

    async fn get(between: &Between, path: &str) -> Reply {
        let url = format!("{}{path}", between.url());
        Reply::read(client().get(url).send().await.unwrap()).await
    }

    #[tokio::test]
    async fn calls_pass_unless_a_rule_names_them() {
        let origin = ScriptedOrigin::start().await;
        origin.otherwise(|_| Answer::json("[1,2]").header("x", "y"));
        let between = Between::start(&origin.url()).await;
        between.fail("/bad", 410, &[("retry-after", "7")]);
        let passed = get(&between, "/studies?limit=1").await;
        assert_eq!((passed.text().as_str(), passed.header("x")), ("[1,2]", "y"));
        assert_eq!(origin.received()[0].query.as_deref(), Some("limit=1"));
        let failed = get(&between, "/bad/one").await;
        assert_eq!((failed.status(), failed.header("retry-after")), (410, "7"));
        between.reverse_lists();
        assert_eq!(get(&between, "/studies").await.text(), "[2,1]");
        assert_eq!(between.calls(), 3);
    }

    #[test]
    fn limits_are_lowered_and_offsets_kept() {
        let limited = |uri: &str| target(&uri.parse().unwrap(), Some(2));
        assert_eq!(limited("/studies"), "/studies?limit=2");
        assert_eq!(limited("/studies?limit=100&offset=4"), "/studies?offset=4&limit=2");
        assert_eq!(limited("/studies?a=b&limit=1"), "/studies?a=b&limit=1");
        assert_eq!(target(&"/studies?limit=9".parse().unwrap(), None), "/studies?limit=9");
    }

    #[tokio::test]
    async fn held_calls_wait_for_their_gate() {
        let origin = ScriptedOrigin::start().await;
        origin.otherwise(|_| Answer::json("[]"));
        let between = Between::start(&origin.url()).await;
        let gate = between.hold("/slow");
        let held = get(&between, "/slow");
        tokio::pin!(held);
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut held).await.is_err());
        gate.open();
        assert_eq!(held.await.status(), 200);
    }
}
