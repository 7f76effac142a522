//! A client of registries: finds out how each is reached and lets itself in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hull_spec::{ErrorKind, Reference};

use crate::auth::{Auth, Door};
use crate::credentials::{self, Credentials};
use crate::retry::Cancel;
use crate::settings::{Retry, Settings};
use crate::source::{Source, sources};
use crate::transport::{Body, Request, Response, Transport};
use crate::url::{Scheme, Url};
use crate::{Error, challenge, failure};

/// Connections, and what was learnt about registries and their tokens. It acts for one user: make one for each.
/// Creating it costs nothing; certificates and credentials are read when a registry asks for them.
pub struct Client {
    settings: Arc<Settings>,
    transport: Transport,
    auth: Auth,
    given: Option<Credentials>,
    roots: Mutex<HashMap<String, Url>>,
    credentials: Mutex<HashMap<String, Known>>,
}

/// What is known of a registry's credentials; or which helper failed, and why.
type Known = Result<Option<Credentials>, (String, String)>;

/// What is asked of one registry.
#[derive(Clone, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) method: &'static str,
    pub(crate) at: At<'a>,
    pub(crate) headers: &'a [(&'static str, String)],
    /// What a token is to allow; `repository:NAME:pull` where it is empty.
    pub(crate) scope: &'a str,
    pub(crate) body: Body<'a>,
}

/// Where it is asked.
#[derive(Clone, Debug)]
pub(crate) enum At<'a> {
    /// In the repository: `manifests/latest`.
    Tail(String),
    /// Below the registry's `/v2/`: `_catalog`.
    Path(String),
    /// Where the registry has sent us. Credentials go there only if it is the registry's own origin.
    Url(&'a Url),
}

impl<'a> Ask<'a> {
    /// Something to be read from the repository.
    pub(crate) fn read(method: &'static str, tail: String, headers: &'a [(&'static str, String)]) -> Self {
        Self {
            method,
            at: At::Tail(tail),
            headers,
            scope: "",
            body: Body::Empty,
        }
    }
}

impl Client {
    /// A client that does as `settings` say.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let settings = Arc::new(settings);
        Self {
            transport: Transport::new(Arc::clone(&settings)),
            settings,
            auth: Auth::default(),
            given: None,
            roots: Mutex::default(),
            credentials: Mutex::default(),
        }
    }

    /// The same client with credentials of its own for the registries that references name. Mirrors do not get them.
    #[must_use]
    pub fn with_credentials(mut self, credentials: Credentials) -> Self {
        self.given = Some(credentials);
        self
    }

    /// What the client was told.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn sources(&self, reference: &Reference) -> Result<Vec<Source>, Error> {
        sources(&self.settings, reference)
    }

    /// Asks once, letting itself in where that is asked for. An answer that says "not now" is an error; every other
    /// one is for the caller to judge.
    pub(crate) fn ask(&self, source: &Source, ask: &Ask<'_>) -> Result<Response, Error> {
        let answer = self.ask_admitted(source, ask);
        let denied = match &answer {
            Ok(response) => matches!(response.status, 401 | 403),
            Err(err) => err.kind() == ErrorKind::Denied,
        };
        // A helper that fails is no reason not to have what everybody may have; it is the reason if that is refused.
        match self.helper_failure(source).filter(|_| denied) {
            Some(err) => Err(err),
            None => answer,
        }
    }

    fn ask_admitted(&self, source: &Source, ask: &Ask<'_>) -> Result<Response, Error> {
        let root = self.root(source)?;
        let scope = match ask.scope {
            "" => format!("repository:{}:pull", source.repository),
            // A blank asks for nothing but to be known.
            scope => scope.trim().to_owned(),
        };
        let url = match &ask.at {
            At::Tail(tail) => root.at(format!("/v2/{}/{tail}", source.repository)),
            At::Path(path) => root.at(format!("/v2/{path}")),
            At::Url(url) => (*url).clone(),
        };
        let own = url.origin == root.origin;
        let mut request = Request {
            method: ask.method,
            url,
            headers: ask.headers,
            authorization: self.auth.known(&root.origin, &scope).filter(|_| own),
            body: ask.body,
        };
        // What was accepted before may have ended meanwhile; what is fresh and refused will be refused again.
        let stale = request.authorization.is_some();
        for _ in 0..=usize::from(stale) {
            let response = self.exchange(&request)?;
            // A stranger's challenge is not obeyed.
            if response.status != 401 || response.redirected || !own {
                return Ok(response);
            }
            let response = response.settle();
            let values = response.headers.get_all("www-authenticate");
            let challenges = challenge::parse(values.iter().filter_map(|value| value.to_str().ok()));
            let credentials = self.credentials(source)?;
            let door = Door {
                origin: &root.origin,
                scope: &scope,
                registry: &source.name,
                credentials: credentials.as_ref(),
            };
            let refused = request.authorization.as_deref();
            match self
                .auth
                .answer(&self.settings, &door, &challenges, refused, &|r| self.exchange(r))?
            {
                Some(header) => request.authorization = Some(header),
                None => return Ok(response),
            }
        }
        self.exchange(&request)
    }

    /// Tries `act` again for as long as its failures may pass.
    pub(crate) fn patiently<T>(
        &self,
        source: &Source,
        cancel: &Cancel,
        mut act: impl FnMut() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut failures = 0;
        loop {
            cancel.check()?;
            let err = match act() {
                Err(err) if err.is_transient() => err,
                done => return done,
            };
            failures += 1;
            match self.patience(source, &err).pause(failures, err.retry_after()) {
                Some(pause) => cancel.sleep(pause)?,
                None => return Err(err),
            }
        }
    }

    /// How often `source` is asked again after `err`. A mirror has somebody to stand in for it, and where nothing
    /// listens nothing will in a few seconds: neither is waited for long.
    pub(crate) fn patience(&self, source: &Source, err: &Error) -> Retry {
        let mut retry = self.settings.retry;
        if source.mirror || err.is_refused() {
            retry.attempts = retry.attempts.min(2);
        }
        retry
    }

    /// Breaks off all requests that wait for their answer.
    pub(crate) fn interrupt(&self) {
        self.transport.interrupt();
    }

    fn exchange(&self, request: &Request<'_>) -> Result<Response, Error> {
        let response = self.transport.exchange(request)?;
        if crate::error::is_transient(response.status) {
            return Err(failure::status(response));
        }
        Ok(response)
    }

    /// The root under which `source` answers. Where there are two, both are tried, with no credentials, once.
    pub(crate) fn root(&self, source: &Source) -> Result<Url, Error> {
        let [first, rest @ ..] = source.roots.as_slice() else {
            return Err(Error::Malformed {
                what: format!("the registry `{}`", source.name),
                reason: "there is no way to reach it".to_owned(),
            });
        };
        if rest.is_empty() {
            return Ok(first.clone());
        }
        let known = |roots: &HashMap<String, Url>| roots.get(&source.name).cloned();
        if let Some(root) = known(&self.roots.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(root);
        }
        let mut failed: Option<Error> = None;
        let mut doubtful = None;
        for root in &source.roots {
            match self.probe(root) {
                // A TLS server that is spoken to in plain says 400: ask it again properly before believing that.
                Ok((root, 400)) if root.origin.scheme == Scheme::Http => doubtful = Some(root),
                Ok((root, _)) => return Ok(self.found(source, root)),
                // A certificate says more than that plain http was not understood.
                Err(err) if failed.is_none() || err.is_distrust() => failed = Some(err),
                Err(_) => {}
            }
        }
        match (doubtful, failed) {
            (Some(root), _) => Ok(self.found(source, root)),
            (None, Some(err)) => Err(err),
            (None, None) => Ok(first.clone()),
        }
    }

    fn found(&self, source: &Source, root: Url) -> Url {
        let mut roots = self.roots.lock().unwrap_or_else(PoisonError::into_inner);
        roots.insert(source.name.clone(), root.clone());
        root
    }

    /// Says hello (distribution spec, end-1). Returns the root and the status; a redirect to the same host over https
    /// moves the root there.
    fn probe(&self, root: &Url) -> Result<(Url, u16), Error> {
        let response = self.transport.exchange(&Request {
            method: "GET",
            url: root.at("/v2/".to_owned()),
            headers: &[],
            authorization: None,
            body: Body::Empty,
        })?;
        let (origin, status) = (response.url.origin.clone(), response.status);
        response.drain();
        let moved = origin.host == root.origin.host && origin.scheme == Scheme::Https;
        let origin = if moved { origin } else { root.origin.clone() };
        Ok((
            Url {
                origin,
                path: "/".to_owned(),
            },
            status,
        ))
    }

    fn credentials(&self, source: &Source) -> Result<Option<Credentials>, Error> {
        if let Some(given) = self.given.as_ref().filter(|_| !source.mirror) {
            return Ok(Some(given.clone()));
        }
        // Held while a helper runs: it may ask a person, and must not ask once for each download.
        let mut known = self.known();
        if let Some(found) = known.get(&source.name) {
            return Ok(found.as_ref().ok().cloned().flatten());
        }
        let found = match credentials::find(&self.settings, &source.name) {
            Ok(found) => Ok(found),
            Err(Error::Helper { helper, reason }) => Err((helper, reason)),
            Err(err) => return Err(err),
        };
        let out = found.as_ref().ok().cloned().flatten();
        known.insert(source.name.clone(), found);
        Ok(out)
    }

    fn helper_failure(&self, source: &Source) -> Option<Error> {
        let (helper, reason) = self.known().get(&source.name)?.clone().err()?;
        Some(Error::Helper { helper, reason })
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.credentials.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
