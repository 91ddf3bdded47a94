//! The bucket and prefix that are restored to, and what is asked of them before anything is written.
//!
//! On purpose not here: what follows from the answers.

use crate::configuration::{Asked, Configuration};
use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::BucketVersioningStatus;
use holdfast_core::name::REPOSITORY;
use holdfast_store::StoreError;
use holdfast_store_s3::{About, Address, Answer, Keys, Meter, Network, chain, connect};
use std::any::Any;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

/// An answer that is waited for until this is dropped.
pub type Waiting = Box<dyn Any + Send>;

/// Sees which answers are waited for.
pub trait Watch: fmt::Debug + Send + Sync {
    /// One more: to a request about an object of that name.
    fn begin(&self, name: &str) -> Waiting;
}

/// A bucket, and what names of objects in it begin with.
#[derive(Debug, Clone)]
pub struct BucketPlace {
    pub(super) client: Client,
    address: Arc<Address>,
    meter: Meter,
    watch: Option<Arc<dyn Watch>>,
}

/// Whether a bucket tells somebody of what happens in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Events {
    /// It tells nobody.
    None,
    /// It tells these.
    To(Vec<String>),
    /// The server does not say; why.
    Unknown(String),
}

impl BucketPlace {
    /// Gets a client ready; nothing is asked of the server yet. Without `keys` the client library
    /// finds them.
    pub async fn open(address: &Address, keys: Option<Keys>, network: &Network) -> Self {
        let meter = Meter::default();
        let client = connect(address, keys, network, &meter).await;
        Self { client, address: Arc::new(address.clone()), meter, watch: None }
    }

    /// Lets it be seen which answers are waited for.
    #[must_use]
    pub fn watched(self, watch: Arc<dyn Watch>) -> Self {
        Self { watch: Some(watch), ..self }
    }

    /// Notes that something is waited for.
    pub(super) fn waiting(&self, name: &str) -> Option<Waiting> {
        self.watch.as_ref().map(|watch| watch.begin(name))
    }

    /// Sends a request about an object when it is its turn: as many are under way as the server bears.
    pub(super) async fn ask<T, E>(
        &self,
        name: &str,
        request: impl Future<Output = Result<T, SdkError<E>>>,
    ) -> Result<T, Answer>
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let turn = self.meter.gate().enter().await;
        let _waiting = self.waiting(name);
        let answer = request.await.map_err(Answer::of);
        if answer.is_ok() {
            turn.went_well();
        }
        answer
    }

    /// Asks for the configuration of the bucket.
    pub async fn configuration(&self) -> Configuration {
        self.asked().all().await
    }

    /// What its configuration is asked of.
    pub(super) fn asked(&self) -> Asked<'_> {
        Asked { client: &self.client, bucket: self.bucket(), gate: self.meter.gate() }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn bucket(&self) -> &str {
        &self.address.bucket
    }

    pub(super) fn prefix(&self) -> &str {
        &self.address.prefix
    }

    /// An object as a person would find it.
    pub(super) fn subject(&self, name: &str) -> String {
        format!("s3://{}/{name}", self.address.bucket)
    }

    /// Whether nothing lies there.
    ///
    /// # Errors
    /// The bucket is not there or may not be listed.
    pub async fn is_empty(&self) -> Result<bool, StoreError> {
        let list = self.client.list_objects_v2().bucket(self.bucket()).prefix(self.prefix()).max_keys(1);
        match self.ask(self.prefix(), list.send()).await {
            Ok(page) => Ok(page.contents().is_empty()),
            Err(answer) => {
                let subject = self.subject(self.prefix());
                Err(answer.into_error(&About { operation: "list", subject: &subject }))
            }
        }
    }

    /// Whether each write makes a version, and none is lost by it.
    ///
    /// # Errors
    /// The bucket is not there, or may not be asked.
    pub async fn keeps_versions(&self) -> Result<bool, StoreError> {
        let versioning = self.client.get_bucket_versioning().bucket(self.bucket());
        match self.ask("", versioning.send()).await {
            Ok(told) => Ok(told.status == Some(BucketVersioningStatus::Enabled)),
            Err(answer) => {
                let subject = self.subject("");
                let about = About { operation: "ask for the versioning of", subject: &subject };
                Err(answer.into_error(&about))
            }
        }
    }

    /// Whether no version lies there, nor a delete marker.
    ///
    /// # Errors
    /// The versions may not be listed.
    pub async fn has_no_versions(&self) -> Result<bool, StoreError> {
        let list = self.client.list_object_versions().bucket(self.bucket()).prefix(self.prefix());
        match self.ask(self.prefix(), list.max_keys(1).send()).await {
            Ok(page) => Ok(page.versions().is_empty() && page.delete_markers().is_empty()),
            Err(answer) => {
                let subject = self.subject(self.prefix());
                let about = About { operation: "list the versions of", subject: &subject };
                Err(answer.into_error(&about))
            }
        }
    }

    /// Whether a repository lies at a prefix: empty, or words that end with a slash.
    async fn is_repository(&self, prefix: &str) -> Result<bool, StoreError> {
        let name = format!("{prefix}{REPOSITORY}");
        let head = self.client.head_object().bucket(self.bucket()).key(&name);
        match self.ask(&name, head.send()).await {
            Ok(_) => Ok(true),
            Err(answer) => {
                // Who may not look there may not write there either, or there is nothing.
                if answer.is_absent() || answer.is_denied() {
                    return Ok(false);
                }
                Err(answer.into_error(&About { operation: "look at", subject: &self.subject(&name) }))
            }
        }
    }

    /// Finds a repository that objects restored to here would lie in: at the place itself or above.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn repository_around(&self) -> Result<Option<String>, StoreError> {
        let prefix = self.prefix();
        let ends = prefix.match_indices('/').map(|(at, _)| at + 1);
        for end in std::iter::once(0).chain(ends) {
            if self.is_repository(&prefix[..end]).await? {
                return Ok(Some(self.subject(prefix[..end].trim_end_matches('/'))));
            }
        }
        Ok(None)
    }

    /// Whether a repository of that address lies here, be it by another name of the same server.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn holds(&self, repository: &Address) -> Result<bool, StoreError> {
        let below = repository.bucket == self.address.bucket && repository.prefix.starts_with(self.prefix());
        Ok(below && self.is_repository(&repository.prefix).await?)
    }

    /// Asks whom the bucket tells of new objects.
    pub async fn events(&self) -> Events {
        let notification = self.client.get_bucket_notification_configuration().bucket(self.bucket());
        match self.ask("", notification.send()).await {
            Ok(told) => {
                let lambdas = told.lambda_function_configurations().iter();
                let lambdas =
                    lambdas.map(|lambda| format!("lambda {}", last_of(lambda.lambda_function_arn())));
                let queues = told.queue_configurations().iter();
                let queues = queues.map(|queue| format!("queue {}", last_of(queue.queue_arn())));
                let topics = told.topic_configurations().iter();
                let topics = topics.map(|topic| format!("topic {}", last_of(topic.topic_arn())));
                let bridge = told.event_bridge_configuration().map(|_| "EventBridge".to_owned());
                let all: Vec<_> = lambdas.chain(queues).chain(topics).chain(bridge).collect();
                if all.is_empty() { Events::None } else { Events::To(all) }
            }
            Err(answer) => {
                let subject = self.subject("");
                let about = About { operation: "ask for the notifications of", subject: &subject };
                Events::Unknown(chain(&answer.into_error(&about)))
            }
        }
    }
}

/// The last word of a name with colons.
fn last_of(name: &str) -> &str {
    name.rsplit(':').next().unwrap_or(name)
}
