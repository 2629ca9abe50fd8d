//! Requests and their answers.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::json;
use spread_daemon::{AdminHandle, Health, Status};

use super::accept;
use super::guard::{self, HostName};
use super::latest::{Latest, blocking};
use super::token::Token;

pub(super) type Body = Full<Bytes>;

/// After this long the daemon does not answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// For this long an answer of the daemon stands for the next ones.
const FRESH: Duration = Duration::from_millis(200);

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a browser may do with any of the answers: load files from here and nothing else, run no
/// script that stands in a page, show nothing in a frame, keep nothing.
const HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CACHE_CONTROL, "no-store"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route<'a> {
    File {
        content_type: &'static str,
        text: &'static str,
    },
    Status,
    Metrics,
    Health,
    Readiness,
    /// The name is still as it stands in the path.
    Kick(&'a str),
}

impl Route<'_> {
    fn of(path: &str) -> Option<Route<'_>> {
        let file = |content_type, text| Route::File { content_type, text };
        Some(match path {
            "/" => file(HTML, include_str!("page.html")),
            "/page.css" => file(CSS, include_str!("page.css")),
            "/page.js" => file(JS, include_str!("page.js")),
            "/icon.svg" => file(SVG, include_str!("icon.svg")),
            "/status.json" => Route::Status,
            "/metrics" => Route::Metrics,
            "/healthz" => Route::Health,
            "/readyz" => Route::Readiness,
            _ => Route::Kick(path.strip_prefix("/kick/")?),
        })
    }
}

/// What is told of a daemon as JSON.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    status: Status,
    can_kick: bool,
}

/// Answers requests about a daemon.
pub(super) struct Routes {
    daemon: AdminHandle,
    /// The names of the server beside its addresses and `localhost`.
    names: Vec<HostName>,
    token: Arc<RwLock<Option<Token>>>,
    /// The JSON that all answers share, or why it could not be made.
    status: Latest<Result<Bytes, String>>,
    numbers: Latest<Arc<Status>>,
    health: Latest<Health>,
}

impl Routes {
    pub(super) fn new(daemon: AdminHandle, names: Vec<HostName>, token: Option<Token>) -> Routes {
        Routes {
            daemon,
            names,
            token: Arc::new(RwLock::new(token)),
            status: Latest::new(FRESH),
            numbers: Latest::new(FRESH),
            health: Latest::new(FRESH),
        }
    }

    pub(super) fn set_token(&self, token: Option<Token>) {
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = token;
    }

    /// Returns the answer to a request that comes from an address.
    pub(super) async fn answer<B>(&self, request: &Request<B>, peer: SocketAddr) -> Response<Body> {
        let answered = tokio::time::timeout(PATIENCE, self.answer_in_time(request, peer)).await;
        let mut response = answered.unwrap_or_else(|_| silent());
        for (name, value) in HEADERS {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }

    async fn answer_in_time<B>(&self, request: &Request<B>, peer: SocketAddr) -> Response<Body> {
        let is_served = match Route::of(request.uri().path()) {
            // A probe, such as that of HAProxy.
            Some(Route::Health | Route::Readiness) if guard::is_no_browser(request) => true,
            _ => guard::names_this_host(request.headers(), &self.names),
        };
        if !is_served {
            let reason = "This server is asked by an IP address, as localhost, or by a name that \
                          spreadd has been given as --http-host.\n";
            return text(StatusCode::MISDIRECTED_REQUEST, reason);
        }
        let Some(route) = Route::of(request.uri().path()) else {
            let reason = "Here are /, /status.json, /metrics, /healthz and /readyz.\n";
            return text(StatusCode::NOT_FOUND, reason);
        };
        let is_kick = matches!(route, Route::Kick(_));
        match *request.method() {
            Method::POST if is_kick => {}
            Method::GET | Method::HEAD if !is_kick => {}
            _ => {
                let allowed = if is_kick { "POST" } else { "GET, HEAD" };
                let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "Not by this method.\n");
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
                return response;
            }
        }
        match route {
            Route::File { content_type, text } => ok(content_type, text),
            Route::Status => self.status().await,
            Route::Metrics => self.metrics(request.headers()).await,
            Route::Health => health_answer(self.health().await, |_| true),
            Route::Readiness => health_answer(self.health().await, Health::is_ready),
            Route::Kick(name) => self.kick(name, request.headers(), peer).await,
        }
    }

    /// Returns the status as JSON.
    async fn status(&self) -> Response<Body> {
        let (daemon, token) = (self.daemon.clone(), Arc::clone(&self.token));
        // The text, too, is made where it delays no other request.
        let ask = move || {
            let status = daemon.status()?;
            let can_kick = token.read().unwrap_or_else(PoisonError::into_inner).is_some();
            let text = serde_json::to_string(&Told { status, can_kick });
            Some(text.map(|text| Bytes::from(text + "\n")).map_err(|error| error.to_string()))
        };
        match self.status.get(ask).await {
            Some(Ok(text)) => ok(JSON, text),
            Some(Err(reason)) => text(StatusCode::INTERNAL_SERVER_ERROR, reason + "\n"),
            None => silent(),
        }
    }

    /// Returns the metrics: as Prometheus' text, unless the client prefers OpenMetrics.
    async fn metrics(&self, headers: &HeaderMap) -> Response<Body> {
        let daemon = self.daemon.clone();
        let Some(status) = self.numbers.get(move || daemon.numbers().map(Arc::new)).await else {
            return silent();
        };
        let accepted =
            headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let accepted: String = accepted.collect::<Vec<_>>().join(",");
        match accept::prefers(&accepted, "application/openmetrics-text", "text/plain") {
            true => ok(OPENMETRICS, status.to_openmetrics()),
            false => ok(PROMETHEUS, status.to_prometheus()),
        }
    }

    /// Returns whether the daemon takes clients; `None` if it does not answer.
    async fn health(&self) -> Option<Health> {
        let daemon = self.daemon.clone();
        self.health.get(move || daemon.health()).await
    }

    /// Ends the session of a client, if the request presents the token.
    async fn kick(&self, name: &str, headers: &HeaderMap, peer: SocketAddr) -> Response<Body> {
        match &*self.token.read().unwrap_or_else(PoisonError::into_inner) {
            None => return text(StatusCode::FORBIDDEN, "Nobody may kick: there is no token.\n"),
            Some(token) if guard::presents(headers, token) => {}
            Some(_) => {
                tracing::warn!(%peer, "a kick by HTTP is refused: its token is missing or wrong");
                let mut response =
                    text(StatusCode::UNAUTHORIZED, "The token is missing or wrong.\n");
                let bearer = HeaderValue::from_static("Bearer");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
                return response;
            }
        }
        let Ok(name) = percent_decode_str(name).decode_utf8() else {
            return text(StatusCode::BAD_REQUEST, "This is no name.\n");
        };
        let (daemon, client) = (self.daemon.clone(), name.clone().into_owned());
        let by = format!("HTTP, {peer}");
        let kicked = blocking(move || daemon.kick_by(&client, &by)).await;
        self.status.forget().await;
        match kicked {
            Some(client) => ok(JSON, json!({ "kicked": client }).to_string() + "\n"),
            None => text(StatusCode::NOT_FOUND, format!("No session {name:?}.\n")),
        }
    }
}

fn ok(content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = ok(TEXT, body);
    *response.status_mut() = status;
    response
}

/// Returns the answer of a daemon about its health: with an error, unless it is `enough`.
fn health_answer(health: Option<Health>, enough: impl Fn(&Health) -> bool) -> Response<Body> {
    match health {
        None => silent(),
        Some(health) if enough(&health) => ok(TEXT, format!("{health}\n")),
        Some(health) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{health}\n")),
    }
}

fn silent() -> Response<Body> {
    text(StatusCode::SERVICE_UNAVAILABLE, "The daemon does not answer.\n")
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use spread_daemon::Daemon;
    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn a_daemon_in_no_configuration_is_there_but_not_ready() {
        let runtime = Builder::new_current_thread().build().unwrap();
        let told = |response: Response<Body>| {
            let status = response.status().as_u16();
            (status, runtime.block_on(response.into_body().collect()).unwrap().to_bytes())
        };
        let health = Some(Health::NoConfiguration("corosync does not run".to_owned()));
        let text = Bytes::from_static(b"in no configuration: corosync does not run\n");
        assert_eq!(told(health_answer(health.clone(), |_| true)), (200, text.clone()));
        assert_eq!(told(health_answer(health, Health::is_ready)), (503, text));
        assert_eq!(told(health_answer(None, |_| true)).0, 503);
    }

    #[test]
    fn answers_of_a_moment_share_one_text() {
        let daemon = Daemon::builder().start().unwrap();
        let mut routes = Routes::new(daemon.admin_handle(), Vec::new(), None);
        routes.status = Latest::new(Duration::MAX);
        let request = Request::get("/status.json").header("Host", "localhost").body(()).unwrap();
        let peer = ([127, 0, 0, 1], 1).into();
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        let answer = || {
            let answer = runtime.block_on(routes.answer(&request, peer));
            assert_eq!(answer.status(), StatusCode::OK);
            runtime.block_on(answer.into_body().collect()).unwrap().to_bytes()
        };
        let (one, other) = (answer(), answer());
        assert!(one.starts_with(b"{\"daemon\":\"localhost\""), "{one:?}");
        assert_eq!((one.as_ptr(), one.len()), (other.as_ptr(), other.len()));
    }
}
