//! Manifests and indexes into a repository (distribution spec, "Pushing manifests").

use hull_spec::Reference;

use super::upload::scope;
use crate::client::{Ask, At, Client};
use crate::copy::Document;
use crate::retry::Cancel;
use crate::source::Source as Server;
use crate::transport::Body;
use crate::{Error, failure};

impl Client {
    /// The registry itself, without the mirrors that stand in for it.
    pub(crate) fn server(&self, reference: &Reference) -> Result<Server, Error> {
        self.sources(reference)?.pop().ok_or(Error::Cancelled)
    }

    /// Puts a document there under `tag`, or under its digest.
    pub(crate) fn put_document(
        &self,
        server: &Server,
        reference: &Reference,
        document: &Document,
        tag: Option<&str>,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        let tail = format!("manifests/{}", tag.unwrap_or(document.digest.as_str()));
        let headers = [("content-type", document.media_type.clone())];
        let response = self.patiently(server, cancel, || {
            self.ask(
                server,
                &Ask {
                    method: "PUT",
                    at: At::Tail(tail.clone()),
                    headers: &headers,
                    scope: &scope(server),
                    body: Body::Bytes(&document.bytes),
                },
            )
        })?;
        if !matches!(response.status, 200..=202) {
            return Err(failure::of_push(failure::status(response), reference));
        }
        let told = response.header("docker-content-digest").map(str::to_owned);
        let lists_subjects = response.header("oci-subject").is_some();
        response.drain();
        let same_kind = |told: &String| told.starts_with(&format!("{}:", document.digest.algorithm().name()));
        if let Some(told) = told.filter(same_kind).filter(|told| told != document.digest.as_str()) {
            return Err(Error::DigestMismatch {
                what: format!("the manifest of {} at the registry", reference.familiar()),
                expected: failure::printable(&told),
                actual: document.digest.clone(),
            });
        }
        if !lists_subjects {
            self.list_at_subject(server, reference, document, cancel)?;
        }
        Ok(())
    }
}
