//! A file from any web server, such as the archive of `import`: asked for once, without credentials.

use std::io::{self, Read};
use std::sync::Arc;

use crate::settings::Settings;
use crate::transport::{Body, Request, Response, Transport};
use crate::url::Url;
use crate::{Error, failure};

/// The content of a URL, as it arrives. That it ends early is an error of the reader's.
///
/// # Errors
/// What is no URL of http or https; what the server says, or that it says nothing.
pub fn open_url(settings: &Settings, url: &str) -> Result<Box<dyn Read + Send>, Error> {
    let response = get(settings, url)?;
    let left = response.length();
    Ok(Box::new(Content {
        input: response.body,
        left,
    }))
}

pub(crate) fn get(settings: &Settings, url: &str) -> Result<Response, Error> {
    let url = Url::parse(url).map_err(|reason| Error::Malformed {
        what: "the URL".to_owned(),
        reason: reason.to_owned(),
    })?;
    let transport = Transport::new(Arc::new(settings.clone()));
    let response = transport.exchange(&Request {
        method: "GET",
        url,
        headers: &[],
        authorization: None,
        body: Body::Empty,
    })?;
    match response.status {
        200 => Ok(response),
        _ => Err(failure::status(response)),
    }
}

/// A body of which the server has told the length.
struct Content {
    input: Box<dyn Read + Send>,
    left: Option<u64>,
}

impl Read for Content {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(out)?;
        if let Some(left) = &mut self.left {
            if count == 0 && *left > 0 && !out.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            *left = left.saturating_sub(count as u64);
        }
        Ok(count)
    }
}
