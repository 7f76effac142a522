//! One request and its answer: connections, TLS, proxies, redirects. No retries and no credentials of its own.

use std::collections::HashMap;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, Request as HttpRequest};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, SendBody};

use crate::Error;
use crate::names::Names;
use crate::settings::{Proxy, Settings};
use crate::tls::Trust;
use crate::url::{Origin, Scheme, Url};

/// Redirects that are followed for one request, as browsers and Go do.
const REDIRECTS_MAX: usize = 10;

/// A request without its retries.
#[derive(Clone, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'static str,
    pub(crate) url: Url,
    pub(crate) headers: &'a [(&'static str, String)],
    /// The `Authorization` header: sent to this URL's origin and to no other.
    pub(crate) authorization: Option<String>,
    pub(crate) body: Body<'a>,
}

/// What a request carries.
#[derive(Clone, Copy, Default)]
pub(crate) enum Body<'a> {
    /// Nothing.
    #[default]
    Empty,
    /// A form with credentials, sent with POST and to nobody but the URL's own origin.
    Form(&'a str),
    /// A document; its type is among the headers.
    Bytes(&'a [u8]),
    /// So many bytes of a stream, which is opened anew each time the request is sent.
    Stream {
        /// In bytes.
        length: u64,
        /// Opens it.
        open: &'a (dyn Fn() -> Result<Box<dyn Read + Send>, Error> + Sync),
        /// Whether the server is asked first if it wants the bytes (RFC 9110, 10.1.1): one that refuses without reading
        /// them closes the connection, and its reason is then lost.
        ask_first: bool,
    },
}

impl std::fmt::Debug for Body<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty",
            Self::Form(_) => "Form",
            Self::Bytes(_) => "Bytes",
            Self::Stream { .. } => "Stream",
        })
    }
}

/// An answer whose body is still to be read.
pub(crate) struct Response {
    pub(crate) method: &'static str,
    /// The URL that answered.
    pub(crate) url: Url,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// Whether somebody else than the one who was asked has answered: a 401 of theirs is not to be obeyed.
    pub(crate) redirected: bool,
    pub(crate) body: Box<dyn Read + Send>,
}

/// Connections, one pool for each way to trust and each proxy.
pub(crate) struct Transport {
    settings: Arc<Settings>,
    agents: Mutex<Agents>,
}

#[derive(Default)]
struct Agents {
    by_key: HashMap<Key, Agent>,
    /// The same ones: what an origin needs is found out once, from files.
    by_origin: HashMap<Origin, Agent>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    trust: Option<Trust>,
    proxy: Option<String>,
}

impl Transport {
    pub(crate) fn new(settings: Arc<Settings>) -> Self {
        Self {
            settings,
            agents: Mutex::default(),
        }
    }

    /// Sends `request` and follows redirects. Any status that is no redirect is an answer, not an error.
    pub(crate) fn exchange(&self, request: &Request<'_>) -> Result<Response, Error> {
        let mut request = request.clone();
        let mut redirected = false;
        for _ in 0..=REDIRECTS_MAX {
            let mut response = self.send(&request)?;
            response.redirected = redirected;
            if !matches!(response.status, 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let Some(location) = response.header("location") else {
                return Ok(response);
            };
            let target = redirect(&request, location)?;
            if target.origin != request.url.origin {
                request.authorization = None;
                redirected = true;
            }
            request.url = target;
        }
        Err(Error::Redirect {
            url: request.url.redacted(),
            location: "..".to_owned(),
            reason: "there are more than 10 redirects",
        })
    }

    fn send(&self, request: &Request<'_>) -> Result<Response, Error> {
        let fail = |source: ureq::Error| Error::Transport {
            method: request.method,
            url: request.url.redacted(),
            source: source.into(),
        };
        let mut builder = HttpRequest::builder()
            .method(request.method)
            .uri(request.url.to_string())
            // Content is named by the digest of its own bytes: nobody on the way may encode it.
            .header("accept-encoding", "identity");
        for (name, value) in request.headers {
            builder = builder.header(*name, value);
        }
        if let Some(value) = &request.authorization {
            builder = builder.header("authorization", value);
        }
        let agent = self.agent(&request.url.origin)?;
        let answer = match request.body {
            Body::Empty if matches!(request.method, "POST" | "PUT" | "PATCH") => builder
                .body(&[][..])
                .map_err(ureq::Error::from)
                .and_then(|r| agent.run(r)),
            Body::Empty => builder.body(()).map_err(ureq::Error::from).and_then(|r| agent.run(r)),
            Body::Form(form) => builder
                .header("content-type", "application/x-www-form-urlencoded")
                .body(form)
                .map_err(ureq::Error::from)
                .and_then(|r| agent.run(r)),
            Body::Bytes(bytes) => builder
                .body(bytes)
                .map_err(ureq::Error::from)
                .and_then(|r| agent.run(r)),
            Body::Stream {
                length,
                open,
                ask_first,
            } => {
                if ask_first {
                    builder = builder.header("expect", "100-continue");
                }
                let mut reader = Exactly {
                    inner: open()?,
                    left: length,
                };
                builder
                    .header("content-length", length)
                    .body(SendBody::from_reader(&mut reader))
                    .map_err(ureq::Error::from)
                    .and_then(|request| {
                        // It answers when it has put away all of it.
                        let commit = Some(self.settings.timeouts.commit);
                        let request = agent.configure_request(request).timeout_recv_response(commit).build();
                        agent.run(request)
                    })
            }
        }
        .map_err(fail)?;
        let (parts, body) = answer.into_parts();
        Ok(Response {
            method: request.method,
            url: request.url.clone(),
            status: parts.status.as_u16(),
            headers: parts.headers,
            redirected: false,
            body: Box::new(body.into_reader()),
        })
    }

    fn agent(&self, origin: &Origin) -> Result<Agent, Error> {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = agents.by_origin.get(origin) {
            return Ok(agent.clone());
        }
        let key = Key {
            trust: (origin.scheme == Scheme::Https).then(|| Trust::of(&self.settings, &origin.authority())),
            proxy: self.settings.proxy.of(origin).map(str::to_owned),
        };
        let agent = match agents.by_key.get(&key) {
            Some(agent) => agent.clone(),
            None => self.connect(&key)?,
        };
        agents.by_key.insert(key, agent.clone());
        agents.by_origin.insert(origin.clone(), agent.clone());
        Ok(agent)
    }

    /// Breaks off everything that is under way, so that nobody waits for a silent peer. Who is not cancelled tries again
    /// on connections that are new.
    pub(crate) fn interrupt(&self) {
        let agents = std::mem::take(&mut *self.agents.lock().unwrap_or_else(PoisonError::into_inner));
        for agent in agents.by_key.into_values() {
            agent.shutdown();
        }
    }

    fn connect(&self, key: &Key) -> Result<Agent, Error> {
        let timeouts = &self.settings.timeouts;
        let proxy = match &key.proxy {
            Some(url) => Some(ureq::Proxy::new(url).map_err(|source| Error::Transport {
                method: "CONNECT",
                url: Url::parse(url).map_or_else(|_| "the proxy".to_owned(), |u| u.redacted()),
                source: source.into(),
            })?),
            None => None,
        };
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(proxy)
            .user_agent(self.settings.user_agent.as_str())
            .timeout_connect(Some(timeouts.connect))
            .timeout_per_read(Some(timeouts.stall))
            .timeout_per_write(Some(timeouts.stall))
            .timeout_recv_response(Some(timeouts.document))
            .max_idle_connections_per_host(self.settings.downloads.max(self.settings.uploads).max(1));
        if let Some(trust) = &key.trust {
            config = config.tls_config(trust.load(self.settings.roots.as_deref())?);
        }
        Ok(Agent::with_parts(
            config.build(),
            DefaultConnector::default(),
            Names::system(timeouts.connect),
        ))
    }
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// `Content-Length`, where the server gave one.
    pub(crate) fn length(&self) -> Option<u64> {
        self.header("content-length")?.trim().parse().ok()
    }

    /// Reads what is left of a body that nobody wants, if it is short: the connection can then be used again.
    pub(crate) fn drain(mut self) {
        let mut buffer = [0; 4096];
        for _ in 0..16 {
            if !matches!(self.body.read(&mut buffer), Ok(n) if n > 0) {
                return;
            }
        }
    }

    /// Takes a short body into memory now, so that its connection can be used while the answer is thought about.
    pub(crate) fn settle(mut self) -> Self {
        let mut bytes = Vec::new();
        // What cannot be read is not missed: nobody needs the text of a refusal.
        let _ = self.body.by_ref().take(64 << 10).read_to_end(&mut bytes);
        self.body = Box::new(std::io::Cursor::new(bytes));
        self
    }

    /// Reads the body whole, unless it is larger than `limit` bytes or takes longer than `patience`.
    pub(crate) fn read(mut self, what: &str, limit: u64, patience: Duration) -> Result<Vec<u8>, Error> {
        let too_large = || Error::TooLarge {
            what: what.to_owned(),
            limit,
        };
        if self.length().is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let end = Instant::now() + patience;
        let mut out = Vec::new();
        let mut buffer = [0; 16 << 10];
        loop {
            let read = match self.body.read(&mut buffer) {
                Ok(0) => return Ok(out),
                Ok(n) => Ok(n),
                Err(err) => Err(Some(err)),
            };
            let late = (Instant::now() > end).then_some(None);
            match (read, late) {
                (Ok(n), None) => out.extend_from_slice(&buffer[..n]),
                (Err(source), _) | (Ok(_), Some(source)) => {
                    return Err(Error::Truncated {
                        method: self.method,
                        url: self.url.redacted(),
                        received: out.len() as u64,
                        source,
                    });
                }
            }
            if out.len() as u64 > limit {
                return Err(too_large());
            }
        }
    }
}

/// Exactly so many bytes of a stream. One that ends early is an error: the peer would wait for the rest.
struct Exactly {
    inner: Box<dyn Read + Send>,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let n = self.inner.read(&mut buffer[..most])?;
        if n == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= n as u64;
        Ok(n)
    }
}

/// Where a redirect leads, if it may be followed.
fn redirect(request: &Request<'_>, location: &str) -> Result<Url, Error> {
    let fail = |reason| Error::Redirect {
        url: request.url.redacted(),
        location: location
            .split(['?', '#'])
            .next()
            .unwrap_or("")
            .chars()
            .take(200)
            .collect(),
        reason,
    };
    if matches!(request.body, Body::Form(_)) {
        return Err(fail("it would carry a form with credentials along"));
    }
    let target = request.url.join(location).map_err(fail)?;
    if request.url.origin.scheme == Scheme::Https && target.origin.scheme == Scheme::Http {
        return Err(fail("it leads from https to plain http"));
    }
    Ok(target)
}

impl Proxy {
    fn of(&self, origin: &Origin) -> Option<&str> {
        let proxy = match origin.scheme {
            Scheme::Http => self.http.as_deref(),
            Scheme::Https => self.https.as_deref(),
        }?;
        (!proxy.is_empty() && !origin.is_loopback() && !self.spares(&origin.host)).then_some(proxy)
    }

    /// `NO_PROXY` as Go reads it: hosts, domains (with or without a leading dot), networks, or `*`.
    fn spares(&self, host: &str) -> bool {
        self.none
            .split(',')
            .map(str::trim)
            .filter(|n| !n.is_empty())
            .any(|name| {
                if name == "*" {
                    return true;
                }
                if let (Ok(network), Ok(ip)) = (crate::settings::Network::parse(name), host.parse()) {
                    return network.contains(ip);
                }
                let name = name.trim_start_matches("*").to_ascii_lowercase();
                let name = match name.rsplit_once(':') {
                    Some((name, port)) if port.parse::<u16>().is_ok() && !name.contains(':') => name,
                    _ => name.as_str(),
                };
                match name.strip_prefix('.') {
                    Some(domain) => host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')),
                    None => host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')),
                }
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_never_lead_to_plain_http_or_with_a_form() {
        let check = |from: &str, form: bool, location: &str, expected: Option<&str>| {
            let request = Request {
                method: "GET",
                url: Url::parse(from).unwrap(),
                headers: &[],
                authorization: None,
                body: if form { Body::Form("") } else { Body::Empty },
            };
            let found = redirect(&request, location).ok().map(|u| u.to_string());
            assert_eq!(found.as_deref(), expected, "{from} -> {location}");
        };
        check("https://a/x", false, "https://b/y", Some("https://b/y"));
        check("https://a/x", false, "/y", Some("https://a/y"));
        check("https://a/x", false, "http://a/y", None);
        check("https://a/x", false, "http://127.0.0.1/y", None);
        check("http://127.0.0.1:5000/x", false, "http://b/y", Some("http://b/y"));
        check("http://127.0.0.1:5000/x", false, "file:///etc/passwd", None);
        check("https://a/x", false, "https://u:p@b/y", None);
        check("https://a/x", true, "https://a/y", None);
    }

    #[test]
    fn no_proxy_is_read_as_go_reads_it() {
        let proxy = Proxy {
            http: None,
            https: Some("http://proxy:3128".to_owned()),
            none: "lan, .corp.example,reg.test:5000,10.0.0.0/8, 192.0.2.1".to_owned(),
        };
        for (url, expected) in [
            ("https://docker.io/", true),
            ("http://docker.io/", false),
            ("https://localhost:5000/", false),
            ("https://127.0.0.9/", false),
            ("https://lan/", false),
            ("https://reg.lan/", false),
            ("https://wlan/", true),
            ("https://corp.example/", true),
            ("https://x.corp.example/", false),
            ("https://reg.test/", false),
            ("https://10.1.2.3/", false),
            ("https://192.0.2.1/", false),
            ("https://192.0.2.2/", true),
        ] {
            let url = Url::parse(url).unwrap();
            assert_eq!(proxy.of(&url.origin).is_some(), expected, "{url}");
        }
    }
}
